// SPDX-License-Identifier: Apache-2.0

package images_test

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"proofhouse/images"
	"proofhouse/internal/cache"
	"proofhouse/regression"
)

// online skips what needs a mirror, and a minute.
func online(t *testing.T) {
	t.Helper()
	if os.Getenv("PROOFHOUSE_ONLINE") != "1" {
		t.Skip("PROOFHOUSE_ONLINE=1 builds guest roots for real")
	}
}

func onlineRequest(t *testing.T) images.Request {
	t.Helper()
	source, err := regression.Fetch(t.Context(), "debian:trixie", nil)
	if err != nil {
		t.Fatal(err)
	}
	return images.Request{Suite: "trixie", Tests: source.Tests("trixie")}
}

func TestOnlineRoot(t *testing.T) {
	online(t)
	images.NeedE2fsprogs(t)
	t.Setenv("PROOFHOUSE_CACHE", t.TempDir())
	req := onlineRequest(t)
	root, err := images.Get(t.Context(), req, func(s string) { t.Log(s) })
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"apparmor", "libapparmor1", "lxc", "libc6", "dbus"} {
		if root.Packages[name] == "" {
			t.Errorf("no version of %s", name)
		}
	}
	if root.Archive.IsZero() || root.Hash == "" || root.Seconds == 0 {
		t.Errorf("its description is not whole: %+v", root)
	}
	if out, err := exec.Command(images.Find(t, "e2fsck"), "-fn", root.Image).CombinedOutput(); err != nil {
		t.Errorf("e2fsck: %v\n%s", err, out)
	}
	for path, want := range map[string]string{
		"/etc/machine-id":                      `Mode:  0444 .*User:     0 .*Size: 33\b`,
		"/etc/resolv.conf":                     `Type: regular .*Size: 0\b`,
		"/usr/lib/modules":                     `Type: directory`,
		"/usr/local/bin/nsmgr":                 `"/run/proofhouse/bin/nsmgr"`,
		"/usr/local/bin/uname":                 `Mode:  0755`,
		"/usr/sbin/policy-rc.d":                `Mode:  0755`,
		"/usr/bin/sudo":                        `Mode:  04755`,
		"/usr/share/lxc/templates/lxc-busybox": `Mode:  0755`,
		"/etc/apparmor.d/tunables/global":      `Type: regular`,
		regression.TestDir:                     `Type: directory .*Mode:  0755`,
		regression.TestDir + "/open":           `Mode:  0755`, // a helper that was built
		regression.TestDir + "/io_uring":       `Mode:  0755`, // … which takes liburing
		regression.TestDir + "/dbus_service":   `Mode:  0755`, // … and dbus
		regression.TestDir + "/syscall_ioperm": `Mode:  0755`, // … and our uname
		regression.TestDir + "/uservars.inc":   `Type: regular`,
		"/usr/lib/proofhouse/plain/ldd":        `Mode:  0755`, // what makes the guest faster was built
		"/usr/lib/proofhouse/fast/mkprofile":   `Mode:  0755`,
		"/var/lib/dpkg/status":                 `Type: regular`,
	} {
		got := strings.Join(strings.Fields(images.Debugfs(t, root.Image, "stat "+path)), " ")
		want = strings.Join(strings.Fields(want), " ")
		if !regexp.MustCompile(want).MatchString(got) {
			t.Errorf("%s: %q, want %s", path, got, want)
		}
	}
	if got := images.Debugfs(t, root.Image, "ls -p /dev"); strings.Contains(got, "null") {
		t.Errorf("/dev is not empty:\n%s", got)
	}

	// Programs can be built for it, and an error says what was wrong.
	tmp := t.TempDir()
	build := images.Build{
		Args: []string{"/usr/bin/gcc", "-shared", "-include", "lxc/lxccontainer.h", "-x", "c", "-o", filepath.Join(tmp, "x.so"), "/dev/null", "-llxc"},
		Env:  []string{"TMPDIR=" + tmp}, See: []string{tmp},
	}
	if err := root.Run(t.Context(), build); err != nil {
		t.Error(err)
	}
	build.Args = []string{"/usr/bin/pkg-config", "--exists", "--print-errors", "lxc"}
	if err := root.Run(t.Context(), build); err != nil {
		t.Error(err)
	}
	build.Args = []string{"/usr/bin/gcc", filepath.Join(tmp, "nosuch.c")}
	if err := root.Run(t.Context(), build); err == nil || !strings.Contains(err.Error(), "No such file") {
		t.Errorf("a build that fails: %v", err)
	}

	start := time.Now()
	again, err := images.Get(t.Context(), req, func(s string) { t.Errorf("the second time: %s", s) })
	if err != nil || again.Image != root.Image || time.Since(start) > time.Second {
		t.Errorf("the second time: %+v, %v, %v", again, err, time.Since(start))
	}
}

