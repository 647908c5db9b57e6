// SPDX-License-Identifier: Apache-2.0

package coverage

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
)

// State says what became of a changed line.
type State string

// The states. Only the first three are lines with code.
const (
	ByTest  State = "reached"   // by a test
	AtBoot  State = "boot"      // only while the kernel booted, or by the harness
	Nothing State = "unreached" // by nothing
	NoCode  State = "no code"   // a comment, a declaration, an empty line
	Unbuilt State = "not built" // of a file without code in this build
)

// Reach is what became of one changed line.
type Reach struct {
	Changed
	Function string `json:"function,omitempty"`
	State    State  `json:"state"`
	// Tests is how many tests reached it; By are the first of them by name.
	Tests int      `json:"tests,omitempty"`
	By    []string `json:"by,omitempty"`
	// Always is true if the harness reaches it without a test.
	Always bool `json:"always,omitempty"`
}

// maxBy is how many tests of a line are named.
const maxBy = 50

// PatchReach is what became of the lines of a patch on one kernel.
type PatchReach struct {
	Name    string  `json:"name"` // of the file, or the range of git
	Lines   []Reach `json:"lines"`
	Removed int     `json:"removed,omitempty"` // lines, with nothing in their place
	// Elsewhere is how many lines it changes outside of AppArmor.
	Elsewhere int `json:"elsewhere,omitempty"`
}

// Collector adds up the counts of the tests of one kernel, one after the other, and
// follows the lines of a patch.
type Collector struct {
	Total   Set // of everything; complete after End
	tests   Set
	harness Set
	boot    Set
	source  Source
	patch   *PatchReach
}

// NewCollector returns a collector that follows the lines of a patch, which may be
// nil. The lines of the patch have no state yet.
func NewCollector(source Source, patch *PatchReach) *Collector {
	return &Collector{source: source, patch: patch}
}

// Test adds the counts of one test.
func (c *Collector) Test(id string, set Set) {
	c.tests.Add(set)
	if c.patch == nil {
		return
	}
	for i := range c.patch.Lines {
		r := &c.patch.Lines[i]
		if n, _ := c.count(set, r); n > 0 && !slices.Contains(r.By, id) {
			r.By = append(r.By, id)
		}
	}
}

// Harness adds what a machine counted without a test.
func (c *Collector) Harness(set Set) { c.harness.Add(set) }

// Boot adds what was counted until the first command.
func (c *Collector) Boot(set Set) { c.boot.Add(set) }

// ByTests returns the totals of what tests reached.
func (c *Collector) ByTests() Totals {
	t := c.tests.Totals()
	all := c.Total.Totals()
	t.Lines, t.Functions = all.Lines, all.Functions // also without a test
	return t
}

// count returns how often a changed line ran, and whether it has code, or is part of
// a statement with code.
func (c *Collector) count(set Set, r *Reach) (uint64, bool) {
	f := set.File(r.File)
	if n, code := f.Count(r.Line); code {
		return n, true
	}
	if f == nil {
		return 0, false
	}
	if n := c.source.statement(r.File, f, r.Line); n > 0 {
		return f.Count(n)
	}
	return 0, false
}

// End adds up everything, and sets the states of the lines of the patch.
func (c *Collector) End() {
	background := c.boot
	background.Add(c.harness)
	c.Total.Add(c.tests)
	c.Total.Add(background)
	if c.patch == nil {
		return
	}
	for i := range c.patch.Lines {
		r := &c.patch.Lines[i]
		slices.Sort(r.By)
		file := c.Total.File(r.File)
		r.Function, _, _ = c.source.function(r.File, r.Line)
		_, code := c.count(c.Total, r)
		before, _ := c.count(background, r)
		always, _ := c.count(c.harness, r)
		r.Always = always > 0
		r.Tests = len(r.By)
		r.By = r.By[:min(r.Tests, maxBy)]
		switch {
		case file == nil:
			r.State = Unbuilt
		case !code:
			r.State = NoCode
		case r.Tests > 0:
			r.State = ByTest
		case before > 0:
			r.State = AtBoot
		default:
			r.State = Nothing
		}
	}
}

// In returns the lines with one of the states.
func (p *PatchReach) In(states ...State) (lines []Reach) {
	for _, r := range p.Lines {
		if slices.Contains(states, r.State) {
			lines = append(lines, r)
		}
	}
	return lines
}

