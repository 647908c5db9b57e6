// SPDX-License-Identifier: Apache-2.0

package nsmgr_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"proofhouse/machines"
	"proofhouse/runs"
)

// TestE2EKernel boots a kernel and runs this package's kernel tests on it.
// PROOFHOUSE_FULL=1 has 1,600 rounds of writers and 1,000 namespaces in place
// of 200 each; PROOFHOUSE_TESTS is a pattern for the names of those to run.
func TestE2EKernel(t *testing.T) {
	if os.Getenv("PROOFHOUSE_E2E") == "" {
		t.Skip("boots kernels: make test-e2e")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Minute)
	defer cancel()
	short := "-test.short=true"
	if os.Getenv("PROOFHOUSE_FULL") != "" {
		short = "-test.short=false"
	}
	which, last := "^TestKernel", "TestKernelScale"
	if s := os.Getenv("PROOFHOUSE_TESTS"); s != "" {
		which, last = s, "TestKernel"
	}
	plan, err := runs.Prepare(ctx, runs.FromEnvironment(), func(s string) { t.Log(s) })
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range plan.Builds {
		t.Run(b.Release, func(t *testing.T) {
			o := plan.Options(b)
			o.Tools["nsmgr.test"] = kernelTests(ctx, t, b.DebianArch())
			m, err := machines.Open(ctx, o)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = m.Close() }()
			var out bytes.Buffer
			res, err := m.Run(ctx, machines.Command{
				Args:   []string{"nsmgr.test", "-test.v", "-test.run", which, "-test.timeout", "40m", short},
				Env:    []string{"NSMGR_KERNEL_TESTS=1"},
				Stdout: &out, Stderr: &out,
			})
			t.Logf("%s", out.String())
			if err != nil || res.Status != 0 || res.Signal != "" {
				t.Errorf("on the kernel: %v, %v", res, err)
			}
			if !bytes.Contains(out.Bytes(), []byte("--- PASS: "+last)) {
				t.Error("not all tests ran")
			}
			if err := m.Sane(ctx); err != nil {
				t.Error(err)
			}
		})
	}
}

// kernelTests builds these tests for the kernels of an architecture, as Go names it,
// and returns the executable.
func kernelTests(ctx context.Context, t testing.TB, arch string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "nsmgr.test")
	build := exec.CommandContext(ctx, "go", "test", "-c", "-trimpath", "-o", binary, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH="+arch)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the kernel tests: %v\n%s", err, out)
	}
	return binary
}
