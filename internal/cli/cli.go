// SPDX-License-Identifier: Apache-2.0

// Package cli has what the project's commands share: a user error is one line and
// exit status 2. Commands and their flags live in cmd.
//
//	root := cli.Root(&cobra.Command{Use: "nsmgr", …})
//	root.AddCommand(cli.Version("nsmgr"), …)
package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"proofhouse/internal/exit"
	"proofhouse/internal/version"
)

// Root makes c a program's first command: alone it prints the help; errors are
// for the caller to report.
func Root(c *cobra.Command) *cobra.Command {
	c.SilenceErrors, c.SilenceUsage = true, true
	c.Args = func(c *cobra.Command, got []string) error {
		if len(got) > 0 {
			return exit.BadInputf("unknown command %q (%s --help lists the commands)", got[0], c.Name())
		}
		return nil
	}
	c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
	c.SetFlagErrorFunc(badFlag)
	return c
}

// path is the command without the program, whose name [exit.Report] writes.
func path(c *cobra.Command) string {
	return strings.TrimPrefix(c.CommandPath(), c.Root().Name()+" ")
}

// NoArgs is cobra.NoArgs with the exit status of bad usage.
func NoArgs(c *cobra.Command, got []string) error {
	if len(got) > 0 {
		return exit.BadInputf("%s takes no arguments, got %q", path(c), strings.Join(got, " "))
	}
	return nil
}

// Args demands at least as many arguments, and at most as many where most is
// not 0; what says which they are.
func Args(least, most int, what string) cobra.PositionalArgs {
	return func(c *cobra.Command, got []string) error {
		if len(got) < least || most >= max(least, 1) && len(got) > most {
			return exit.BadInputf("%s: %s", path(c), what)
		}
		return nil
	}
}

// Version prints the program's version and commit.
func Version(program string) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Example: "  " + program + " version", Args: NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			line := program + " " + version.String()
			if commit := version.Commit(); commit != "" {
				line += " (commit " + commit + ")"
			}
			_, err := fmt.Fprintln(c.OutOrStdout(), line)
			return err
		},
	}
}
