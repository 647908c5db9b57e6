// Package bisect finds the build with which a test began to fail, or to pass,
// in a line of builds from an older to a newer one.
//
//	session := &bisect.Session{Builds: builds, Good: 0, Bad: len(builds) - 1, …}
//	found, err := session.Run(ctx)
//
// It halves, as git bisect does. A build that cannot be tested, or on which the
// test is flaky, is stepped around, and named if it leaves the answer open.
package bisect

import (
	"context"
	"slices"
)

// answer is what a test says of a build.
type answer int

const (
	untold answer = iota // it could not be tested, or gave no clear answer
	older                // as the oldest of the line
	newer                // as the newest
)

// span is where the change is: after last, and at first at the latest. Those
// between them are untold.
type span struct{ last, first int }

// search halves builds, of which the first is older and the last newer. test
// is called at most once for each of the others, and not for those that are
// known to be untold.
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

// left are the builds of the span that may still be tested.
func (s span) left(skipped []bool) []int {
	var list []int
	for i := s.last + 1; i < s.first; i++ {
		if !skipped[i] {
			list = append(list, i)
		}
	}
	return list
}

// next is the build to be tested: the one in the middle of those that are left.
func next(s span, skipped []bool) (int, bool) {
	left := s.left(skipped)
	if len(left) == 0 {
		return 0, false
	}
	return left[len(left)/2], true
}

// steps is how many tests n builds need at most.
func steps(n int) (tests int) {
	for ; n > 0; n /= 2 {
		tests++
	}
	return tests
}
