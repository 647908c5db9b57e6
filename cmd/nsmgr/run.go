// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"proofhouse/containers"
	"proofhouse/internal/cli"
	"proofhouse/internal/exit"
	"proofhouse/nsmgr"
)

func execCommand() *cobra.Command {
	var t nsmgr.Target
	c := &cobra.Command{
		Use:   "exec NAME [-p PROFILE] [--stack-on HOST_PROFILE] [--] CMD ARG...",
		Short: "Run a command confined by a namespace's profile",
		Long: `Executes the command in place of nsmgr, confined by the profile, which is stacked
on nsmgr's own label, or on the host profile that --stack-on names. Without -p,
the namespace must have only one profile. --flat does not stack: the command is
then not isolated from the host's tasks, and becomes unconfined if the namespace
is removed.`,
		Example: `  nsmgr exec container-ns -- cat /proc/self/attr/apparmor/current
  nsmgr exec container-ns -p web --stack-on host-ct -- /usr/sbin/nginx`,
		Args: args(2, 0, "give the namespace and the command"), ValidArgsFunction: completeNames,
		RunE: func(_ *cobra.Command, got []string) error {
			if t.Flat && t.Host != "" {
				return exit.BadInputf("exec: give --flat or --stack-on, not both")
			}
			v, ns, err := onNamespace(got[0])
			if err != nil {
				return err
			}
			t.Namespace = ns
			if t.Profile == "" {
				if t.Profile, err = onlyProfile(v, ns); err != nil {
					return err
				}
			}
			path, err := exec.LookPath(got[1])
			if err != nil {
				return exit.BadInput(err)
			}
			return v.Exec(t, path, got[1:], os.Environ())
		},
	}
	f := c.Flags()
	f.SetInterspersed(true)
	f.StringVarP(&t.Profile, "profile", "p", "", "`profile` of the namespace")
	f.StringVar(&t.Host, "stack-on", "", "`profile` of the host to stack it on")
	f.BoolVar(&t.Flat, "flat", false, "do not stack")
	return c
}

// onlyProfile returns the namespace's only profile. Hats do not count.
func onlyProfile(v *nsmgr.View, ns nsmgr.Name) (string, error) {
	all, err := v.Profiles(ns)
	if err != nil {
		return "", err
	}
	var names []string
	for _, p := range all {
		if !strings.Contains(p.Name, nsmgr.Separator) {
			names = append(names, p.Name)
		}
	}
	switch len(names) {
	case 0:
		return "", exit.BadInputf("namespace %q has no profile (nsmgr load loads one)", ns)
	case 1:
		return names[0], nil
	}
	return "", exit.BadInputf("namespace %q has several profiles (choose one with -p): %s", ns, strings.Join(names, ", "))
}

func deleteCommand() *cobra.Command {
	var d nsmgr.Deletion
	var yes bool
	c := &cobra.Command{
		Use:   "delete NAME",
		Short: "Remove a namespace that has no tasks",
		Long: `Removes the namespace. The kernel would remove it while tasks are in it, and
leave unconfined those that only it confines. So the command is refused while
there are tasks, and names them. A task that enters during the removal, and that
only the namespace confines, is killed; the profiles are loaded again, and the
namespace stays. --kill kills the tasks first. --force removes the namespace
nevertheless: it says which tasks become unconfined, kills none, and asks if it is
on a terminal.`,
		Example: `  nsmgr delete container-ns
  nsmgr delete container-ns --recursive --kill`,
		Args: args(1, 1, "give one namespace"), ValidArgsFunction: completeNames,
		RunE: func(c *cobra.Command, got []string) error {
			v, ns, err := onNamespace(got[0])
			if err != nil {
				return err
			}
			d.Doubt = func(err error) { note(c, "nsmgr: note: %v", err) }
			d.Confirm = func(flat, stacked []nsmgr.Task) error { return confirmForce(c, flat, stacked, yes) }
			if err := v.Delete(c.Context(), ns, d); err != nil {
				return hint(c, err)
			}
			say(c, "removed namespace %s", ns)
			return nil
		},
	}
	f := c.Flags()
	f.BoolVarP(&d.Recursive, "recursive", "r", false, "also remove the namespaces below it")
	f.BoolVar(&d.Kill, "kill", false, "kill the tasks in it first")
	f.BoolVar(&d.Force, "force", false, "remove it while tasks are in it")
	f.BoolVarP(&yes, "yes", "y", false, "do not ask for confirmation")
	return c
}