// A suite's Makefile is somebody else's, and runs where root is the host's root:
// it gets no capability, no network and no way out of the guest's root.
func TestOnlineHostileMake(t *testing.T) {
	online(t)
	images.NeedE2fsprogs(t)
	t.Setenv("PROOFHOUSE_CACHE", t.TempDir())
	const try = `cd /var/lib/lxc
grep -E '^(Cap|NoNew)' /proc/self/status >status
mknod sda b 8 0 && echo made >device
mount -t tmpfs x /mnt && echo mounted >mount
ls /proc/1/root/proc >/dev/null 2>&1 && ls -d /proc/1/root/work >out 2>/dev/null
chroot /proc/1/root true && echo left >>out
grep -v lo: /proc/net/dev | grep : >network
exit 0`
	root, err := images.Get(t.Context(), images.Request{Suite: "trixie", Tests: images.Tests{
		Hash: "f00d", Packages: []string{"lxc", "gcc", "libc6-dev", "lxc-dev"}, Make: []string{"sh", "-c", try}, Dir: "/",
	}}, func(s string) { t.Log(s) })
	if err != nil {
		t.Fatal(err)
	}
	status := images.Debugfs(t, root.Image, "cat /var/lib/lxc/status")
	for _, want := range []string{"CapPrm:\t0000000000000000", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1"} {
		if !strings.Contains(status, want) {
			t.Errorf("not %q:\n%s", want, status)
		}
	}
	for _, name := range []string{"device", "mount", "out", "network"} {
		if got := images.Debugfs(t, root.Image, "cat /var/lib/lxc/"+name); got != "" {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// childVar makes TestOnlineChild the program that TestOnlineKilled kills.
const childVar = "PROOFHOUSE_IMAGES_CHILD"

func TestOnlineChild(t *testing.T) {
	if os.Getenv(childVar) == "" {
		t.Skip("runs only as the child of TestOnlineKilled")
	}
	_, err := images.Get(t.Context(), onlineRequest(t), func(s string) { fmt.Println(s) })
	t.Fatalf("it was not killed: %v", err)
}

// A build that is killed leaves no process and no mount, and its files go with
// the next start.
func TestOnlineKilled(t *testing.T) {
	online(t)
	dir := t.TempDir()
	t.Setenv("PROOFHOUSE_CACHE", dir)
	cmd := exec.Command(os.Args[0], "-test.run=^TestOnlineChild$", "-test.timeout=5m")
	cmd.Env = append(os.Environ(), childVar+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	reached := false
	for lines := bufio.NewScanner(out); !reached && lines.Scan(); {
		reached = strings.Contains(lines.Text(), "installing packages")
	}
	if !reached {
		t.Fatalf("the child ended early: %v", cmd.Wait())
	}
	time.Sleep(3 * time.Second) // into the maintainer scripts, with /proc mounted in the root
	if len(processesOf(t, dir)) < 3 {
		t.Errorf("only %q run: this test sees nothing", processesOf(t, dir))
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()

	deadline := time.Now().Add(2 * time.Second)
	for len(processesOf(t, dir)) > 0 && time.Now().Before(deadline) {
		time.Sleep(20 * time.Millisecond)
	}
	if left := processesOf(t, dir); len(left) > 0 {
		t.Errorf("still running: %q", left)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(mounts, []byte(dir)) {
		t.Errorf("still mounted:\n%s", mounts)
	}
	if items, err := cache.List(); err != nil || len(items) != 1 { // the source of the tests
		t.Errorf("the cache holds %v, %v", items, err)
	}
	// An ordinary user must be able to remove what is left, as the next start does.
	left, err := filepath.Glob(filepath.Join(dir, images.Room, ".*.new-*"))
	if err != nil || len(left) != 1 {
		t.Fatalf("left is %q, %v: this test sees nothing", left, err)
	}
	if err := os.RemoveAll(left[0]); err != nil {
		t.Error(err)
	}
}

// processesOf are the command lines that mention dir.
func processesOf(t *testing.T, dir string) (found []string) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file) // gone meanwhile, perhaps
		if err == nil && bytes.Contains(b, []byte(dir)) {
			found = append(found, strings.ReplaceAll(string(b), "\x00", " "))
		}
	}
	return found
}
