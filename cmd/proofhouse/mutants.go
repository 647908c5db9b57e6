// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"proofhouse/internal/cli"
	"proofhouse/internal/exit"
	"proofhouse/mutants"
	"proofhouse/reports"
	"proofhouse/runs"
	"proofhouse/runs/progress"
)

func mutantsCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "mutants",
		Short: "Plant faults in a kernel's AppArmor and measure which of them the suite catches",
		Example: `  proofhouse mutants plant linux-source-7.3
  proofhouse mutants run -k path/to/linux --label-filter isolation`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(mutantsSitesCommand(), mutantsPlantCommand(), mutantsSourceCommand(), mutantsRunCommand(), mutantsReportCommand())
	return c
}

func mutantsSitesCommand() *cobra.Command {
	var choose int
	c := &cobra.Command{
		Use:     "sites TREE",
		Short:   "List the places of a kernel source tree at which a fault can be planted",
		Example: "  proofhouse mutants sites linux-source-7.3 --choose 100",
		Args:    someArgs(1, "takes the directory of one kernel source tree"),
		RunE: func(c *cobra.Command, args []string) error {
			sites, err := mutants.Sites(args[0])
			if err != nil {
				return err
			}
			if choose > 0 {
				sites = mutants.Choose(sites, choose)
			}
			w := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
			for _, s := range sites {
				fmt.Fprintf(w, "%s:%d\t%s\t%s %d\t%s\n", s.File, s.Line, s.Function, s.Operator, s.Nth, s.Text)
			}
			return w.Flush()
		},
	}
	c.Flags().Var(cli.Count(&choose, 1), "choose", "list only `N` places, chosen by rule")
	return c
}

func mutantsPlantCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "plant TREE",
		Short: "Plant the faults of the table in a kernel source tree",
		Long: `Rewrites security/apparmor of the tree, so that the kernel parameter
apparmor.mutant=N switches fault N on. Without the parameter the kernel behaves
as before. The table is that of the newest kernel that the project follows; if a
place is not in the tree, nothing is written.`,
		Example: "  proofhouse mutants plant linux-source-7.3",
		Args:    someArgs(1, "takes the directory of one kernel source tree"),
		RunE: func(c *cobra.Command, args []string) error {
			faults, err := mutants.Table()
			if err != nil {
				return err
			}
			if err := mutants.Plant(args[0], faults); err != nil {
				return err
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "planted %d faults in %s\n", mutants.Count(faults), args[0])
			return err
		},
	}
}

func mutantsSourceCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "source DIR",
		Short: "Fetch Debian's kernel source and plant the faults of the table in it",
		Long: `Fetches Debian's package with the source of the kernel that the table is for
(166 MB), unpacks it in the directory (1.8 GB) and plants the faults. Prints the
directory of the tree.`,
		Example: "  proofhouse mutants source out/mutants-kernel",
		Args:    someArgs(1, "takes the directory for the kernel source"),
		RunE: func(c *cobra.Command, args []string) error {
			display := progress.New(os.Stderr)
			defer display.Close()
			tree, err := mutants.Source(c.Context(), args[0], display.Step)
			display.Close()
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(c.OutOrStdout(), tree)
			return err
		},
	}
}

