// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"

	"github.com/spf13/cobra"

	"proofhouse/containers"
	"proofhouse/internal/exit"
	"proofhouse/nsmgr"
)

func hookCommand() *cobra.Command {
	var paths []string
	c := &cobra.Command{
		Use: "hook pre-start|post-stop", Short: "Create and remove the namespace of an LXC container, as LXC's hook",
		Long: `Runs as a hook of an LXC container. pre-start creates the namespace that
lxc.apparmor.profile names, with the shipped profile that fits the container or
the policy of --profiles, and loads the host profile of the label if it is not
loaded. It refuses the start if the namespace belongs to another container, or
if the policy of LXC's own programs does not allow the label. post-stop removes
the namespace again if pre-start created it.`,
		Example: `  lxc.apparmor.profile = host-ct//&:c1:container
  lxc.hook.pre-start = /usr/bin/nsmgr hook pre-start
  lxc.hook.post-stop = /usr/bin/nsmgr hook post-stop`,
		ValidArgs: []string{"pre-start", "post-stop"},
		// LXC adds the container's name, "lxc" and the hook's name.
		Args: args(1, 0, "give the hook: pre-start or post-stop"),
		RunE: func(c *cobra.Command, got []string) error {
			if got[0] != "pre-start" && got[0] != "post-stop" {
				return exit.BadInputf("unknown hook %q: want pre-start or post-stop", got[0])
			}
			h, err := containers.NewHook(c.Context(), os.Getenv)
			if err != nil {
				return err
			}
			h.Profiles = paths
			v, err := nsmgr.Open()
			if err != nil {
				return err
			}
			if got[0] == "post-stop" {
				return h.PostStop(c.Context(), v)
			}
			return h.PreStart(c.Context(), v)
		},
	}
	c.Flags().StringArrayVarP(&paths, "profiles", "p", nil, "policy for the namespace: `PATH` of a file or directory; may be given several times")
	return c
}
