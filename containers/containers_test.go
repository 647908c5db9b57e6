// SPDX-License-Identifier: Apache-2.0

package containers

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"proofhouse/internal/exit"
	"proofhouse/nsmgr"
)

func TestCheckName(t *testing.T) {
	for name, good := range map[string]bool{
		"web": true, "a.b_c-9": true, strings.Repeat("x", 200): true,
		"": false, "..": false, ".a": false, "-a": false, "a/b": false, "a:b": false, "a b": false, "a\n": false, "é": false, strings.Repeat("x", 201): false,
	} {
		err := CheckName(name)
		if (err == nil) != good || err != nil && exit.Status(err) != exit.Usage {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func label(t *testing.T, text string) nsmgr.Label {
	t.Helper()
	l, err := nsmgr.ParseLabel(text)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// What a task may have in place of the label that was asked for.
func TestLabels(t *testing.T) {
	for _, c := range []struct {
		want, got   string
		same, keeps bool
	}{
		{"host-ct//&:web:container", "host-ct//&:web:container (enforce)", true, true},
		{"host-ct//&:web:container", ":web:container//&host-ct (enforce)", false, false}, // reads as :web:host-ct
		{"host-ct//&:web:container", "host-ct//&:web:container (mixed)", true, true},
		{"host-ct//&:web:container", "unconfined", false, false},
		{"host-ct//&:web:container", "host-ct (enforce)", false, false},
		{"host-ct//&:web:container", ":web:container (enforce)", false, false},
		{"host-ct//&:web:container", "host-ct//&:other:container (enforce)", false, false},
		{"host-ct//&:web:container", "unconfined//&:web:unconfined", false, false},
		{"host-ct//&:web:container", "host-ct//&:web:container//&:x:y (enforce)", false, false},
		// The policy names another profile for the program that is executed.
		{"host-ct//&:web:container", "host-ct//&:web:nginx (enforce)", false, true},
		{"host-ct//&:web:container", "host-ct//&:web:container//hat (enforce)", false, true},
		{"host-ct//&:web:container", "host-ct//&:web:unconfined (mixed)", false, false},
		{"host-ct//&:web:container", "unconfined//&:web:container", false, false},
		{"host-ct//&:web:container", "host-ct//&:web:container//null-/bin/x (complain)", false, true},
		{"host-ct//&:web:container", "other-host//&:web:container", false, true},
		{"host-ct//&:web:container", "off//&:web:container (mixed)", false, false}, // a profile in unconfined mode
		{"host-ct//&:web:container", "host-ct//&:web:off (mixed)", false, false},
		{"host-ct//&:web:container", "---//&:web:container", false, false},
		{"host-ct//&:web:unconfined", "host-ct//&:web:unconfined", true, true},
		{"host-ct//&:web:unconfined", "host-ct//hat//&:web:unconfined", false, true},
		{"host-ct//&:web:unconfined", "unconfined//&:web:unconfined", false, false},
		{"host-ct//&:a//b:c", "host-ct//&:a//b:c (enforce)", true, true},
		{"host-ct//&:a//b:c", "host-ct//&:a:c (enforce)", false, false},
		{"host-ct//&:a:p//&:a//b:c", "host-ct//&:a:p//&:a//b:c (enforce)", true, true},
		{":web:container", ":web:container (enforce)", true, true},
		{":web:container", "unconfined", false, false},
	} {
		want, got := label(t, c.want), label(t, c.got)
		off := func(p nsmgr.Part) bool { return p.Profile == "off" }
		if same(want, got) != c.same || keeps(want, got, off) != c.keeps {
			t.Errorf("%s, %s: same %v, keeps %v", c.want, c.got, same(want, got), keeps(want, got, off))
		}
	}
}

func TestWanted(t *testing.T) {
	for text, good := range map[string]bool{
		"host-ct//&:web:container": true, ":web:container": true, "a//&:b//c:d": true,
		"": false, "generated": false, "unconfined": false, "unchanged": false, "host-ct": false, "a//&": false,
	} {
		if _, err := wanted("web", text); (err == nil) != good || err != nil && exit.Status(err) != exit.Usage {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestStatusLabel(t *testing.T) {
	for text, want := range map[string]Status{
		"host-ct//&:web:container": {Label: "host-ct//&:web:container", Namespace: "web", Profile: "container", Host: "host-ct"},
		"h//&:a//b:p":              {Label: "h//&:a//b:p", Namespace: "a//b", Profile: "p", Host: "h"},
		":web:container":           {Label: ":web:container", Namespace: "web", Profile: "container"},
		"generated":                {Label: "generated"},
		"":                         {},
	} {
		var s Status
		s.setLabel(text)
		if s.Label != want.Label || s.Namespace != want.Namespace || s.Profile != want.Profile || s.Host != want.Host {
			t.Errorf("%q: %+v", text, s)
		}
	}
}

func TestParseStat(t *testing.T) {
	// Of a shell, of a child that it had forked and that slept, and of a zombie,
	// on 7.2.7.
	for text, want := range map[string]task{
		"1135 (init) S 1130 1135 1135 0 -1 4194560 61 0 0 0 0 0 0 0 20 0 1 0 5271":       {'S', false},
		"1136 (a) b) (c) R 1130 1135 1135 0 -1 4194368 61 0 0 0 0 0 0 0 20 0 1 0 5271":   {'R', true},
		"1137 (sh) Z 1130 1135 1135 0 -1 4228172 61 0 0 0 0 0 0 0 20 0 1 0 5271":         {'Z', true},
		"1138 (lxc-attach) S 1130 1135 1135 0 -1 4194624 61 0 0 0 0 0 0 0 20 0 1 0 5271": {'S', true},
	} {
		if got, err := parseStat([]byte(text)); err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("1135 (init) S 1130 1135 1135 0 -1 4194560 61"))
	f.Add([]byte(") S"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, err := parseStat(b); err == nil && got.state == 0 {
			t.Errorf("%q: no state", b)
		}
	})
}

// This process has executed a program, and a child that has is not fresh.
func TestReadTask(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Wait() }()
	defer func() { _ = cmd.Process.Kill() }()
	for _, pid := range []int{os.Getpid(), cmd.Process.Pid} {
		if got, err := readTask(pid); err != nil || got.fresh || got.state == 'Z' {
			t.Errorf("%d: %+v, %v", pid, got, err)
		}
	}
	if _, err := readTask(1 << 30); err == nil {
		t.Error("a process that there is not")
	}
}

func TestMapping(t *testing.T) {
	file := filepath.Join(t.TempDir(), "subuid")
	for text, want := range map[string][2]int{
		"root:100000:1048576\n":                        {100000, 1048576},
		"web:100000:65536\nroot:200000:65536\n":        {200000, 65536},
		"root:100000:100\n0:300000:65536\nroot:1:2:3":  {300000, 65536},
		"# comment\n\nroot:x:65536\nroot:400000:70000": {400000, 70000},
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if first, count, err := subordinate(file); err != nil || [2]int{first, count} != want {
			t.Errorf("%q: %d %d %v", text, first, count, err)
		}
	}
	for _, text := range []string{"", "root:100000:100\n", "web:100000:65536\n"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := subordinate(file); exit.Status(err) != exit.Usage {
			t.Errorf("%q: %v", text, err)
		}
	}
	for _, c := range []struct {
		first, count int
		used         []int
		want         int
	}{
		{100000, 1048576, nil, 100000},
		{100000, 1048576, []int{100000}, 165536},
		{100000, 1048576, []int{165536}, 100000},
		{100000, 1048576, []int{90000}, 165536}, // it reaches into the first
		{100000, 131072, []int{100000, 165536}, -1},
		{100000, 65535, nil, -1},
	} {
		got, err := freeRange(c.first, c.count, c.used)
		if err != nil {
			got = -1
		}
		if got != c.want {
			t.Errorf("%+v: %d, %v", c, got, err)
		}
	}
	for _, c := range []struct {
		idmap []string
		want  int
	}{
		{nil, -1}, {[]string{"u 0 100000 65536", "g 0 200000 65536"}, 100000},
		{[]string{"g 0 200000 65536"}, -1}, {[]string{"u 1000 5 1", "u 0 7 1000"}, 7}, {[]string{"nonsense"}, -1},
	} {
		if got := mappedTo(c.idmap); got != c.want {
			t.Errorf("%q: %d", c.idmap, got)
		}
	}
}

// A root file system outside of the container's directory is not ours to remove.
func TestForeign(t *testing.T) {
	ct := Container{Name: "web"}
	for path, foreign := range map[string]bool{
		"dir:/var/lib/lxc/web/rootfs":              false,
		"/var/lib/lxc/web/rootfs":                  false,
		"dir:/srv/web":                             true,
		"/srv/web":                                 true,
		"dir:/var/lib/lxc/web2/rootfs":             true,
		"dir:/var/lib/lxc/web/../other/rootfs":     true,
		"overlay:/srv/base:/var/lib/lxc/web/delta": false,
		"lvm:/dev/vg/web":                          false,
		"":                                         false,
	} {
		if got := ct.foreign(path); got != foreign {
			t.Errorf("%s: %v", path, got)
		}
	}
}

func TestWholeBinds(t *testing.T) {
	got := wholeBinds([]string{
		"/lib lib none ro,bind 0 0", "shm dev/shm tmpfs defaults,create=dir 0 0",
		"/sys/kernel/security sys/kernel/security none ro,bind,optional 0 0", "/a b none rbind", "",
	})
	const key = "lxc.mount.entry"
	want := []setting{
		{key, ""}, {key, "/lib lib none ro,rbind 0 0"}, {key, "shm dev/shm tmpfs defaults,create=dir 0 0"},
		{key, "/sys/kernel/security sys/kernel/security none ro,rbind,optional 0 0"}, {key, "/a b none rbind"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

// Which cgroups are the container's.
func TestNamed(t *testing.T) {
	path := t.TempDir()
	if err := os.MkdirAll(filepath.Join(path, "web-2"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(path, "web-2", "config"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	ct := Container{"web", path}
	for name, want := range map[string]bool{"web": true, "web-1": true, "web-2": false, "web-x": false, "web2": false, "we": false, "web-": false, "a.web": false} {
		if got := ct.named(name); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestMonitors(t *testing.T) {
	ct := Container{Name: "web"}
	for title, want := range map[string]bool{
		"[lxc monitor] /var/lib/lxc web\x00":          true,
		"[lxc monitor] /var/lib/lxc web\x00\x00 \x00": true,
		"[lxc monitor] /var/lib/lxc web2\x00":         false,
		"[lxc monitor] /srv/lxc web\x00":              false,
		"nsmgr\x00container\x00start\x00web\x00":      false,
		"":                                            false,
	} {
		if ct.monitors([]byte(title)) != want {
			t.Errorf("%q: %v", title, !want)
		}
	}
}

func TestCgroupDirs(t *testing.T) {
	for _, text := range []string{"", "nonsense\n", "0:\n", "0::/no/such/cgroup/here\n4:cpu,cpuacct:/no/such\n"} {
		if got := cgroupDirs(text); got != nil {
			t.Errorf("%q: %q", text, got)
		}
	}
}

func TestLogErrors(t *testing.T) {
	const log = `lxc-start web 20261124222013.512 ERROR    start - ../src/lxc/start.c:start:2205 - No such file or directory - Failed to exec "/nosuch"
lxc-start web 20261124222013.513 NOTICE   start - ../src/lxc/start.c:post_start:2216 - Started "/nosuch" with pid "1131"
lxc-start web 20261124222013.514 ERROR    lxccontainer - ../src/lxc/lxccontainer.c:wait_on_daemonized_start:837 - Received container state "ABORTING" instead of "RUNNING"
`
	if got := logErrors(log); got != `: No such file or directory - Failed to exec "/nosuch"; Received container state "ABORTING" instead of "RUNNING"` {
		t.Errorf("%q", got)
	}
	if got := logErrors("nothing of note\n"); got != "" {
		t.Errorf("%q", got)
	}
	if got := lastWords("a\nb\nc\nd\n"); got != ": b; c; d" {
		t.Errorf("%q", got)
	}
	if got := lastWords(" \n"); got != "" {
		t.Errorf("%q", got)
	}
}

func FuzzLogErrors(f *testing.F) {
	f.Add("lxc-start web 20261124222013.512 ERROR    start - ../src/lxc/start.c:f:1 - No such file\n")
	f.Fuzz(func(t *testing.T, log string) {
		if got := logErrors(log); strings.Contains(got, "\n") {
			t.Errorf("%q is not one line", got)
		}
	})
}

// A process that is to end by a signal does so, whatever the Go runtime thinks
// of that signal.
func TestDieOf(t *testing.T) {
	const die = "CONTAINERS_TEST_DIE"
	if name := os.Getenv(die); name != "" {
		var n int
		_, _ = fmt.Sscan(name, &n)
		DieOf(syscall.Signal(n))
		os.Exit(0)
	}
	for _, s := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM, syscall.SIGINT, syscall.SIGSEGV, syscall.SIGABRT, syscall.SIGPIPE, syscall.SIGQUIT, syscall.SIGUSR1, 40} {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestDieOf$")
		cmd.Env = append(slices.Clone(os.Environ()), fmt.Sprintf("%s=%d", die, int(s)))
		out, _ := cmd.CombinedOutput()
		ws, _ := cmd.ProcessState.Sys().(syscall.WaitStatus)
		if !ws.Signaled() || ws.Signal() != s || ws.CoreDump() {
			t.Errorf("%s: %v: %s", SignalName(s), cmd.ProcessState, out)
		}
	}
	if SignalName(syscall.SIGSEGV) != "SIGSEGV" || SignalName(40) != "signal 40" {
		t.Error(SignalName(40))
	}
}

// Without the lxc build tag every operation says why it is not there.
func TestMissing(t *testing.T) {
	if Available() == nil {
		t.Skip("built with liblxc")
	}
	ct := Container{Name: "web"}
	_, statusErr := ct.Status(t.Context())
	_, runErr := ct.Run(t.Context(), Command{})
	_, listErr := List("")
	for _, err := range []error{ct.Create(t.Context(), Making{}), ct.Start(t.Context()), ct.Stop(t.Context(), 0), ct.Destroy(t.Context()), statusErr, runErr, listErr} {
		if exit.Status(err) != exit.Usage || !strings.Contains(err.Error(), "without liblxc") {
			t.Errorf("%v", err)
		}
	}
}
