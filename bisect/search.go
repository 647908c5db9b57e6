// SPDX-License-Identifier: Apache-2.0

// Package bisect finds the first build on which a test fails, or passes, in a
// line of builds from an older to a newer one. It runs tests through package
// runner; bisecting commits is left to git (see Tester.Step).
//
//	session := &bisect.Session{Builds: builds, Good: 0, Bad: len(builds) - 1, …}
//	found, err := session.Run(ctx)
//
// It is a binary search, as in git bisect. A build that cannot be tested, or on
// which the test is flaky, is skipped, and named if it leaves the result open.
package bisect

import (
	"context"
	"slices"
)

// answer is the result of a test on a build.
type answer int

const (
	untold answer = iota // not testable, or no clear result
	older                // like the oldest of the line
	newer                // like the newest
)

// span is where the change is: after last, and not after first. Builds between
// them are untold.
type span struct{ last, first int }

// search is a binary search in builds, of which the first is older and the last
// is newer. It calls test at most once for each of the others, and not for
// those that are known to be untold.
func search(ctx context.Context, known []bool, test func(ctx context.Context, i int) (answer, error)) (span, error) {
	s := span{0, len(known) - 1}
	skipped := slices.Clone(known)
	for {
		i, ok := next(s, skipped)
		if !ok {
			return s, nil
		}
		if err := ctx.Err(); err != nil {
			return s, context.Cause(ctx)
		}
		a, err := test(ctx, i)
		if err != nil {
			return s, err
		}
		switch a {
		case older:
			s.last = i
		case newer:
			s.first = i
		default:
			skipped[i] = true
		}
	}
}

// left returns the builds of the span that can still be tested.
func (s span) left(skipped []bool) []int {
	var list []int
	for i := s.last + 1; i < s.first; i++ {
		if !skipped[i] {
			list = append(list, i)
		}
	}
	return list
}

// next returns the build to test: the middle one of those that are left.
func next(s span, skipped []bool) (int, bool) {
	left := s.left(skipped)
	if len(left) == 0 {
		return 0, false
	}
	return left[len(left)/2], true
}

// steps returns the largest number of tests that n builds need.
func steps(n int) (tests int) {
	for ; n > 0; n /= 2 {
		tests++
	}
	return tests
}
