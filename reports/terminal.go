// SPDX-License-Identifier: Apache-2.0

package reports

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/fatih/color"
	"proofhouse/internal/exit"
	"proofhouse/internal/printable"
)

// What is shown at most; the rest is in the files, and -v shows it.
const (
	failuresShown = 10 // of one spec
	denialsShown  = 8  // of one spec
	consoleShown  = 30 // lines
)

// Terminal writes the verdict for people: one line first and last, between
// them a summary for each kernel, what failed, what was not covered and why,
// and where the reports are (files, as [Write] returns them; none is fine).
func Terminal(w io.Writer, run *Run, style Style, files ...string) error {
	t := &terminal{w: bufio.NewWriter(w), s: style, run: run}
	status, line := Verdict(run)
	t.verdict(status, line)
	if run.Shard != nil {
		t.item("  ", fmt.Sprintf("this is shard %s of a run: proofhouse merge joins the shards", run.Shard))
	}
	for _, r := range run.Notes() {
		t.item("  ", r)
	}
	t.selection()
	t.eachKernel()
	for i := range run.Kernels {
		t.kernel(&run.Kernels[i])
	}
	t.files(files)
	t.matrix()
	t.line("")
	t.verdict(status, line)
	return t.w.Flush()
}

type terminal struct {
	w   *bufio.Writer
	s   Style
	run *Run
}

func (t *terminal) line(format string, args ...any) {
	// Errors stay in the bufio.Writer until Flush.
	_, _ = fmt.Fprintf(t.w, format+"\n", args...)
}

func (t *terminal) verdict(status int, line string) {
	ink := map[int]color.Attribute{exit.OK: color.FgGreen, exit.Failed: color.FgRed, exit.NoVerdict: color.FgMagenta}
	for i, l := range Wrap(printable.Line(line), cmp.Or(t.s.Width, 80)-2) {
		if i > 0 {
			l = "  " + l
		}
		t.line("%s", t.s.paint(l, color.Bold, ink[status]))
	}
}

// selection says what a selected run left out.
func (t *terminal) selection() {
	s := t.run.Selection
	if s == nil {
		return
	}
	t.item("  ", fmt.Sprintf("%s selected by %s, from what %s reached", printable.Count(s.Selected, "test"), s.For, s.Map))
	for _, l := range []struct {
		what string
		ids  []string
	}{{"selected, as it is not known what they reach", s.Unknown}, {s.leftOut(), s.LeftOut}} {
		if len(l.ids) > 0 {
			t.item("  ", fmt.Sprintf("%s: %s", l.what, t.names(l.ids)))
		}
	}
}

// names has the IDs in short, all of them or the first ones.
func (t *terminal) names(ids []string) string {
	n := len(ids)
	if !t.s.Verbose {
		n = min(n, coverageShown)
	}
	var names []string
	for _, id := range ids[:n] {
		names = append(names, commonRoot(id))
	}
	if rest := len(ids) - n; rest > 0 {
		names = append(names, fmt.Sprintf("and %s more (all with -v, and in results.json)", printable.Number(rest)))
	}
	return strings.Join(names, ", ")
}

// eachKernel is the verdict on each of several kernels.
func (t *terminal) eachKernel() {
	if len(t.run.Kernels) < 2 {
		return
	}
	names := columnNames(t.run.Kernels)
	for i, k := range t.run.Kernels {
		alone := t.run.only(k)
		_, line := Verdict(&alone)
		if strings.HasPrefix(names[i], "[") {
			line = names[i] + " " + line
			if k.Append != "" {
				line += ", with " + k.Append
			}
		}
		t.item("  ", line)
	}
}

// files are where the reports are: of the directories below, one of each kernel,
// just the directories.
func (t *terminal) files(files []string) {
	if len(files) == 0 {
		return
	}
	t.heading("REPORTS")
	top := filepath.Dir(files[0])
	var below []string
	for _, f := range files {
		if dir := filepath.Dir(f); dir == top {
			t.line("  %s", printable.Line(f))
		} else if !slices.Contains(below, dir) {
			below = append(below, dir)
		}
	}
	for _, dir := range below {
		t.line("  %s%c", printable.Line(dir), filepath.Separator)
	}
}

func (t *terminal) heading(text string) {
	t.line("")
	t.line("%s", t.s.paint(text, color.Bold))
}

// item is a text of ours that hangs under its first line.
func (t *terminal) item(first, text string, ink ...color.Attribute) {
	t.hang(first, text, cmp.Or(t.s.Width, 80), ink)
}

