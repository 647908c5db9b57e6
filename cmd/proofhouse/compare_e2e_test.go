// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"proofhouse/reports"
)

// Expectations have their say during a run, and two runs of one build
// compare as no change.
func TestE2EExpectations(t *testing.T) {
	dir := t.TempDir()
	mine := filepath.Join(dir, "mine.yaml")
	list := `
- {subtest: regression/open/OPEN RW, reason: as a trial}
- {subtest: regression/open/GONE, reason: as a trial}
`
	if err := os.WriteFile(mine, []byte(list), 0o600); err != nil {
		t.Fatal(err)
	}
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	e := proofhouse(t, "", "run", "--script", "open,introspect", "--expectations", mine, "--out", a)
	if e.status != 0 {
		t.Fatalf("exit status %d\n%s%s", e.status, e.stdout, e.stderr)
	}
	for _, said := range []string{`mine.yaml:3: the expectation for "regression/open/GONE" matches no subtest`, "lsm_get_self_attr"} {
		if !strings.Contains(strings.Join(strings.Fields(e.stdout), " "), said) {
			t.Errorf("not said: %s\n%s", said, e.stdout)
		}
	}
	found := map[string]reports.Result{}
	run := readResults(t, a)
	for _, s := range run.Kernels[0].Specs {
		for _, r := range s.Results {
			found[r.ID] = r
		}
	}
	for id, want := range map[string]struct {
		now, found reports.Status
		by         string
	}{
		"regression/open/OPEN RW":                        {reports.XPass, reports.Pass, "mine.yaml:2"},
		"regression/introspect/introspect self confined": {reports.XFail, reports.Fail, "expectations.yaml:"},
	} {
		r := found[id]
		if r.Status != want.now || r.Known == nil || r.Known.Found != want.found || !strings.HasPrefix(r.Known.By, want.by) {
			t.Errorf("%s: %+v, %+v", id, r, r.Known)
		}
	}
	if e := proofhouse(t, "", "run", "--script", "open,introspect", "--out", b); e.status != 0 {
		t.Fatalf("exit status %d\n%s%s", e.status, e.stdout, e.stderr)
	}
	e = proofhouse(t, "", "compare", a, b, "--fail-on", "any-change")
	if e.status != 0 || !strings.HasPrefix(e.stdout, "no change in ") {
		t.Errorf("exit status %d\n%s%s", e.status, e.stdout, e.stderr)
	}
}
