// SPDX-License-Identifier: Apache-2.0

// proofhouse proves AppArmor on a kernel build before anyone ships it.
package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"proofhouse/internal/cli"
	"proofhouse/internal/exit"
)

func main() {
	os.Exit(exit.Report(os.Stderr, "proofhouse", execute()))
}

func execute() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := command()
	err := root.ExecuteContext(ctx)
	if ctx.Err() != nil && err != nil {
		err = errors.New("interrupted")
	}
	// git bisect must not treat an error as a verdict.
	if c, _, findErr := root.Find(os.Args[1:]); findErr == nil && c.Name() == stepName {
		err = stepStatus(err)
	}
	return err
}

func command() *cobra.Command {
	root := cli.Root(&cobra.Command{
		Use:   "proofhouse",
		Short: "Prove AppArmor on a kernel build before anyone ships it",
		Long: `proofhouse boots a kernel build, runs the upstream AppArmor regression suite and
the isolation matrix on it, and gives a verdict on each subtest.

Exit status: 0 all as expected, 1 something failed, 2 bad usage or bad input,
3 no verdict.`,
	})
	root.AddCommand(
		runCommand(), listCommand(), execCommand(), shellCommand(), kernelsCommand(), reportCommand(), compareCommand(), coverageCommand(),
		mergeCommand(), runsCommand(), bisectCommand(), bisectStepCommand(), boardCommand(), mutantsCommand(), cacheCommand(), doctorCommand(), setupCommand(), cli.Version("proofhouse"),
		cli.Man("proofhouse", cli.Manual{SeeAlso: []string{"nsmgr(1)", "apparmor(7)", "apparmor_parser(8)"}}),
	)
	// Cobra's own prints the help for a shell that it does not know.
	root.InitDefaultCompletionCmd()
	if c, _, err := root.Find([]string{"completion"}); err == nil && c != root {
		c.Args = func(_ *cobra.Command, got []string) error {
			if len(got) > 0 {
				return exit.BadInputf("completion: unknown shell %q: want bash, zsh, fish or powershell", got[0])
			}
			return nil
		}
		c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
		c.Example = "  source <(proofhouse completion bash)"
		for _, shell := range c.Commands() {
			shell.Example = "  proofhouse completion " + shell.Name() + " > FILE"
		}
	}
	return root
}

// noArgs and someArgs check the arguments of commands.
var noArgs = cli.NoArgs

func someArgs(most int, what string) cobra.PositionalArgs { return cli.Args(1, most, what) }
