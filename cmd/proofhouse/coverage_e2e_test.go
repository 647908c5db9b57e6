// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"proofhouse/reports"
	"proofhouse/reports/coverage"
)

// coverageKernel is the build tree of a kernel with CONFIG_GCOV_KERNEL.
func coverageKernel(t *testing.T) string {
	t.Helper()
	tree := os.Getenv("PROOFHOUSE_COVERAGE_KERNEL")
	if tree == "" {
		t.Skip("PROOFHOUSE_COVERAGE_KERNEL does not name the build tree of a kernel with CONFIG_GCOV_KERNEL (docs/coverage.md)")
	}
	return tree
}

// patchOf makes a patch that adds a line to a function of the tree: it changes the
// line itself, which is as it is in the tree.
func patchOf(t *testing.T, tree, file, text string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(tree, file))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(b), "\n")
	for i, l := range lines {
		if !strings.Contains(l, text) || i == 0 {
			continue
		}
		patch := filepath.Join(t.TempDir(), "fix.patch")
		body := fmt.Sprintf("--- a/%s\n+++ b/%s\n@@ -%d,2 +%d,3 @@\n %s\n+%s\n %s\n", file, file, i, i, lines[i-1], l, lines[i+1])
		if err := os.WriteFile(patch, []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
		return patch
	}
	t.Fatalf("%s has no line with %q", file, text)
	return ""
}

// A script reaches what it is about, and a row of signals something else; both are
// in the reports, and a patch of either selects it.
func TestE2ECoverage(t *testing.T) {
	tree := coverageKernel(t)
	dir := filepath.Join(t.TempDir(), "map")
	patch := patchOf(t, tree, "security/apparmor/domain.c", "previous = aa_get_newest_label(ctx->previous);")
	e := proofhouse(t, "", "run", "-k", tree, "--script", "open,changehat", "--row", "signal/receive", "--patch", patch, "--out", dir)
	if e.status == 2 {
		t.Fatalf("exit status %d\n%s%s", e.status, e.stdout, e.stderr)
	}
	run := readResults(t, dir)
	k := &run.Kernels[0]
	if k.Coverage == nil || k.Coverage.Tests != 3 || len(k.Coverage.Missing) > 0 {
		t.Fatalf("%+v\n%s%s", k.Coverage, e.stdout, e.stderr)
	}
	reached := map[string]map[string]bool{} // functions, by test
	c, err := reports.OpenCoverage(dir, k)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Each(func(id string, set coverage.Set) {
		reached[id] = map[string]bool{}
		for _, f := range set {
			for _, fn := range f.Functions {
				reached[id][fn.Name] = fn.Count > 0
			}
		}
	}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []struct {
		test, function string
		reached        bool
	}{
		{"regression/changehat", "aa_change_hat", true},
		{"regression/open", "aa_change_hat", false},
		{"regression/open", "apparmor_file_open", true},
		{"isolation/signal/receive", "aa_may_signal", true},
		{"isolation/signal/receive", "aa_change_hat", false},
	} {
		if got, known := reached[want.test][want.function]; got != want.reached || !known {
			t.Errorf("%s reached %s: %v, known %v", want.test, want.function, got, known)
		}
	}
	if !strings.Contains(strings.Join(strings.Fields(e.stdout), " "), "of 1 changed line 1 was reached") || !strings.Contains(e.stdout, "reached by changehat") {
		t.Errorf("the patch:\n%s", e.stdout)
	}
	// The map selects the script that reaches the patch.
	e = proofhouse(t, "", "run", "-k", tree, "--script", "open,changehat", "--row", "signal/receive", "--select-for", patch, "--map", dir, "--dry-run")
	if e.status != 0 || !strings.Contains(e.stdout, "regression/changehat") || strings.Contains(e.stdout, "regression/open") || strings.Contains(e.stdout, "signal/receive") {
		t.Errorf("exit status %d\n%s%s", e.status, e.stdout, e.stderr)
	}
	// A kernel that does not count, with the notes of another build.
	other := filepath.Join(t.TempDir(), "other")
	e = proofhouse(t, "", "run", "-k", "uml:debian:forky", "--coverage-tree", tree, "--script", "open", "--out", other)
	if e.status != 2 || !strings.Contains(e.stderr, "CONFIG_GCOV_KERNEL") || strings.Count(strings.TrimSpace(e.stderr), "\n") > 8 {
		t.Errorf("exit status %d\n%s%s", e.status, e.stdout, e.stderr)
	}
}
