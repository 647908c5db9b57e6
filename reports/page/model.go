// SPDX-License-Identifier: Apache-2.0

package page

import (
	"fmt"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"proofhouse/internal/exit"
	"proofhouse/reports"
)

// document is what page.js draws. It is made to be small and to be read fast:
// texts are there once and have numbers, and the verdicts of one script on one
// kernel are one string with a letter for each subtest.
type document struct {
	Status   int      `json:"status"` // the exit status
	Word     string   `json:"word"`   // PASS, FAIL or NO VERDICT
	Line     string   `json:"line"`   // the rest of the verdict
	Tool     string   `json:"tool"`
	Started  string   `json:"started"`
	Took     string   `json:"took,omitempty"`
	CutShort bool     `json:"cut_short,omitempty"`
	Shard    string   `json:"shard,omitempty"`
	Remarks  []string `json:"remarks,omitempty"`
	Kernels  []kernel `json:"kernels"`
	Rows     []row    `json:"rows"` // sorted by ID
	// Details are tuples of numbers in Texts: expected, got, reason, lacks,
	// output, the letters of the attempts where they differ, and for what an
	// expectation spoke of its place, its reference and the reason as it was
	// found.
	Details [][9]int `json:"details"`
	// Texts are what numbers stand for; 0 is nothing.
	Texts []string `json:"texts"`
}

// kernel is a column.
type kernel struct {
	ID         string            `json:"id"`
	Name       string            `json:"name"`  // as people say it: the release
	Short      string            `json:"short"` // as it fits over a column
	Spec       string            `json:"spec,omitempty"`
	Version    string            `json:"version,omitempty"`
	SHA256     string            `json:"sha256,omitempty"`
	Source     string            `json:"source,omitempty"`
	Append     string            `json:"append,omitempty"`
	Properties map[string]string `json:"properties,omitempty"`
	Features   map[string]string `json:"features,omitempty"`
	Gaps       []string          `json:"gaps,omitempty"`
	Lost       []string          `json:"lost,omitempty"` // machines
	// Covered says how much of AppArmor was reached, and CoveredLink is the page
	// about it; "" = not measured.
	Covered     string         `json:"covered,omitempty"`
	CoveredLink string         `json:"covered_link,omitempty"`
	Status      int            `json:"status"`
	Word        string         `json:"word"`
	Line        string         `json:"line"`
	Counts      map[string]int `json:"counts"` // by letter
	Noun        string         `json:"noun"`   // what its specs are called: see [reports.Noun]
	Ran         int            `json:"ran"`    // specs
	Planned     int            `json:"planned"`
	Seconds     float64        `json:"seconds"`         // of the specs, together
	First       *place         `json:"first,omitempty"` // what failed first
	Past        []past         `json:"past,omitempty"`  // the same spec before, the oldest first
	// RowPast has, for each row, a letter for each run of Past.
	RowPast []string `json:"row_past,omitempty"`
	// SubtestPast is the same for the subtests that are bad now.
	SubtestPast []subtestPast `json:"subtest_past,omitempty"`
}

type place struct {
	Row     int `json:"row"`
	Subtest int `json:"subtest"` // -1: the row has none
}

type subtestPast struct {
	place
	Letters string `json:"letters"`
}

// past is an earlier run of the same kernel line.
type past struct {
	Name    string         `json:"name"` // its directory
	Link    string         `json:"link,omitempty"`
	Started string         `json:"started"`
	Release string         `json:"release,omitempty"`
	Status  int            `json:"status"`
	Word    string         `json:"word"`
	Line    string         `json:"line"`
	Counts  map[string]int `json:"counts"`
	Ran     int            `json:"ran"` // specs
	Noun    string         `json:"noun"`
}

// row is an upstream script or a group of the isolation matrix: the first two
// parts of the IDs of its subtests.
type row struct {
	ID string `json:"id"`
	// Subtests are their names, as numbers in document.Texts.
	Subtests []int   `json:"subtests"`
	Cells    []*cell `json:"cells"` // one for each kernel; null: never planned there

	index map[string]int // of a subtest's name
}

