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

// compareFormats are the writers of a comparison.
var compareFormats = map[string]func(io.Writer, *compare.Comparison, reports.Style) error{
	"text":     compare.Text,
	"json":     plainly(compare.JSON),
	"markdown": plainly(compare.Markdown),
	"html":     plainly(compare.HTML),
}

// plainly is a writer that has no style.
func plainly(write func(io.Writer, *compare.Comparison) error) func(io.Writer, *compare.Comparison, reports.Style) error {
	return func(w io.Writer, c *compare.Comparison, _ reports.Style) error { return write(w, c) }
}

// failOn says which comparison fails.
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
		Short: "Say what changed from one kernel or run to another, regressions first",
		Long: `compare says what changed from BASE to NEW: what regressed, with what both
kernels logged, what was mended, what is flaky, which features came and went,
and what else differs that the kernel is not to be blamed for.

BASE and NEW are the folder of a run, that of one kernel in it, or a
results.json. Of a run with several kernels, say which one behind a colon: its
ID, its spec, its release, or the beginning of its ID or release.

Exit status: 0 no regression, 1 regressions (see --fail-on), 2 bad usage or bad
input, 3 the two have nothing in common.`,
		Example: `  proofhouse compare out/2026-03-01T12-00-00 out/latest
  proofhouse compare out/latest:debian:trixie out/latest:debian:trixie-backports
  proofhouse compare out/good/results.json out/latest --format markdown`,
		Args: func(c *cobra.Command, args []string) error {
			if len(args) != 2 {
				return exit.BadInputf("%s: name two runs, BASE and NEW", c.CommandPath())
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			write, judge := compareFormats[format], failOn[fail]
			if write == nil {
				return exit.BadInputf("--format %q: there are %s", format, keys(compareFormats))
			}
			if judge == nil {
				return exit.BadInputf("--fail-on %q: there are %s", fail, keys(failOn))
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
			case result.Compared == 0 && fail != "never":
				return exit.With(exit.NoVerdict, errSaid)
			}
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&format, "format", "text", "`FORMAT`: "+keys(compareFormats))
	f.StringVar(&fail, "fail-on", "regressions", "what exit status 1 is for, `WHAT`: "+keys(failOn))
	f.BoolVar(&common, "common", false, "leave out what only one side ran")
	f.BoolVarP(&verbose, "verbose", "v", false, "all that there is, not only the first of many")
	return c
}

// keys are the names in a table, for a message.
func keys[V any](m map[string]V) string {
	var list []string
	for k := range m {
		list = append(list, k)
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}
