// SPDX-License-Identifier: Apache-2.0

package mutants

import (
	"context"
	"errors"
	"time"

	"proofhouse/reports"
	"proofhouse/runs/runner"
)

// Why a run was stopped before its end.
var (
	errCaught = errors.New("a check caught the fault")
	errWedged = errors.New("no test works")
)

// wedgedAfter is how many specs must end without one good result before a run is
// stopped: such a fault breaks what every test needs, such as the container.
const wedgedAfter = 5

// stopper is a Watcher that stops a run as soon as its outcome is known.
type stopper struct {
	runner.Watcher
	stop context.CancelCauseFunc
	// good are the results that must be good for the run to continue. Those
	// that are good as expected failures are not among them: that is decided
	// after the run.
	good map[string]bool
	// expected are the specs with a good result without the fault: errors of
	// others say nothing about it.
	expected map[string]bool
	// first stops at the first result that is not good.
	first bool

	works  bool
	broken map[string]bool
}

// Follow shows the run and looks at its results as they come.
func (s *stopper) Follow(ctx context.Context, dir string) {
	go func() {
		tail := reports.NewTail(dir)
		for {
			events, _ := tail.Next() // what cannot be read now is read later
			s.take(events)
			select {
			case <-ctx.Done():
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
	}()
	s.Watcher.Follow(ctx, dir)
}

func (s *stopper) take(events []reports.Event) {
	for _, e := range events {
		if e.Spec == nil || e.Event == reports.SpecStarted {
			continue
		}
		results := e.Results
		if e.Event == reports.SpecEnded {
			results = append(results, e.Spec.Results...)
		}
		for _, r := range results {
			switch {
			case r.Status == reports.Fail && s.good[r.ID]:
				s.works = true
				if s.first {
					s.stop(errCaught)
				}
			case r.Status == reports.Error && s.expected[specOf(r.ID)]:
				s.broken[e.Spec.ID] = true
			case isGood(r.Status):
				s.works = true
			}
		}
	}
	if !s.works && len(s.broken) >= wedgedAfter {
		s.stop(errWedged)
	}
}
