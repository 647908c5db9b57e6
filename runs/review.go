// SPDX-License-Identifier: Apache-2.0

package runs

import (
	"fmt"
	"slices"

	"proofhouse/kernels"
	"proofhouse/regression"
	"proofhouse/reports"
)

// Review compares a run with its plan, and has the expectations reviewed. What
// contradicts the plan is a doubt: the run cannot be a PASS then. It is for
// [reports.Write].
func (p *Plan) Review(run *reports.Run) {
	for i := range run.Kernels {
		k := &run.Kernels[i]
		if !slices.ContainsFunc(p.Builds, func(b *kernels.Build) bool { return b.ID() == k.ID }) {
			doubt(run, fmt.Sprintf("the journals have kernel %s, which is not in %s", k.ID, PlanFile))
			continue
		}
		for _, o := range k.Outcomes() {
			if !p.planned(k.ID, reports.ID(o.ID)) {
				doubt(run, fmt.Sprintf("the journals have %s on kernel %s, which is not in %s", o.ID, k.ID, PlanFile))
			}
		}
	}
	p.Expectations.Review(run)
}

// planned reports whether the plan allows the spec on the kernel. Only the
// suite knows which of them a label filter or a shard leaves.
func (p *Plan) planned(kernel string, id reports.ID) bool {
	switch {
	case id.In(reports.Regression):
		return p.Has(kernel, id.String()) && slices.ContainsFunc(p.Scripts, func(s regression.Script) bool { return SpecID(s.Name) == id.String() })
	case id.In(reports.Isolation):
		// Without a list of rows, all of them were planned, also those that the
		// matrix of an older version had.
		return p.Has(kernel, id.String()) && p.HasRow(id.String())
	}
	return true // such as the kernel log
}

func doubt(run *reports.Run, why string) {
	if !slices.Contains(run.Doubts, why) {
		run.Doubts = append(run.Doubts, why)
	}
}
