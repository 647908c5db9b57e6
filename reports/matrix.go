// SPDX-License-Identifier: Apache-2.0

package reports

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"proofhouse/internal/printable"
)

// matrixRow is one script, or one group of isolation rows, on all kernels.
type matrixRow struct {
	name  string
	cells []*Outcome // by kernel; nil: it was not to run there
}

// group is the row of the matrix that a spec belongs to.
func group(id string) string {
	if parts := strings.SplitN(id, "/", 3); len(parts) == 3 {
		return parts[0] + "/" + parts[1]
	}
	return id
}

// matrixRows are all rows, by name.
func matrixRows(run *Run) []matrixRow {
	rows := map[string]*matrixRow{}
	for i := range run.Kernels {
		for _, o := range run.Kernels[i].Outcomes() {
			name := group(o.ID)
			row := rows[name]
			if row == nil {
				row = &matrixRow{name, make([]*Outcome, len(run.Kernels))}
				rows[name] = row
			}
			if c := row.cells[i]; c == nil {
				row.cells[i] = &o
			} else {
				both := join(name, []Outcome{*c, o})
				both.NotRun = c.NotRun + o.NotRun
				row.cells[i] = &both
			}
		}
	}
	var list []matrixRow
	for _, name := range slices.Sorted(maps.Keys(rows)) {
		list = append(list, *rows[name])
	}
	return list
}

// telling reports whether a row differs between kernels, or is bad.
func (r matrixRow) telling() bool {
	for _, c := range r.cells {
		if c == nil || c.NotRun > 0 || c.Flaky() || c.verdict() != r.cells[0].verdict() {
			return true
		}
	}
	st := r.cells[0].verdict()
	return st == Fail || st == Error
}

func (r matrixRow) worst() (n int) {
	for _, c := range r.cells {
		if c == nil {
			continue
		}
		if v := c.verdict(); v == Fail || v == Error {
			n = max(n, severity[v])
		}
	}
	return n
}

const (
	// matrixName is the place for a row's name, with the margin before it.
	matrixName = 30
	// matrixCell is the least width of a column.
	matrixCell = 13
)

// matrix shows all kernels of a run side by side.
func (t *terminal) matrix() {
	kernels := t.run.Kernels
	if len(kernels) < 2 {
		return
	}
	rows := matrixRows(t.run)
	names := columnNames(kernels)
	width := matrixCell
	for _, n := range names {
		width = max(width, utf8.RuneCountInString(n)+2)
	}
	perBlock := max(1, (cmp.Or(t.s.Width, 80)-matrixName)/width)
	t.heading("MATRIX")
	for from := 0; from < len(kernels); from += perBlock {
		if from > 0 {
			t.line("")
		}
		t.block(rows, names, width, from, min(from+perBlock, len(kernels)))
	}
}

// block is the part of the matrix that fits side by side.
func (t *terminal) block(rows []matrixRow, names []string, width, from, to int) {
	head := strings.Repeat(" ", matrixName)
	for _, n := range names[from:to] {
		head += pad(n, n, width)
	}
	t.line("%s", head)
	alike := map[Status][]string{}
	telling, flaky := rows, false
	if !t.s.Verbose {
		telling = nil
		for _, r := range rows {
			if r.telling() {
				telling = append(telling, r)
			} else {
				v := r.cells[0].verdict()
				alike[v] = append(alike[v], r.name)
			}
		}
		slices.SortStableFunc(telling, func(a, b matrixRow) int { return cmp.Compare(b.worst(), a.worst()) })
	}
	for _, r := range telling {
		line := ""
		for _, c := range r.cells[from:to] {
			plain, painted := t.cell(c)
			flaky = flaky || strings.HasSuffix(plain, "~")
			line += pad(plain, painted, width)
		}
		t.matrixLine(commonRoot(r.name), line)
	}
	for _, st := range []Status{Pass, XFail, Skip} {
		if alike[st] == nil {
			continue
		}
		word := map[Status]string{Pass: "passed", XFail: "failed as known", Skip: "skipped"}[st]
		plain := map[bool]string{true: looks[st].unicode, false: looks[st].ascii}[t.s.Unicode]
		line := strings.Repeat(pad(plain, t.s.Mark(st), width), to-from)
		noun := Noun(alike[st]...)
		if noun == "row" {
			noun = "group" // of such rows
		}
		t.matrixLine(fmt.Sprintf("%s %s on each", printable.Count(len(alike[st]), noun), word), line)
	}
	t.totals(width, from, to)
	if flaky {
		t.line("  ~ flaky: see above")
	}
}

