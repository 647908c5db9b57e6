// SPDX-License-Identifier: Apache-2.0

package regression

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"proofhouse/internal/apt"
	"proofhouse/internal/exit"
	"proofhouse/reports"
)

// suite is a small tree of upstream's shape, with what must be left behind.
var suite = map[string]string{
	"common/Version":    "4.9.1\n",
	"common/Make.rules": "# rules\n",
	"parser/parser.c":   "not needed",

	"tests/regression/apparmor/prologue.inc":            "# functions\n",
	"tests/regression/apparmor/uservars.inc.system":     "subdomain=/sbin/apparmor_parser\n",
	"tests/regression/apparmor/uservars.inc":            "subdomain=/home/me/apparmor_parser\n",
	"tests/regression/apparmor/open":                    "\x7fELF built here",
	"tests/regression/apparmor/open.c":                  "int main;\n",
	"tests/regression/apparmor/abis/v9":                 "abi\n",
	"tests/regression/apparmor/Makefile":                "TESTS=open \\\n      posix_ipc\\\n      overlayfs_kernel\nTESTS+=$(CONDITIONAL_TESTS)\nCONDITIONAL_TESTS+=nnp\n",
	"tests/regression/apparmor/open.sh":                 "#!/bin/bash\nbin=$pwd\n. \"$bin/prologue.inc\"\n",
	"tests/regression/apparmor/nnp.sh":                  ". $bin/prologue.inc\n",
	"tests/regression/apparmor/net_inet.sh":             ". \"$bin/prologue.inc\"\n",
	"tests/regression/apparmor/posix_ipc.sh":            "#!/bin/bash\n./posix_mq.sh\n",
	"tests/regression/apparmor/posix_mq.sh":             ". \"$bin/prologue.inc\"\n",
	"tests/regression/apparmor/overlayfs_kernel.sh":     "source \"./overlayfs_common.inc\" kernel\n",
	"tests/regression/apparmor/overlayfs_common.inc":    ". \"$bin/prologue.inc\"\n",
	"tests/regression/apparmor/aa_exec_wrapper.sh":      "echo PASS\n",
	"tests/regression/apparmor/check_dac_perms.sh":      "# mentions prologue.inc\nexit 1\n",
	"tests/regression/apparmor/env_check.sh":            "exit 0\n",
	"tests/regression/apparmor/scripts/not_a_script.sh": ". \"$bin/prologue.inc\"\n",
}

