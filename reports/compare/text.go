// SPDX-License-Identifier: Apache-2.0

package compare

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"proofhouse/internal/printable"
	"proofhouse/reports"
)

// What a person can take in; -v and JSON have the rest.
const (
	changesShown = 10 // of one spec and section
	recordsShown = 6  // of one kernel and spec
	consoleShown = 20 // lines
	namesShown   = 12
)

// section is a list of changes with a title.
type section struct {
	title   string
	look    reports.Status // whose colour it has
	changes []Change
	n       int // of changes, before some were joined
	// proof is true where the kernels' own words belong below.
	proof bool
}

// sections are the changes in the order in which a person wants them.
func (c *Comparison) sections() []section {
	return []section{
		{"REGRESSIONS", reports.Fail, fold(c.Regressions), len(c.Regressions), true},
		{"FIXES", reports.Pass, c.Fixes, len(c.Fixes), false},
		{"FLAKY: no regression, chance explains it", reports.Skip, c.Flaky, len(c.Flaky), false},
		{"KNOWN PROBLEMS that are new", reports.Skip, c.Known, len(c.Known), false},
		{"BEHAVIOUR that was recorded and changed", reports.Skip, c.Behaviour, len(c.Behaviour), true},
		{"BAD in another way, or not run on BASE", reports.Skip, c.Other, len(c.Other), true},
	}
}

// foldFrom is how many specs have to be lost in the same way before they are
// one item for people.
const foldFrom = 4

// fold joins specs that were lost for the same reason: of a run that was cut
// short they are many.
func fold(changes []Change) []Change {
	n := map[string]int{}
	for _, ch := range changes {
		if ch.New.Status == absent {
			n[ch.Note]++
		}
	}
	var list []Change
	at := map[string]int{}
	var specs [][]string
	for _, ch := range changes {
		if ch.New.Status != absent || n[ch.Note] < foldFrom {
			list = append(list, ch)
			specs = append(specs, nil)
			continue
		}
		i, ok := at[ch.Note]
		if !ok {
			i = len(list)
			at[ch.Note] = i
			list = append(list, Change{Base: ch.Base})
			specs = append(specs, nil)
		}
		specs[i] = append(specs[i], ch.Spec)
		list[i].ID = plural(n[ch.Note], reports.Noun(specs[i]...))
		list[i].Lost = append(list[i].Lost, ch.Lost...)
		list[i].Note = ch.Note + ": " + names(specs[i], n[ch.Note])
	}
	return list
}

// Text writes the comparison for people.
func Text(w io.Writer, c *Comparison, style reports.Style) error {
	t := &text{w: bufio.NewWriter(w), s: style, c: c}
	t.verdict()
	t.sides()
	for _, s := range c.sections() {
		t.changes(s)
	}
	t.skips()
	t.groups("NEW SUBTESTS", c.Added)
	t.groups("VANISHED SUBTESTS", c.Vanished)
	t.differences("FEATURES of the kernel", c.Features)
	t.differences("USERSPACE: not the kernel's doing", c.Userspace)
	t.differences("MACHINE", c.Machine)
	t.durations()
	t.transitions()
	if len(c.NotCompared) > 0 {
		t.heading("NOT COMPARED: only one side ran them", "")
		t.item("  ", t.names(c.NotCompared))
	}
	for _, n := range c.Notes {
		t.line("")
		t.item("note: ", n)
	}
	t.line("")
	t.verdict()
	return t.w.Flush()
}

type text struct {
	w *bufio.Writer
	s reports.Style
	c *Comparison
}

func (t *text) line(s string) { _, _ = t.w.WriteString(s + "\n") }

func (t *text) heading(title string, look reports.Status) {
	t.line("")
	if look != "" {
		title = t.s.Paint(look, title)
	}
	t.line(title)
}

// verdict has the colour of the worst.
func (t *text) verdict() {
	look := reports.Pass
	switch {
	case len(t.c.Regressions) > 0:
		look = reports.Fail
	case t.c.Compared == 0:
		look = reports.Error
	}
	for i, l := range reports.Wrap(printable.Line(t.c.Verdict), cmp.Or(t.s.Width, 80)-2) {
		if i > 0 {
			l = "  " + l
		}
		t.line(t.s.Paint(look, l))
	}
}

// item is a text of ours, and record one of a test's or a kernel's: see
// [reports.Style.Width].
func (t *text) item(first, s string)   { t.hang(first, s, cmp.Or(t.s.Width, 80)) }
func (t *text) record(first, s string) { t.hang(first, s, t.s.Width) }

func (t *text) hang(first, s string, width int) {
	indent := utf8.RuneCountInString(first)
	if width > 0 {
		width = max(width-indent, 20)
	}
	for i, l := range reports.Wrap(printable.Line(s), width) {
		if i == 1 {
			first = strings.Repeat(" ", indent)
		}
		t.line(first + l)
	}
}

func (t *text) sides() {
	t.line("")
	for _, s := range []struct {
		name string
		sum  Summary
	}{{"BASE", t.c.Base}, {"NEW", t.c.New}} {
		t.item(fmt.Sprintf("  %-5s ", s.name), s.sum.line())
	}
	if t.c.SameBuild {
		t.item("        ", "the same build and userspace: what differs between them is flaky")
	}
}