// matrixLine is a row; a name that is too long has a line of its own.
func (t *terminal) matrixLine(name, cells string) {
	name = printable.Line(name)
	if utf8.RuneCountInString(name) > matrixName-3 {
		t.line("  %s", name)
		name = ""
	}
	t.line("%s", strings.TrimRight(fmt.Sprintf("  %-*s%s", matrixName-2, name, cells), " "))
}

// cell is what came of a row on a kernel, as text and painted.
func (t *terminal) cell(o *Outcome) (plain, painted string) {
	if o == nil {
		return "", ""
	}
	if len(o.Attempts) == 0 {
		return "not run", t.s.Paint(Error, "not run")
	}
	counts := o.Counts()
	st := o.verdict()
	text := printable.Number(counts[Pass] + counts[XPass] + counts[Recorded])
	switch st {
	case Fail, Error:
		text = fmt.Sprintf("%s of %s", printable.Number(counts[st]), printable.Number(counts.Total()))
		if counts[st] == 0 { // an attempt that did not start
			text = "not run"
		}
	case Skip:
		text = "skip"
	case XFail:
		text = "known"
	}
	if o.Flaky() {
		text += "~"
	}
	sign := looks[st].ascii
	if t.s.Unicode {
		sign = looks[st].unicode
	}
	plain = sign + " " + text
	return plain, t.s.Paint(st, plain)
}

// totals are the counts of each kernel.
func (t *terminal) totals(width, from, to int) {
	var outcomes []Outcome // of each kernel, as one
	for i := from; i < to; i++ {
		outcomes = append(outcomes, join("", t.run.Kernels[i].Outcomes()))
	}
	for _, c := range columns {
		line, any := "", false
		for _, o := range outcomes {
			n, counts := 0, o.Counts()
			for _, s := range c.counts {
				n += counts[s]
			}
			any = any || n > 0
			text := printable.Number(n)
			painted := text
			if n > 0 && (c.counts[0] == Fail || c.counts[0] == Error) {
				painted = t.s.Paint(c.counts[0], text)
			}
			line += pad(text, painted, width)
		}
		if any {
			t.matrixLine("subtests: "+c.title, line)
		}
	}
	line := ""
	for _, o := range outcomes {
		took := Elapsed(time.Duration(o.Seconds() * float64(time.Second)))
		line += pad(took, took, width)
	}
	t.matrixLine("time on the machines", line)
}

// pad puts a text at the right of a column.
func pad(plain, painted string, width int) string {
	return strings.Repeat(" ", max(0, width-utf8.RuneCountInString(plain))) + painted
}

// columnNames are short names of the kernels: the version, with an architecture that
// is not x86-64, if that tells them apart, or else the number by which Terminal lists them.
func columnNames(kernels []Kernel) []string {
	short := func(k Kernel) string {
		name := printable.Line(k.name())
		if i := strings.IndexAny(name, "+-"); i > 0 && name[0] >= '0' && name[0] <= '9' {
			name = name[:i]
		}
		if a := k.Arch(); a != x86_64 && !strings.Contains(name, a) {
			name += " " + a
		}
		return name
	}
	names := make([]string, len(kernels))
	seen := map[string]bool{}
	for i, k := range kernels {
		names[i] = short(k)
		if seen[names[i]] || utf8.RuneCountInString(names[i]) > 20 {
			for n := range names {
				names[n] = fmt.Sprintf("[%d]", n+1)
			}
			return names
		}
		seen[names[i]] = true
	}
	return names
}
