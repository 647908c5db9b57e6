// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"

	"proofhouse/reports"
)

func TestWrite(t *testing.T) {
	result := func(id string, s reports.Status, got string) reports.Result {
		return reports.Result{ID: id, Status: s, Got: got, Reason: "why " + got, Lacks: "kernel: x/y"}
	}
	kernel := func(release string, results ...reports.Result) reports.Kernel {
		return reports.Kernel{Release: release, Spec: "spec", Specs: []reports.Spec{{ID: "isolation/file/read", Results: results}, {ID: "regression/open", Results: []reports.Result{{ID: "regression/open/x", Status: reports.Fail}}}}}
	}
	var b strings.Builder
	write(&b, []reports.Kernel{
		kernel("7.2.7", result("isolation/file/read/a", reports.Fail, "ok"), result("isolation/live/rmdir/flat", reports.Recorded, "a|b")),
		kernel("6.12.1", result("isolation/file/read/a", reports.Pass, "ok"), result("isolation/live/rmdir/flat", reports.Recorded, "a|b")),
		kernel("6.1.2", result("isolation/file/read", reports.Skip, "")),
		kernel("6.13.0", reports.Result{ID: "isolation/file/read/a", Status: reports.XFail, Reason: "known", Known: &reports.Known{Reason: "as found", Reference: "docs/findings/x"}}),
	})
	for _, want := range []string{
		"| row | 6.1.2 | 6.12.1 | 6.13.0 | 7.2.7 |",
		"| **read**: open a file for reading | SKIP: x/y | 1 | 1 XFAIL | 1 FAIL |",
		`| live/rmdir/flat |  | a\|b |  | a\|b |`,
		"- 6.13.0, XFAIL, `isolation/file/read/a`: known (as found): docs/findings/x",
		"- 7.2.7, FAIL, `isolation/file/read/a`: why ok",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	if strings.Contains(b.String(), "regression/open") {
		t.Error("the upstream suite is in it")
	}
}
