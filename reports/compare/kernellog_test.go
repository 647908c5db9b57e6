// SPDX-License-Identifier: Apache-2.0

package compare

import (
	"testing"

	"proofhouse/reports"
)

// A complaint of the new kernel while no test was running is a regression, also
// where only what both sides ran is compared.
func TestKernelLog(t *testing.T) {
	kernel := func(id string, specs ...reports.Spec) *Side {
		k := &reports.Kernel{ID: id, Specs: append(specs, reports.Spec{ID: "regression/open", Results: []reports.Result{{ID: "regression/open/A", Status: reports.Pass}}})}
		return &Side{Kernel: k}
	}
	log := reports.Spec{ID: "kernel/log", Results: []reports.Result{{ID: "kernel/log/WARNING in aa_put_label", Status: reports.Fail}}}
	for _, common := range []bool{false, true} {
		if c := Diff(kernel("a"), kernel("b", log), Options{Common: common}); len(c.Regressions) != 1 {
			t.Errorf("common %v: %+v", common, c.Regressions)
		}
		if c := Diff(kernel("a", log), kernel("b"), Options{Common: common}); len(c.Regressions) != 0 {
			t.Errorf("common %v: %+v", common, c.Regressions)
		}
	}
}
