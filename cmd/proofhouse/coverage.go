// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"proofhouse/internal/exit"
	"proofhouse/internal/printable"
	"proofhouse/reports"
	"proofhouse/reports/coverage"
	"proofhouse/runs"
)

func coverageCommand() *cobra.Command {
	var patch string
	var unreached, asJSON bool
	c := &cobra.Command{
		Use:   "coverage DIR",
		Short: "Show which lines of AppArmor a run with --coverage reached",
		Long: `coverage shows how many lines and functions of each file of AppArmor a run reached
that was made with --coverage.

--patch shows what reached the lines of a patch. No kernel is booted: the tree
that was measured must have the patch.

Exit status: 0, or 2 for a run without coverage.`,
		Example: `  proofhouse coverage out/latest
  proofhouse coverage out/latest --unreached
  proofhouse coverage out/latest --patch fix.patch`,
		Args: someArgs(1, "give the directory of one run"),
		RunE: func(_ *cobra.Command, args []string) error {
			return showCoverage(args[0], patch, unreached, asJSON)
		},
	}
	f := c.Flags()
	f.StringVar(&patch, "patch", "", "show what reached the lines of this patch `file`")
	f.BoolVar(&unreached, "unreached", false, "name the functions that nothing reached")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// kernelCoverage is the coverage of one kernel, for programs.
type kernelCoverage struct {
	Kernel    string               `json:"kernel"`
	Totals    coverage.Totals      `json:"totals"`
	Tests     int                  `json:"tests"`
	Missing   []reports.Unmeasured `json:"missing,omitempty"`
	Files     []fileCoverage       `json:"files"`
	Patch     *coverage.PatchReach `json:"patch,omitempty"`
	summary   string
	set       coverage.Set
	narration []string // of the patch
}

type fileCoverage struct {
	Name string `json:"name"`
	coverage.Totals
	Unreached []string `json:"unreached,omitempty"` // functions
}

func showCoverage(dir, patch string, unreached, asJSON bool) error {
	run, err := reports.Open(dir)
	if err != nil {
		return err
	}
	reports.Measure(dir)(run)
	var all []kernelCoverage
	for i := range run.Kernels {
		one, err := coverageOf(dir, &run.Kernels[i], patch)
		if err != nil {
			return err
		}
		if one != nil {
			all = append(all, *one)
		}
	}
	if len(all) == 0 {
		return exit.BadInputf("%s has no coverage: run with --coverage", dir)
	}
	if asJSON {
		return printJSON(all)
	}
	w := bufio.NewWriter(os.Stdout)
	for i, k := range all {
		if i > 0 {
			_, _ = fmt.Fprintln(w)
		}
		if err := k.write(w, unreached); err != nil {
			return err
		}
	}
	return w.Flush()
}

func coverageOf(dir string, k *reports.Kernel, patch string) (*kernelCoverage, error) {
	covered, err := reports.OpenCoverage(dir, k)
	if covered == nil || err != nil {
		return nil, exit.BadInput(err)
	}
	set, err := covered.Total()
	if err != nil {
		return nil, exit.BadInputf("coverage of kernel %s: %w", k.ID, err)
	}
	c := &kernelCoverage{Kernel: k.ID, Totals: set.Totals(), Tests: k.Coverage.Tests, Missing: k.Coverage.Missing, set: set, summary: k.Coverage.Summary()}
	for i := range set {
		f := fileCoverage{Name: set[i].Name, Totals: set[i].Totals()}
		for _, fn := range set[i].Functions {
			if fn.Count == 0 {
				f.Unreached = append(f.Unreached, fn.Name)
			}
		}
		c.Files = append(c.Files, f)
	}
	if patch == "" {
		return c, nil
	}
	if c.Patch, err = runs.PatchReach(covered, patch); err != nil {
		return nil, err
	}
	measured := *k.Coverage
	measured.Patch = c.Patch
	c.narration = measured.PatchReport()
	return c, nil
}

func (k *kernelCoverage) write(w io.Writer, unreached bool) error {
	_, _ = fmt.Fprintf(w, "%s: %s\nThe table includes what was reached at boot.\n\n", printable.Text(k.Kernel), k.summary)
	if err := coverage.WriteTable(w, k.set); err != nil {
		return err
	}
	for _, m := range k.Missing {
		_, _ = fmt.Fprintf(w, "unknown what %s reached: %s\n", printable.Text(m.ID), printable.Text(m.Reason))
	}
	if k.Patch != nil {
		_, _ = fmt.Fprintf(w, "\n%s: %s\n", printable.Text(k.Patch.Name), k.Patch.Sentence())
		for _, l := range k.narration {
			_, _ = fmt.Fprintf(w, "  %s\n", printable.Text(l))
		}
	}
	if !unreached {
		return nil
	}
	_, _ = fmt.Fprintln(w, "\nfunctions that nothing reached:")
	for _, f := range k.Files {
		for _, name := range f.Unreached {
			_, _ = fmt.Fprintf(w, "  %s  %s\n", f.Name, name)
		}
	}
	return nil
}
