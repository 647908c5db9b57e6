// SPDX-License-Identifier: Apache-2.0

package bisect

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"proofhouse/internal/exit"
	"proofhouse/kernels"
	"proofhouse/reports"
)

// Step is the verdict on a single build.
type Step struct {
	Verdict Verdict // Good or Bad
	Line    string
}

// Step tests a single build. It is bad if a subtest that matches the pattern
// fails; without a pattern, if a subtest fails that was not expected to. If it
// gives no clear result, or the kernel crashes and crashIsBad is false, the error
// is [Untestable].
func (t *Tester) Step(ctx context.Context, spec string, crashIsBad bool) (*Step, error) {
	e, err := t.Test(ctx, kernels.Candidate{Spec: spec}, nil)
	if err != nil {
		return nil, err
	}
	return e.step(t.Pattern, crashIsBad)
}

func (e *Evidence) step(pattern string, crashIsBad bool) (*Step, error) {
	var failed, unclear []string
	passed, skipped, matched := 0, 0, 0
	for _, s := range e.Subtests {
		if !Matches(pattern, s.ID) {
			continue
		}
		if pattern == "" && s.Expected {
			continue
		}
		isCrash := strings.HasSuffix(s.ID, "/"+crash)
		if isCrash && (!crashIsBad || s.stable() == reports.Pass) {
			if s.stable() == reports.Fail || s.flaky() {
				// It explains the ERRORs that it caused.
				unclear = slices.Insert(unclear, 0, fmt.Sprintf("the kernel crashed in %s: %s", strings.TrimSuffix(s.ID, "/"+crash), s.Reason))
			}
			continue
		}
		matched++
		switch s.stable() {
		case reports.Fail:
			failed = append(failed, s.ID)
		case reports.Pass:
			passed++
		case reports.Skip:
			skipped++
		default:
			why := s.said()
			if s.flaky() {
				why = "flaky, " + why
			} else if s.Reason != "" {
				why += ": " + s.Reason
			}
			unclear = append(unclear, fmt.Sprintf("%s (%s)", s.ID, why))
		}
	}
	switch {
	case len(failed) > 0:
		return &Step{Bad, fmt.Sprintf("bad: %s on %s", list(failed), e.name())}, nil
	case len(unclear) > 0:
		return nil, &Untestable{errors.New(list(unclear))}
	case matched == 0:
		return nil, exit.BadInputf("no subtest on %s matches %q", e.name(), pattern)
	case passed == 0:
		return nil, &Untestable{fmt.Errorf("all %d were skipped", skipped)}
	}
	return &Step{Good, fmt.Sprintf("good: %d passed on %s", passed, e.name())}, nil
}
