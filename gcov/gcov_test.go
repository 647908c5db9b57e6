// SPDX-License-Identifier: Apache-2.0

package gcov

import (
	"archive/tar"
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"proofhouse/internal/exit"
	"proofhouse/reports/coverage"
)

// A file of C that stands for AppArmor's: two functions, of which main calls one.
const lsmC = `int hidden(int n)
{
	return n + 1;
}

int main(int argc, char **argv)
{
	if (argc > 5)
		return hidden(argc);
	return 0;
}
`

// build compiles a program that stands for a kernel, runs it once, and returns its
// tree and its counters.
func build(t *testing.T) (tree string, counters []byte) {
	t.Helper()
	for _, p := range []string{"gcc", "gcov"} {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("%s not found on this host", p)
		}
	}
	tree = t.TempDir()
	if err := os.MkdirAll(filepath.Join(tree, coverage.Dir), 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(tree, coverage.Dir, "lsm.c")
	if err := os.WriteFile(file, []byte(lsmC), 0o644); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-time.Minute)
	if err := os.Chtimes(file, old, old); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"gcc", "--coverage", "-c", "-o", coverage.Dir + "/lsm.o", coverage.Dir + "/lsm.c"},
		{"gcc", "--coverage", "-o", "program", coverage.Dir + "/lsm.o"},
		{"./program"},
	} {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir = tree
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", args, err, out)
		}
	}
	counters, err := os.ReadFile(filepath.Join(tree, coverage.Dir, "lsm.gcda"))
	if err != nil {
		t.Fatal(err)
	}
	return tree, counters
}

func open(t *testing.T, dir string) *Tree {
	t.Helper()
	tree, err := Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tree.Close)
	return tree
}

type entry struct {
	name string
	text []byte
	kind byte
	size int64 // 0: of the text
}

func archive(t *testing.T, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Typeflag: e.kind, Mode: 0o644, Size: int64(len(e.text))}
		if e.size > 0 {
			h.Size = e.size
		}
		if e.kind == tar.TypeSymlink {
			h.Linkname = "/etc/passwd"
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		_, _ = w.Write(e.text) // of a size that lies, the rest is missing
	}
	_ = w.Close()
	return b.Bytes()
}

