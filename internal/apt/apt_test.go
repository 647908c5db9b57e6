// SPDX-License-Identifier: Apache-2.0

package apt

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"proofhouse/internal/exit"
)

func read(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestMirrorOf(t *testing.T) {
	for _, c := range []struct{ dir, want, why string }{
		{"docker", "http://mirror.example/debian", "repositories for Debian come first by name, and are passed over"},
		{"oneline", "http://one.example/debian", "comments, sources and security are passed over"},
		{"cloud", "mirror+file:/etc/apt/mirrors/debian.list", "a list of mirrors is one too"},
		{"none", "", "a disabled source is none"},
	} {
		got, err := mirrorOf(filepath.Join("testdata/sources", c.dir))
		if got != c.want {
			t.Errorf("%s: %q, %v, want %q: %s", c.dir, got, err, c.want, c.why)
		}
		if c.want == "" && (exit.Status(err) != exit.Usage || !strings.Contains(err.Error(), "PROOFHOUSE_MIRROR")) {
			t.Errorf("%s: %v, want bad input that names PROOFHOUSE_MIRROR", c.dir, err)
		}
	}
}

func TestMirrorFromEnvironment(t *testing.T) {
	for value, want := range map[string]string{
		"http://mirror.example/debian/": "http://mirror.example/debian",
		"file:/srv/debian":              "file:/srv/debian",
		"mirror.example":                "",
		"http://a.example/x y":          "",
		"http://a.example/[trusted=yes": "",
	} {
		t.Setenv("PROOFHOUSE_MIRROR", value)
		got, err := Mirror()
		if got != want || (want == "" && exit.Status(err) != exit.Usage) {
			t.Errorf("PROOFHOUSE_MIRROR=%s: %q, %v, want %q", value, got, err, want)
		}
	}
}

func TestTakenOver(t *testing.T) {
	got := takenOver(read(t, "dump.txt"))
	want := []setting{
		{"Acquire::Check-Valid-Until", "false"},
		{"Acquire::Check-Date", "false"},
		{"Acquire::http::Proxy", "http://proxy.example:3128"},
		{"Acquire::https::Verify-Peer", "true"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("taken over:\n%v\nwant:\n%v", got, want)
	}
}

func TestNothingIsLoosenedUnasked(t *testing.T) {
	a := &Apt{mirror: "http://mirror.example/debian", keyring: "/k.gpg", root: "/r"}
	args, err := a.Mmdebstrap("trixie")
	if err != nil {
		t.Fatal(err)
	}
	if want := "deb [signed-by=/k.gpg] http://mirror.example/debian trixie main"; args[len(args)-1] != want {
		t.Errorf("last argument %q, want %q", args[len(args)-1], want)
	}
	for _, text := range append(args, a.conf(a.state("trixie", false))) {
		for _, word := range []string{"Check-", "Insecure", "Weak", "trusted", "allow"} {
			if strings.Contains(text, word) {
				t.Errorf("%q in %q", word, text)
			}
		}
	}
	a.settings = []setting{{"Acquire::Check-Date", "false"}}
	if args, _ = a.Mmdebstrap("trixie"); !slices.Contains(args, `--aptopt=Acquire::Check-Date "false"`) {
		t.Errorf("the host's own setting is not passed on: %q", args)
	}
	if _, err := a.Mmdebstrap("--help"); exit.Status(err) != exit.Usage {
		t.Errorf("Mmdebstrap(--help): %v", err)
	}
}

// The machine's apt.conf.d may hold hooks; apt-config tells what apt would do.
func TestConfIsAlone(t *testing.T) {
	if _, err := exec.LookPath("apt-config"); err != nil {
		t.Skip("no apt on this machine")
	}
	a := &Apt{mirror: "http://mirror.example/debian", keyring: "/k.gpg", root: t.TempDir()}
	st := a.state("trixie", false)
	if err := a.configure(st); err != nil {
		t.Fatal(err)
	}
	out, _, err := a.run(t.Context(), st, "", "apt-config", "dump", "--format", `%f "%v";%n`)
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"Post-Invoke", "Pre-Invoke", "Pre-Install-Pkgs", "DEP-11"} {
		if strings.Contains(out, word) {
			t.Errorf("%s of the machine is still there", word)
		}
	}
	if !strings.Contains(out, `Dir::State::status "`+st.dir+`/status"`) {
		t.Error("the package state is not its own")
	}
}

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		suite, pkg, version string
		ok                  bool
	}{
		{"trixie-backports", "linux-image-6.12.94+deb13-cloud-amd64", "6.12.94-1~bpo12+1", true},
		{"sid", "hello", "1:2.10-5", true},
		{"../sid", "hello", "", false},
		{"-o", "hello", "", false},
		{"sid", "-oDir=/", "", false},
		{"sid", "Hello", "", false},
		{"sid", "hello", "-1", false},
		{"sid", "hello", "1/../2", false},
	} {
		if err := check(c.suite, c.pkg, c.version); (err == nil) != c.ok || (!c.ok && exit.Status(err) != exit.Usage) {
			t.Errorf("check(%q, %q, %q) = %v", c.suite, c.pkg, c.version, err)
		}
	}
}

