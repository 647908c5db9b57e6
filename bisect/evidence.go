package bisect

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"proofhouse/internal/exit"
	"proofhouse/reports"
	"proofhouse/reports/expect"
)

// Evidence is what was found on one build.
type Evidence struct {
	Kernel   reports.Kernel `json:"kernel"` // without its specs
	Dir      string         `json:"dir"`    // of the run
	Subtests []Subtest      `json:"subtests"`
}

// Subtest is one subtest on one build, over all attempts.
type Subtest struct {
	ID       string           `json:"id"`
	Attempts []reports.Status `json:"attempts"` // PASS, FAIL, SKIP or ERROR
	// Expected is true if it failed, in each attempt, as it was expected to.
	Expected bool     `json:"expected,omitempty"`
	Reason   string   `json:"reason,omitempty"`
	Denials  []string `json:"denials,omitempty"` // the first few, of one that did not pass
}

// crash is the last part of the ID of what stands for a kernel that survives,
// or does not.
const crash = "(crash)"

// maxDenials is how many records are kept with a subtest.
const maxDenials = 4

// gather takes the evidence from a run on one kernel.
func gather(k *reports.Kernel, dir string) *Evidence {
	e := &Evidence{Kernel: *k, Dir: dir}
	e.Kernel.Specs, e.Kernel.NotRun, e.Kernel.Machines = nil, nil, nil
	for _, o := range k.Outcomes() {
		for _, t := range o.Subtests {
			s := Subtest{ID: t.ID, Reason: t.Reason, Expected: true}
			for _, st := range t.Attempts {
				s.Attempts = append(s.Attempts, found(st))
				s.Expected = s.Expected && st == reports.XFail
			}
			for range len(o.Attempts) - len(t.Attempts) { // not in each attempt
				s.Attempts = append(s.Attempts, reports.Error)
			}
			if s.stable() != reports.Pass {
				s.Denials = denials(o.Attempts)
			} else {
				s.Reason = ""
			}
			e.Subtests = append(e.Subtests, s)
		}
		if len(o.Attempts) > 0 {
			e.Subtests = append(e.Subtests, crashes(o))
		}
	}
	return e
}

// crashes says of a spec whether the kernel survived it.
func crashes(o reports.Outcome) Subtest {
	s := Subtest{ID: o.ID + "/" + crash}
	for _, a := range o.Attempts {
		switch {
		case a.Crash != "":
			s.Attempts, s.Reason = append(s.Attempts, reports.Fail), a.Crash
		case len(a.Results) == 0 || slices.ContainsFunc(a.Results, func(r reports.Result) bool { return r.Status == reports.Error }):
			s.Attempts = append(s.Attempts, reports.Error)
		default:
			s.Attempts = append(s.Attempts, reports.Pass)
		}
	}
	return s
}

// found is what a status says of the kernel's behaviour, whoever expected it.
func found(st reports.Status) reports.Status {
	switch st {
	case reports.XPass, reports.Recorded:
		return reports.Pass
	case reports.XFail:
		return reports.Fail
	}
	return st
}

// denials are the records of the first attempt that has any; those first in
// which the kernel names an error of its own.
func denials(attempts []reports.Spec) []string {
	for _, a := range attempts {
		if len(a.Denials) == 0 {
			continue
		}
		list := slices.Clone(a.Denials)
		slices.SortStableFunc(list, func(a, b string) int { return cmp.Compare(unexplained(a), unexplained(b)) })
		return list[:min(len(list), maxDenials)]
	}
	return nil
}

func unexplained(record string) int {
	if strings.Contains(record, " error=") {
		return 0
	}
	return 1
}

// stable is the status that all attempts share; "" if there is none such.
func (s Subtest) stable() reports.Status {
	for _, st := range s.Attempts {
		if st != s.Attempts[0] {
			return ""
		}
	}
	if len(s.Attempts) == 0 {
		return reports.Error
	}
	return s.Attempts[0]
}

// flaky is true if it both passed and failed.
func (s Subtest) flaky() bool {
	return slices.Contains(s.Attempts, reports.Pass) && slices.Contains(s.Attempts, reports.Fail)
}

func (s Subtest) said() string {
	var words []string
	for _, st := range s.Attempts {
		words = append(words, string(st))
	}
	return strings.Join(words, ", ")
}

