// SPDX-License-Identifier: Apache-2.0

package reports

import (
	"cmp"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"proofhouse/internal/printable"
	"proofhouse/reports/coverage"
)

// The files about coverage in the directory of a kernel.
const (
	CoverageFile = "coverage.info" // everything that was reached, as a tracefile of lcov
	CoveragePage = "coverage.html" // for people
)

// Coverage says which lines of a kernel's AppArmor a run reached. The kernel
// counts them itself, and may lie: no result depends on it.
type Coverage struct {
	Tree string `json:"tree"` // the build tree
	// Source names the file with the source, below the run's directory, and
	// Background the tracefiles of what was reached without a test: "boot" until
	// the first command, "harness" by the harness alone.
	Source     string       `json:"source,omitempty"`
	Background []Background `json:"background,omitempty"`
	// Patch has the changed lines of a patch. Their states are known once the
	// reports are made.
	Patch *coverage.PatchReach `json:"patch,omitempty"`

	// What follows is made of the files when the reports are made.

	// Totals is what tests reached, and AtBoot how many more lines were reached only
	// while the kernel booted, or by the harness.
	Totals *coverage.Totals `json:"totals,omitempty"`
	AtBoot int              `json:"at_boot,omitempty"`
	Tests  int              `json:"tests,omitempty"` // that were measured
	// Missing are the tests of which it is not known what they reached.
	Missing []Unmeasured `json:"missing,omitempty"`
}

// Background is what a machine counted without a test.
type Background struct {
	Kind string `json:"kind"` // "boot" or "harness"
	File string `json:"file"`
}

// The kinds of Background.
const (
	Boot    = "boot"
	Harness = "harness"
)

// Unmeasured is a test of which it is not known what it reached.
type Unmeasured struct {
	ID     string `json:"id"`
	Reason string `json:"reason"`
}

func joinCoverage(newer, older *Coverage) *Coverage {
	if newer == nil || older == nil {
		return cmp.Or(newer, older)
	}
	c := *older
	c.Tree = cmp.Or(newer.Tree, older.Tree)
	c.Source = cmp.Or(newer.Source, older.Source)
	c.Patch = cmp.Or(newer.Patch, older.Patch)
	c.Background = slices.Concat(older.Background, newer.Background)
	return &c
}

// cover computes the coverage of each kernel from the tracefiles of its specs. It
// returns what was reached, by kernel. What cannot be read is missing.
func (r *Run) cover(root *os.Root) map[string]coverage.Set {
	reached := map[string]coverage.Set{}
	for i := range r.Kernels {
		k := &r.Kernels[i]
		if k.Coverage == nil {
			continue
		}
		c := *k.Coverage
		k.Coverage = &c
		c.Tests, c.Missing, c.Totals = 0, nil, nil
		source, err := readSource(root, c.Source)
		if err != nil {
			c.Missing = append(c.Missing, Unmeasured{ID: "(source)", Reason: err.Error()})
		}
		if c.Patch != nil {
			patch := *c.Patch
			patch.Lines = slices.Clone(patch.Lines)
			for n := range patch.Lines {
				patch.Lines[n] = coverage.Reach{Changed: patch.Lines[n].Changed}
			}
			c.Patch = &patch
		}
		collector := coverage.NewCollector(source, c.Patch)
		for _, b := range c.Background {
			set, err := readTracefile(root, b.File)
			switch {
			case err != nil:
				c.Missing = append(c.Missing, Unmeasured{ID: "(" + b.Kind + ")", Reason: err.Error()})
			case b.Kind == Boot:
				collector.Boot(set)
			default:
				collector.Harness(set)
			}
		}
		tests := map[string]bool{}
		for _, s := range k.Specs {
			if s.Coverage == "" {
				switch {
				case s.NoCoverage != "":
					c.Missing = append(c.Missing, Unmeasured{s.ID, s.NoCoverage})
				case s.Seconds > 0 && slices.ContainsFunc(s.Results, func(r Result) bool { return r.Status != Skip }):
					// It is of a part of the run without coverage.
					c.Missing = append(c.Missing, Unmeasured{s.ID, "it ran without --coverage"})
				}
				continue
			}
			set, err := readTracefile(root, s.Coverage)
			if err != nil {
				c.Missing = append(c.Missing, Unmeasured{s.ID, err.Error()})
				continue
			}
			collector.Test(s.ID, set)
			tests[s.ID] = true
		}
		collector.End()
		c.Tests = len(tests)
		totals := collector.ByTests()
		c.Totals = &totals
		c.AtBoot = collector.Total.Totals().ReachedLines - totals.ReachedLines
		reached[k.ID] = collector.Total
	}
	return reached
}

