// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"proofhouse/internal/cli"
	"proofhouse/internal/exit"
	"proofhouse/internal/printable"
	"proofhouse/reports"
	"proofhouse/reports/page"
	"proofhouse/runs"
	"proofhouse/runs/history"
)

func runsCommand() *cobra.Command {
	out := runs.DefaultOut()
	var asJSON bool
	c := &cobra.Command{
		Use: "runs", Short: "List runs, and remove old ones",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return exit.BadInputf("unknown command %q: want proofhouse runs prune, or proofhouse runs alone", args[0])
			}
			return nil
		},
		Example: `  proofhouse runs
  proofhouse runs prune --keep 20 --dry-run`,
		RunE: func(c *cobra.Command, _ []string) error {
			if _, err := os.Stat(out); err != nil && c.Flags().Changed("out") {
				return exit.BadInputf("list the runs: %w", err)
			}
			entries, err := history.List(out)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(append([]history.Entry{}, entries...))
			}
			return printRuns(os.Stdout, entries)
		},
	}
	c.PersistentFlags().StringVar(&out, "out", out, "`directory` of all runs")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.AddCommand(pruneCommand(&out))
	return c
}

func printRuns(w io.Writer, entries []history.Entry) error {
	if len(entries) == 0 {
		_, err := fmt.Fprintln(w, "no runs")
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "RUN\tKERNEL\tTOOK\tVERDICT")
	for _, e := range entries {
		name := e.Name
		if !strings.HasPrefix(name, e.Started.Local().Format("2006-01-02T15-04")) {
			name += ", " + e.Started.Local().Format("2006-01-02 15:04")
		}
		took := "-"
		if e.Seconds > 0 {
			took = reports.Elapsed(time.Duration(e.Seconds * float64(time.Second)))
		}
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", printable.Line(name), printable.Line(kernelsOf(e)), took, printable.Line(verdictOf(e)))
	}
	return t.Flush()
}

func kernelsOf(e history.Entry) string {
	switch n := len(e.Kernels); {
	case n == 0:
		return "-"
	case n > 3:
		return fmt.Sprintf("%s and %d more", strings.Join(e.Kernels[:2], ", "), n-2)
	}
	return strings.Join(e.Kernels, ", ")
}

func verdictOf(e history.Entry) string {
	verdict := e.Verdict
	switch e.State {
	case history.Running:
		verdict = "running"
	case history.Refused:
		verdict = "did not start: " + verdict
	case history.Unreadable:
		verdict = "unreadable: " + verdict
	}
	if e.Shard != "" {
		verdict += " (shard " + e.Shard + ")"
	}
	return verdict
}

func pruneCommand(out *string) *cobra.Command {
	var keep int
	var dryRun bool
	c := &cobra.Command{
		Use: "prune --keep N", Short: "Remove all runs except the newest", Args: noArgs,
		Long: `Removes all runs except the newest N. It never removes a running run, the run
that out/latest points to, or anything that is not a run.`,
		Example: `  proofhouse runs prune --keep 20
  proofhouse runs prune --keep 0 --out /srv/runs --dry-run`,
		RunE: func(c *cobra.Command, _ []string) error {
			if !c.Flags().Changed("keep") {
				return exit.BadInputf("runs prune: give the number of runs to keep: --keep N")
			}
			gone, err := history.Prune(*out, keep, dryRun)
			word := "removed"
			if dryRun {
				word = "would remove"
			}
			for _, e := range gone {
				fmt.Println(word, e.Dir)
			}
			if err == nil && len(gone) == 0 {
				fmt.Println("nothing to remove")
			}
			return err
		},
	}
	c.Flags().Var(cli.Count(&keep, 0), "keep", "keep the newest `N` runs")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "only print what would be removed")
	return c
}

func mergeCommand() *cobra.Command {
	var out string
	var attempts, verbose bool
	var kernels []string
	c := &cobra.Command{
		Use:   "merge DIR...",
		Short: "Join runs, such as the shards of one, into one run",
		Long: `Joins the runs in the directories into one run with all results, and writes its
reports. They are shards of one run, runs on different kernels, or both: builds
with the same ID become one kernel. The exit status is that of the joined run.
With a missing shard, or without a kernel that --kernel names, there is no
verdict.`,
		Example: `  proofhouse merge shard-1 shard-2 shard-3 --out merged
  proofhouse merge --kernel debian:trixie --kernel debian:sid parts/*
  proofhouse merge --attempts monday tuesday`,
		Args: someArgs(0, "give the directories of the runs to join"),
		RunE: func(_ *cobra.Command, args []string) error {
			dir, err := runs.Merge(out, attempts, args)
			if err != nil {
				return err
			}
			if err := reports.Require(dir, kernels...); err != nil {
				return err
			}
			run, files, err := page.Reports(dir)
			if err != nil {
				return err
			}
			return verdict(run, files, verbose, nil)
		},
	}
	c.Flags().StringVar(&out, "out", "", "`directory` of the joined run (default: a new one under out/)")
	c.Flags().StringArrayVar(&kernels, "kernel", nil, "require a kernel, by its `SPEC`, ID or release")
	c.Flags().BoolVar(&attempts, "attempts", false, "treat several runs of a kernel as attempts: a test whose results differ is flaky")
	c.Flags().BoolVarP(&verbose, "verbose", "v", false, "print a line for every test, also for those that passed")
	return c
}
