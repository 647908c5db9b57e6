// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"proofhouse/internal/exit"
	"proofhouse/internal/host"
)

var all = Options{MaxBytes: 1 << 20, MaxFiles: 100, Symlinks: true}

type entry struct {
	name, link string
	kind       byte
	mode       int64
	text       string
}

func tarball(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		if e.kind == 0 {
			e.kind = tar.TypeReg
		}
		h := &tar.Header{Name: e.name, Linkname: e.link, Typeflag: e.kind, Mode: e.mode, Size: int64(len(e.text))}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(w, e.text)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// list is what is below dir: path -> mode and content.
func list(t testing.TB, dir string) map[string]string {
	t.Helper()
	got := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		text := fi.Mode().String()
		switch {
		case fi.Mode().IsRegular():
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			text += " " + string(b)
		case fi.Mode()&fs.ModeSymlink != 0:
			l, err := os.Readlink(p)
			if err != nil {
				return err
			}
			text = "-> " + l
		}
		got[strings.TrimPrefix(p, dir+"/")] = text
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestUntar(t *testing.T) {
	syscall.Umask(0o077) // of no account
	defer syscall.Umask(0o022)
	dir := filepath.Join(t.TempDir(), "d")
	err := Untar(t.Context(), bytes.NewReader(tarball(t,
		entry{name: "./", kind: tar.TypeDir, mode: 0o1777},
		entry{name: "/usr/bin/su", mode: 0o6755, text: "su"},
		entry{name: "dev/null", kind: tar.TypeChar, mode: 0o666},
		entry{name: "fifo", kind: tar.TypeFifo, mode: 0o666},
		entry{name: "a", text: "first", mode: 0o777},
		entry{name: "a", text: "last", mode: 0o400},
		entry{name: "b", link: "a", kind: tar.TypeLink},
		entry{name: "c", link: "dev/null", kind: tar.TypeLink},
		entry{name: "usr/to-a", link: "../a", kind: tar.TypeSymlink},
		entry{name: "abs", link: "/etc/shadow", kind: tar.TypeSymlink},
		entry{name: "up", link: "../../etc/shadow", kind: tar.TypeSymlink},
	)), dir, all)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"usr": "drwxr-xr-x", "usr/bin": "drwxr-xr-x", "usr/bin/su": "-rwxr-xr-x su",
		"a": "-rw-r--r-- last", "b": "-rw-r--r-- last", "usr/to-a": "-> ../a",
	}
	got := list(t, dir)
	for name, w := range want {
		if got[name] != w {
			t.Errorf("%s: %q, want %q", name, got[name], w)
		}
		delete(got, name)
	}
	if len(got) > 0 {
		t.Errorf("also there: %v", got)
	}
}

// Whatever an archive holds, nothing is written or linked outside.
func TestUntarStaysInside(t *testing.T) {
	for name, entries := range map[string][]entry{
		"up":                     {{name: "../evil", text: "x"}},
		"up further down":        {{name: "a/../../evil", text: "x"}},
		"through a link":         {{name: "l", link: "..", kind: tar.TypeSymlink}, {name: "l/evil", text: "x"}},
		"through a link of its":  {{name: "s/t/l", link: "../..", kind: tar.TypeSymlink}, {name: "s/t/l/evil", link: "../victim", kind: tar.TypeSymlink}},
		"up behind a link":       {{name: "s/t/l", link: "../..", kind: tar.TypeSymlink}, {name: "evil", link: "s/t/l/../victim", kind: tar.TypeSymlink}},
		"onto a link":            {{name: "evil", link: "../victim", kind: tar.TypeSymlink}, {name: "evil", text: "x"}},
		"a hard link":            {{name: "evil", link: "../victim", kind: tar.TypeLink}},
		"a hard link to a link":  {{name: "l", link: "../victim", kind: tar.TypeSymlink}, {name: "evil", link: "l", kind: tar.TypeLink}},
		"a directory for a file": {{name: "evil", text: "x"}, {name: "evil/x", text: "x"}},
	} {
		t.Run(name, func(t *testing.T) {
			top := t.TempDir()
			if err := os.WriteFile(filepath.Join(top, "victim"), []byte("secret"), 0o600); err != nil {
				t.Fatal(err)
			}
			dir := filepath.Join(top, "d")
			err := Untar(t.Context(), bytes.NewReader(tarball(t, entries...)), dir, all)
			t.Log(err)
			for p, v := range list(t, top) {
				in, ok := strings.CutPrefix(p, "d/")
				switch {
				case p == "d", p == "victim" && v == "-rw------- secret":
				case !ok:
					t.Errorf("%s %q is outside", p, v)
				case strings.HasPrefix(v, "-> "):
					real, err := filepath.EvalSymlinks(filepath.Join(dir, in))
					if err == nil && real != dir && !strings.HasPrefix(real, dir+"/") {
						t.Errorf("%s leads to %s", p, real)
					}
				case strings.Contains(v, "secret"):
					t.Errorf("%s holds the secret", p)
				}
			}
		})
	}
}

func TestLimits(t *testing.T) {
	big := tarball(t, entry{name: "a", text: strings.Repeat("a", 600<<10)}, entry{name: "b", text: strings.Repeat("b", 600<<10)})
	var many []entry
	for range 101 {
		many = append(many, entry{name: "d", kind: tar.TypeDir, mode: 0o755})
	}
	for name, text := range map[string][]byte{"bytes": big, "files": tarball(t, many...), "links": tarball(t, entry{name: "a", text: strings.Repeat("a", 600<<10)}, entry{name: "b", link: "a", kind: tar.TypeLink})} {
		err := Untar(t.Context(), bytes.NewReader(text), t.TempDir(), all)
		if exit.Status(err) != exit.Usage || !strings.Contains(err.Error(), "more than") {
			t.Errorf("%s: %v", name, err)
		}
	}
	cut := big[:len(big)/2]
	if err := Untar(t.Context(), bytes.NewReader(cut), t.TempDir(), all); exit.Status(err) != exit.Usage {
		t.Errorf("an archive that is cut: %v", err)
	}
}

func TestCopy(t *testing.T) {
	top := t.TempDir()
	from := filepath.Join(top, "from")
	for name, text := range map[string]string{"from/a": "a", "from/skip/b": "b", "victim": "secret"} {
		p := filepath.Join(top, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, []byte(text), 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	when := time.Unix(1234567890, 0)
	err := errors.Join(
		os.Chtimes(filepath.Join(from, "a"), when, when),
		os.Symlink("../victim", filepath.Join(from, "out")), os.Symlink("a", filepath.Join(from, "in")),
		syscall.Mkfifo(filepath.Join(from, "fifo"), 0o644),
		os.Symlink("from", filepath.Join(top, "link")),
	)
	if err != nil {
		t.Fatal(err)
	}
	o := all
	o.Skip = func(name string) bool { return name == "skip" }
	to := filepath.Join(top, "to")
	if err := Copy(t.Context(), filepath.Join(top, "link"), to, o); err != nil {
		t.Fatal(err)
	}
	got := list(t, to)
	if len(got) != 2 || got["a"] != "-rwxr-xr-x a" || got["in"] != "-> a" {
		t.Errorf("%v", got)
	}
	if fi, err := os.Stat(filepath.Join(to, "a")); err != nil || !fi.ModTime().Equal(when) {
		t.Errorf("its time: %v %v", fi.ModTime(), err)
	}
}

func TestDecompress(t *testing.T) {
	text := strings.Repeat("text ", 100000)
	for name, tool := range map[string][]string{
		"plain": nil, "gzip": {"gzip"}, "bzip2": {"bzip2"}, "xz": {"xz"}, "lzma": {"xz", "--format=lzma"}, "zstd": {"zstd", "-q"},
	} {
		b := []byte(text)
		if tool != nil {
			if !host.Have(tool[0]) {
				continue
			}
			cmd := exec.Command(tool[0], tool[1:]...)
			cmd.Stdin = strings.NewReader(text)
			var err error
			if b, err = cmd.Output(); err != nil {
				t.Fatal(err)
			}
		}
		r, err := Decompress(t.Context(), bytes.NewReader(b))
		if err != nil {
			t.Fatal(name, err)
		}
		got, err := io.ReadAll(r)
		if err != nil || string(got) != text {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
		_ = r.Close()
		if tool == nil {
			continue
		}
		// One that is cut is an error, not a shorter text.
		if r, err = Decompress(t.Context(), bytes.NewReader(b[:len(b)-10])); err == nil {
			_, err = io.ReadAll(r)
			_ = r.Close()
		}
		if err == nil {
			t.Errorf("%s, cut: no error", name)
		}
		// Closed before its end, it ends.
		if r, err = Decompress(t.Context(), bytes.NewReader(b)); err == nil {
			_ = r.Close()
		}
	}
}

func FuzzUntar(f *testing.F) {
	f.Add(tarball(f, entry{name: "a/b", text: "x"}, entry{name: "l", link: "a/b", kind: tar.TypeSymlink}, entry{name: "h", link: "a/b", kind: tar.TypeLink}))
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	_, _ = w.Write(tarball(f, entry{name: "../x", text: "x"}))
	_ = w.Close()
	f.Add(z.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 2 && !bytes.HasPrefix(b, []byte("\x1f\x8b")) && Compressed(b) {
			return // through a program
		}
		top := t.TempDir()
		r, err := Decompress(t.Context(), bytes.NewReader(b))
		if err != nil {
			return
		}
		_ = Untar(t.Context(), r, filepath.Join(top, "d"), all)
		got, err := os.ReadDir(top)
		if err != nil || len(got) > 1 || len(got) == 1 && got[0].Name() != "d" {
			t.Fatalf("outside: %v %v", got, err)
		}
	})
}
