// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"proofhouse/internal/exit"
	"proofhouse/reports"
	"proofhouse/reports/compare"
)

// compareFormats has the writers of a comparison.
var compareFormats = map[string]func(io.Writer, *compare.Comparison, reports.Style) error{
	"text":     compare.Text,
	"json":     plainly(compare.JSON),
	"markdown": plainly(compare.Markdown),
	"html":     plainly(compare.HTML),
}

// plainly adapts a writer without a style.
func plainly(write func(io.Writer, *compare.Comparison) error) func(io.Writer, *compare.Comparison, reports.Style) error {
	return func(w io.Writer, c *compare.Comparison, _ reports.Style) error { return write(w, c) }
}

// failOn has the conditions for exit status 1.
var failOn = map[string]func(*compare.Comparison) bool{
	"regressions": func(c *compare.Comparison) bool { return len(c.Regressions) > 0 },
	"any-change":  (*compare.Comparison).Changed,
	"never":       func(*compare.Comparison) bool { return false },
}

func compareCommand() *cobra.Command {
	var format, fail string
	var common, verbose bool
	c := &cobra.Command{
		Use:   "compare BASE NEW",
		Short: "Show what changed from one kernel or run to another, regressions first",
		Long: `compare shows what changed from BASE to NEW: regressions, with what both kernels
logged, fixed tests, flaky tests, added and removed features, and differences
that are not in the kernel.

BASE and NEW are the directory of a run, that of one kernel in it, or a
results.json. For a run with several kernels, add a colon and the kernel: its
ID, spec or release, or the beginning of its ID or release.

Exit status: 0 no regression, 1 regressions (see --fail-on), 2 bad usage or bad
input, 3 the two have nothing in common, or NEW was cut short or is damaged.`,
		Example: `  proofhouse compare out/2026-03-01T12-00-00 out/latest
  proofhouse compare out/latest:debian:trixie out/latest:debian:trixie-backports
  proofhouse compare out/good/results.json out/latest --format markdown`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return exit.BadInputf("compare: give two runs, BASE and NEW")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			write, judge := compareFormats[format], failOn[fail]
			if write == nil {
				return exit.BadInputf("--format %q: want one of %s", format, keys(compareFormats))
			}
			if judge == nil {
				return exit.BadInputf("--fail-on %q: want one of %s", fail, keys(failOn))
			}
			base, err := compare.Open(args[0])
			if err != nil {
				return err
			}
			next, err := compare.Open(args[1])
			if err != nil {
				return err
			}
			result := compare.Diff(base, next, compare.Options{Common: common, History: compare.History(base, next)})
			style := reports.StyleOf(os.Stdout)
			style.Verbose = verbose
			if err := write(os.Stdout, result, style); err != nil {
				return fmt.Errorf("write the comparison: %w", err)
			}
			switch {
			case judge(result):
				return exit.Fail(errSaid)
			case (result.Compared == 0 || len(result.Doubts) > 0) && fail != "never":
				return exit.With(exit.NoVerdict, errSaid)
			}
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&format, "format", "text", "print as `FORMAT`: "+keys(compareFormats))
	f.StringVar(&fail, "fail-on", "regressions", "exit with status 1 on `WHAT`: "+keys(failOn))
	f.BoolVar(&common, "common", false, "compare only what both sides ran")
	f.BoolVarP(&verbose, "verbose", "v", false, "print full lists")
	return c
}

// keys returns the names in a table, for a message.
func keys[V any](m map[string]V) string {
	var list []string
	for k := range m {
		list = append(list, k)
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}