// cell is a row on one kernel.
type cell struct {
	// Letters has the verdict of each subtest of the row, and "." where
	// there is none; what is missing at the end is ".".
	Letters string `json:"letters"`
	// Details has a number in document.Details for each letter.
	Details []int     `json:"details"`
	NotRun  int       `json:"not_run,omitempty"`
	Seconds float64   `json:"seconds,omitempty"`
	Runs    []attempt `json:"runs,omitempty"`
}

// attempt is one run of a spec.
type attempt struct {
	Rest    string  `json:"rest,omitempty"` // of the spec's ID behind the row's
	Attempt int     `json:"attempt,omitempty"`
	Seconds float64 `json:"seconds,omitempty"`
	Machine string  `json:"machine,omitempty"`
	Output  string  `json:"output,omitempty"` // link
	Audit   string  `json:"audit,omitempty"`  // link
	Denials []int   `json:"denials,omitempty"`
	More    int     `json:"more,omitempty"` // denials that are not in the page
	Console int     `json:"console,omitempty"`
	Crash   int     `json:"crash,omitempty"`
	Cut     bool    `json:"cut,omitempty"` // it has no end
}

// letters stand for statuses in the data.
var letters = map[reports.Status]byte{
	reports.Pass: 'P', reports.Fail: 'F', reports.Error: 'E', reports.Skip: 'S',
	reports.XFail: 'X', reports.XPass: 'U', reports.Recorded: 'R',
}

const absent = '.'

// letter returns that of a status; an unknown one is an ERROR.
func letter(s reports.Status) byte {
	if l, ok := letters[s]; ok {
		return l
	}
	return letters[reports.Error]
}

// What one place of the page holds at most; the files have it all.
const (
	maxText    = 64 << 10 // bytes
	maxDenials = 400      // of one attempt
	maxPast    = 12       // runs
)

// words for the exit statuses.
var words = map[int]string{exit.OK: "PASS", exit.Failed: "FAIL", exit.NoVerdict: "NO VERDICT"}

// builder makes a document.
type builder struct {
	doc     *document
	dir     string
	texts   map[string]int
	details map[[9]int]int
	rows    map[string]*row // by ID
}

func newDocument(dir string, run *reports.Run, history []reports.Past) *document {
	b := &builder{
		doc:     &document{Tool: run.Tool, CutShort: run.CutShort, Remarks: run.Notes()},
		dir:     dir,
		texts:   map[string]int{"": 0},
		details: map[[9]int]int{{}: 0},
		rows:    map[string]*row{},
	}
	b.doc.Texts = []string{""}
	b.doc.Details = [][9]int{{}}
	b.doc.Kernels = []kernel{}
	b.doc.Rows = []row{}
	b.doc.Status, b.doc.Word, b.doc.Line = verdict(run)
	b.doc.Started = moment(run.Started)
	if run.Shard != nil {
		b.doc.Shard = run.Shard.String()
	}
	if took := run.Ended.Sub(run.Started); !run.Ended.IsZero() && !run.Started.IsZero() && took > 0 {
		b.doc.Took = reports.Elapsed(took)
	}
	shorts := shortNames(run.Kernels)
	for i := range run.Kernels {
		b.kernel(run, i, shorts[i])
	}
	b.sortRows()
	for i := range run.Kernels {
		b.first(&run.Kernels[i], i)
		b.history(&run.Kernels[i], i, history)
	}
	return b.doc
}

// verdict is that of the run, its word apart.
func verdict(run *reports.Run) (status int, word, line string) {
	status, line = reports.Verdict(run)
	word, rest, found := strings.Cut(line, ": ")
	if !found {
		return status, words[status], line
	}
	return status, word, rest
}

// alone is the run as if it had been on one of its kernels alone.
func alone(run *reports.Run, k *reports.Kernel) *reports.Run {
	r := *run
	r.Kernels = []reports.Kernel{*k}
	r.Planned = len(k.Specs) + len(k.NotRun)
	return &r
}

func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04 UTC")
}