// record is a text of the kernel's or of a test's: see [Style.Width].
func (t *terminal) record(first, text string, ink ...color.Attribute) {
	t.hang(first, text, t.s.Width, ink)
}

func (t *terminal) hang(first, text string, width int, ink []color.Attribute) {
	indent := utf8.RuneCountInString(first)
	if width > 0 {
		width = max(width-indent, 20)
	}
	for i, l := range Wrap(printable.Line(text), width) {
		if i == 1 {
			first = strings.Repeat(" ", indent)
		}
		if len(ink) > 0 {
			l = t.s.paint(l, ink...)
		}
		t.line("%s%s", first, l)
	}
}

func (t *terminal) kernel(k *Kernel) {
	outcomes := k.Outcomes()
	t.header(k, outcomes)
	if len(t.run.Kernels) == 1 {
		t.table(outcomes)
	}
	t.failures("FAILED", Fail, outcomes)
	t.failures("ERRORS: no verdict on these", Error, outcomes)
	t.lost(k)
	t.flaky(outcomes)
	t.known(outcomes)
	t.better(outcomes)
	if len(k.Gaps) > 0 {
		t.heading("COVERAGE GAPS: mediated by the kernel, not tested")
		for _, g := range k.Gaps {
			t.item("  ", g)
		}
	}
	t.skipped(outcomes)
	t.notRun(outcomes)
	t.coverage(k)
}

// coverageShown is how many groups of lines of a patch, and tests whose coverage is
// unknown, are shown.
const coverageShown = 30

// coverage says which lines of AppArmor the tests reached.
func (t *terminal) coverage(k *Kernel) {
	c := k.Coverage
	if c == nil || c.Totals == nil {
		return
	}
	t.heading("LINES REACHED")
	t.item("  ", c.Summary())
	shown := func(lines []string, what string) {
		n := len(lines)
		if !t.s.Verbose {
			n = min(n, coverageShown)
		}
		for _, l := range lines[:n] {
			t.item("    ", l)
		}
		if rest := len(lines) - n; rest > 0 {
			t.line("    and %s more %s (all with -v, and in %s)", printable.Number(rest), what, CoveragePage)
		}
	}
	if c.Patch != nil {
		t.item("  ", c.Patch.Name+": "+c.Patch.Sentence())
		shown(c.PatchReport(), "lines of the patch")
	}
	if len(c.Missing) > 0 {
		t.item("  ", "unknown what these reached:")
		var lines []string
		for _, m := range c.Missing {
			lines = append(lines, m.ID+": "+m.Reason)
		}
		shown(lines, "tests")
	}
}

// header says what was tested, with what, and where.
func (t *terminal) header(k *Kernel, outcomes []Outcome) {
	t.line("")
	name := t.s.paint(printable.Line(k.name()), color.Bold)
	if spec := printable.Line(k.Spec); spec != "" && spec != printable.Line(k.name()) {
		name += "  " + spec
	}
	t.line("%s", name)
	ran := 0
	for _, o := range outcomes {
		if len(o.Attempts) > 0 {
			ran++
		}
	}
	count := fmt.Sprintf("%s of %s", printable.Number(ran), printable.Number(len(outcomes)))
	took := t.run.took()
	if len(t.run.Kernels) > 1 {
		took = k.took()
	}
	if took > 0 {
		count += " in " + Elapsed(took)
	}
	for _, l := range []struct{ name, value string }{
		{"version", k.Version},
		{"machine", k.describe("machine", "accelerator", "qemu", "slowness")},
		{"guest", k.describe("guest", "parser", "suite")},
		{"append", k.Append},
		{noun(outcomes) + "s", count},
	} {
		if l.value != "" {
			t.item(fmt.Sprintf("  %-8s ", l.name), l.value)
		}
	}
}

// took returns how long the run took, as far as that is known.
func (r *Run) took() time.Duration {
	end := r.Ended
	for _, k := range r.Kernels {
		for _, s := range k.Specs {
			end = latest(end, s.End)
		}
	}
	if r.Started.IsZero() || end.Before(r.Started) {
		return 0
	}
	return end.Sub(r.Started)
}

// took is the time from the start of the kernel's first spec to the end of its
// last, 0 if there is none.
func (k *Kernel) took() time.Duration {
	var began, end time.Time
	for _, s := range k.Specs {
		if began.IsZero() || s.Start.Before(began) {
			began = s.Start
		}
		end = latest(end, s.End)
	}
	return max(0, end.Sub(began))
}

