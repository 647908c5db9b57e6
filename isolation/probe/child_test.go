// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"proofhouse/isolation"
)

// forked starts a child that the test can give steps to, without AppArmor.
func forked(t *testing.T) *experiment {
	t.Helper()
	c, err := fork(time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	x := &experiment{tasks: []*task{{spec: isolation.Task{Name: "t", Where: isolation.OnHost}, child: c, vars: map[string]int{}}}}
	t.Cleanup(c.end)
	return x
}

func TestChildSteps(t *testing.T) {
	x := forked(t)
	dir := t.TempDir()
	for _, c := range []struct{ step, errno, value string }{
		{"put " + dir + "/f hello", "", ""},
		{"f = open " + dir + "/f r", "", ""},
		{"read f", "", "hello"},

		{"read 99", "EBADF", ""},
		{"cat " + dir + "/none", "ENOENT", ""},
		{"try cat " + dir + "/none", "", ""},
		{"rename " + dir + "/f " + dir + "/g", "", ""},
		{"list " + dir, "", "g"},
		{"pair p stream", "", ""},
		{"f = open " + dir + "/g r", "", ""},
		{"sendfd p0 f", "", ""},
		{"g = recvfd p1", "", ""},
		{"read g", "", "hello"},
		{"send p0 text", "", ""},
		{"read p1", "", "text"},
		{"kill t 0", "", ""},
	} {
		if _, e, value := x.step(c.step); errnoName(e) != c.errno || value != c.value {
			t.Errorf("%s: %q %q, want %q %q", c.step, errnoName(e), value, c.errno, c.value)
		}
	}
}

func TestChildExecutes(t *testing.T) {
	x := forked(t)
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "bin")
	for _, step := range []string{"elf " + file, "exec " + file} {
		if _, e, _ := x.step(step); e != 0 {
			t.Fatalf("%s: %s", step, errnoName(e))
		}
	}
	if link, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(x.tasks[0].child.pid), "exe")); err != nil || link != file {
		t.Errorf("it executes %q, %v", link, err)
	}
}

// A child that was killed says so, and one that hangs is left alone.
func TestChildEnds(t *testing.T) {
	x := forked(t)
	c := x.tasks[0].child
	if err := unix.Kill(c.pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if _, e, _ := x.step("nnp"); errnoName(e) != "dead" {
		t.Errorf("a dead child: %q", errnoName(e))
	}
	x = forked(t)
	if _, e, _ := x.step("pair p stream"); e != 0 {
		t.Fatal(errnoName(e))
	}
	x.tasks[0].child.timeout = 50 * time.Millisecond
	if _, e, _ := x.step("read p0"); errnoName(e) != "hangs" {
		t.Errorf("a read of what never comes: %q", errnoName(e))
	}
	x.tasks[0].child.timeout = time.Minute
}

// The rings of an io_uring are in the child's window, and requests come back
// from them, again and again.
func TestChildUring(t *testing.T) {
	x := forked(t)
	for range 3 {
		_, e, what := x.step("uringcreds")
		// ENOMEM is the limit of locked memory, which older kernels count rings in.
		if what == "setup" && (e == unix.EPERM || e == unix.ENOSYS || e == unix.EINVAL || e == unix.ENOMEM) {
			t.Skipf("this kernel has no such io_uring: %s", errnoName(e))
		}
		if e != 0 {
			t.Fatalf("%s: %s", what, errnoName(e))
		}
	}
}
