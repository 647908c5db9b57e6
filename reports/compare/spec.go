// SPDX-License-Identifier: Apache-2.0

package compare

import (
	"fmt"
	"slices"
	"strings"

	"proofhouse/internal/printable"
	"proofhouse/reports"
)

// specDiff compares one spec.
type specDiff struct {
	*differ
	pair
	telling bool // something changed that wants evidence

	came, went []string // what is missing on NEW only, and on BASE only
	lost       []string // good results of BASE that are not there
	lostTo     int      // 1 + index of the regression that explains them
	gained     int
	vanished   []string // others of BASE
	added      []string
}

func (s *specDiff) diff() {
	s.lacks()
	ids, base, next := s.subtests()
	for _, id := range ids {
		s.subtest(id, base[id], next[id])
	}
	s.loss()
	s.coverage()
	if len(s.vanished) > 0 {
		s.c.Vanished = append(s.c.Vanished, Group{Spec: s.id, IDs: s.vanished})
	}
	if len(s.added) > 0 {
		g := Group{Spec: s.id, IDs: s.added}
		if !there(s.before) {
			g.Note = "BASE did not run it"
		}
		s.c.Added = append(s.c.Added, g)
	}
}

// subtests are those of both sides, in the order in which they ran.
func (s *specDiff) subtests() (ids []string, base, next map[string]*reports.Subtest) {
	sides := [2]map[string]*reports.Subtest{{}, {}}
	for i, o := range []*reports.Outcome{s.before, s.after} {
		if o == nil {
			continue
		}
		for n := range o.Subtests {
			t := &o.Subtests[n]
			sides[i][t.ID] = t
			if i == 0 || sides[0][t.ID] == nil {
				ids = append(ids, t.ID)
			}
		}
	}
	return ids, sides[0], sides[1]
}

// lacks finds what each side alone lacks.
func (s *specDiff) lacks() {
	of := func(o *reports.Outcome) (list []string) {
		if o == nil {
			return nil
		}
		for _, t := range o.Subtests {
			if t.Status == reports.Skip && !slices.Contains(list, lacking(t.Result)) {
				list = append(list, lacking(t.Result))
			}
		}
		return list
	}
	base, next := of(s.before), of(s.after)
	for _, l := range next {
		if !slices.Contains(base, l) {
			s.came = append(s.came, l)
		}
	}
	for _, l := range base {
		if !slices.Contains(next, l) {
			s.went = append(s.went, l)
		}
	}
}

// lacking is what a skipped result lacks.
func lacking(r reports.Result) string {
	switch {
	case r.Lacks != "":
		return r.Lacks
	case r.Reason != "":
		return r.Reason
	}
	return "(not said)"
}

func seen(t *reports.Subtest) Seen {
	if t == nil {
		return Seen{}
	}
	return Seen{Status: t.Status, Expected: t.Expected, Got: t.Got, Reason: t.Reason, Lacks: t.Lacks}
}

func (s *specDiff) subtest(id string, base, next *reports.Subtest) {
	ch := Change{ID: id, Spec: s.id, Base: seen(base), New: seen(next)}
	class := classes[ch.Base.Status][ch.New.Status]
	if class == Same && base != nil && next != nil {
		class, ch.Note = s.same(&ch)
	}
	if base != nil && next != nil {
		s.c.Compared++
	}
	if flaky, note := s.flaky(&ch, base, next, class); flaky != Same || note != "" {
		class, ch.Note = flaky, note
	}
	s.counts[Transition{From: ch.Base.Status, To: ch.New.Status, Class: class}]++
	switch class {
	case Regression:
		s.regression(ch)
	case Fix:
		s.telling = true
		s.c.Fixes = append(s.c.Fixes, ch)
	case Flaky:
		s.c.Flaky = append(s.c.Flaky, ch)
	case Known:
		s.telling = true
		s.c.Known = append(s.c.Known, ch)
	case Behaviour:
		s.telling = true
		s.c.Behaviour = append(s.c.Behaviour, ch)
	case Other:
		s.telling = true
		s.c.Other = append(s.c.Other, ch)
	case Added:
		s.gained++
		if len(s.went) == 0 {
			s.added = append(s.added, id)
		}
	case Vanished:
		s.vanished = append(s.vanished, id)
	case SkipChange:
		if good(ch.Base.Status) { // to SKIP
			s.lost = append(s.lost, id)
		} else if good(ch.New.Status) {
			s.gained++
		}
	}
}

// same looks at what differs where the statuses do not.
func (s *specDiff) same(ch *Change) (Class, string) {
	a, b := ch.Base, ch.New
	switch a.Status {
	case reports.Recorded:
		if a.Got != b.Got {
			return Behaviour, ""
		}
	case reports.Fail:
		if a.Got != b.Got || a.Reason != b.Reason {
			return Other, "fails in another way"
		}
	case reports.Error:
		if crash := s.crash(s.after); crash != "" && s.crash(s.before) == "" {
			return Regression, "the kernel crashed: " + crash
		}
		if a.Reason != b.Reason {
			return Other, "another error"
		}
	}
	return Same, ""
}

// crash is the first one of the spec.
func (s *specDiff) crash(o *reports.Outcome) string {
	if o == nil {
		return ""
	}
	for _, a := range o.Attempts {
		if a.Crash != "" {
			return a.Crash
		}
	}
	return ""
}

func (s *specDiff) regression(ch Change) {
	if ch.New.Status == absent {
		s.lost = append(s.lost, ch.ID)
		return
	}
	s.telling = true
	if ch.Base.Status == absent && ch.Note == "" && there(s.before) && !reports.ID(ch.ID).IsWhole() {
		ch.Note = "BASE has no such subtest"
	}
	s.c.Regressions = append(s.c.Regressions, ch)
	if ch.New.Status == reports.Error && s.lostTo == 0 {
		s.lostTo = len(s.c.Regressions) // what is missing is missing because of it
	}
}