func (b *builder) text(s string) int {
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "") + "\n[cut here: the whole text is in the run's directory]"
	}
	n, ok := b.texts[s]
	if !ok {
		n = len(b.doc.Texts)
		b.texts[s] = n
		b.doc.Texts = append(b.doc.Texts, s)
	}
	return n
}

func (b *builder) detail(t reports.Subtest) int {
	attempts := ""
	if t.Flaky() {
		for _, s := range t.Attempts {
			attempts += string(letter(s))
		}
	}
	d := [9]int{b.text(t.Expected), b.text(t.Got), b.text(t.Reason), b.text(t.Lacks), b.text(t.Output), b.text(attempts)}
	if k := t.Known; k != nil {
		d[6], d[7], d[8] = b.text(k.By), b.text(k.Reference), b.text(k.Reason)
	}
	n, ok := b.details[d]
	if !ok {
		n = len(b.doc.Details)
		b.details[d] = n
		b.doc.Details = append(b.doc.Details, d)
	}
	return n
}

// split is an ID's row and what is behind it: of "a/b/c/d" "a/b" and "c/d".
func split(id string) (row, rest string) {
	parts := strings.SplitN(id, "/", 3)
	if len(parts) < 3 {
		return id, ""
	}
	return parts[0] + "/" + parts[1], parts[2]
}

func (b *builder) row(id string) *row {
	r, ok := b.rows[id]
	if !ok {
		r = &row{ID: id, Subtests: []int{}, index: map[string]int{}}
		b.rows[id] = r
	}
	return r
}

// cell is the row's on the kernel of that number.
func (r *row) cell(kernel int) *cell {
	for len(r.Cells) <= kernel {
		r.Cells = append(r.Cells, nil)
	}
	if r.Cells[kernel] == nil {
		r.Cells[kernel] = &cell{Details: []int{}}
	}
	return r.Cells[kernel]
}

func (b *builder) kernel(run *reports.Run, number int, short string) {
	k := &run.Kernels[number]
	out := kernel{
		ID: k.ID, Name: firstOf(k.Release, k.Spec, k.ID, "an unnamed kernel"), Short: short, Spec: k.Spec,
		Version: k.Version, SHA256: k.SHA256, Source: k.Source, Append: k.Append,
		Properties: k.Properties, Features: k.Features, Gaps: k.Gaps, Counts: map[string]int{},
	}
	out.Status, out.Word, out.Line = verdict(alone(run, k))
	if out.Covered = k.Coverage.Summary(); out.Covered != "" {
		out.CoveredLink = (&url.URL{Path: "./" + k.ID + "/" + reports.CoveragePage}).String()
	}
	var ids []string
	out.Line = strings.Replace(out.Line, " on "+out.Name, "", 1) // it stands under its name
	for _, m := range k.Machines {
		if m.Lost != "" {
			out.Lost = append(out.Lost, fmt.Sprintf("%s of process %d: %s", m.ID, m.Process, m.Lost))
		}
	}
	for _, o := range k.Outcomes() {
		out.Planned++
		ids = append(ids, o.ID)
		if len(o.Attempts) > 0 {
			out.Ran++
		}
		out.Seconds += o.Seconds()
		b.outcome(o, number, out.Counts)
	}
	out.Noun = reports.Noun(ids...)
	b.doc.Kernels = append(b.doc.Kernels, out)
}

func (b *builder) outcome(o reports.Outcome, kernel int, counts map[string]int) {
	id, rest := split(o.ID)
	r := b.row(id)
	c := r.cell(kernel)
	c.NotRun += o.NotRun
	c.Seconds += o.Seconds()
	for _, s := range o.Attempts {
		c.Runs = append(c.Runs, b.attempt(s, rest))
	}
	list := []byte(c.Letters)
	for _, t := range o.Subtests {
		name := subtestName(id, t.ID)
		n, ok := r.index[name]
		// Two specs of one row may have results of one name: neither hides the
		// other.
		for i := 2; ok && n < len(list) && list[n] != absent; i++ {
			name = fmt.Sprintf("%s #%d", subtestName(id, t.ID), i)
			n, ok = r.index[name]
		}
		if !ok {
			n = len(r.Subtests)
			r.index[name] = n
			r.Subtests = append(r.Subtests, b.text(name))
		}
		for len(list) <= n {
			list = append(list, absent)
			c.Details = append(c.Details, 0)
		}
		list[n] = letter(t.Status)
		c.Details[n] = b.detail(t)
		counts[string(list[n])]++
	}
	c.Letters = string(list)
}

