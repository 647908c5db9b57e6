// SPDX-License-Identifier: Apache-2.0

package compare

import (
	"fmt"
	"math"

	"proofhouse/reports"
)

// tally is how often something was measured, and was bad.
type tally struct{ n, bad int }

func (t tally) mixed() bool        { return t.bad > 0 && t.bad < t.n }
func (t tally) plus(u tally) tally { return tally{t.n + u.n, t.bad + u.bad} }
func (t tally) String() string     { return fmt.Sprintf("failed %d of %d times", t.bad, t.n) }

// record is what earlier runs say of subtests, by ID.
type record map[string]tally

// earlier sums up the history of either side.
func earlier(base, next *reports.Kernel, history []reports.Kernel) [2]record {
	r := [2]record{{}, {}}
	for i := range history {
		h := &history[i]
		for side, k := range []*reports.Kernel{base, next} {
			if sameBuild(h, k) {
				r[side].add(h)
				break // one build on both sides has its history once
			}
		}
	}
	return r
}

func (r record) add(k *reports.Kernel) {
	for _, o := range k.Outcomes() {
		for i := range o.Subtests {
			t := &o.Subtests[i]
			r[t.ID] = r[t.ID].plus(measured(&o, t))
		}
	}
}

// measured is how often the subtest, which may be nil, came out bad in the
// attempts at its spec. An attempt in which it is not there counts as well: an
// ERROR about the script as a whole is there only where it went wrong.
func measured(o *reports.Outcome, t *reports.Subtest) tally {
	if o == nil {
		return tally{}
	}
	m := tally{n: len(o.Attempts)}
	if t == nil {
		return m
	}
	for _, st := range t.Attempts {
		if bad(st) {
			m.bad++
		}
	}
	return m
}

// significance is how unlikely a difference between two rates has to be before
// it counts as one.
const significance = 0.05

// flaky says what becomes of a subtest that has more than one verdict on the
// same build: it is a regression or a fix only where chance is no explanation,
// and flaky otherwise. Nothing, where it is not flaky.
//
// A kernel that crashed is never just flaky, unless BASE crashed as well.
func (s *specDiff) flaky(ch *Change, was, is *reports.Subtest, class Class) (Class, string) {
	base := measured(s.before, was).plus(s.earlier[0][ch.ID])
	next := measured(s.after, is).plus(s.earlier[1][ch.ID])
	// The status need not be bad to vary.
	varies := was != nil && was.Flaky() || is != nil && is.Flaky()
	if !varies && !base.mixed() && !next.mixed() {
		switch {
		case !s.c.SameBuild || class == Same:
			return Same, ""
		case !there(s.before) && class == Regression:
			return Other, "BASE did not run it"
		case !there(s.before): // no attempt that it could differ from
			return Same, ""
		}
	}
	if ch.New.Status == absent { // a loss is a loss
		return Same, ""
	}
	ch.Base.Attempts, ch.Base.Bad = base.n, base.bad
	ch.New.Attempts, ch.New.Bad = next.n, next.bad
	if s.c.SameBuild {
		both := base.plus(next)
		if both.bad == 0 || both.bad == both.n {
			return Flaky, "not the same in every attempt"
		}
		return Flaky, both.String()
	}
	if crash := s.crash(s.after); crash != "" && s.crash(s.before) == "" && ch.New.Status == reports.Error {
		return Regression, fmt.Sprintf("the kernel crashed (%s): %s", next, crash)
	}
	switch {
	case base.bad+next.bad == 0:
		return Flaky, "not the same in every attempt"
	case base.bad == 0 && 2*next.bad > next.n:
		// BASE may have too few measurements for Fisher's test to find anything:
		// with one, it takes 19 failures of 19. That is no proof of chance.
		return Regression, fmt.Sprintf("%s, on BASE never (%s)", next, measurements(base.n))
	case moreOften(next, base) <= significance:
		return Regression, fmt.Sprintf("%s, on BASE %d of %d: more than chance", next, base.bad, base.n)
	case moreOften(base, next) <= significance:
		return Fix, fmt.Sprintf("%s, on BASE %d of %d: less than chance", next, base.bad, base.n)
	}
	return Flaky, fmt.Sprintf("%s, on BASE %d of %d", next, base.bad, base.n)
}

func measurements(n int) string {
	if n == 1 {
		return "1 measurement"
	}
	return fmt.Sprintf("%d measurements", n)
}

// moreOften is the probability that a came out at least as bad as it did, were
// its rate that of b: Fisher's exact test, one-sided.
func moreOften(a, b tally) float64 {
	n, bad := a.n+b.n, a.bad+b.bad
	p := 0.0
	for k := a.bad; k <= min(a.n, bad); k++ {
		if bad-k <= b.n {
			p += math.Exp(choose(bad, k) + choose(n-bad, a.n-k) - choose(n, a.n))
		}
	}
	return p
}

// choose is the logarithm of n over k.
func choose(n, k int) float64 {
	if k < 0 || k > n {
		return math.Inf(-1)
	}
	l := func(x int) float64 { v, _ := math.Lgamma(float64(x) + 1); return v }
	return l(n) - l(k) - l(n-k)
}
