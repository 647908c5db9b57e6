// SPDX-License-Identifier: Apache-2.0

package images

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"proofhouse/internal/host"
)

func TestOptions(t *testing.T) {
	options := mmdebstrapOptions("amd64", []string{"apparmor", "lxc"})
	if !slices.Contains(options, "--include=apparmor,lxc") {
		t.Errorf("no packages in %q", options)
	}
	for _, option := range options {
		if !strings.HasPrefix(option, "--") {
			t.Errorf("%q would be taken for the suite", option)
		}
	}
	// What is left out must not reach what is tested with.
	for _, needed := range []string{
		"/usr/share/lxc/templates/lxc-busybox", "/usr/share/lxc/config/common.conf",
		"/etc/apparmor.d/tunables/global", "/usr/share/perl/5.40.1/strict.pm",
	} {
		for _, pattern := range leftOut {
			if strings.HasPrefix(needed, strings.TrimSuffix(pattern, "*")) {
				t.Errorf("%s is left out by %s", needed, pattern)
			}
		}
	}
}

func TestMakeCommand(t *testing.T) {
	got := makeCommand("/usr/lib/tests", []string{"make", "all"})
	if got[0] != "env" || !slices.Contains(got, "--chdir=/usr/lib/tests") || !slices.Equal(got[len(got)-2:], []string{"make", "all"}) {
		t.Errorf("%q", got)
	}
	// Our uname stands in /usr/local/bin and must come first.
	if !slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, "PATH=/usr/local/") }) {
		t.Errorf("no PATH in %q", got)
	}
}

func readLog(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestSteps(t *testing.T) {
	var got []string
	w := &stepWriter{root: "trixie", progress: func(s string) { got = append(got, s) }, estimate: 61.6}
	w.say(0)
	log := readLog(t, "trixie.log")
	// Output comes in pieces that know nothing of lines.
	if _, err := io.Copy(struct{ io.Writer }{w}, iotest.OneByteReader(strings.NewReader(log))); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"guest root trixie: reading the package lists (1/5), about 62 s in all",
		"guest root trixie: fetching packages (2/5)",
		"guest root trixie: installing packages (3/5)",
		"guest root trixie: building the upstream tests' helpers (4/5)",
		"guest root trixie: writing the image (5/5)",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if tail := w.tail(); tail[len(tail)-1] != "Creating regular file root.ext4" {
		t.Errorf("the last line is %q", tail[len(tail)-1])
	}
}

// Real logs of builds that failed, and the line that says why.
func TestBuildError(t *testing.T) {
	for _, test := range []struct {
		log, want string
		space     bool
	}{
		{log: "make.log", want: "build it: open.c:1:11: error: expected declaration specifiers or ‘...’ before ‘{’ token"},
		{log: "mirror.log", want: "build it: Failed to fetch http://localhost:9/debian/dists/forky/InRelease  Could not connect to localhost:9 (127.0.0.1). - connect (111: Connection refused)"},
		{log: "nosuch.log", want: "build it: The repository 'http://mirror.example/debian/nothere forky Release' does not have a Release file."},
		{log: "package.log", want: "build it: Unable to locate package no-such-package"},
		{log: "space.log", want: "build it: You don't have enough free space in /var/cache/proofhouse", space: true},
		// It says nothing of a failure; then its last line is all there is.
		{log: "trixie.log", want: "build it: Creating regular file root.ext4"},
	} {
		err := buildError(strings.Split(readLog(t, test.log), "\n"), errors.New("exit status 25"))
		if !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("%s: %q, want %q", test.log, err, test.want)
		}
		if got := errors.Is(err, syscall.ENOSPC); got != test.space {
			t.Errorf("%s: out of space %v", test.log, got)
		}
	}
	if got := buildError(nil, errors.New("exit status 1")).Error(); got != "build it: exit status 1" {
		t.Errorf("a silent failure: %q", got)
	}
}

