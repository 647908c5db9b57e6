// SPDX-License-Identifier: Apache-2.0

package nsmgr

import (
	"context"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"proofhouse/internal/exit"
)

// What keeps AppArmor away is said in one line. Everything else about a view
// is tested on kernels: see kernel_test.go.
func TestOpenElsewhere(t *testing.T) {
	for name, c := range map[string]struct {
		enabled string // "" = no such file
		folders string
		want    string
	}{
		"no AppArmor":   {"", "", "has no AppArmor"},
		"switched off":  {"N\n", "", "security=apparmor"},
		"not mounted":   {"Y\n", "", "mount -t securityfs"},
		"no namespaces": {"Y\n", "aa/policy", "older than 4.11"},
		"all there":     {"Y\n", "aa/policy/namespaces", ""},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			if c.folders != "" {
				if err := os.MkdirAll(filepath.Join(root, c.folders), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			if c.enabled != "" {
				if err := os.WriteFile(filepath.Join(root, "enabled"), []byte(c.enabled), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			v := &View{dir: filepath.Join(root, "aa"), parameters: root, proc: procfs, state: root}
			err := v.check()
			if c.want == "" && err != nil || c.want != "" && (exit.Status(err) != exit.Usage || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

func TestLock(t *testing.T) {
	v := &View{state: t.TempDir()}
	ctx := t.Context()
	unlock, err := v.lockFor(ctx, "a")
	if err != nil {
		t.Fatal(err)
	}
	other, err := v.lockFor(ctx, "b")
	if err != nil {
		t.Fatalf("another namespace waits: %v", err)
	}
	other()
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if _, err := v.lockFor(short, "a//below"); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "another nsmgr") {
		t.Errorf("one below a locked one: %v", err)
	}
	got := make(chan error)
	go func() {
		unlock, err := v.lockFor(ctx, "a")
		if err == nil {
			unlock()
		}
		got <- err
	}()
	select {
	case err := <-got:
		t.Fatalf("it did not wait: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	unlock()
	if err := <-got; err != nil {
		t.Error(err)
	}
}

func TestFeatures(t *testing.T) {
	f := Features{"domain/stack": "yes", "namespaces/profile": "no", "signal/mask": "hup int\nkill", "mount/mask": "umount"}
	for _, c := range []struct {
		file, word string
		want       bool
	}{
		{"domain/stack", "", true}, {"namespaces/profile", "", false}, {"signal/mask", "kill", true},
		{"mount/mask", "mount", false}, {"dbus/mask", "", false},
	} {
		if got := f.Has(c.file, c.word); got != c.want {
			t.Errorf("Has(%q, %q) = %v", c.file, c.word, got)
		}
	}
	err := f.CheckStacking()
	var missing *FeatureError
	if !errors.Is(err, ErrFeature) || !errors.As(err, &missing) || missing.Feature != "namespaces/profile" {
		t.Errorf("CheckStacking: %v", err)
	}
	if f.Digest() == (Features{"domain/stack": "yes"}).Digest() || len(f.Digest()) != 64 {
		t.Errorf("Digest: %s", f.Digest())
	}
}

// Only what is ours is closed, though others' stand between.
func TestCloseAll(t *testing.T) {
	var fds []int
	for range 6 {
		fd, err := openSmall("/dev/null")
		if err != nil {
			t.Fatal(err)
		}
		fds = append(fds, fd)
	}
	theirs := fds[3]
	defer func() { _ = unix.Close(theirs) }()
	ours := slices.Delete(slices.Clone(fds), 3, 4)
	slices.Reverse(ours)
	closeAll(slices.Clone(ours))
	for _, fd := range fds {
		_, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if open := err == nil; open != (fd == theirs) {
			t.Errorf("descriptor %d of %v is open: %v, of others: %v", fd, fds, open, fd == theirs)
		}
	}
	closeAll(nil)
}

// A process reads its own tasks on any kernel.
func TestThreads(t *testing.T) {
	v := &View{proc: procfs}
	ids, err := v.threads(os.Getpid())
	if err != nil || len(ids) < 2 {
		t.Errorf("the Go runtime has several threads: %v, %v", ids, err)
	}
	if v.dead(os.Getpid(), os.Getpid()) || v.kernelThread(os.Getpid()) {
		t.Error("this process counts as dead, or as the kernel's")
	}
	c := v.census()
	defer c.close()
	for range 3 {
		if tasks, err := c.look(true, Label.namespaced); err != nil || len(tasks) > 0 {
			t.Errorf("tasks in no namespace: %v, %v", tasks, err)
		}
	}
	if len(c.files) > maxKept {
		t.Errorf("%d files are open", len(c.files))
	}
	if hasCapability(63) {
		t.Error("there is no capability 63")
	}
}

// Where a filter of system calls refuses statx, as older ones do, no process is
// overlooked.
func TestThreadsWithoutStatx(t *testing.T) {
	type answer struct {
		filter, links, ids error
		n                  int
	}
	got := make(chan answer)
	go func() {
		runtime.LockOSThread() // the filter is this thread's, which ends with the goroutine
		filter := []unix.SockFilter{
			{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS}, // the call's number
			{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_STATX, Jf: 1},
			{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
			{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
		}
		program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
		var a answer
		if a.filter = unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); a.filter == nil {
			_, a.filter = quick(unix.SYS_PRCTL, unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0, 0)
		}
		if a.filter == nil {
			_, a.links = linkCount("/proc/self/task")
			v := &View{proc: procfs}
			var ids []int
			ids, a.ids = v.threads(os.Getpid())
			a.n = len(ids)
		}
		got <- a
	}()
	a := <-got
	if a.filter != nil || !errors.Is(a.links, unix.EPERM) {
		t.Skip("no filter of system calls can be had:", a.filter, a.links)
	}
	if a.ids != nil || a.n < 2 {
		t.Errorf("%d threads, %v", a.n, a.ids)
	}
}

// What shares kthreadd's files is the kernel's; a program is not.
func TestKernelThreads(t *testing.T) {
	v := &View{proc: procfs}
	if !v.hasKernel() {
		t.Skip("the kernel's threads are not to be seen")
	}
	if !v.samePIDs() {
		t.Skip("/proc is of other process ids than this process's")
	}
	if hasFilesOf(kthreadd, os.Getpid()) {
		t.Error("this process has kthreadd's files")
	}
	fast, all := 0, v.kernelThreads()
	for pid := range all {
		if hasFilesOf(kthreadd, pid) {
			fast++
			if !v.kernelThread(pid) && v.kernelThreads()[pid] {
				t.Errorf("process %d has kthreadd's files, and is none of the kernel's threads", pid)
			}
		}
	}
	if len(all) > 0 && v.tellsFiles() != (fast > 0) { // there is no list without CONFIG_PROC_CHILDREN
		t.Errorf("the kernel compares files: %v", v.tellsFiles())
	}
	t.Logf("%d of %d are told by their files", fast, len(all))
}

// A removal waits until no load of the namespace's policy is left.
func TestMustBeEmptyWaits(t *testing.T) {
	shows := func() bool { return false }
	load := filepath.Join(t.TempDir(), "0")
	if err := os.Mkdir(load, 0o755); err != nil {
		t.Fatal(err)
	}
	looks := 0
	none := func() ([]Task, error) {
		if looks++; looks == 3 {
			return nil, os.Remove(load)
		}
		return nil, nil
	}
	if err := mustBeEmpty("none", nil, shows, none); err != nil || looks != 1 {
		t.Errorf("without loads: %v, %d looks", err, looks)
	}
	if err := mustBeEmpty("none", map[string]bool{load: true}, shows, none); err != nil || looks < 3 {
		t.Errorf("with a load: %v, %d looks", err, looks)
	}
}

func TestStableFeatures(t *testing.T) {
	f := Features{"domain/stack": "yes", "namespaces/profile": "no", "signal/mask": "hup int\nkill", "empty": ""}
	text := stableText(f)
	got, ok := parseStable(text)
	if !ok || got.Digest() != f.Digest() {
		t.Errorf("%+v, %v", got, ok)
	}
	for _, c := range [][2]string{{"domain/stack", ""}, {"namespaces/profile", ""}, {"signal/mask", "kill"}, {"signal/mask", "mount"}, {"yes", ""}, {"empty", ""}, {"x", ""}} {
		if got.Has(c[0], c[1]) != f.Has(c[0], c[1]) {
			t.Errorf("Has(%q): %v", c, got.Has(c[0], c[1]))
		}
	}
	for name, bad := range map[string]string{"empty": "", "a word lost": strings.Replace(text, "yes\x00", "", 1), "no digest": text[2*sha256.Size+1:]} {
		if got, ok := parseStable(bad); ok {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestRecall(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root remembers")
	}
	v := &View{proc: procfs, state: filepath.Join(t.TempDir(), "state")}
	path := filepath.Join(v.state, "it")
	read := func() string {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	const text = "a\x00b\nc"
	v.remember("it", text)
	if got, ok := v.recall("it"); !ok || got != text {
		t.Errorf("%q, %v", got, ok)
	}
	boot, ok := v.bootHead()
	if !ok {
		t.Fatal("no boot id")
	}
	put := func(s string) error { return os.WriteFile(path, []byte(s), 0o644) }
	for name, spoil := range map[string]func() error{
		"anybody's":    func() error { return os.Chmod(path, 0o666) },
		"another's":    func() error { return os.Chown(path, 1, 1) },
		"a link":       func() error { return errors.Join(os.Rename(path, path+"2"), os.Symlink(path+"2", path)) },
		"another boot": func() error { return put(strings.Replace(read(), boot, bootHead+"x\n", 1)) },
		"cut off":      func() error { return put(read()[:len(read())-1]) },
		"empty":        func() error { return put("") },
		"a pipe":       func() error { return errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o600)) },
	} {
		v.remember("it", text)
		err := spoil()
		if name == "another's" && (errors.Is(err, unix.EPERM) || errors.Is(err, unix.EINVAL)) {
			t.Logf("%s: root may not do that here: %v", name, err)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := v.recall("it"); ok {
			t.Errorf("%s is believed: %q", name, got)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNote(t *testing.T) {
	for _, n := range []note{
		{},
		{Name: "a//b\nc \"d\"", State: stateReady, Inode: 1 << 63, Made: time.Unix(1795399212, 474), Container: "c\n1", Declared: true},
	} {
		text, err := n.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var got note
		if err := got.UnmarshalText(text); err != nil || got != n {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
		for i := range text {
			if err := got.UnmarshalText(text[:i]); err == nil {
				t.Errorf("%q is a note", text[:i])
			}
		}
	}
}