func mutantsRunCommand() *cobra.Command {
	var k mutants.Campaign
	var only string
	var part reports.Shard
	var sample int
	var stages []string
	c := &cobra.Command{
		Use:   "run -k SPEC",
		Short: "Run the suite for each planted fault",
		Long: `Runs the suite on a kernel with planted faults: without any, and with each. A fault
is caught if a result that is good without it is a FAIL with it.

Each fault is tried in three stages, which end at the first catch: near, the rows of
the isolation matrix that are about the function with the fault; rest, all other
rows; scripts, the upstream scripts that are about the function.

The outcomes are in the directory --out. The same command continues where the last
one stopped, and tries faults that survived with rows that are new.`,
		Example: `  proofhouse mutants run -k path/to/linux --sample 12
  proofhouse mutants run -k path/to/linux --fault 25,26 --all
  proofhouse mutants run -k path/to/linux --shard 1/4 --out out/mutants-1`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if k.Kernel == "" {
				return exit.BadInputf("mutants run: give --kernel SPEC, a kernel built from a planted tree")
			}
			faults, err := mutants.Table()
			if err != nil {
				return err
			}
			if faults, err = mutants.Only(faults, only); err != nil {
				return err
			}
			for _, s := range stages {
				stage, err := mutants.ParseStage(s)
				if err != nil {
					return err
				}
				k.Stages = append(k.Stages, stage)
			}
			faults = mutants.Part(faults, sample, part)
			display := progress.New(os.Stderr)
			defer display.Close()
			k.Watch = display
			outcomes, err := k.Run(c.Context(), faults)
			display.Close()
			if err != nil && !errors.Is(err, mutants.ErrLimit) {
				return err
			}
			_, werr := mutants.WriteMarkdown(c.OutOrStdout(), faults, outcomes)
			if err != nil {
				return fmt.Errorf("%w: run the same command again to continue", err)
			}
			return werr
		},
	}
	f := c.Flags()
	f.StringVarP(&k.Kernel, "kernel", "k", "", "`SPEC` of a kernel built from a planted tree")
	runs.MachineFlags(f, &k.Config)
	f.StringVar(&k.LabelFilter, "label-filter", "", "run the specs whose labels match Ginkgo's `EXPR`, in one stage")
	f.StringSliceVar(&stages, "stage", nil, "try only these `STAGES`: near, rest, scripts")
	f.BoolVar(&k.All, "all", false, "do not stop at the first catch: compare what each spec catches")
	f.BoolVar(&k.Again, "again", false, "try the faults that survived again, also with specs that are not new")
	f.Var(cli.Duration(&k.Limit, time.Second), "for", "start no new run after this `DURATION`, such as 9m")
	f.StringVar(&only, "fault", "", "try only these faults, `N[,N]...`")
	f.Var(cli.Count(&k.Procs, 1), "procs", "number of `machines` side by side (default: one for each processor, if there is enough memory)")
	f.StringVar(&k.Dir, "out", filepath.Join(runs.DefaultOut(), "mutants"), "`directory` of the campaign")
	f.Var(runs.ShardFlag(&part), "shard", "try only part `INDEX/COUNT` of the faults")
	f.Var(cli.Count(&sample, 1), "sample", "try only `N` faults, spread over the table")
	f.BoolVar(&k.Keep, "keep", false, "keep the directories of all runs")
	k.Config.Out = runs.DefaultOut()
	return c
}

func mutantsReportCommand() *cobra.Command {
	var tsv bool
	c := &cobra.Command{
		Use:     "report DIR...",
		Short:   "Print the table of one campaign, or of its shards",
		Example: "  proofhouse mutants report out/mutants",
		Args:    someArgs(0, "takes the directories of a campaign"),
		RunE: func(c *cobra.Command, args []string) error {
			faults, err := mutants.Table()
			if err != nil {
				return err
			}
			all := map[int]mutants.Outcome{}
			for _, dir := range args {
				outcomes, err := mutants.ReadOutcomes(dir)
				if err != nil {
					return err
				}
				if len(outcomes) == 0 {
					return exit.BadInputf("read the campaign %s: no outcomes in it: want the --out directory of proofhouse mutants run", dir)
				}
				mutants.Join(all, outcomes)
			}
			if tsv {
				return mutants.WriteTSV(c.OutOrStdout(), faults, all)
			}
			_, err = mutants.WriteMarkdown(c.OutOrStdout(), faults, all)
			return err
		},
	}
	c.Flags().BoolVar(&tsv, "tsv", false, "print the outcomes as tab-separated lines, as mutants/outcomes.tsv has them")
	return c
}
