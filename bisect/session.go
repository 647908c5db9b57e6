// SPDX-License-Identifier: Apache-2.0

package bisect

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"proofhouse/internal/exit"
	"proofhouse/kernels"
	"proofhouse/reports"
)

// Session is one search.
type Session struct {
	Builds    []kernels.Candidate // the line, the oldest first
	Good, Bad int                 // indexes of the ends
	Pattern   string              // see [Matches]
	// Test tests a build: the specs with these IDs, or without IDs, all that
	// match the pattern. An [Untestable] error means that the build gives no
	// result; any other error ends the search.
	Test func(ctx context.Context, build kernels.Candidate, specs []string) (*Evidence, error)
	// Say gets a line for each step of the search.
	Say func(line string)
}

// Untestable is the reason why a build gives no result: for example, it is not on
// the mirror, or does not boot.
type Untestable struct{ Err error }

func (u *Untestable) Error() string { return u.Err.Error() }
func (u *Untestable) Unwrap() error { return u.Err }

// Verdict is the verdict on one build.
type Verdict string

// The verdicts.
const (
	Good   Verdict = "good"
	Bad    Verdict = "bad"
	Untold Verdict = "cannot tell"
)

// Tested is a build of the line with its verdict.
type Tested struct {
	kernels.Candidate
	Verdict  Verdict   `json:"verdict"`
	Why      string    `json:"why,omitempty"` // if the verdict is Untold
	Evidence *Evidence `json:"-"`
}

// Found is the result of a search.
type Found struct {
	// Fixed is true if the good build is the newer one: then the search is for
	// the first fixed build.
	Fixed bool `json:"fixed"`
	// Last is the last known build before the change, and First the first known
	// one after it. Between has the untold builds between them: the change may
	// be in any of them or in First.
	Last    Tested   `json:"last"`
	First   Tested   `json:"first"`
	Between []Tested `json:"between,omitempty"`
	Targets []string `json:"targets"` // the subtests that decided
	Tested  []Tested `json:"tested"`  // all tested builds, in the order of the line
}

// Run tests both ends and then searches between them.
func (s *Session) Run(ctx context.Context) (*Found, error) {
	if s.Good == s.Bad {
		return nil, exit.BadInputf("good and bad are the same build, %s", s.Builds[s.Good].Name())
	}
	from, to := min(s.Good, s.Bad), max(s.Good, s.Bad)
	line := s.Builds[from : to+1]
	f := &Found{Fixed: s.Good > s.Bad}
	tested := map[int]Tested{}

	ends := map[Verdict]*Evidence{}
	for _, end := range []struct {
		at      int
		verdict Verdict
	}{{s.Good, Good}, {s.Bad, Bad}} {
		e, err := s.Test(ctx, s.Builds[end.at], nil)
		if err != nil {
			return nil, fmt.Errorf("the %s build %s: %w", end.verdict, s.Builds[end.at].Name(), err)
		}
		ends[end.verdict] = e
		tested[end.at-from] = Tested{Candidate: s.Builds[end.at], Verdict: end.verdict, Evidence: e}
	}
	var err error
	if f.Targets, err = targets(s.Pattern, ends[Good], ends[Bad]); err != nil {
		return nil, err
	}
	known, gone := make([]bool, len(line)), 0
	for i, b := range line[1 : len(line)-1] {
		if b.Lacks != "" {
			known[i+1] = true
			gone++
			tested[i+1] = Tested{Candidate: b, Verdict: Untold, Why: "the mirror lacks " + b.Lacks}
		}
	}
	if gone > 0 {
		s.Say(fmt.Sprintf("%d builds; %d are incomplete on the mirror", len(line), gone))
	}
	s.Say(fmt.Sprintf("%s is good and %s is bad: %s", s.Builds[s.Good].Name(), s.Builds[s.Bad].Name(), list(f.Targets)))

	where := span{0, len(line) - 1}
	where, err = search(ctx, slices.Clone(known), func(ctx context.Context, i int) (answer, error) {
		t, err := s.one(ctx, line[i], f.Targets)
		if err != nil {
			return untold, err
		}
		tested[i] = t
		a := f.answer(t.Verdict)
		switch a {
		case older:
			where.last = i
		case newer:
			where.first = i
		}
		text := fmt.Sprintf("%s: %s", line[i].Name(), t.Verdict)
		if t.Why != "" {
			text += ", " + t.Why
		}
		known[i] = a == untold
		left := len(where.left(known))
		s.Say(fmt.Sprintf("%s (%d left, %d more to test)", text, left, steps(left)))
		return a, nil
	})
	if err != nil {
		return nil, err
	}
	f.Last, f.First = tested[where.last], tested[where.first]
	for i := range line {
		t, ok := tested[i]
		if !ok {
			continue
		}
		f.Tested = append(f.Tested, t)
		if i > where.last && i < where.first {
			f.Between = append(f.Between, t)
		}
	}
	return f, nil
}

// one tests a build between the ends.
func (s *Session) one(ctx context.Context, build kernels.Candidate, targets []string) (Tested, error) {
	t := Tested{Candidate: build, Verdict: Untold}
	e, err := s.Test(ctx, build, specsOf(targets))
	var no *Untestable
	switch {
	case errors.As(err, &no):
		t.Why = no.Error()
		return t, nil
	case err != nil:
		return t, fmt.Errorf("build %s: %w", build.Name(), err)
	}
	t.Evidence = e
	good, bad, why := e.judge(targets)
	switch {
	case good:
		t.Verdict = Good
	case bad:
		t.Verdict = Bad
	default:
		t.Why = why
	}
	return t, nil
}

func (f *Found) answer(v Verdict) answer {
	switch {
	case v == Untold:
		return untold
	case (v == Good) == f.Fixed:
		return newer
	}
	return older
}

// specsOf returns the specs of the subtests.
func specsOf(subtests []string) []string {
	var specs []string
	for _, id := range subtests {
		id := reports.ID(id).Spec().String()
		if !slices.Contains(specs, id) {
			specs = append(specs, id)
		}
	}
	return specs
}
