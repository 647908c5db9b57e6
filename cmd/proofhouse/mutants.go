// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"proofhouse/internal/exit"
	"proofhouse/mutants"
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
	c.AddCommand(mutantsSitesCommand(), mutantsPlantCommand(), mutantsRunCommand(), mutantsReportCommand())
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
	c.Flags().IntVar(&choose, "choose", 0, "list only `N` of them, chosen by rule")
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
			_, err = fmt.Fprintf(c.OutOrStdout(), "planted %d faults in %s\n", len(faults), args[0])
			return err
		},
	}
}

func mutantsRunCommand() *cobra.Command {
	var k mutants.Campaign
	var shard string
	var sample int
	c := &cobra.Command{
		Use:   "run -k SPEC",
		Short: "Run the suite once for each planted fault",
		Long: `Runs the suite on a kernel with planted faults: once with none, and once for
each. A fault is caught if a result that is good without it is a FAIL with it. The
outcomes are in the directory --out; run the same command again to continue.`,
		Example: `  proofhouse mutants run -k path/to/linux --label-filter isolation --sample 12
  proofhouse mutants run -k path/to/linux --shard 1/4 --out out/mutants-1`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if k.Kernel == "" {
				return exit.BadInputf("no kernel given: want --kernel SPEC, a kernel built from a planted tree")
			}
			faults, err := mutants.Table()
			if err != nil {
				return err
			}
			part, err := runs.ParseShard(shard)
			if err != nil {
				return err
			}
			faults = mutants.Part(faults, sample, part)
			display := progress.New(os.Stderr)
			defer display.Close()
			k.Watch = display
			outcomes, err := k.Run(c.Context(), faults)
			display.Close()
			if err != nil {
				return err
			}
			_, err = mutants.WriteMarkdown(c.OutOrStdout(), faults, outcomes)
			return err
		},
	}
	f := c.Flags()
	f.StringVarP(&k.Kernel, "kernel", "k", "", "`SPEC` of a kernel built from a planted tree")
	runs.MachineFlags(f, &k.Config)
	f.StringVar(&k.LabelFilter, "label-filter", "isolation", "run only specs whose labels match Ginkgo's `EXPR`")
	f.IntVar(&k.Procs, "procs", 0, "`machines` side by side (default: one for each processor, as far as there is memory)")
	f.StringVar(&k.Dir, "out", filepath.Join(runs.DefaultOut(), "mutants"), "`directory` of the campaign")
	f.StringVar(&shard, "shard", "", "try only part `INDEX/COUNT` of the faults")
	f.IntVar(&sample, "sample", 0, "try only `N` faults, spread over the table")
	f.BoolVar(&k.Keep, "keep", false, "keep the directories of all runs")
	k.Config.Out = runs.DefaultOut()
	return c
}

func mutantsReportCommand() *cobra.Command {
	return &cobra.Command{
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
					return exit.BadInputf("%s has no outcomes of a campaign", dir)
				}
				for n, o := range outcomes {
					all[n] = o
				}
			}
			_, err = mutants.WriteMarkdown(c.OutOrStdout(), faults, all)
			return err
		},
	}
}
