// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"proofhouse/internal/exit"
	"proofhouse/reports"
	"proofhouse/reports/expect"
	"proofhouse/reports/page"
	"proofhouse/runs"
)

func reportCommand() *cobra.Command {
	var verbose bool
	var format, origin string
	var lists []string
	c := &cobra.Command{
		Use:   "report DIR",
		Short: "Make the reports of a run again from its journals, even if it was killed",
		Long: `report makes the reports of a run again from its journals, even if the run was
killed, and shows the verdict. With --format it prints the run in that format
instead and writes no files; DIR can then also be a results.json.

The run was judged with the expectations of its start. --expectations judges it
again with these files and the built-in list, as of today.

Exit status: that of the verdict.`,
		Example: `  proofhouse report out/latest
  proofhouse report out/latest --format ktap
  proofhouse report out/latest --expectations mine.yaml`,
		Args: someArgs(1, "give the directory of one run"),
		RunE: func(c *cobra.Command, args []string) error {
			edits, err := review(args[0], lists)
			if err != nil {
				return err
			}
			if format == "" {
				result, files, err := page.Reports(args[0], edits...)
				if err != nil {
					return err
				}
				return verdict(result, files, verbose, nil)
			}
			f, ok := reports.FindFormat(format)
			if !ok {
				return exit.BadInputf("--format %q: want one of %s", format, reports.FormatNames())
			}
			if !f.Origin && c.Flags().Changed("origin") {
				return exit.BadInputf("--origin is for --format kcidb, not for %s", format)
			}
			write := func(w io.Writer, run *reports.Run) error {
				return f.Write(w, run, reports.FormatOptions{Origin: origin})
			}
			return printRun(args[0], write, edits)
		},
	}
	f := c.Flags()
	f.BoolVarP(&verbose, "verbose", "v", false, "print a line for every test, also for those that passed")
	f.StringVar(&format, "format", "", "print the run as `FORMAT`: "+reports.FormatNames())
	f.StringVar(&origin, "origin", reports.KCIDBOrigin, "`name` of the CI system in KCIDB reports")
	f.StringArrayVar(&lists, "expectations", nil, "judge the run again with this `file` of expected failures as well")
	return c
}

// review returns the review of the run by its expectations: those of its start,
// or the given lists.
func review(dir string, lists []string) ([]func(*reports.Run), error) {
	if len(lists) > 0 {
		list, err := expect.Load(lists...)
		if err != nil {
			return nil, err
		}
		return []func(*reports.Run){list.Again(time.Now())}, nil
	}
	plan, err := runs.Load(filepath.Join(dir, runs.PlanFile))
	if err != nil { // it has none, or that of another version
		return nil, nil //nolint:nilerr // the run stands for itself
	}
	return []func(*reports.Run){plan.Review}, nil
}

func printRun(path string, write func(io.Writer, *reports.Run) error, edits []func(*reports.Run)) error {
	run, err := reports.Open(path)
	if err != nil {
		return err
	}
	reports.Measure(path)(run)
	run.Edit(edits...)
	if err := write(os.Stdout, run); err != nil {
		return err
	}
	if status, _ := reports.Verdict(run); status != exit.OK {
		return exit.With(status, errSaid)
	}
	return nil
}
