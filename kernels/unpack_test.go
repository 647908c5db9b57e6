package kernels

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestUntar(t *testing.T) {
	archive := func(entries ...tar.Header) *bytes.Buffer {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, h := range entries {
			if h.Typeflag == tar.TypeReg {
				h.Size = 2
			}
			if err := w.WriteHeader(&h); err != nil {
				t.Fatal(err)
			}
			if h.Typeflag == tar.TypeReg {
				_, _ = w.Write([]byte("hi"))
			}
		}
		_ = w.Close()
		return &b
	}
	dir := t.TempDir()
	root := filepath.Join(dir, "root")
	err := untar(archive(
		tar.Header{Name: "./boot/", Typeflag: tar.TypeDir},
		tar.Header{Name: "./boot/vmlinuz-1", Typeflag: tar.TypeReg},
		tar.Header{Name: "/lib/modules/x", Typeflag: tar.TypeReg},
		tar.Header{Name: "./out", Linkname: dir, Typeflag: tar.TypeSymlink},
		tar.Header{Name: "./out/inside", Typeflag: tar.TypeReg},
	), root)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"boot/vmlinuz-1", "lib/modules/x", "out/inside"} {
		if b, err := os.ReadFile(filepath.Join(root, name)); string(b) != "hi" {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
	if err := untar(archive(tar.Header{Name: "../escaped", Typeflag: tar.TypeReg}), root); err == nil || !strings.Contains(err.Error(), "escapes") {
		t.Errorf("a file outside: %v", err)
	}
	if err := untar(strings.NewReader(strings.Repeat("no archive ", 100)), root); err == nil {
		t.Error("rubbish is no error")
	}
	if _, err := os.Stat(filepath.Join(dir, "escaped")); err == nil {
		t.Error("a file was written outside")
	}
}