func TestParseMadison(t *testing.T) {
	got := parseMadison(read(t, "madison.txt"), "user-mode-linux")
	if len(got) != 8 || got[0] != "7.2um1" || got[2] != "6.12um1+b21" {
		t.Errorf("%q", got)
	}
	if got := parseMadison(read(t, "madison.txt"), "user-mode"); got != nil {
		t.Errorf("another package's versions: %q", got)
	}
}

func TestParseDepends(t *testing.T) {
	// linux-image-7.3.4+deb13-cloud-amd64 of trixie-backports.
	const field = `,dracut | initramfs-tools (>= 0.120+deb8u2) | linux-initramfs-tool, linux-base-7.3.4+deb13-cloud-amd64 (= 7.3.4-1~bpo13+1), python3:any (>= 3), libc6(>= 2)`
	got := parseDepends(field)
	want := []string{"dracut", "linux-base-7.3.4+deb13-cloud-amd64", "python3", "libc6"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestParseSources(t *testing.T) {
	got := parseSources(read(t, "showsrc.txt"))
	if len(got) != 2 || got[0].version != "4.1.8-3" || got[1].version != "5.0.2-5" {
		t.Fatalf("%+v", got)
	}
	want := sourceFile{"da2c03e18748513c413f06b580db4a499883da674e84e2cbb772719120f58253", "apparmor_4.1.8.orig.tar.gz"}
	if len(got[0].files) != 3 || got[0].files[1] != want {
		t.Errorf("%+v, want %+v", got[0].files, want)
	}
}

func TestCollect(t *testing.T) {
	dir := t.TempDir()
	const emptySHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	r := sourceRecord{"p", "1-1", []sourceFile{
		{emptySHA256, "p_1.orig.tar.gz"},
		{emptySHA256, "p_1.orig.tar.gz.asc"},
		{emptySHA256, "p_1-1.debian.tar.xz"},
		{emptySHA256, "p_1-1.dsc"},
	}}
	for name, content := range map[string]string{"p_1.orig.tar.gz": "", "p_1.orig.tar.gz.asc": "", "p_1-1.debian.tar.xz": "half"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := r.collect(dir)
	if err != nil {
		t.Fatal(err)
	}
	if filepath.Base(got.Orig) != "p_1.orig.tar.gz" || got.DSC != "" || got.Complete ||
		!slices.Equal(got.Missing, []string{"p_1-1.debian.tar.xz", "p_1-1.dsc"}) {
		t.Errorf("%+v", got)
	}
	if _, err := os.Stat(filepath.Join(dir, "p_1-1.debian.tar.xz")); !os.IsNotExist(err) {
		t.Errorf("a file with the wrong hash was left: %v", err)
	}
}

func TestExplain(t *testing.T) {
	a := &Apt{mirror: "http://mirror.example/debian", keyring: "/k.gpg"}
	status := errors.New("exit status 100")
	for _, c := range []struct {
		file, want string
		exit       int
	}{
		{"no-key", "install a newer debian-archive-keyring", exit.Usage},
		{"no-suite", "suite trixie not found on the mirror", exit.Usage},
		{"refused", "Connection refused", exit.NoVerdict},
	} {
		err := a.explainUpdate("trixie", read(t, "update/"+c.file+".txt"), status)
		if exit.Status(err) != c.exit || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v (status %d), want status %d: %s", c.file, err, exit.Status(err), c.exit, c.want)
		}
	}
	full := a.explainUpdate("trixie", "E: Failed to fetch http://mirror.example/x  Write error - write (28: No space left on device)\n", status)
	if exit.Status(full) != exit.Usage || !strings.Contains(full.Error(), "no space left under") {
		t.Errorf("full disk: %v", full)
	}
	const gone = "E: Failed to fetch http://mirror.example/debian/pool/main/h/hello/hello_2.10-5_amd64.deb  404  Not Found [IP: 203.0.113.80 80]\n"
	err := a.explainFetch("hello 2.10-5", gone, status)
	if !IsMissing(err) || !strings.Contains(err.Error(), "hello_2.10-5_amd64.deb") {
		t.Errorf("404: %v", err)
	}
}

// Lists are fetched when there are none or old ones, and once more for a
// missing package unless they are new.
func TestRefresh(t *testing.T) {
	bin := t.TempDir()
	count := filepath.Join(bin, "count")
	script := "#!/bin/sh\necho x >> " + count + "\ntest ! -e " + bin + "/broken\n"
	if err := os.WriteFile(filepath.Join(bin, "apt-get"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	var said []string
	a := &Apt{mirror: "m", keyring: "k", root: t.TempDir(), progress: func(s string) { said = append(said, s) }}
	st := a.state("trixie", false)
	miss := a.missing("trixie", "p", "")
	for _, c := range []struct {
		name    string
		age     time.Duration // of the stamp; 0: leave it
		result  error
		broken  bool
		updates int
		calls   int
		err     bool
	}{
		{name: "no lists, no mirror", broken: true, updates: 1, err: true},
		{name: "no lists", updates: 1, calls: 1},
		{name: "new lists", calls: 1},
		{name: "missing, new lists", result: miss, calls: 1, err: true},
		{name: "missing, older lists", age: time.Hour, result: miss, updates: 1, calls: 2, err: true},
		{name: "old lists", age: 25 * time.Hour, updates: 1, calls: 1},
		{name: "old lists, no mirror", age: 25 * time.Hour, broken: true, updates: 1, calls: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			_ = os.Remove(count)
			_ = os.Remove(filepath.Join(bin, "broken"))
			said = nil
			if c.broken {
				if err := os.WriteFile(filepath.Join(bin, "broken"), nil, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if c.age > 0 {
				then := time.Now().Add(-c.age)
				if err := os.Chtimes(st.stamp(), then, then); err != nil {
					t.Fatal(err)
				}
			}
			calls := 0
			err := a.with(t.Context(), st, func() error { calls++; return c.result })
			b, _ := os.ReadFile(count)
			if updates := strings.Count(string(b), "x"); updates != c.updates || calls != c.calls || (err != nil) != c.err {
				t.Errorf("%d updates, %d calls, %v; want %d, %d", updates, calls, err, c.updates, c.calls)
			}
			if c.broken && !c.err && !strings.Contains(strings.Join(said, "\n"), "continuing with the older lists") {
				t.Errorf("older lists are used in silence: %q", said)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	for _, name := range []string{"madison.txt", "showsrc.txt", "dump.txt", "sources/oneline/sources.list",
		"sources/docker/sources.list.d/debian.sources", "sources/cloud/sources.list.d/debian.sources"} {
		f.Add(read(f, name))
	}
	f.Fuzz(func(t *testing.T, text string) {
		parseMadison(text, "p")
		parseDepends(text)
		for _, r := range parseSources(text) {
			for _, file := range r.files {
				if strings.Contains(file.name, "/") {
					t.Errorf("a path for a name: %q", file.name)
				}
			}
		}
		for _, s := range takenOver(text) {
			if strings.ContainsAny(s.value, "\"\\\n") {
				t.Errorf("a value that breaks out of its quotes: %q", s.value)
			}
		}
		if uri := pick(append(parseList(text), parseDeb822(text)...)); strings.ContainsAny(uri, " \t\n") {
			t.Errorf("a mirror with spaces: %q", uri)
		}
	})
}