func (e *Evidence) find(id string) Subtest {
	for _, s := range e.Subtests {
		if s.ID == id {
			return s
		}
	}
	return Subtest{ID: id}
}

// name is how people call the build.
func (e *Evidence) name() string { return e.Kernel.Release }

// Matches tells whether the pattern means the subtest: the name of an upstream
// script, the ID of a spec or a subtest, or an ID in which * stands for any
// text. An empty pattern means all.
func Matches(pattern, id string) bool {
	if pattern == "" {
		return true
	}
	if !strings.Contains(pattern, "/") {
		pattern = reports.NewID(reports.Regression, pattern).String()
	}
	return expect.Match(pattern, id) || expect.Match(pattern+"/*", id)
}

// targets are the subtests that the pattern means and that tell the bad build
// from the good one. Without any, the error says in one line which end is not
// what it was said to be.
func targets(pattern string, good, bad *Evidence) ([]string, error) {
	var ids, flaky, failing, swapped, same []string
	matched := 0
	for _, b := range bad.Subtests {
		if !Matches(pattern, b.ID) {
			continue
		}
		if pattern == "" && b.Expected {
			continue // whoever names no test does not ask for what is known
		}
		g := good.find(b.ID)
		if !strings.HasSuffix(b.ID, crash) {
			matched++
		}
		switch {
		case g.flaky() || b.flaky():
			where := good
			if b.flaky() {
				where, g = bad, b
			}
			flaky = append(flaky, fmt.Sprintf("%s is flaky on %s (%s)", b.ID, where.name(), g.said()))
		case g.stable() == reports.Pass && b.stable() == reports.Fail:
			ids = append(ids, b.ID)
		case g.stable() == reports.Fail && b.stable() == reports.Fail:
			failing = append(failing, b.ID)
		case g.stable() == reports.Fail && b.stable() == reports.Pass:
			swapped = append(swapped, b.ID)
		default:
			same = append(same, b.ID)
		}
	}
	what := "what is tested"
	if pattern != "" {
		what = pattern
	}
	switch {
	case len(ids) > 0:
		return ids, nil
	case matched == 0:
		return nil, exit.BadInputf("no subtest on %s matches %q", bad.name(), pattern)
	case len(flaky) > 0:
		return nil, exit.BadInputf("nothing to bisect: %s", strings.Join(flaky, "; "))
	case len(failing) > 0:
		return nil, exit.BadInputf("the good build %s is not good: %s fails there", good.name(), list(failing))
	}
	if len(swapped) > 0 {
		return nil, exit.BadInputf("the good build %s is not good, and the bad one %s is not bad: %s (swapped?)", good.name(), bad.name(), list(swapped))
	}
	for _, id := range same {
		switch g, b := good.find(id), bad.find(id); {
		case g.stable() != reports.Pass && g.stable() != reports.Skip:
			return nil, exit.BadInputf("the good build %s gives no clear answer: %s: %s (%s)", good.name(), id, g.said(), g.Reason)
		case b.stable() != reports.Pass && b.stable() != reports.Skip:
			return nil, exit.BadInputf("the bad build %s gives no clear answer: %s: %s (%s)", bad.name(), id, b.said(), b.Reason)
		}
	}
	return nil, exit.BadInputf("the bad build %s is not bad: nothing of %s fails there", bad.name(), what)
}

// list names a few.
func list(ids []string) string {
	if len(ids) > 1 {
		return fmt.Sprintf("%s (and %d more)", ids[0], len(ids)-1)
	}
	return ids[0]
}

// judge says whether a build is good or bad. Of one that is neither, why tells
// the reason.
func (e *Evidence) judge(targets []string) (good, bad bool, why string) {
	for _, id := range targets {
		s := e.find(id)
		switch {
		case s.stable() == reports.Fail:
			bad = true
		case s.flaky():
			why = fmt.Sprintf("flaky: %s (%s)", id, s.said())
		case s.stable() != reports.Pass && why == "":
			why = fmt.Sprintf("no answer: %s", id)
			if s.said() != "" {
				why += " (" + s.said() + ")"
			}
			if s.Reason != "" {
				why += ": " + s.Reason
			}
		}
	}
	if bad {
		return false, true, ""
	}
	return why == "", false, why
}