// Sentence says in one line what became of the lines of the patch: "of 14 changed
// lines 11 were reached".
func (p *PatchReach) Sentence() string {
	code := len(p.In(ByTest, AtBoot, Nothing))
	if code == 0 {
		return "the patch changes no line with code" + p.rest()
	}
	noun, verb := "lines", "were"
	if code == 1 {
		noun = "line"
	}
	reached := len(p.In(ByTest))
	if reached == 1 {
		verb = "was"
	}
	text := fmt.Sprintf("of %d changed %s %d %s reached", code, noun, reached, verb)
	if n := len(p.In(AtBoot)); n > 0 {
		text += fmt.Sprintf(", %d only at boot", n)
	}
	if n := len(p.In(Nothing)); n > 0 {
		text += fmt.Sprintf(", %d by nothing", n)
	}
	return text + p.rest()
}

// rest names what the patch changes that cannot be reached or is not measured.
func (p *PatchReach) rest() string {
	var parts []string
	for _, part := range []struct {
		n    int
		what string
	}{
		{len(p.In(NoCode)), "without code"}, {len(p.In(Unbuilt)), "not in this build"},
		{p.Removed, "removed"}, {p.Elsewhere, "outside " + Dir},
	} {
		if part.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", part.n, part.what))
		}
	}
	if parts == nil {
		return ""
	}
	return " (not counted: " + strings.Join(parts, ", ") + ")"
}

// Candidate is a test that a patch may affect.
type Candidate struct {
	ID    string
	Score float64 // the more, the rarer the places that it reaches
}

// Select returns the tests that reach the places: for each place, those that reach
// its lines; if none does, those that reach its function; if none does, those
// that reach its file. each calls its argument with every test of the map and
// its counts.
func Select(places []Place, each func(func(id string, set Set)) error) ([]Candidate, error) {
	levels := make([][3][]string, len(places))
	counts := make([]map[string]float64, len(places)) // of the lines
	sums := make([]float64, len(places))
	for i := range counts {
		counts[i] = map[string]float64{}
	}
	err := each(func(id string, set Set) {
		for i, p := range places {
			f := set.File(p.File)
			if f == nil || f.Totals().ReachedLines == 0 {
				continue
			}
			levels[i][2] = append(levels[i][2], id)
			if slices.ContainsFunc(f.Lines, func(l Line) bool { return l.Count > 0 && p.First <= l.Number && l.Number <= p.Last }) {
				levels[i][1] = append(levels[i][1], id)
			}
			most := uint64(0)
			for _, n := range p.Lines {
				count, _ := f.Count(n)
				most = max(most, count)
			}
			if most > 0 {
				levels[i][0] = append(levels[i][0], id)
				counts[i][id] += float64(most)
				sums[i] += float64(most)
			}
		}
	})
	if err != nil {
		return nil, err
	}
	score := map[string]float64{}
	for i, l := range levels {
		for level, ids := range l {
			if len(ids) == 0 {
				continue
			}
			for _, id := range ids {
				score[id] += 1 / float64(len(ids))
				if level == 0 { // who runs a line often is about it
					score[id] += counts[i][id] / sums[i]
				}
			}
			break
		}
	}
	var list []Candidate
	for id, s := range score {
		list = append(list, Candidate{id, s})
	}
	slices.SortFunc(list, func(a, b Candidate) int { return cmp.Or(cmp.Compare(b.Score, a.Score), cmp.Compare(a.ID, b.ID)) })
	return list, nil
}

// WriteTable writes the totals of each file, for people.
func WriteTable(w io.Writer, set Set) error {
	if _, err := fmt.Fprintf(w, "%7s  %-13s  %-13s  %s\n", "reached", "lines", "functions", "file"); err != nil {
		return err
	}
	row := func(t Totals, name string) error {
		_, err := fmt.Fprintf(w, "%6.1f%%  %-13s  %-13s  %s\n", Percent(t.ReachedLines, t.Lines),
			fmt.Sprintf("%d/%d", t.ReachedLines, t.Lines), fmt.Sprintf("%d/%d", t.ReachedFunctions, t.Functions), name)
		return err
	}
	for i := range set {
		if err := row(set[i].Totals(), set[i].Name); err != nil {
			return err
		}
	}
	return row(set.Totals(), "together")
}

// Percent is part of whole in percent; 0 for no whole.
func Percent(part, whole int) float64 {
	if whole == 0 {
		return 0
	}
	return 100 * float64(part) / float64(whole)
}
