// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"proofhouse/containers"
	"proofhouse/internal/exit"
	"proofhouse/nsmgr"
	"proofhouse/profiles/declaration"
)

// retryInterval is how soon a change that was refused is tried again.
const retryInterval = 10 * time.Second

// watchable checks that apply --watch can be used with the other flags.
func watchable(c *cobra.Command, file string) error {
	switch {
	case file == "-":
		return exit.BadInputf("apply: --watch needs a file or directory, not the standard input")
	case c.Flags().Changed("dry-run"):
		return exit.BadInputf("apply: give --watch or --dry-run, not both")
	case c.Flags().Changed("force"), c.Flags().Changed("yes"):
		return exit.BadInputf("apply: --watch never leaves a task unconfined: run apply --force without it")
	}
	return nil
}

// watchApply applies the declaration each time that it changes, until a signal ends
// it, which is no error.
func watchApply(c *cobra.Command, file string, prune bool) error {
	v, err := nsmgr.Open()
	if err != nil {
		return err
	}
	if err := v.MayAdminister(); err != nil {
		return err
	}
	comp, err := containers.Compiler(v)
	if err != nil {
		return err
	}
	w, err := declaration.NewWatcher(file)
	if err != nil {
		return err
	}
	defer func() { _ = w.Close() }()
	w.Waiting = func(reason string) { note(c, "nsmgr: note: %s: not read yet: %s", file, reason) }
	how := changing{source: source(file), all: true, removal: nsmgr.Removal{
		Note: func(err error) { note(c, "nsmgr: note: %v", err) },
	}}
	if prune {
		how.prune = nsmgr.Prune{Source: how.source}
	}
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	defer signal.Stop(reload)

	said := "" // the last failure, which is not repeated
	for {
		d, wanted, err := w.Read(c.Context(), comp)
		if ended(c, err) {
			return nil
		}
		var retry <-chan time.Time
		failed := []error{err}
		if err != nil && exit.Status(err) != exit.Usage {
			// Not the fault of the files: the parser was killed, or the like.
			retry = time.After(retryInterval)
		}
		if err == nil {
			failed, _ = change(c, v, d, wanted, how)
			if ended(c, errors.Join(failed...)) {
				return nil
			}
			if len(failed) > 0 {
				retry = time.After(retryInterval)
			}
		}
		text := ""
		if err := errors.Join(failed...); err != nil {
			text = err.Error()
		}
		switch {
		case text == said:
		case text == "":
			say(c, "applied %s", file)
		case err != nil:
			note(c, "nsmgr: %s: the policy in force is unchanged", text)
		default:
			for _, err := range failed {
				note(c, "nsmgr: %v: will be tried again", err)
			}
		}
		said = text
		if ended(c, w.Wait(c.Context(), retry, reload)) {
			return nil
		}
	}
}

// ended reports whether a signal has ended the command.
func ended(c *cobra.Command, err error) bool {
	return c.Context().Err() != nil && errors.Is(err, context.Canceled)
}
