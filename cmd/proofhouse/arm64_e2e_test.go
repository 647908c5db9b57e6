// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"proofhouse/reports"
)

// arm64Kernel is the kernel of the tests of arm64 guests. The first run builds a
// guest root of that architecture, which takes minutes.
func arm64Kernel(t *testing.T) string {
	t.Helper()
	spec := os.Getenv("PROOFHOUSE_ARM64")
	if spec == "" {
		t.Skip("builds an arm64 guest root: make test-arm64")
	}
	return spec
}

func TestE2EArm64Exec(t *testing.T) {
	spec := arm64Kernel(t)
	e := proofhouse(t, "", "exec", "-k", spec, "--", "sh", "-c", "uname -m; uname -i; cat /sys/module/apparmor/parameters/enabled; nsmgr version >/dev/null && echo nsmgr runs")
	if e.status != 0 || e.stdout != "aarch64\naarch64\nY\nnsmgr runs\n" {
		t.Errorf("exit status %d\n%s%s", e.status, e.stdout, e.stderr)
	}
	// A panic of this architecture is found in the console.
	e = proofhouse(t, "", "exec", "-k", spec, "--", "sh", "-c", "echo c >/proc/sysrq-trigger")
	if e.status == 0 || !strings.Contains(e.stderr, "sysrq triggered crash") && !strings.Contains(e.stderr, "NULL pointer dereference") {
		t.Errorf("after a panic: exit status %d\n%s", e.status, e.stderr)
	}
	if e := proofhouse(t, "", "exec", "-k", spec, "--accel", "kvm", "--", "true"); e.status != 2 || !strings.Contains(e.stderr, "use tcg") {
		t.Errorf("with KVM: exit status %d: %s", e.status, e.stderr)
	}
}

// Kernels of two architectures in one run: each has its own guest, and every report
// says which is which.
func TestE2EArm64Run(t *testing.T) {
	spec := arm64Kernel(t)
	dir := filepath.Join(t.TempDir(), "run")
	e := proofhouse(t, "", "run", "-k", "debian:trixie", "-k", spec, "--script", "open,changehat,capabilities", "--row", "file/read,signal/host-to-container", "--out", dir)
	if e.status != 0 || !strings.HasPrefix(e.stdout, "PASS") {
		t.Fatalf("exit status %d\n%s%s", e.status, e.stdout, e.stderr)
	}
	run := readResults(t, dir)
	if len(run.Kernels) != 2 {
		t.Fatalf("%d kernels", len(run.Kernels))
	}
	ids := make([][]string, 2)
	for i, want := range []struct{ arch, kind string }{{"x86_64", "qemu/"}, {"aarch64", "qemu/tcg/aarch64"}} {
		k := run.Kernels[i]
		if k.Arch() != want.arch || !strings.HasPrefix(k.MachineKind(), want.kind) || k.Properties["guest"] != "sid" {
			t.Errorf("%s: %s, %s, guest %s", k.Spec, k.Arch(), k.MachineKind(), k.Properties["guest"])
		}
		for _, s := range k.Specs {
			for _, r := range s.Results {
				if r.Status == reports.Fail || r.Status == reports.Error {
					t.Errorf("%s: %s: %s %s", k.Spec, r.ID, r.Status, r.Reason)
				}
				// x86 alone has I/O ports.
				if !strings.Contains(r.ID, "capabilities/syscall_io") {
					ids[i] = append(ids[i], r.ID)
				}
			}
		}
		slices.Sort(ids[i])
	}
	if !slices.Equal(ids[0], ids[1]) {
		t.Errorf("the results of the two architectures have other IDs: %d and %d", len(ids[0]), len(ids[1]))
	}
}