// describe joins properties: the first by its value alone, the others by their
// names.
func (k *Kernel) describe(names ...string) string {
	var parts []string
	for i, n := range names {
		v := k.Properties[n]
		switch {
		case v == "":
		case i == 0 || n == "accelerator":
			parts = append(parts, v)
		default:
			parts = append(parts, n+" "+v)
		}
	}
	return strings.Join(parts, ", ")
}

// columns of the table, in order. XPASS and RECORDED are as good as a PASS.
var columns = []struct {
	title  string
	counts []Status
}{
	{"pass", []Status{Pass, XPass, Recorded}},
	{"fail", []Status{Fail}},
	{"error", []Status{Error}},
	{"skip", []Status{Skip}},
	{"xfail", []Status{XFail}},
}

// table has one row for each spec that wants a look. Those that passed, in
// whole or as far as they were not skipped, are one row together, and so are
// those that were skipped whole: see skipped for the reasons.
func (t *terminal) table(outcomes []Outcome) {
	var rows, passed, known, skipped []Outcome
	for _, o := range outcomes {
		switch st := o.verdict(); {
		case len(o.Attempts) == 0: // see notRun
		case st == Fail || st == Error || o.Flaky() || t.s.Verbose:
			rows = append(rows, o)
		case st == Skip:
			skipped = append(skipped, o)
		case st == XFail:
			known = append(known, o)
		default:
			passed = append(passed, o)
		}
	}
	slices.SortStableFunc(rows, func(a, b Outcome) int {
		return cmp.Compare(severity[b.verdict()], severity[a.verdict()])
	})
	n := len(rows)
	rows = append(rows, folded(skipped, "skipped whole")...)
	rows = append(rows, folded(known, "failed as known")...)
	rows = append(rows, folded(passed, "passed")...)
	if len(rows) == 0 {
		return
	}
	t.line("")
	head := strings.Repeat(" ", 10+nameColumns)
	for _, c := range columns {
		head += fmt.Sprintf("%7s", c.title)
	}
	t.line("%s%9s", head, "time")
	for i, o := range rows {
		name := o.ID
		if i < n {
			name = commonRoot(name)
		}
		t.row(o.verdict(), name, o)
	}
	if len(rows) > 1 {
		t.row("", "together", join("", rows))
	}
}

// verdict is the status of a spec for people: one of which a part was skipped,
// or failed as known, and the rest passed did pass.
func (o Outcome) verdict() Status {
	st, counts := o.Status(), o.Counts()
	switch {
	case severity[st] > severity[Skip]:
		return st
	case counts[Pass]+counts[XPass]+counts[Recorded] > 0:
		return Pass
	case counts[Skip] > 0:
		return Skip
	case counts[XFail] > 0:
		return XFail
	}
	return Pass
}

// folded is one outcome for all of the list; none for none.
func folded(list []Outcome, what string) []Outcome {
	if len(list) == 0 {
		return nil
	}
	return []Outcome{join(printable.Count(len(list), noun(list))+" "+what, list)}
}

// noun is what the specs are called, see [Noun].
func noun(list []Outcome) string {
	ids := make([]string, len(list))
	for i, o := range list {
		ids[i] = o.ID
	}
	return Noun(ids...)
}

func join(id string, list []Outcome) Outcome {
	all := Outcome{ID: id}
	for _, o := range list {
		all.Attempts = append(all.Attempts, o.Attempts...)
		all.Subtests = append(all.Subtests, o.Subtests...)
	}
	return all
}

// commonRoot leaves out the part of the ID that nearly all specs share.
func commonRoot(id string) string { return ID(id).Brief() }

// nameColumns is the place for a spec's name: with it the table has 80 columns.
const nameColumns = 26

func (t *terminal) row(st Status, name string, o Outcome) {
	mark, word := " ", fmt.Sprintf("%-6s", st)
	if st != "" {
		mark, word = t.s.Mark(st), t.s.Paint(st, word)
	}
	head := fmt.Sprintf("  %s %s", mark, word)
	name = printable.Line(name)
	if utf8.RuneCountInString(name) >= nameColumns { // a line of its own rather than half a name
		t.line("%s%s", head, name)
		head, name = strings.Repeat(" ", 10), ""
	}
	took := ""
	if s := o.Seconds(); s > 0 {
		took = Elapsed(time.Duration(s * float64(time.Second)))
	}
	cells := t.cells(o.Counts(), st != "") + fmt.Sprintf("%9s", took)
	t.line("%s", strings.TrimRight(fmt.Sprintf("%s%-*s%s", head, nameColumns, name, cells), " "))
}