// userspaceLacks are the beginnings of what a SKIP lacks that the kernel has
// nothing to do with. All else may be the kernel's, and its loss counts.
var userspaceLacks = []string{"parser: ", "guest: ", "machine: ", "upstream: "}

func kernels(lacks string) bool {
	return !slices.ContainsFunc(userspaceLacks, func(p string) bool { return strings.HasPrefix(lacks, p) })
}

// loss says what became of good results that are not there any more.
func (s *specDiff) loss() {
	if len(s.lost) == 0 {
		return
	}
	whole := reports.ID(s.id).Whole().String()
	lost := Change{ID: whole, Spec: s.id, Base: Seen{Status: reports.Pass}, Lost: s.lost}
	switch {
	case s.lostTo > 0:
		s.c.Regressions[s.lostTo-1].Lost = s.lost
		return
	case !there(s.after) && s.after != nil && s.after.NotRun > 0:
		lost.Note = "it was planned on NEW and never started"
	case !there(s.after):
		lost.Note = "NEW did not run it"
	case len(s.came) > 0 && (!s.mayBlameKernel() || !slices.ContainsFunc(s.came, kernels)):
		return // see coverage
	case len(s.came) > 0:
		lost.New = Seen{Status: reports.Skip, Lacks: strings.Join(s.came, ", ")}
		lost.Note = "skipped on NEW: the kernel lacks what it needs"
	case s.hasError():
		s.telling = true
		lost.Note = "the " + reports.Noun(s.id) + " ended early on NEW, as on BASE"
	case s.otherSuite():
		s.c.Vanished = append(s.c.Vanished, Group{Spec: s.id, IDs: s.lost, Note: "the upstream suite differs"})
		return
	default:
		s.telling = true
		lost.Note = "passed on BASE, missing on NEW for an unknown reason"
	}
	s.c.Regressions = append(s.c.Regressions, lost)
}

// otherSuite reports whether the scripts themselves are not the same.
func (s *specDiff) otherSuite() bool {
	return s.base.Kernel.Properties["suite"] != s.next.Kernel.Properties["suite"]
}

// mayBlameKernel reports whether a skip can be the kernel's: not if it is the
// same one, or if the scripts are others, which may ask for other features.
func (s *specDiff) mayBlameKernel() bool {
	return s.base.Kernel.ID != s.next.Kernel.ID && !s.otherSuite()
}

func (s *specDiff) hasError() bool {
	return slices.ContainsFunc(s.after.Subtests, func(t reports.Subtest) bool { return t.Status == reports.Error })
}

// coverage books what came and went to what was lacking.
func (s *specDiff) coverage() {
	book := func(lacks []string, came bool, subtests int) {
		for _, l := range lacks {
			i := slices.IndexFunc(s.c.Skips, func(k Skip) bool { return k.Lacks == l && k.Came == came })
			if i < 0 {
				i = len(s.c.Skips)
				s.c.Skips = append(s.c.Skips, Skip{Lacks: l, Came: came})
			}
			k := &s.c.Skips[i]
			k.Scripts = append(k.Scripts, s.id)
			k.Subtests += subtests
		}
	}
	if there(s.after) {
		book(s.came, false, len(s.lost))
	}
	if there(s.after) && there(s.before) {
		book(s.went, true, s.gained)
	}
}

// verdict is the comparison in one line.
func (c *Comparison) verdict() string {
	if c.Compared == 0 && len(c.Regressions) == 0 {
		return "nothing to compare: no subtest is on both sides"
	}
	var parts []string
	add := func(n int, what string) {
		if n > 0 {
			parts = append(parts, plural(n, what))
		}
	}
	lost := c.lost()
	add(len(c.Regressions), "regression")
	if lost > 0 {
		parts[len(parts)-1] += fmt.Sprintf(" (%s)", plural(lost, "lost result"))
	}
	add(len(c.Fixes), "fix")
	add(len(c.Flaky), "flaky subtest")
	add(len(c.Known), "known problem")
	add(len(c.Behaviour), "changed behaviour")
	add(len(c.Skips), "changed skip")
	add(len(c.Other), "other change")
	add(sum(c.Added), "new subtest")
	add(sum(c.Vanished), "vanished subtest")
	of := fmt.Sprintf("of %s on both sides", plural(c.Compared, "subtest"))
	switch {
	case len(parts) == 0:
		return "no change in " + plural(c.Compared, "subtest")
	case len(c.Regressions) == 0 && !c.resultsChanged():
		return "no change " + of + "; " + strings.Join(parts, ", ")
	case len(c.Regressions) == 0:
		return "no regression: " + strings.Join(parts, ", ") + "; " + of
	}
	return strings.Join(parts, ", ") + "; " + of
}

// resultsChanged reports whether any result differs that is not just flaky.
func (c *Comparison) resultsChanged() bool {
	return len(c.Regressions)+len(c.Fixes)+len(c.Known)+len(c.Behaviour)+len(c.Other)+len(c.Skips)+len(c.Added)+len(c.Vanished) > 0
}

// lost is how many good results of BASE are not there because of regressions.
func (c *Comparison) lost() (n int) {
	for _, r := range c.Regressions {
		n += len(r.Lost)
	}
	return n
}

func sum(groups []Group) (n int) {
	for _, g := range groups {
		n += len(g.IDs)
	}
	return n
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	switch {
	case strings.HasSuffix(noun, "fix"):
		noun += "e"
	case noun == "changed behaviour":
		return fmt.Sprintf("%d changes of behaviour", n)
	}
	return printable.Count(n, noun)
}