func (s Summary) line() string {
	parts := []string{s.Release}
	if s.Spec != "" && s.Spec != s.Release {
		parts[0] = strings.TrimSpace(s.Release + " (" + s.Spec + ")")
	}
	if s.Machine != "" {
		parts = append(parts, s.Machine)
	}
	if !s.Started.IsZero() {
		parts = append(parts, s.Started.UTC().Format("2006-01-02 15:04")+" UTC")
	}
	parts = append(parts, counts(s.Counts), s.Name)
	return strings.Join(slices.DeleteFunc(parts, func(p string) bool { return p == "" }), ", ")
}

func counts(c reports.Counts) string {
	var parts []string
	for _, st := range []reports.Status{reports.Pass, reports.Fail, reports.Error, reports.XFail, reports.XPass, reports.Recorded, reports.Skip} {
		if c[st] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", c[st], st))
		}
	}
	return strings.Join(parts, " ")
}

// word is a status for people.
func word(s reports.Status) string {
	if s == absent {
		return "missing"
	}
	return string(s)
}

// arrow is what a change is.
func (c Change) arrow() string { return word(c.Base.Status) + " -> " + word(c.New.Status) }

// facts are the lines below a change, by name.
func (c Change) facts() (list [][2]string) {
	add := func(name, value string) {
		if value != "" {
			list = append(list, [2]string{name, value})
		}
	}
	add("note", c.Note)
	if c.New.Got != c.Base.Got || c.New.Status != c.Base.Status {
		got := c.New.Got
		if got != "" && c.Base.Got != "" && c.Base.Got != got {
			got += "; BASE got " + c.Base.Got
		}
		expected := cmp.Or(c.New.Expected, c.Base.Expected)
		switch {
		case got != "" && expected != "":
			add("expected", expected+", got "+got)
		case got != "":
			add("got", got)
		}
	}
	add("reason", c.New.Reason)
	if c.Base.Reason != c.New.Reason && (bad(c.Base.Status) || c.Base.Status == reports.XFail) {
		add("was", c.Base.Reason)
	}
	add("lacks", c.New.Lacks)
	if len(c.Lost) > 0 {
		add("lost", "with it, "+plural(len(c.Lost), "good result")+" of BASE")
	}
	return list
}

func (t *text) changes(s section) {
	if len(s.changes) == 0 {
		return
	}
	t.heading(s.title, s.look)
	limit := changesShown
	if t.s.Verbose {
		limit = len(s.changes)
	}
	shown := map[string]int{}
	for i, ch := range s.changes {
		shown[ch.Spec]++
		if shown[ch.Spec] <= limit {
			t.change(ch, s.look)
		}
		if i+1 < len(s.changes) && s.changes[i+1].Spec == ch.Spec {
			continue
		}
		if rest := shown[ch.Spec] - limit; rest > 0 {
			t.line(fmt.Sprintf("    and %d more of %s (all with -v, and in --format json)", rest, printable.Line(ch.Spec)))
		}
		if s.proof && !slices.ContainsFunc(s.changes[i+1:], func(o Change) bool { return o.Spec == ch.Spec }) {
			t.evidence(ch.Spec)
		}
	}
}

func (t *text) change(ch Change, look reports.Status) {
	t.record("  ", t.s.Paint(look, printable.Line(ch.ID)))
	t.item("      ", ch.arrow())
	for _, f := range ch.facts() {
		t.record(fmt.Sprintf("      %-9s", f[0]), f[1])
	}
	if t.s.Verbose {
		for _, l := range ch.Lost {
			t.record("               ", l)
		}
	}
}

func (t *text) evidence(spec string) {
	i := slices.IndexFunc(t.c.Evidence, func(e Evidence) bool { return e.Spec == spec })
	if i < 0 {
		return
	}
	e := t.c.Evidence[i]
	for _, side := range []struct {
		name string
		said Said
	}{{"NEW", e.New}, {"BASE", e.Base}} {
		s := side.said
		if s.Crash != "" {
			t.record(fmt.Sprintf("      %-4s crash ", side.name), s.Crash)
		}
		if s.Console != "" {
			t.limited(fmt.Sprintf("      %-4s console ", side.name), strings.Split(strings.Trim(s.Console, "\n"), "\n"), consoleShown, 0)
		}
		t.item(fmt.Sprintf("      %-4s ", side.name), s.denied())
		t.limited("           ", s.Only, recordsShown, s.More)
		if s.Output != "" {
			t.record("           output ", s.Output)
		}
		if s.Audit != "" {
			t.record("           records ", s.Audit)
		}
	}
}

// denied says how many denials there are, and how many are its own.
func (s Said) denied() string {
	line := plural(s.Denials, "denial")
	if n := len(s.Only) + s.More; n > 0 {
		line += fmt.Sprintf(", %d like none of the other side's:", n)
	} else if s.Denials > 0 {
		line += ", none but those that the other side has too"
	}
	if s.Incomplete != "" {
		line += " (" + s.Incomplete + ")"
	}
	return line
}