// removal adds the flags of commands that may remove profiles of live tasks, and
// returns a function that reads them once they are parsed.
func removal(c *cobra.Command) func() nsmgr.Removal {
	var force, yes bool
	c.Flags().BoolVar(&force, "force", false, "also remove profiles that alone confine a task")
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask for confirmation")
	return func() nsmgr.Removal {
		return nsmgr.Removal{
			Force:   force,
			Confirm: func(flat []nsmgr.Task) error { return confirmForce(c, flat, nil, yes) },
			Note:    func(err error) { note(c, "nsmgr: note: %v", err) },
		}
	}
}

// hint adds to an error of the library the flag that deals with it. delete is
// the one command with all of them.
func hint(c *cobra.Command, err error) error {
	switch {
	case errors.Is(err, nsmgr.ErrHasChildren):
		return fmt.Errorf("%w (--recursive removes them too)", err)
	case errors.Is(err, nsmgr.ErrInUse) && c.Flags().Lookup("kill") != nil:
		return fmt.Errorf("%w (--kill kills the tasks first)", err)
	case errors.Is(err, nsmgr.ErrInUse), errors.Is(err, nsmgr.ErrTasksHidden):
		if c.Flags().Lookup("force") != nil {
			return fmt.Errorf("%w (--force does it all the same)", err)
		}
	}
	return err
}

// confirmForce prints what --force will do to which tasks, and asks for
// confirmation on a terminal.
func confirmForce(c *cobra.Command, flat, stacked []nsmgr.Task, yes bool) error {
	for _, t := range flat {
		note(c, "becomes unconfined: %s", t)
	}
	for _, t := range stacked {
		note(c, "stays on policy that can no longer be updated: %s", t)
	}
	if yes || !term.IsTerminal(int(os.Stdin.Fd())) {
		return nil
	}
	_, _ = fmt.Fprint(c.ErrOrStderr(), "continue? [y/N] ")
	var answer string
	_, _ = fmt.Fscanln(c.InOrStdin(), &answer) // no answer is a no
	if answer = strings.ToLower(answer); answer != "y" && answer != "yes" {
		return exit.With(exit.Failed, errors.New("aborted"))
	}
	return nil
}

func gcCommand() *cobra.Command {
	var dryRun, foreign bool
	idle := 10 * time.Minute
	c := &cobra.Command{
		Use: "gc", Short: "Remove unused namespaces that nsmgr created", Args: noArgs,
		Long: `Removes namespaces whose creation or removal was interrupted, and namespaces that
nsmgr created at least --idle ago and that have no tasks. Declared namespaces
(nsmgr apply) and those that other programs created are kept. Tasks that an
interrupted removal left unconfined in its namespace are killed.

--foreign also removes the namespaces that LXC, Incus and LXD created for
containers that no longer exist, by the same rule as delete: not while tasks are
in them.`,
		Example: "  nsmgr gc --dry-run\n  nsmgr gc --idle 0\n  nsmgr gc --foreign",
		RunE: func(c *cobra.Command, _ []string) error {
			v, err := nsmgr.Open()
			if err != nil {
				return err
			}
			found, err := v.FindGarbage(idle)
			if err != nil && (!dryRun || !errors.Is(err, nsmgr.ErrTasksHidden)) {
				return err
			}
			if err != nil {
				note(c, "nsmgr: note: %v", err)
			}
			var failed []error
			for _, g := range found {
				if dryRun {
					say(c, "would remove %s: %s", g.Name, g.Why)
					continue
				}
				if err := v.Collect(c.Context(), g, idle); err != nil {
					failed = append(failed, err)
					continue
				}
				say(c, "removed %s: %s", g.Name, g.Why)
			}
			if foreign {
				failed = append(failed, collectForeign(c, v, dryRun))
			}
			return errors.Join(failed...)
		},
	}
	c.Flags().BoolVarP(&dryRun, "dry-run", "n", false, "only print what would be removed")
	c.Flags().BoolVar(&foreign, "foreign", false, "also remove what LXC, Incus and LXD left")
	c.Flags().Var(cli.Duration(&idle, 0), "idle", "remove only namespaces that were created this `duration` ago or earlier")
	return c
}

// collectForeign removes the namespaces of containers that no longer exist.
func collectForeign(c *cobra.Command, v *nsmgr.View, dryRun bool) error {
	owners, err := containers.FindOwners(c.Context())
	if err != nil {
		return err
	}
	left, err := owners.Left(v)
	if err != nil {
		return err
	}
	var failed []error
	for _, ns := range left {
		owner, _ := owners.Of(ns)
		if dryRun {
			say(c, "would remove %s: %s", ns, owner)
			continue
		}
		if err := v.Delete(c.Context(), ns, nsmgr.Deletion{Recursive: true, Sure: true}); err != nil {
			failed = append(failed, err)
			continue
		}
		say(c, "removed %s: %s", ns, owner)
	}
	return errors.Join(failed...)
}