func FuzzBuildError(f *testing.F) {
	logs, err := filepath.Glob("testdata/*.log")
	if err != nil || len(logs) == 0 {
		f.Fatalf("no samples: %v", err)
	}
	for _, log := range logs {
		b, err := os.ReadFile(log)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, log []byte) {
		w := &stepWriter{root: "sid", progress: func(string) {}}
		for rest := log; len(rest) > 0; {
			n := min(len(rest), 7)
			if m, err := w.Write(rest[:n]); m != n || err != nil {
				t.Fatalf("Write: %d, %v", m, err)
			}
			rest = rest[n:]
		}
		if len(w.tail()) > 2*tailLines+1 {
			t.Errorf("%d lines are kept", len(w.tail()))
		}
		err := buildError(w.tail(), errors.New("exit status 1"))
		if text := err.Error(); strings.Contains(text, "\n") || text == "build it: " {
			t.Errorf("%q is not one line that says something", text)
		}
	})
}

func TestKeepLog(t *testing.T) {
	t.Setenv("PROOFHOUSE_CACHE", t.TempDir())
	log := filepath.Join(t.TempDir(), logFile)
	cause := errors.New("build it: no luck")
	if got := keepLog(log, cause); !errors.Is(got, cause) || got.Error() != cause.Error() {
		t.Errorf("without a log: %v", got)
	}
	if err := os.WriteFile(log, []byte("what it said\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := keepLog(log, cause)
	_, kept, ok := strings.Cut(got.Error(), "; its log: ")
	if !ok || !errors.Is(got, cause) {
		t.Fatalf("with a log: %v", got)
	}
	if b, err := os.ReadFile(kept); err != nil || string(b) != "what it said\n" {
		t.Errorf("the kept log: %q, %v", b, err)
	}
}

func TestParsePackages(t *testing.T) {
	got := parsePackages("ii \tapparmor\t4.1.0-1\nrc \tgone\t1\nii \tlibc6\t2.41-12+deb13u2\n\nii \tcut")
	want := map[string]string{"apparmor": "4.1.0-1", "libc6": "2.41-12+deb13u2"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func FuzzParsePackages(f *testing.F) {
	f.Add("ii \tapparmor\t4.1.0-1\nrc \tgone\t1\n")
	f.Add("ii \tcut")
	f.Fuzz(func(t *testing.T, text string) {
		for name, version := range parsePackages(text) {
			if name == "" || version == "" || strings.ContainsAny(name+version, "\t\n") {
				t.Errorf("package %q, version %q", name, version)
			}
		}
	})
}

func TestReadArchiveDate(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"Sat, 12 Sep 2026 07:55:41 UTC\n", "2026-09-12T07:55:41Z"},
		{"Sat, 12 Sep 2026 07:55:41 UTC\nFri, 30 Oct 2026 08:08:01 UTC\n", "2026-10-30T08:08:01Z"},
		{"", ""},
		{"yesterday\n", ""},
	} {
		name := filepath.Join(t.TempDir(), releaseFile)
		if err := os.WriteFile(name, []byte(test.text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := readArchiveDate(name)
		if (err == nil) != (test.want != "") || err == nil && got.Format(time.RFC3339) != test.want {
			t.Errorf("%q: %v, %v; want %q", test.text, got, err, test.want)
		}
	}
}

// What an ordinary user is told to have root run, by what unshare said.
func TestRemedy(t *testing.T) {
	if !host.Have("newuidmap") {
		t.Skip("uidmap is not installed: it would come first")
	}
	for why, want := range map[string]string{
		`unshare: no line matching user "u" in /etc/subuid`:           "usermod --add-subuids ",
		"unshare: unshare failed: No space left on device":            "sysctl ", // max_user_namespaces is 0
		"unshare: unshare failed: Operation not permitted":            "sysctl ",
		"unshare: failed to execute newuidmap: No such file":          "apt-get install uidmap",
		"unshare: write failed /proc/self/uid_map: Permission denied": "sysctl ",
	} {
		if got := remedy(why); !strings.HasPrefix(got, want) {
			t.Errorf("%q: %q, want %q…", why, got, want)
		}
	}
}