func TestCount(t *testing.T) {
	dir, counters := build(t)
	tree := open(t, dir)
	if got := tree.zero.Totals(); got.Lines == 0 || got.ReachedLines != 0 || got.Functions != 2 {
		t.Errorf("without counters: %+v", got)
	}
	set, err := tree.Count(t.Context(), archive(t, entry{name: "./", kind: tar.TypeDir}, entry{name: "./lsm.gcda", text: counters, kind: tar.TypeReg}))
	if err != nil {
		t.Fatal(err)
	}
	f := set.File("security/apparmor/lsm.c")
	for _, c := range []struct {
		line int
		n    uint64
		code bool
	}{{3, 0, true}, {6, 1, true}, {7, 0, false}, {8, 1, true}, {9, 0, true}, {10, 1, true}} {
		if n, code := f.Count(c.line); n != c.n || code != c.code {
			t.Errorf("line %d: %d, %v; want %d, %v", c.line, n, code, c.n, c.code)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(tree.work, "counters-*")); len(left) > 0 {
		t.Errorf("left %q", left)
	}
}

// A guest that sends anything but the counters of this build is refused, and nothing
// of what it sends is kept.
func TestCountHostile(t *testing.T) {
	dir, counters := build(t)
	tree := open(t, dir)
	stamp := bytes.Clone(counters)
	stamp[8]++
	garbage := append(bytes.Clone(counters[:12]), bytes.Repeat([]byte{0xff}, 4096)...)
	good := entry{name: "./lsm.gcda", text: counters, kind: tar.TypeReg}
	for name, c := range map[string]struct {
		archive []byte
		want    string
	}{
		"empty":                 {nil, "no counters of lsm.o"},
		"not an archive":        {bytes.Repeat([]byte("x"), 4096), "invalid tar header"},
		"cut":                   {archive(t, good)[:600], "EOF"},
		"another build":         {archive(t, entry{name: "./lsm.gcda", text: stamp, kind: tar.TypeReg}), "different build"},
		"an unknown object":     {archive(t, good, entry{name: "./evil.gcda", text: counters, kind: tar.TypeReg}), "no evil.gcno"},
		"a path":                {archive(t, entry{name: "../../lsm.gcda", text: counters, kind: tar.TypeReg}), "unexpected file"},
		"an absolute path":      {archive(t, entry{name: "/etc/lsm.gcda", text: counters, kind: tar.TypeReg}), "unexpected file"},
		"notes":                 {archive(t, good, entry{name: "./lsm.gcno", text: counters, kind: tar.TypeReg}), "unexpected file"},
		"a link":                {archive(t, entry{name: "./lsm.gcda", kind: tar.TypeSymlink}), "unexpected file"},
		"twice":                 {archive(t, good, good), "twice"},
		"huge":                  {archive(t, entry{name: "./lsm.gcda", text: counters, kind: tar.TypeReg, size: 1 << 40}), "larger than"},
		"not counters":          {archive(t, entry{name: "./lsm.gcda", text: []byte("counters, or not"), kind: tar.TypeReg}), "not a file of gcov"},
		"nothing after the top": {archive(t, entry{name: "./lsm.gcda", text: counters[:8], kind: tar.TypeReg}), "too short"},
	} {
		set, err := tree.Count(t.Context(), c.archive)
		if err == nil || !strings.Contains(err.Error(), c.want) || set != nil {
			t.Errorf("%s: %v, %v; want %q", name, set, err, c.want)
		}
	}
	// gcov may accept or refuse this; whatever it makes of it is about the lines
	// in the notes.
	if set, err := tree.Count(t.Context(), archive(t, entry{name: "./lsm.gcda", text: garbage, kind: tar.TypeReg})); err == nil {
		if err := tree.zero.Same(set); err != nil {
			t.Error(err)
		}
	}
}

func TestOpenRefused(t *testing.T) {
	dir, _ := build(t)
	notes := filepath.Join(dir, coverage.Dir, "lsm.gcno")
	good, err := os.ReadFile(notes)
	if err != nil {
		t.Fatal(err)
	}
	clang := append(bytes.Clone(good[:4]), "*804xxxx"...)
	other := bytes.Clone(good)
	copy(other[4:], "*29Y") // GCC 249
	for _, c := range []struct {
		name  string
		notes []byte
		want  string
	}{
		{"clang", clang, "not of GCC 10 or later"},
		{"another GCC", other, "needs its gcov"},
		{"text", []byte("no notes at all"), "not a file of gcov"},
	} {
		if err := os.WriteFile(notes, c.notes, 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(t.Context(), dir); err == nil || !strings.Contains(err.Error(), c.want) || exit.Status(err) != exit.Usage {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	if err := os.Remove(notes); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "CONFIG_GCOV_KERNEL") {
		t.Errorf("without notes: %v", err)
	}
	if _, err := Open(t.Context(), t.TempDir()); exit.Status(err) != exit.Usage {
		t.Errorf("an empty directory: %v", err)
	}
}

func TestSource(t *testing.T) {
	dir, _ := build(t)
	tree := open(t, dir)
	sub := filepath.Join(dir, coverage.Dir)
	for _, f := range []string{"Makefile", "lsm.o.cmd"} {
		if err := os.WriteFile(filepath.Join(sub, f), []byte("x\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(secret, filepath.Join(sub, "leak.c")); err != nil {
		t.Fatal(err)
	}
	source, err := tree.Source()
	if err != nil {
		t.Fatal(err)
	}
	if len(source) != 2 || source["security/apparmor/lsm.c"] != lsmC {
		t.Errorf("%q", source)
	}
	later := time.Now().Add(time.Hour)
	if err := os.Chtimes(filepath.Join(sub, "lsm.c"), later, later); err != nil {
		t.Fatal(err)
	}
	if _, err := tree.Source(); err == nil || !strings.Contains(err.Error(), "changed after the kernel was built") {
		t.Errorf("a source that is younger: %v", err)
	}
}

func TestSame(t *testing.T) {
	text := `{"files":[{"file":"security/apparmor/lsm.c","functions":[{"name":"f","start_line":1,"execution_count":1}],"lines":[{"line_number":2,"count":3}]}]}`
	a, err := parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, other := range []string{
		``, strings.Replace(text, "lsm.c", "file.c", 1), strings.Replace(text, `"line_number":2`, `"line_number":4`, 1), strings.Replace(text, `"name":"f"`, `"name":"g"`, 1),
	} {
		b, err := parse(strings.NewReader(other))
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Same(b); !errors.Is(err, coverage.ErrDifferent) {
			t.Errorf("%s: %v", other, err)
		}
	}
}

// What is about other files is left out, and what is invalid is refused.
func TestParse(t *testing.T) {
	for text, want := range map[string]string{
		`{"files":[{"file":"include/linux/cred.h","lines":[{"line_number":2,"count":3}]}]}`:                        "",
		`{"files":[{"file":"/a/security/apparmor/../../../etc/x.c","lines":[{"line_number":2,"count":3}]}]}`:       "",
		`{"files":[{"file":"security/apparmor/a.c","lines":[{"line_number":2,"count":-3}]}]}`:                      "its output",
		`{"files":[{"file":"security/apparmor/a.c","lines":[{"line_number":0,"count":3}]}]}`:                       "invalid line number",
		`{"files":[{"file":"security/apparmor/a.c","functions":[{"name":"a b","start_line":1}]}]}`:                 "name of a function",
		`{"files":[{"file":"security/apparmor/a.c","functions":[{"name":"f","start_line":1,"execution_count":x}]}`: "its output",
	} {
		set, err := parse(strings.NewReader(text))
		if want == "" && (err != nil || len(set) != 0) || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, %v", text, set, err)
		}
	}
}

func FuzzUnpack(f *testing.F) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	_ = w.WriteHeader(&tar.Header{Name: "./lsm.gcda", Size: 12, Mode: 0o644})
	_, _ = w.Write([]byte("adcg*22Bxxxx"))
	_ = w.Close()
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, archive []byte) {
		var h head
		copy(h.Version[:], "B22*")
		h.Stamp = 0x78787878
		tree := &Tree{notes: map[string]head{"lsm": h}}
		dir := t.TempDir()
		if err := tree.unpack(archive, dir); err != nil {
			return
		}
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != 1 || entries[0].Name() != "lsm.gcda" {
			t.Errorf("%v, %v", entries, err)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"files":[{"file":"security/apparmor/lsm.c","functions":[{"name":"f","start_line":1,"execution_count":1}],"lines":[{"line_number":2,"count":3}]}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		set, err := parse(bytes.NewReader(text))
		if err != nil {
			return
		}
		var b bytes.Buffer
		if err := coverage.WriteLCOV(&b, set, "x"); err != nil {
			t.Fatal(err)
		}
	})
}
