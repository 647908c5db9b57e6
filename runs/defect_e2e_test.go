// SPDX-License-Identifier: Apache-2.0

package runs

import (
	"slices"
	"testing"

	"proofhouse/isolation/defects"
	"proofhouse/reports"
)

// Every check of a known defect tells something on the default kernel, and one
// whose controls do not hold tells nothing.
func TestE2EKnownDefects(t *testing.T) {
	l := onKernel(t, DefaultKernel)
	for _, d := range defects.All() {
		spec := l.Defect(t.Context(), l.Plan.Builds[0], d)
		t.Logf("%s: %.1f s", spec.ID, spec.Seconds)
		for _, r := range spec.Results {
			t.Logf("%s %s: %s (%s)", r.Status, r.ID, r.Reason, r.Got)
			if !slices.Contains([]reports.Status{reports.Pass, reports.Fail, reports.Skip, reports.XFail}, r.Status) {
				t.Errorf("%s is %s: %s", r.ID, r.Status, r.Reason)
			}
		}
	}
	// Without the owner rule, the second file is free to all.
	l.faults.plan = rewrite("", "owner /iso/own/* rwl,", "/iso/own/* rwl,")
	d := defects.All()[slices.IndexFunc(defects.All(), func(d defects.Defect) bool { return d.Name == "rename-exchange-owner" })]
	for _, r := range l.Defect(t.Context(), l.Plan.Builds[0], d).Results {
		if r.Status != reports.Error {
			t.Errorf("controls that do not hold: %s: %s", r.Status, r.Reason)
		}
	}
}