// subtestName is the ID without that of its row, if it begins with it.
func subtestName(row, id string) string {
	if id == row {
		return ""
	}
	return strings.TrimPrefix(id, row+"/")
}

func (b *builder) attempt(s reports.Spec, rest string) attempt {
	a := attempt{
		Rest: rest, Attempt: s.Attempt, Machine: s.Machine, Cut: s.End.IsZero(),
		Output: b.link(s.Output), Audit: b.link(s.Audit), Console: b.text(s.Console), Crash: b.text(s.Crash),
	}
	if a.Seconds = s.Seconds; a.Seconds == 0 && !s.End.IsZero() {
		a.Seconds = s.End.Sub(s.Start).Seconds()
	}
	shown := min(len(s.Denials), maxDenials)
	for _, d := range s.Denials[:shown] {
		a.Denials = append(a.Denials, b.text(d))
	}
	a.More = len(s.Denials) - shown
	return a
}

// link is the address of a file of the run, relative to the page; none if it
// is not there. Names come from a journal, which is a file like any other: a
// link leads nowhere but into the run's directory.
func (b *builder) link(name string) string {
	if name == "" || !reports.IsFile(b.dir, name) {
		return ""
	}
	return "./" + (&url.URL{Path: name}).EscapedPath()
}

func (b *builder) sortRows() {
	for _, r := range b.rows {
		for len(r.Cells) < len(b.doc.Kernels) {
			r.Cells = append(r.Cells, nil)
		}
		b.doc.Rows = append(b.doc.Rows, *r)
	}
	slices.SortFunc(b.doc.Rows, func(x, y row) int { return strings.Compare(x.ID, y.ID) })
}

// place is where a result stands.
func (b *builder) place(id string) (place, bool) {
	name, rest := split(id)
	i, ok := slices.BinarySearchFunc(b.doc.Rows, name, func(r row, id string) int { return strings.Compare(r.ID, id) })
	if !ok {
		return place{}, false
	}
	n, ok := b.doc.Rows[i].index[rest]
	if !ok {
		n = -1
	}
	return place{i, n}, true
}

// first finds what failed first in time, or what was the first error.
func (b *builder) first(k *reports.Kernel, number int) {
	for _, bad := range []reports.Status{reports.Fail, reports.Error} {
		var at time.Time
		for _, s := range k.Specs {
			i := slices.IndexFunc(s.Results, func(r reports.Result) bool { return r.Status == bad })
			if i < 0 || !at.IsZero() && !s.Start.Before(at) {
				continue
			}
			if p, ok := b.place(s.Results[i].ID); ok {
				at = s.Start
				b.doc.Kernels[number].First = &p
			}
		}
		if b.doc.Kernels[number].First != nil {
			return
		}
	}
}

