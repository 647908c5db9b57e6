// SPDX-License-Identifier: Apache-2.0

package runs

import (
	"slices"
	"testing"

	"proofhouse/internal/exit"
	"proofhouse/kernels"
	"proofhouse/regression"
	"proofhouse/reports"
)

// A journal that has what the plan has not is of another run, or was changed:
// no PASS.
func TestReview(t *testing.T) {
	b := &kernels.Build{Kind: kernels.UML, Release: "7.2", SHA256: "0123456789abcdef"}
	plan := &Plan{Builds: []*kernels.Build{b}, Scripts: []regression.Script{{Name: "open"}}, Rows: []string{"isolation/file/read"}}
	pass := func(kernel string, ids ...string) *reports.Run {
		k := reports.Kernel{ID: kernel}
		for _, id := range ids {
			k.Specs = append(k.Specs, reports.Spec{ID: id, Results: []reports.Result{{ID: id + "/A", Status: reports.Pass}}})
		}
		return &reports.Run{Planned: len(ids), Kernels: []reports.Kernel{k}}
	}
	for name, c := range map[string]struct {
		run  *reports.Run
		good bool
	}{
		"as planned":        {pass(b.ID(), "regression/open", "isolation/file/read"), true},
		"with a kernel log": {pass(b.ID(), "regression/open", "kernel/log"), true},
		"another kernel":    {pass("other", "regression/open"), false},
		"another script":    {pass(b.ID(), "regression/open", "regression/pipe"), false},
		"another row":       {pass(b.ID(), "regression/open", "isolation/file/write"), false},
	} {
		plan.Review(c.run)
		if status, line := reports.Verdict(c.run); (status == exit.OK) != c.good || c.good != (len(c.run.Doubts) == 0) {
			t.Errorf("%s: %s, %q", name, line, c.run.Doubts)
		}
	}
	plan.Only = map[string][]string{b.ID(): {"regression/open"}}
	run := pass(b.ID(), "regression/open", "isolation/file/read")
	plan.Review(run)
	if len(run.Doubts) != 1 || !slices.ContainsFunc(run.Doubts, func(s string) bool { return s != "" }) {
		t.Errorf("%q", run.Doubts)
	}
}
