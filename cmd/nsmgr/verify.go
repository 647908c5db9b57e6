// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"proofhouse/containers"
	"proofhouse/internal/child"
	"proofhouse/internal/exit"
	"proofhouse/nsmgr"
)

func verifyCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "verify NAME", Short: "Check that a namespace's policy is enforced",
		Long: `Checks the modes of the namespace's profiles and the labels of its tasks. Then it
loads a profile of its own into the namespace, and starts a process under it,
which must be denied one file and allowed another. Running tasks are not changed.
Exit status 1: a check failed.`,
		Example: "  nsmgr verify container-ns",
		Args:    args(1, 1, "give one namespace"), ValidArgsFunction: completeNames,
		RunE: func(c *cobra.Command, got []string) error {
			v, ns, err := onNamespace(got[0])
			if err != nil {
				return err
			}
			found, err := v.Examine(ns)
			if err != nil {
				return err
			}
			comp, err := containers.Compiler(v)
			if err != nil {
				return err
			}
			tried, err := v.Try(c.Context(), ns, comp.Text, startProbe)
			if err != nil {
				return err
			}
			return reportFindings(c, append(found, tried...), asJSON)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return c
}

func reportFindings(c *cobra.Command, found []nsmgr.Finding, asJSON bool) error {
	bad := 0
	for _, f := range found {
		word := "ok   "
		if !f.OK {
			bad++
			word = "NOT  "
		}
		if !asJSON {
			say(c, "%s%s", word, f.What)
		}
	}
	if asJSON {
		if err := printJSON(c, found); err != nil {
			return err
		}
	}
	if bad > 0 {
		return exit.With(exit.Failed, fmt.Errorf("%d of %d checks failed", bad, len(found)))
	}
	return nil
}

// startProbe runs "nsmgr probe" in the namespace, through "nsmgr exec".
func startProbe(ctx context.Context, ns nsmgr.Name, profile, allowed, denied string) (s nsmgr.Seen, err error) {
	self, err := os.Executable()
	if err != nil {
		return s, err
	}
	cmd := child.Command(ctx, self, "exec", string(ns), "-p", profile, "--", self, "probe", allowed, denied)
	// The Go runtime signals itself to preempt goroutines, which policy may
	// deny.
	cmd.Env = append(os.Environ(), "GODEBUG=asyncpreemptoff=1")
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		return s, fmt.Errorf("run a probe in namespace %q: %w: %s", ns, err, errOut.String())
	}
	return s, json.Unmarshal(out.Bytes(), &s)
}

// probeCommand is what verify runs in the namespace.
func probeCommand() *cobra.Command {
	return &cobra.Command{
		Use: "probe ALLOWED DENIED", Hidden: true, Args: args(2, 2, "give two files"),
		RunE: func(c *cobra.Command, got []string) error {
			s, err := nsmgr.Probe(got[0], got[1])
			if err != nil {
				return err
			}
			return printLine(c, s)
		},
	}
}