// Measure returns an edit that computes the coverage of a run in dir from the
// tracefiles there, as [Write] does.
func Measure(dir string) func(*Run) {
	return func(run *Run) {
		root, err := os.OpenRoot(dir)
		if err != nil {
			return // a results.json that stands alone has what it has
		}
		defer func() { _ = root.Close() }()
		_ = run.cover(root)
	}
}

// maxSourceFile is the most that is read of a gzipped source, in bytes.
const maxSourceFile = coverage.MaxSource

func readSource(root *os.Root, name string) (coverage.Source, error) {
	if name == "" {
		return nil, errors.New("the run has no copy of the source")
	}
	f, err := openFile(root, name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return coverage.ReadSource(f)
}

func readTracefile(root *os.Root, name string) (coverage.Set, error) {
	f, err := openFile(root, name)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	z, err := gzip.NewReader(io.LimitReader(f, maxSourceFile))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	set, err := coverage.ReadLCOV(z)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return set, nil
}

// Covered is the coverage of a kernel in the directory of a run.
type Covered struct {
	Kernel *Kernel
	Source coverage.Source
	dir    string
}

// OpenCoverage returns the coverage of a kernel of the run in dir; nil if the run
// did not measure it.
func OpenCoverage(dir string, k *Kernel) (*Covered, error) {
	if k.Coverage == nil {
		return nil, nil
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	source, err := readSource(root, k.Coverage.Source)
	if err != nil {
		return nil, fmt.Errorf("read the source of kernel %s: %w", k.ID, err)
	}
	return &Covered{Kernel: k, Source: source, dir: dir}, nil
}

// Each calls f with the counts of every measured test.
func (c *Covered) Each(f func(id string, set coverage.Set)) error {
	root, err := os.OpenRoot(c.dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	for _, s := range c.Kernel.Specs {
		if s.Coverage == "" {
			continue
		}
		set, err := readTracefile(root, s.Coverage)
		if err != nil {
			return err
		}
		f(s.ID, set)
	}
	return nil
}

// Background adds what was reached without a test to a collector.
func (c *Covered) Background(to *coverage.Collector) error {
	root, err := os.OpenRoot(c.dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	for _, b := range c.Kernel.Coverage.Background {
		set, err := readTracefile(root, b.File)
		if err != nil {
			return err
		}
		if b.Kind == Boot {
			to.Boot(set)
		} else {
			to.Harness(set)
		}
	}
	return nil
}

// Total returns what all of the run reached.
func (c *Covered) Total() (coverage.Set, error) {
	name, err := directoryOf(c.Kernel.ID)
	if err != nil {
		return nil, err
	}
	f, err := OpenFile(c.dir, name+"/"+CoverageFile)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return coverage.ReadLCOV(f)
}

// selectionSentence is what the verdict says of a selection: "".
func selectionSentence(run *Run) string {
	s := run.Selection
	switch {
	case s == nil:
		return ""
	case s.Rest:
		return fmt.Sprintf("; first the %s that %s may affect", printable.Count(s.Selected, "test"), s.For)
	}
	return fmt.Sprintf("; a selection for %s: %s of %s left out", s.For, printable.Number(len(s.LeftOut)), printable.Count(s.Selected+len(s.LeftOut), "test"))
}

// coverageSentence is what the verdict says of the lines of a patch, for each
// kernel that was measured.
func coverageSentence(run *Run) string {
	var parts []string
	for i := range run.Kernels {
		k := &run.Kernels[i]
		if k.Coverage == nil || k.Coverage.Patch == nil || k.Coverage.Totals == nil {
			continue
		}
		text := k.Coverage.Patch.Sentence()
		if n := len(k.Coverage.Missing); n > 0 {
			text += fmt.Sprintf("; the coverage of %s is unknown", printable.Count(n, "test"))
		}
		if len(run.Kernels) > 1 {
			text += " on " + k.name()
		}
		parts = append(parts, text)
	}
	if parts == nil {
		return ""
	}
	return "; " + strings.Join(parts, "; ")
}

// leftOut says what became of the tests that were not selected.
func (s *Selection) leftOut() string {
	if s.Rest {
		return "run after them"
	}
	return fmt.Sprintf("left out, %s", printable.Count(len(s.LeftOut), "test"))
}

// Summary says in one line how much was reached, or "" if nothing was measured.
func (c *Coverage) Summary() string {
	if c == nil || c.Totals == nil {
		return ""
	}
	t := c.Totals
	text := fmt.Sprintf("%.1f %% of %s and %.1f %% of %s of %s, by %s",
		coverage.Percent(t.ReachedLines, t.Lines), printable.Count(t.Lines, "line"),
		coverage.Percent(t.ReachedFunctions, t.Functions), printable.Count(t.Functions, "function"), coverage.Dir, printable.Count(c.Tests, "test"))
	if c.AtBoot > 0 {
		text += fmt.Sprintf("; %s more only at boot", printable.Count(c.AtBoot, "line"))
	}
	return text
}

// patchLines has the changed lines of one state and, for those that tests
// reached, one set of tests in one line: "lsm.c:120-122 (apparmor_file_open)".
type patchLines struct {
	state coverage.State
	where string
	by    []string
	tests int
	all   bool // any process reaches it
}

// grouped joins changed lines that follow each other and have the same tests.
func grouped(p *coverage.PatchReach) (list []patchLines) {
	var first, last coverage.Reach
	flush := func() {
		if first.Line == 0 {
			return
		}
		where := fmt.Sprintf("%s:%d", strings.TrimPrefix(first.File, coverage.Dir+"/"), first.Line)
		if last.Line > first.Line {
			where += fmt.Sprintf("-%d", last.Line)
		}
		if first.Function != "" && first.State != coverage.NoCode {
			where += " in " + first.Function
		}
		list = append(list, patchLines{first.State, where, first.By, first.Tests, first.Always})
	}
	for _, r := range p.Lines {
		if first.Line > 0 && r.File == last.File && r.Line == last.Line+1 && r.State == first.State && r.Function == first.Function && r.Always == first.Always && r.Tests == first.Tests && slices.Equal(r.By, first.By) {
			last = r
			continue
		}
		flush()
		first, last = r, r
	}
	flush()
	return list
}

// maxBy is how many of the tests that reached a line are named.
const maxBy = 8

// names has the tests that reached a line.
func (p patchLines) names() string {
	if p.all {
		return fmt.Sprintf("any process, and so all %s", printable.Count(p.tests, "test"))
	}
	var names []string
	for _, id := range p.by[:min(len(p.by), maxBy)] {
		names = append(names, ID(id).Brief())
	}
	if n := p.tests - len(names); n > 0 {
		names = append(names, fmt.Sprintf("%s more", printable.Number(n)))
	}
	return strings.Join(names, ", ")
}

// text says what became of the lines.
func (p patchLines) text() string {
	switch p.state {
	case coverage.ByTest:
		return p.where + ": reached by " + p.names()
	case coverage.AtBoot:
		return p.where + ": reached only at boot or by the harness, by no test"
	case coverage.Nothing:
		return p.where + ": reached by nothing"
	case coverage.Unbuilt:
		return p.where + ": not in this build"
	}
	return p.where + ": no code"
}

// shownFirst is the order in which the lines of a patch are shown.
var shownFirst = map[coverage.State]int{coverage.Nothing: 0, coverage.AtBoot: 1, coverage.ByTest: 2, coverage.Unbuilt: 3, coverage.NoCode: 4}

// PatchReport has one text for each group of lines of the patch, those that were
// not reached first.
func (c *Coverage) PatchReport() (lines []string) {
	if c == nil || c.Patch == nil || c.Totals == nil {
		return nil
	}
	groups := grouped(c.Patch)
	slices.SortStableFunc(groups, func(a, b patchLines) int { return cmp.Compare(shownFirst[a.state], shownFirst[b.state]) })
	for _, g := range groups {
		lines = append(lines, g.text())
	}
	return lines
}

// Count formats a count for people: "12", "34k", "12M".
func Count(n uint64) string {
	switch {
	case n < 10_000:
		return fmt.Sprint(n)
	case n < 10_000_000:
		return fmt.Sprintf("%dk", n/1000)
	}
	return fmt.Sprintf("%dM", n/1_000_000)
}
