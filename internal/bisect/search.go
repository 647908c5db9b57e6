// Package bisect finds the build with which a test began to fail, or to pass,
// in a line of builds from an older to a newer one.
//
//	session := &bisect.Session{Builds: builds, Good: 0, Bad: len(builds) - 1, …}
//	found, err := session.Run(ctx)
//
// It halves, as git bisect does. A build that cannot be tested, or on which the
// test is flaky, is stepped around, and named if it leaves the answer open.
package bisect

import "context"

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

// search halves n builds, of which the first is older and the last newer. test
// is called at most once for each of the others.
func search(ctx context.Context, n int, test func(ctx context.Context, i int) (answer, error)) (span, error) {
	s := span{0, n - 1}
	skipped := make([]bool, n)
	for {
		i, ok := next(s, skipped)
		if !ok {
			return s, nil
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

// next is the build to be tested: the one in the middle, or the nearest to it
// that was not skipped.
func next(s span, skipped []bool) (int, bool) {
	middle := (s.last + s.first) / 2
	for d := 0; middle-d > s.last || middle+d < s.first; d++ {
		for _, i := range []int{middle - d, middle + d} {
			if i > s.last && i < s.first && !skipped[i] {
				return i, true
			}
		}
	}
	return 0, false
}

// steps is about how many tests are left.
func (s span) steps() (n int) {
	for left := s.first - s.last; left > 1; left = (left + 1) / 2 {
		n++
	}
	return n
}