func (t *text) limited(first string, lines []string, limit, more int) {
	shown := len(lines)
	if !t.s.Verbose {
		shown = min(shown, limit)
	}
	indent := strings.Repeat(" ", utf8.RuneCountInString(first))
	for i, l := range lines[:shown] {
		if i > 0 {
			first = indent
		}
		t.record(first, l)
	}
	if rest := len(lines) - shown + more; rest > 0 {
		t.line(fmt.Sprintf("%sand %d more", indent, rest))
	}
}

func (t *text) skips() {
	if len(t.c.Skips) == 0 {
		return
	}
	t.heading("SKIPS that changed", reports.Skip)
	for _, s := range t.c.Skips {
		t.item("  ", s.line(t.names(s.Scripts)))
	}
}

func (s Skip) line(scripts string) string {
	what := "missing on NEW: " + s.Lacks
	effect := "no longer measured"
	if s.Came {
		what, effect = "present on NEW: "+s.Lacks, "measured now"
	}
	if s.Subtests > 0 {
		what += fmt.Sprintf("; %s %s", plural(s.Subtests, "subtest"), effect)
	}
	return what + ", in " + scripts
}

// names are specs for people.
func (t *text) names(specs []string) string {
	limit := namesShown
	if t.s.Verbose {
		limit = len(specs)
	}
	return names(specs, limit)
}

func names(specs []string, limit int) string {
	list := make([]string, 0, len(specs))
	for _, s := range specs {
		list = append(list, reports.ID(s).Brief())
	}
	if rest := len(list) - limit; rest > 0 {
		list = append(list[:limit:limit], fmt.Sprintf("and %d more", rest))
	}
	return strings.Join(list, ", ")
}

func (t *text) groups(title string, groups []Group) {
	if len(groups) == 0 {
		return
	}
	t.heading(fmt.Sprintf("%s: %d", title, sum(groups)), "")
	for _, g := range groups {
		line := fmt.Sprintf("%s: %d", reports.ID(g.Spec).Brief(), len(g.IDs))
		if g.Note != "" {
			line += " (" + g.Note + ")"
		}
		t.item("  ", line)
		if t.s.Verbose {
			for _, id := range g.IDs {
				t.record("      ", id)
			}
		}
	}
}

func (t *text) differences(title string, list []Difference) {
	if len(list) == 0 {
		return
	}
	t.heading(title, "")
	for _, d := range list {
		t.record("  ", d.line())
	}
}

// line is a difference; of a list of words, what came and went.
func (d Difference) line() string {
	switch {
	case d.Base == "":
		return fmt.Sprintf("+ %s: %s", d.Name, d.New)
	case d.New == "":
		return fmt.Sprintf("- %s: %s", d.Name, d.Base)
	}
	if came, went, ok := words(d.Base, d.New); ok {
		return fmt.Sprintf("~ %s: %s", d.Name, strings.TrimSpace(came+" "+went))
	}
	return fmt.Sprintf("~ %s: %s -> %s", d.Name, d.Base, d.New)
}

// words compares two lists of words: "+userns_create -x"; false where they have
// nothing in common, or not more than one word each.
func words(base, next string) (came, went string, ok bool) {
	a, b := strings.Fields(base), strings.Fields(next)
	if len(a) < 2 && len(b) < 2 {
		return "", "", false
	}
	var plus, minus []string
	for _, w := range b {
		if !slices.Contains(a, w) {
			plus = append(plus, "+"+w)
		}
	}
	for _, w := range a {
		if !slices.Contains(b, w) {
			minus = append(minus, "-"+w)
		}
	}
	if len(minus) == len(a) || len(plus)+len(minus) == 0 {
		return "", "", false
	}
	return strings.Join(plus, " "), strings.Join(minus, " "), true
}

func (t *text) durations() {
	if len(t.c.Durations) == 0 {
		return
	}
	t.heading("DURATIONS that stand out", "")
	for _, d := range t.c.Durations {
		t.item("  ", d.line())
	}
}

func (d Duration) line() string {
	seconds := func(s float64) string { return reports.Elapsed(time.Duration(s * float64(time.Second))) }
	return fmt.Sprintf("%s: %s, was %s (%s by the pace of all others)",
		reports.ID(d.Spec).Brief(), seconds(d.New), seconds(d.Base), factor(d.Factor))
}

func factor(f float64) string {
	if f < 1 {
		return strconv.FormatFloat(1/f, 'f', 1, 64) + " times faster"
	}
	return strconv.FormatFloat(f, 'f', 1, 64) + " times slower"
}

// transitions is the table of status changes. Unchanged subtests are left out.
func (t *text) transitions() {
	first := true
	for _, tr := range t.c.Transitions {
		if tr.Class == Same {
			continue
		}
		if first {
			t.heading("CHANGES of status", "")
			first = false
		}
		t.line(fmt.Sprintf("  %7d  %-9s -> %-9s  %s", tr.N, word(tr.From), word(tr.To), tr.Class))
	}
}