func writeSuite(t *testing.T, dir string) string {
	t.Helper()
	for name, content := range suite {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func fetchT(t *testing.T, spec string) *Source {
	t.Helper()
	s, err := Fetch(t.Context(), spec, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestFetchFolder(t *testing.T) {
	t.Setenv("PROOFHOUSE_CACHE", t.TempDir())
	dir := writeSuite(t, t.TempDir())
	s := fetchT(t, dir)
	if s.Version != "4.9.1" || s.Spec != dir || len(s.Hash) != 64 {
		t.Errorf("got %+v", s)
	}
	for name := range suite {
		_, err := os.Stat(filepath.Join(s.Dir, name))
		want := !strings.HasPrefix(name, "parser/") && !strings.HasSuffix(name, "/uservars.inc") && !strings.HasSuffix(name, "/open")
		if (err == nil) != want {
			t.Errorf("%s is there: %v, want %v", name, err == nil, want)
		}
	}
	if again := fetchT(t, filepath.Join(dir, testPath)); again.Dir != s.Dir {
		t.Errorf("the same source at %s and at %s", s.Dir, again.Dir)
	}
	if err := os.WriteFile(filepath.Join(dir, testPath, "open.c"), []byte("int changed;\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if changed := fetchT(t, dir); changed.Dir == s.Dir || changed.Hash == s.Hash {
		t.Error("a changed source is taken for the old one")
	}
}

func TestFetchTarball(t *testing.T) {
	t.Setenv("PROOFHOUSE_CACHE", t.TempDir())
	dir := t.TempDir()
	writeSuite(t, filepath.Join(dir, "apparmor-4.9.1"))
	tarball := filepath.Join(dir, "a:b.tar.gz")
	if out, err := exec.Command("tar", "--force-local", "-czf", tarball, "-C", dir, "apparmor-4.9.1").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	s := fetchT(t, tarball)
	if folder := fetchT(t, filepath.Join(dir, "apparmor-4.9.1")); s.Hash != folder.Hash || s.Version != "4.9.1" {
		t.Errorf("tarball %+v, directory %+v", s, folder)
	}
	if left, _ := os.ReadDir(filepath.Dir(s.Dir)); len(left) != 3 {
		t.Errorf("left in the entry: %v", left)
	}
}

func TestFetchGit(t *testing.T) {
	t.Setenv("PROOFHOUSE_CACHE", t.TempDir())
	dir := writeSuite(t, t.TempDir())
	for _, args := range [][]string{
		{"init", "-q"},
		{"add", "common"},
		{"-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false", "commit", "-qm", "x"},
		{"tag", "v4.9.1"},
	} {
		if out, err := exec.Command("git", append([]string{"-C", dir}, args...)...).CombinedOutput(); err != nil {
			t.Skipf("git: %v: %s", err, out)
		}
	}
	if s := fetchT(t, dir); s.Version != "4.9.1 (based on v4.9.1)" {
		t.Errorf("version %q", s.Version)
	}
}

// A source of somebody else's: nothing of this host gets into it, and git runs
// nothing of it.
func TestFetchTrustsNothing(t *testing.T) {
	t.Setenv("PROOFHOUSE_CACHE", t.TempDir())
	top := t.TempDir()
	secret, ran := filepath.Join(top, "secret"), filepath.Join(top, "ran")
	dir := writeSuite(t, filepath.Join(top, "apparmor-4.9.1"))
	tests := filepath.Join(dir, testPath)
	err := errors.Join(
		os.WriteFile(secret, []byte("secret"), 0o600),
		os.Symlink(secret, filepath.Join(tests, "out")),
		os.Symlink("../../../../secret", filepath.Join(tests, "up")),
		os.Symlink("open.c", filepath.Join(tests, "in.c")),
		os.Chmod(filepath.Join(tests, "open.sh"), 0o4755|os.ModeSetuid),
	)
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, s *Source) {
		t.Helper()
		for _, name := range []string{"out", "up"} {
			if _, err := os.Lstat(filepath.Join(s.Dir, testPath, name)); err == nil {
				t.Errorf("%s: the link %s is kept", what, name)
			}
		}
		if got, err := os.Readlink(filepath.Join(s.Dir, testPath, "in.c")); got != "open.c" {
			t.Errorf("%s: a link within the suite: %q, %v", what, got, err)
		}
		if fi, err := os.Stat(filepath.Join(s.Dir, testPath, "open.sh")); err != nil || fi.Mode() != 0o755 {
			t.Errorf("%s: open.sh: %v, %v", what, fi.Mode(), err)
		}
	}
	check("a directory", fetchT(t, dir))
	tarball := filepath.Join(top, "a.tar")
	if out, err := exec.Command("tar", "-cf", tarball, "-C", top, "apparmor-4.9.1").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	check("a tarball", fetchT(t, tarball))

	script := filepath.Join(top, "evil")
	if err := os.WriteFile(script, []byte("#!/bin/sh\ntouch "+ran+"\ncat\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"init", "-q"},
		{"add", "common"},
		{"-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false", "commit", "-qm", "x"},
		{"config", "filter.evil.clean", script}, {"config", "core.fsmonitor", script}, {"config", "core.pager", script}, {"config", "diff.external", script},
	} {
		if out, err := exec.Command("git", append([]string{"-C", dir}, args...)...).CombinedOutput(); err != nil {
			t.Skipf("git: %v: %s", err, out)
		}
	}
	attributes := os.WriteFile(filepath.Join(dir, ".gitattributes"), []byte("* filter=evil\n"), 0o644)
	changed := os.WriteFile(filepath.Join(dir, "common/Version"), []byte("4.9.2\n"), 0o644)
	if err := errors.Join(attributes, changed); err != nil {
		t.Fatal(err)
	}
	fetchT(t, dir)
	if _, err := os.Stat(ran); err == nil {
		t.Error("git ran a program that the checkout names")
	}
}

// What the user got wrong is reported in one line with exit status 2.
func TestFetchBadInput(t *testing.T) {
	t.Setenv("PROOFHOUSE_CACHE", t.TempDir())
	empty := t.TempDir()
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("no tarball\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	half := writeSuite(t, t.TempDir())
	if err := os.Remove(filepath.Join(half, "common/Make.rules")); err != nil {
		t.Fatal(err)
	}
	for _, spec := range []string{"", "/no/such/directory", empty, text, half, "debian:", "debian:../x", "/dev/null"} {
		s, err := Fetch(t.Context(), spec, nil)
		if err == nil {
			t.Errorf("%q: got %+v", spec, s)
		} else if exit.Status(err) != exit.Usage || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: status %d: %v", spec, exit.Status(err), err)
		}
	}
}

func TestScripts(t *testing.T) {
	scripts, err := (&Source{Dir: writeSuite(t, t.TempDir())}).Scripts()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range scripts {
		word := s.Name
		if s.Makefile {
			word += "+"
		}
		if s.NotRun != "" {
			word += "!"
			if r := s.Skipped(); r.ID != ScriptID(s.Name) || r.Reason != s.NotRun || r.Lacks == "" {
				t.Errorf("%s: %+v", s.Name, r)
			}
		}
		got = append(got, word)
	}
	want := strings.Fields("env_check! net_inet nnp+ open+ overlayfs_kernel+ posix_ipc+ posix_mq")
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// A script that has subtests prints a verdict for each: in its own text, or in
// that of a file it sources. A comment is no call, and prologue.inc, which all
// of them source, has the functions and does not call them.
func TestScriptsSpeak(t *testing.T) {
	dir := t.TempDir()
	test := filepath.Join(dir, testPath)
	if err := os.MkdirAll(test, 0o755); err != nil {
		t.Fatal(err)
	}
	const prologue = ". $bin/prologue.inc\n"
	for name, text := range map[string]string{
		"Makefile":      "TESTS=own\n",
		"prologue.inc":  "runchecktest() { runtestfg; checktestfg; }\n",
		"common.inc":    "do_all() { runchecktest_errno EPERM x fail; }\n",
		"own.sh":        prologue + "runchecktest \"A\" pass\n",
		"background.sh": prologue + "runtestbg A pass\n\tchecktestbg\n",
		"echoes.sh":     prologue + "if true; then echo \"ok: a\"; fi\n",
		"sources.sh":    prologue + ". $bin/common.inc\ndo_all\n",
		"silent.sh":     prologue + "# runchecktest would be better\necho okay\n",
	} {
		if err := os.WriteFile(filepath.Join(test, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	scripts, err := (&Source{Dir: dir}).Scripts()
	if err != nil || len(scripts) != 5 {
		t.Fatal(scripts, err)
	}
	for _, s := range scripts {
		if s.Speaks != (s.Name != "silent") {
			t.Errorf("%s: speaks %v", s.Name, s.Speaks)
		}
		for output, want := range map[string]reports.Status{"": reports.Error, "a warning\n": reports.Error, "ok (pass): a\n": reports.Pass} {
			if s.Name == "silent" && output == "" {
				want = reports.Pass
			}
			got := s.Parse([]byte(output), Exit{})
			if len(got) != 1 || got[0].Status != want {
				t.Errorf("%s printed %q: %+v", s.Name, output, got)
			}
		}
		if got := s.Parse([]byte("Required feature 'x' not available. Skipping tests ...\n"), Exit{}); len(got) != 1 || got[0].Status != reports.Skip {
			t.Errorf("%s: %+v", s.Name, got)
		}
	}
}

// Where the mirror lacks the files of Debian's packaging, upstream's tarball
// alone will do, and says so.
func TestUnpackWithoutPatches(t *testing.T) {
	dir := t.TempDir()
	writeSuite(t, filepath.Join(dir, "apparmor"))
	orig := filepath.Join(dir, "apparmor_4.9.1.orig.tar")
	if out, err := exec.Command("tar", "-cf", orig, "-C", dir, "apparmor").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	files := apt.SourceFiles{Version: "4.9.1-3", Orig: orig, Missing: []string{"apparmor_4.9.1-3.dsc"}}
	to, info, err := unpackDebian(t.Context(), files, filepath.Join(dir, "to"))
	if err != nil {
		t.Fatal(err)
	}
	if want := "without Debian's patches (the mirror lacks apparmor_4.9.1-3.dsc)"; info.Note != want {
		t.Errorf("note %q", info.Note)
	}
	if root, err := findRoot(to); err != nil || root != filepath.Join(to, "apparmor") {
		t.Errorf("root %q, %v", root, err)
	}
	if _, _, err := unpackDebian(t.Context(), apt.SourceFiles{Version: "4.9.1-3", Missing: []string{"x"}}, filepath.Join(dir, "to2")); err == nil {
		t.Error("unpacked nothing at all without an error")
	}
}

// Debian's own source, from the mirror.
func TestFetchDebian(t *testing.T) {
	if os.Getenv("PROOFHOUSE_ONLINE") == "" {
		t.Skip("needs the network: PROOFHOUSE_ONLINE=1")
	}
	t.Setenv("PROOFHOUSE_CACHE", t.TempDir())
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	s, err := Fetch(ctx, "debian:trixie", func(line string) { t.Log(line) })
	if err != nil {
		t.Fatal(err)
	}
	scripts, err := s.Scripts()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]Script{}
	for _, script := range scripts {
		names[script.Name] = script
	}
	if len(scripts) < 84 || !names["open"].Makefile || names["net_inet"].Makefile || names["owlsm"].NotRun == "" {
		t.Errorf("%+v: %d scripts", s, len(scripts))
	}
	for _, no := range []string{"aa_exec_wrapper", "check_dac_perms"} {
		if _, ok := names[no]; ok {
			t.Errorf("%s is no test", no)
		}
	}
	for _, smoke := range Smoke() {
		if _, ok := names[smoke]; !ok && smoke != "exec_namespace" {
			t.Errorf("no script %s", smoke)
		}
	}
	if again := fetchT(t, "debian:trixie"); *again != *s {
		t.Errorf("first %+v, then %+v", s, again)
	}
}
