// SPDX-License-Identifier: Apache-2.0

package containers_test

import (
	"bytes"
	"context"
	"os"
	"testing"
	"time"

	"proofhouse/machines"
	"proofhouse/runs"
	"proofhouse/runs/programs"
)

// TestE2EContainers boots a kernel and runs this package's kernel tests on it,
// built for the guest's liblxc. PROOFHOUSE_KERNELS and PROOFHOUSE_GUEST choose
// others than the default.
func TestE2EContainers(t *testing.T) {
	if os.Getenv("PROOFHOUSE_E2E") == "" {
		t.Skip("boots kernels: make test-e2e")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Minute)
	defer cancel()
	cfg := runs.FromEnvironment()
	plan, err := runs.Prepare(ctx, cfg, func(s string) { t.Log(s) })
	if err != nil {
		t.Fatal(err)
	}
	which := "^TestKernel"
	if s := os.Getenv("PROOFHOUSE_TESTS"); s != "" {
		which = s
	}
	for _, b := range plan.Builds {
		t.Run(b.Release, func(t *testing.T) {
			o := plan.Options(b)
			if o.Tools["containers.test"], err = programs.GuestTest(ctx, plan.Guest(b).Root, "containers"); err != nil {
				t.Fatal(err)
			}
			m, err := machines.Open(ctx, o)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = m.Close() }()
			var out bytes.Buffer
			res, err := m.Run(ctx, machines.Command{
				Args:   []string{"containers.test", "-test.v", "-test.run", which, "-test.timeout", "30m"},
				Env:    []string{"CONTAINERS_KERNEL_TESTS=1"},
				Stdout: &out, Stderr: &out,
			})
			t.Logf("%s", out.String())
			if err != nil || res.Status != 0 || res.Signal != "" {
				t.Errorf("on the kernel: %v, %v", res, err)
				var log bytes.Buffer
				_, _ = m.Run(ctx, machines.Command{Args: []string{"sh", "-c", "dmesg | grep -v audit: | tail -40"}, Stdout: &log, Stderr: &log})
				t.Logf("%s", log.String())
			}
			if !bytes.Contains(out.Bytes(), []byte("--- PASS: TestKernel")) {
				t.Error("no test ran")
			}
			if err := m.Sane(ctx); err != nil {
				t.Error(err)
			}
		})
	}
}
