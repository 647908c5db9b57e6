// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"strings"

	"github.com/spf13/cobra"

	"proofhouse/containers"
	"proofhouse/nsmgr"
)

func adoptCommand() *cobra.Command {
	var lxcPath string
	var dryRun, undo bool
	c := &cobra.Command{
		Use: "adopt CONTAINER", Short: "Give an existing LXC container a namespace of its own",
		Long: `Adds three lines to the configuration of a stopped LXC container: its label, in a
namespace of the container's name, and the hooks that create the namespace before
a start and remove it after the stop (nsmgr hook). LXC reads the configuration
back: if another label is in force, the configuration is restored. The container
is confined by the namespace from its next start on.

--undo removes the lines.`,
		Example: `  nsmgr adopt c1 --dry-run
  nsmgr adopt c1
  nsmgr adopt c1 --undo`,
		Args: args(1, 1, "give one container"),
		RunE: func(c *cobra.Command, got []string) error {
			ct := containers.Container{Name: got[0], Path: lxcPath}
			if undo {
				if err := ct.UndoAdoption(c.Context()); err != nil {
					return err
				}
				say(c, "container %s no longer has the lines of nsmgr adopt", ct.Name)
				return nil
			}
			v, err := nsmgr.Open()
			if err != nil {
				return err
			}
			program, err := os.Executable()
			if err != nil {
				return err
			}
			a, err := ct.PrepareAdoption(c.Context(), v, program)
			if err != nil {
				return err
			}
			verb := "added "
			if dryRun {
				verb = "would add "
			} else if err := a.Apply(c.Context()); err != nil {
				return err
			}
			for line := range strings.Lines(a.Lines) {
				say(c, "%s%s", verb, strings.TrimSuffix(line, "\n"))
			}
			if !dryRun {
				say(c, "undo   nsmgr adopt %s --undo", ct.Name)
			}
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&lxcPath, "lxcpath", "", "`directory` of LXC's containers (default: what \"lxc-config lxc.lxcpath\" prints)")
	f.BoolVarP(&dryRun, "dry-run", "n", false, "only print the lines")
	f.BoolVar(&undo, "undo", false, "remove the lines that adopt added")
	return c
}