// history adds what earlier runs say of the same kernel line: what a user
// called by the same name.
func (b *builder) history(k *reports.Kernel, number int, runs []reports.Past) {
	if k.Spec == "" {
		return
	}
	out := &b.doc.Kernels[number]
	trails := make([][]byte, len(b.doc.Rows))
	bad := map[place][]byte{}
	for i, r := range b.doc.Rows {
		if c := r.Cells[number]; c != nil {
			for n, l := range c.Letters {
				if l == 'F' || l == 'E' {
					bad[place{i, n}] = nil
				}
			}
		}
	}
	var list []past
	for _, run := range runs {
		for j := range run.Kernels {
			old := &run.Kernels[j]
			if old.Spec != k.Spec || len(list) == maxPast {
				continue
			}
			list = append(list, b.past(run, old))
			for i := range trails {
				trails[i] = append(trails[i], absent)
			}
			for p := range bad {
				bad[p] = append(bad[p], absent)
			}
			last := len(list) - 1
			for _, o := range old.Outcomes() {
				if p, ok := b.place(o.ID); ok {
					trails[p.Row][last] = worse(trails[p.Row][last], standing(o))
				}
				for _, t := range o.Subtests {
					if p, ok := b.place(t.ID); ok && bad[p] != nil {
						bad[p][last] = letter(t.Status)
					}
				}
			}
		}
	}
	if len(list) == 0 {
		return
	}
	slices.Reverse(list)
	out.Past = list
	for _, t := range trails {
		slices.Reverse(t)
		out.RowPast = append(out.RowPast, string(t))
	}
	for p, t := range bad {
		slices.Reverse(t)
		out.SubtestPast = append(out.SubtestPast, subtestPast{p, string(t)})
	}
	slices.SortFunc(out.SubtestPast, func(x, y subtestPast) int {
		return 1_000_000*(x.Row-y.Row) + x.Subtest - y.Subtest
	})
}

func (b *builder) past(run reports.Past, k *reports.Kernel) past {
	p := past{Name: filepath.Base(run.Dir), Started: moment(run.Started), Release: k.Release, Counts: map[string]int{}}
	p.Status, p.Word, p.Line = verdict(alone(run.Run, k))
	var ids []string
	for _, o := range k.Outcomes() {
		if len(o.Attempts) > 0 {
			p.Ran++
			ids = append(ids, o.ID)
		}
		for s, n := range o.Counts() {
			p.Counts[string(letter(s))] += n
		}
	}
	p.Noun = reports.Noun(ids...)
	if _, err := os.Stat(filepath.Join(run.Dir, File)); err == nil {
		p.Link = path.Join("..", (&url.URL{Path: p.Name}).EscapedPath(), File)
	}
	return p
}

// standing is the letter of a whole row: what was skipped or known in part
// counts only where nothing passed. page.js has the same rule.
func standing(o reports.Outcome) byte {
	c := o.Counts()
	switch {
	case c[reports.Fail] > 0:
		return 'F'
	case c[reports.Error] > 0 || o.NotRun > 0:
		return 'E'
	case c[reports.Pass]+c[reports.XPass]+c[reports.Recorded] > 0:
		return 'P'
	case c[reports.Skip] > 0:
		return 'S'
	case c[reports.XFail] > 0:
		return 'X'
	}
	return absent
}

// worse is the worse of two letters of rows.
func worse(a, b byte) byte {
	const order = ".XSPEF"
	if strings.IndexByte(order, b) > strings.IndexByte(order, a) {
		return b
	}
	return a
}

func firstOf(list ...string) string {
	for _, s := range list {
		if s != "" {
			return s
		}
	}
	return ""
}

var versionNumber = regexp.MustCompile(`^[0-9]+(\.[0-9]+)*(-rc[0-9]+)?`)

// shortNames tell the kernels of one run apart in as little space as can be:
// "6.12.107", or what the user called it, or all of the release, or the ID.
func shortNames(kernels []reports.Kernel) []string {
	version := func(k reports.Kernel) string {
		v, a := versionNumber.FindString(k.Release), k.Arch()
		if v == "" || a == "x86_64" {
			return v
		}
		return v + " " + a
	}
	ways := []func(k reports.Kernel) string{
		version,
		// The same build with other words on its command line.
		func(k reports.Kernel) string {
			return strings.TrimSpace(version(k) + " " + k.Append)
		},
		func(k reports.Kernel) string { return k.Spec },
		func(k reports.Kernel) string { return k.Release },
		func(k reports.Kernel) string { return k.ID },
	}
	var names []string
	for _, way := range ways {
		names = names[:0]
		seen := map[string]bool{"": true}
		unique := true
		for _, k := range kernels {
			n := way(k)
			unique = unique && !seen[n]
			seen[n] = true
			names = append(names, n)
		}
		if unique {
			break
		}
	}
	return names
}