func (t *terminal) cells(counts Counts, paint bool) string {
	var b strings.Builder
	for _, c := range columns {
		n := 0
		for _, s := range c.counts {
			n += counts[s]
		}
		cell := fmt.Sprintf("%7s", printable.Number(n))
		switch {
		case n == 0:
			cell = strings.Repeat(" ", 7)
		case paint && (c.counts[0] == Fail || c.counts[0] == Error):
			cell = t.s.Paint(c.counts[0], cell)
		}
		b.WriteString(cell)
	}
	return b.String()
}

// Elapsed formats a duration for people: "0.4 s", "12 s", "3m05s", "1h02m".
func Elapsed(d time.Duration) string {
	switch {
	case d < 0:
		return "0 s"
	case d < 9950*time.Millisecond:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < 59500*time.Millisecond:
		return fmt.Sprintf("%.0f s", d.Seconds())
	}
	d = d.Round(time.Second)
	if d < time.Hour {
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
}

// failures shows the subtests of one bad status, in full, by spec.
func (t *terminal) failures(title string, st Status, outcomes []Outcome) {
	first := true
	for _, o := range outcomes {
		var bad []Subtest
		for _, sub := range o.Subtests {
			if sub.Status == st {
				bad = append(bad, sub)
			}
		}
		if len(bad) == 0 {
			continue
		}
		if first {
			t.heading(title)
			first = false
		} else {
			t.line("")
		}
		shown := len(bad)
		if !t.s.Verbose {
			shown = min(shown, failuresShown)
		}
		for _, sub := range bad[:shown] {
			t.failure(sub)
		}
		if rest := len(bad) - shown; rest > 0 {
			t.line("    and %s more of %s (all with -v, and in the reports)", printable.Number(rest), printable.Line(o.ID))
		}
		t.records(o)
	}
}

func (t *terminal) failure(sub Subtest) {
	t.record("  ", sub.ID, color.Bold, looks[sub.Status].color)
	expected := sub.Expected
	if sub.Got != "" {
		expected = strings.TrimPrefix(expected+", got "+sub.Got, ", ")
	}
	for _, l := range []struct{ name, value string }{
		{"expected", expected}, {"reason", sub.Reason}, {"lacks", sub.Lacks}, {"attempts", sub.attempts()},
	} {
		if l.value != "" {
			t.record(fmt.Sprintf("      %-9s", l.name), l.value)
		}
	}
}

// records are what the kernel said while a spec ran that did not pass.
func (t *terminal) records(o Outcome) {
	var denials []string
	for _, s := range o.Attempts {
		if s.Crash != "" && !o.tells(s.Crash) {
			t.record(fmt.Sprintf("      %-9s", "crash"), s.Crash, color.FgRed)
		}
		t.console(s.Console)
		denials = append(denials, s.Denials...)
	}
	slices.SortStableFunc(denials, func(a, b string) int { return cmp.Compare(telling(a), telling(b)) })
	t.limited("denied", alike(denials), denialsShown, "kinds of records")
	for _, s := range o.Attempts {
		if s.Output != "" {
			t.record(fmt.Sprintf("      %-9s", "output"), s.Output)
		}
	}
}

// same is where two records of the same denial differ: a script makes one for
// each of its subtests.
var same = regexp.MustCompile(`audit\([^)]*\)|\b(?:pid|peer_pid|ino)=[0-9]+`)

// alike has each record once, and says of how many like it.
func alike(records []string) []string {
	n := map[string]int{}
	for _, r := range records {
		n[same.ReplaceAllString(r, "")]++
	}
	var list []string
	for _, r := range records {
		key := same.ReplaceAllString(r, "")
		switch {
		case n[key] > 1:
			list = append(list, fmt.Sprintf("%s  (and %d like it)", strings.TrimSpace(r), n[key]-1))
		case n[key] == 1:
			list = append(list, r)
		}
		n[key] = 0
	}
	return list
}

// telling ranks audit records by how likely they explain a failure: first
// those in which the kernel names an error of its own, then what it denied,
// then what it would have.
func telling(record string) int {
	switch {
	case strings.Contains(record, " error="):
		return 0
	case strings.Contains(record, `="DENIED"`):
		return 1
	default:
		return 2
	}
}

// tells is true if a result's reason already says the text.
func (o Outcome) tells(text string) bool {
	return slices.ContainsFunc(o.Subtests, func(t Subtest) bool { return strings.Contains(t.Reason, text) })
}

func (t *terminal) console(text string) {
	if text = strings.Trim(text, "\n"); text != "" {
		t.limited("console", strings.Split(text, "\n"), consoleShown, "lines")
	}
}

func (t *terminal) limited(name string, lines []string, limit int, what string) {
	shown := len(lines)
	if !t.s.Verbose {
		shown = min(shown, limit)
	}
	for i, l := range lines[:shown] {
		if i > 0 {
			name = ""
		}
		t.record(fmt.Sprintf("      %-9s", name), l)
	}
	if rest := len(lines) - shown; rest > 0 {
		t.line("               and %s more %s, in results.json", printable.Number(rest), what)
	}
}

// lost are machines that ended before they were closed.
func (t *terminal) lost(k *Kernel) {
	first := true
	for _, m := range k.Machines {
		if m.Lost == "" {
			continue
		}
		if first {
			t.heading("MACHINES LOST")
			first = false
		}
		t.item("  ", fmt.Sprintf("%s of process %d: %s", m.ID, m.Process, m.Lost))
	}
}

func (t *terminal) flaky(outcomes []Outcome) {
	first := true
	for _, o := range outcomes {
		for _, sub := range o.Subtests {
			if !sub.Flaky() {
				continue
			}
			if first {
				t.heading("FLAKY: the verdict changed from attempt to attempt, the worst counts")
				first = false
			}
			t.item("  ", sub.ID+": "+sub.attempts())
		}
	}
}

// better are known problems that are gone: the expectations want an edit.
func (t *terminal) better(outcomes []Outcome) {
	first := true
	for _, o := range outcomes {
		for _, sub := range o.Subtests {
			if sub.Status != XPass {
				continue
			}
			if first {
				t.heading("XPASS: known problems that are gone")
				first = false
			}
			t.item("  ", sub.ID)
		}
	}
}

// skipped groups skips by what is missing, the greatest hole first.
func (t *terminal) skipped(outcomes []Outcome) {
	t.groups("SKIPPED, by what is missing", skipGroups(outcomes), "skip")
}

// known are the problems that were expected, by their reasons: a defect of the
// kernel stays one.
func (t *terminal) known(outcomes []Outcome) {
	t.groups("XFAIL: known problems, still there", groupBy(outcomes, XFail, func(s Subtest) string { return cmp.Or(s.Reason, "(not said)") }), "subtest")
}

func (t *terminal) groups(title string, groups []*sharing, noun string) {
	if len(groups) == 0 {
		return
	}
	t.heading(title)
	for _, g := range groups {
		t.item("  ", g.line(noun))
	}
}

// sharing are subtests that have something in common.
type sharing struct {
	what  string
	n     int
	specs []string
}

func (g *sharing) line(noun string) string {
	return fmt.Sprintf("%s: %s in %s", g.what, printable.Count(g.n, noun), strings.Join(g.specs, ", "))
}

func skipGroups(outcomes []Outcome) []*sharing {
	return groupBy(outcomes, Skip, func(s Subtest) string { return cmp.Or(s.Lacks, s.Reason, "(not said)") })
}

// groupBy groups the subtests of one status, those in the most specs first.
func groupBy(outcomes []Outcome, st Status, what func(Subtest) string) (groups []*sharing) {
	for _, o := range outcomes {
		for _, sub := range o.Subtests {
			if sub.Status != st {
				continue
			}
			key := what(sub)
			i := slices.IndexFunc(groups, func(g *sharing) bool { return g.what == key })
			if i < 0 {
				i = len(groups)
				groups = append(groups, &sharing{what: key})
			}
			g := groups[i]
			g.n++
			if name := commonRoot(o.ID); !slices.Contains(g.specs, name) {
				g.specs = append(g.specs, name)
			}
		}
	}
	slices.SortStableFunc(groups, func(a, b *sharing) int {
		return cmp.Or(cmp.Compare(len(b.specs), len(a.specs)), cmp.Compare(a.what, b.what))
	})
	return groups
}

func (t *terminal) notRun(outcomes []Outcome) {
	var names []string
	var missing []Outcome
	for _, o := range outcomes {
		if o.NotRun > 0 {
			missing = append(missing, o)
		}
		for n := range o.NotRun {
			name := commonRoot(o.ID)
			if len(o.Attempts) > 0 || n > 0 {
				name += fmt.Sprintf(" (attempt %d)", len(o.Attempts)+n+1)
			}
			names = append(names, name)
		}
	}
	if len(names) > 0 {
		t.heading(fmt.Sprintf("NOT RUN: %s", printable.Count(len(names), noun(missing))))
		t.item("  ", strings.Join(names, ", "))
	}
}
