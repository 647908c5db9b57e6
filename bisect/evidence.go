// SPDX-License-Identifier: Apache-2.0

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

// Evidence is the result of the tests on one build.
type Evidence struct {
	Kernel   reports.Kernel `json:"kernel"` // without its specs
	Dir      string         `json:"dir"`    // of the run
	Subtests []Subtest      `json:"subtests"`
	// Doubt says why the run proves nothing where it shows no failure; "" if
	// nothing does.
	Doubt string `json:"doubt,omitempty"`
}

// Subtest is one subtest on one build, over all attempts.
type Subtest struct {
	ID       string           `json:"id"`
	Attempts []reports.Status `json:"attempts"` // PASS, FAIL, SKIP or ERROR
	// Expected is true if it failed in each attempt and was expected to fail.
	Expected bool     `json:"expected,omitempty"`
	Reason   string   `json:"reason,omitempty"`
	Denials  []string `json:"denials,omitempty"` // the first ones, if it did not pass
}

// crash is the last part of the ID of a result that reports whether the kernel
// survived a spec.
const crash = "(crash)"

// maxDenials is the number of records that are kept with a subtest.
const maxDenials = 4

// doubtOf returns why a run without a failure is no proof, or "": its records are
// damaged or contradictory, it was cut short, or planned tests did not run.
func doubtOf(run *reports.Run) string {
	switch {
	case len(run.Doubts) > 0:
		return run.Doubts[0]
	case run.CutShort:
		return "the run was cut short"
	}
	for i := range run.Kernels {
		if missing := run.Kernels[i].NotRun; len(missing) > 0 {
			return missing[0] + " did not run"
		}
	}
	return ""
}

// gather collects the evidence of a run on one kernel.
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

// crashes returns the subtest that reports whether the kernel survived a spec.
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

// found returns the status without regard to expectations.
func found(st reports.Status) reports.Status {
	switch st {
	case reports.XPass, reports.Recorded:
		return reports.Pass
	case reports.XFail:
		return reports.Fail
	}
	return st
}

// denials returns the records of the first attempt that has any. Those with an
// error of the kernel come first.
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

// stable returns the status that all attempts have; "" if they differ.
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

// flaky reports whether it both passed and failed.
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

// name returns the name of the build for people.
func (e *Evidence) name() string { return e.Kernel.Release }

// Matches reports whether the pattern matches the subtest. A pattern is the name
// of an upstream script, the ID of a spec or a subtest, or an ID in which *
// matches any text. An empty pattern matches all.
func Matches(pattern, id string) bool {
	if pattern == "" {
		return true
	}
	if !strings.Contains(pattern, "/") {
		pattern = reports.NewID(reports.Regression, pattern).String()
	}
	return expect.Match(pattern, id) || expect.Match(pattern+"/*", id)
}

// targets returns the subtests that match the pattern and distinguish the bad
// build from the good one. If there are none, the error says in one line which
// end is not what the user said.
func targets(pattern string, good, bad *Evidence) ([]string, error) {
	var ids, flaky, failing, swapped, same []string
	matched := 0
	for _, b := range bad.Subtests {
		if !Matches(pattern, b.ID) {
			continue
		}
		if pattern == "" && b.Expected {
			continue // without a pattern, expected failures are left out
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
	what := "the tests"
	if pattern != "" {
		what = pattern
	}
	switch {
	case len(ids) > 0 && good.Doubt != "":
		return nil, exit.BadInputf("the good build %s gives no clear result: %s", good.name(), good.Doubt)
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
			return nil, exit.BadInputf("the good build %s gives no clear result: %s: %s (%s)", good.name(), id, g.said(), g.Reason)
		case b.stable() != reports.Pass && b.stable() != reports.Skip:
			return nil, exit.BadInputf("the bad build %s gives no clear result: %s: %s (%s)", bad.name(), id, b.said(), b.Reason)
		}
	}
	return nil, exit.BadInputf("the bad build %s is not bad: none of %s fails there", bad.name(), what)
}

// list names the first one and the number of the others.
func list(ids []string) string {
	if len(ids) > 1 {
		return fmt.Sprintf("%s (and %d more)", ids[0], len(ids)-1)
	}
	return ids[0]
}

// judge returns whether a build is good or bad. If it is neither, why is the
// reason.
func (e *Evidence) judge(targets []string) (good, bad bool, why string) {
	for _, id := range targets {
		s := e.find(id)
		switch {
		case s.stable() == reports.Fail:
			bad = true
		case s.flaky():
			why = fmt.Sprintf("flaky: %s (%s)", id, s.said())
		case s.stable() != reports.Pass && why == "":
			why = fmt.Sprintf("no result: %s", id)
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
	if why == "" && e.Doubt != "" {
		why = "no result: " + e.Doubt
	}
	return why == "", false, why
}
