// SPDX-License-Identifier: Apache-2.0

package machines

import (
	"context"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

// Each machine has a processor of its own, as long as there are enough; one
// that is gone makes room.
func TestPin(t *testing.T) {
	t.Setenv("PROOFHOUSE_CACHE", t.TempDir())
	var all unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil || all.Count() < 2 {
		t.Skip("this machine has one processor")
	}
	if err := unix.SchedSetaffinity(0, &all); err != nil {
		t.Skipf("this machine does not let choose: %v", err)
	}
	ctx := context.Background()
	pinned := func() (*runDir, unix.CPUSet) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "sleep", "60")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		dir, err := newRunDir(ctx)
		if err != nil {
			t.Fatal(err)
		}
		dir.pin(ctx, cmd.Process.Pid)
		var set unix.CPUSet
		if err := unix.SchedGetaffinity(cmd.Process.Pid, &set); err != nil {
			t.Fatal(err)
		}
		return dir, set
	}
	seen := map[unix.CPUSet]bool{}
	var dirs []*runDir
	for range all.Count() {
		dir, set := pinned()
		if set.Count() != 1 || seen[set] {
			t.Fatalf("the machine is on %d processors, or on another's", set.Count())
		}
		seen[set] = true
		dirs = append(dirs, dir)
	}
	dir, set := pinned()
	if set != all {
		t.Errorf("with no processor left, the machine is on %d of %d", set.Count(), all.Count())
	}
	dirs = append(dirs, dir)
	if err := dirs[0].remove(); err != nil {
		t.Fatal(err)
	}
	dir, set = pinned()
	if set.Count() != 1 {
		t.Error("the processor of a machine that has ended stays taken")
	}
	for _, d := range append(dirs[1:], dir) {
		_ = d.remove()
	}
}
