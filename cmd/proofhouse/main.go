// proofhouse proves AppArmor on a kernel build before anyone ships it.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"proofhouse/internal/exit"
	"proofhouse/internal/version"
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
	// Whatever was wrong with it, git must not take it for a verdict.
	if c, _, findErr := root.Find(os.Args[1:]); findErr == nil && c.Name() == stepName {
		err = stepStatus(err)
	}
	return err
}

func command() *cobra.Command {
	root := &cobra.Command{
		Use:   "proofhouse",
		Short: "Prove AppArmor on a kernel build before anyone ships it",
		Long: `proofhouse boots a kernel build, runs the upstream AppArmor regression suite on
it and says, subtest by subtest, what holds.

Exit status: 0 all as expected, 1 something failed, 2 bad usage or bad input,
3 no verdict.`,
		SilenceErrors: true, SilenceUsage: true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return exit.BadInputf("unknown command %q (proofhouse --help lists them)", args[0])
			}
			return nil
		},
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return exit.BadInputf("%w (%s --help tells more)", err, c.CommandPath())
	})
	root.AddCommand(
		runCommand(), execCommand(), shellCommand(), kernelsCommand(), reportCommand(), compareCommand(),
		mergeCommand(), runsCommand(), bisectCommand(), bisectStepCommand(), cacheCommand(), doctorCommand(), setupCommand(), versionCommand(),
	)
	return root
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: noArgs,
		Run: func(*cobra.Command, []string) { fmt.Println("proofhouse", version.String()) },
	}
}

// noArgs is cobra.NoArgs with the exit status of bad usage.
func noArgs(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return exit.BadInputf("%s takes no argument, and got %q", c.CommandPath(), strings.Join(args, " "))
	}
	return nil
}

// someArgs demands at least one argument, and at most as many where most is
// not 0.
func someArgs(most int, what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) == 0 || most > 0 && len(args) > most {
			return exit.BadInputf("%s: %s", c.CommandPath(), what)
		}
		return nil
	}
}
