// SPDX-License-Identifier: Apache-2.0

package page

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"proofhouse/internal/printable"
	"proofhouse/reports"
	"proofhouse/reports/coverage"
)

var (
	//go:embed coverage.html
	coverageFrame string
	//go:embed coverage.css
	coverageStyle string

	coveragePage = template.Must(template.New(reports.CoveragePage).Parse(coverageFrame))
)

// coverageDocument is what coverage.html shows of one kernel.
type coverageDocument struct {
	Tool, Kernel, Spec, Tree, Summary string
	Lines, Functions                  share
	Patch                             *coverage.PatchReach
	Sentence                          string
	Groups                            []string // of the lines of the patch
	Missing                           []reports.Unmeasured
	Files                             []coveredFile
}

// share is a part of a whole.
type share struct{ Reached, All int }

// Percent is the part in percent, with one digit.
func (s share) Percent() string {
	if s.All == 0 {
		return "–"
	}
	return fmt.Sprintf("%.1f %%", coverage.Percent(s.Reached, s.All))
}

// Level is a class of the style: "most", "some", "few".
func (s share) Level() string {
	switch p := coverage.Percent(s.Reached, s.All); {
	case s.All == 0:
		return ""
	case p >= 90:
		return "most"
	case p >= 60:
		return "some"
	}
	return "few"
}

type coveredFile struct {
	Name, Anchor     string
	Lines, Functions share
	Unreached        []coverage.Function
	Source           []sourceLine
}

type sourceLine struct {
	Number int
	Text   string
	Class  string // "hit", "miss", "" = no code
	Count  string
	Tests  string // how many reached it
	Patch  bool   // the patch changes it
}

// writeCoverage makes the page about the coverage of each kernel that was
// measured, in the directory of the kernel.
func writeCoverage(dir string, run *reports.Run) (files []string, err error) {
	for i := range run.Kernels {
		k := &run.Kernels[i]
		if k.Coverage == nil || k.Coverage.Totals == nil {
			continue
		}
		name := filepath.Join(k.ID, reports.CoveragePage)
		doc, err := newCoverageDocument(dir, run, k)
		if err != nil {
			// Nothing was measured, or a file is damaged: the results count more,
			// and they name what is missing.
			continue
		}
		if err := reports.ReplaceFile(filepath.Join(dir, k.ID), reports.CoveragePage, doc.write); err != nil {
			return files, fmt.Errorf("write %s: %w", filepath.Join(dir, name), err)
		}
		files = append(files, filepath.Join(dir, name))
	}
	return files, nil
}

func newCoverageDocument(dir string, run *reports.Run, k *reports.Kernel) (*coverageDocument, error) {
	c, err := reports.OpenCoverage(dir, k)
	if err != nil {
		return nil, err
	}
	total, err := c.Total()
	if err != nil {
		return nil, err
	}
	tests := map[string]map[int]int{} // by file and line
	err = c.Each(func(_ string, set coverage.Set) {
		for _, f := range set {
			if tests[f.Name] == nil {
				tests[f.Name] = map[int]int{}
			}
			for _, l := range f.Lines {
				if l.Count > 0 {
					tests[f.Name][l.Number]++
				}
			}
		}
	})
	if err != nil {
		return nil, err
	}
	t := total.Totals()
	doc := &coverageDocument{
		Tool: run.Tool, Kernel: k.Release, Spec: k.Spec, Tree: k.Coverage.Tree, Summary: k.Coverage.Summary(),
		Lines: share{t.ReachedLines, t.Lines}, Functions: share{t.ReachedFunctions, t.Functions},
		Patch: k.Coverage.Patch, Groups: k.Coverage.PatchReport(), Missing: k.Coverage.Missing,
	}
	changed := map[string]map[int]bool{}
	if doc.Patch != nil {
		doc.Sentence = doc.Patch.Sentence()
		for _, l := range doc.Patch.Lines {
			if changed[l.File] == nil {
				changed[l.File] = map[int]bool{}
			}
			changed[l.File][l.Line] = true
		}
	}
	for i := range total {
		doc.Files = append(doc.Files, newCoveredFile(&total[i], c.Source, tests[total[i].Name], changed[total[i].Name]))
	}
	return doc, nil
}

func newCoveredFile(f *coverage.File, source coverage.Source, tests map[int]int, changed map[int]bool) coveredFile {
	t := f.Totals()
	short := strings.TrimPrefix(f.Name, coverage.Dir+"/")
	file := coveredFile{
		Name: short, Anchor: strings.NewReplacer("/", "-", ".", "-").Replace(short),
		Lines: share{t.ReachedLines, t.Lines}, Functions: share{t.ReachedFunctions, t.Functions},
	}
	for _, fn := range f.Functions {
		if fn.Count == 0 {
			file.Unreached = append(file.Unreached, fn)
		}
	}
	slices.SortFunc(file.Unreached, func(a, b coverage.Function) int { return a.Start - b.Start })
	for n, text := range source.Lines(f.Name) {
		l := sourceLine{Number: n + 1, Text: text, Patch: changed[n+1]}
		if count, code := f.Count(l.Number); code {
			l.Class, l.Count = "miss", "0"
			if count > 0 {
				l.Class, l.Count = "hit", reports.Count(count)
				l.Tests = fmt.Sprint(tests[l.Number])
			}
		}
		file.Source = append(file.Source, l)
	}
	return file
}

func (d *coverageDocument) write(w io.Writer) error {
	css := style + coverageStyle
	var text bytes.Buffer
	err := coveragePage.Execute(&text, map[string]any{
		"Doc":    d,
		"Policy": "default-src 'none'; style-src " + hash(css) + "; base-uri 'none'; form-action 'none'",
		"Style":  template.CSS(css),
	})
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, printable.Lines(text.String()))
	return err
}
