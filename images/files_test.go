// SPDX-License-Identifier: Apache-2.0

package images

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The places that are symlinks in Debian's merged root: unpacking through one
// could land outside of the root.
var symlinks = []string{"/bin/", "/sbin/", "/lib/", "/lib64/", "/var/run/", "/var/lock/"}

func TestPlaces(t *testing.T) {
	for _, files := range []map[string]File{settings, testsFor("trixie").Files} {
		for name, f := range files {
			if path.Clean(name) != name || !path.IsAbs(name) {
				t.Errorf("%q is not a clean absolute path", name)
			}
			for _, link := range symlinks {
				if strings.HasPrefix(name, link) {
					t.Errorf("%s goes through the symlink %s", name, link)
				}
			}
			if f.Link == "" && f.Mode.Perm()&0o444 != 0o444 {
				t.Errorf("%s has mode %v: not readable by all", name, f.Mode)
			}
		}
	}
	// journald and dbus refuse anything but 32 hex digits.
	id := strings.TrimSpace(string(settings["/etc/machine-id"].Data))
	if len(id) != 32 || strings.Trim(id, "0123456789abcdef") != "" {
		t.Errorf("machine-id %q", id)
	}
}

func TestWriteTar(t *testing.T) {
	source := t.TempDir()
	for name, mode := range map[string]fs.FileMode{"sub/test.sh": 0o750, "sub/helper.c": 0o600, "top": 0o644} {
		file := filepath.Join(source, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(name), mode); err != nil {
			t.Fatal(err)
		}
		modified := time.Unix(1234567890, 500)
		if err := os.Chtimes(file, modified, modified); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("test.sh", filepath.Join(source, "sub/link")); err != nil {
		t.Fatal(err)
	}
	files := map[string]File{
		"/etc/hosts":           {Mode: 0o644, Data: []byte("h")},
		"/usr/local/bin/nsmgr": {Link: "/run/nsmgr"},
		"/var/lib/lxc":         {Mode: fs.ModeDir | 0o755},
	}
	write := func() []byte {
		name := filepath.Join(t.TempDir(), "x.tar")
		if err := writeTar(name, files, map[string]string{"/usr/lib/x": source}); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	first := write()
	if !bytes.Equal(first, write()) {
		t.Error("the same input makes another archive")
	}

	want := map[string]string{
		"./usr": "d755", "./usr/lib": "d755", "./usr/lib/x": "d755", "./usr/lib/x/sub": "d755",
		"./usr/lib/x/sub/helper.c": "-644 sub/helper.c", "./usr/lib/x/sub/test.sh": "-755 sub/test.sh",
		"./usr/lib/x/sub/link": "l777 > test.sh", "./usr/lib/x/top": "-644 top",
		"./etc": "d755", "./etc/hosts": "-644 h",
		"./usr/local": "d755", "./usr/local/bin": "d755", "./usr/local/bin/nsmgr": "l777 > /run/nsmgr",
		"./var": "d755", "./var/lib": "d755", "./var/lib/lxc": "d755",
	}
	above := map[string]bool{".": true}
	for r := tar.NewReader(bytes.NewReader(first)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		name := path.Clean("./" + h.Name)
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		got := describe(h, data)
		if got != want["./"+name] {
			t.Errorf("%s: %q, want %q", h.Name, got, want["./"+name])
		}
		delete(want, "./"+name)
		if h.Uid != 0 || h.Gid != 0 || h.Uname != "" {
			t.Errorf("%s belongs to %d:%d", name, h.Uid, h.Gid)
		}
		if !above[path.Dir(name)] {
			t.Errorf("%s comes before its directory", name)
		}
		if h.Typeflag == tar.TypeDir {
			above[name] = true
		}
		// make goes by the times of the sources.
		if strings.HasSuffix(name, ".c") && !h.ModTime.Equal(time.Unix(1234567890, 500)) {
			t.Errorf("%s is of %v", name, h.ModTime)
		}
	}
	for name := range want {
		t.Errorf("%s is missing", name)
	}
}

func describe(h *tar.Header, data []byte) string {
	mode := string([]byte{'0' + byte(h.Mode>>6&7), '0' + byte(h.Mode>>3&7), '0' + byte(h.Mode&7)})
	switch h.Typeflag {
	case tar.TypeDir:
		return "d" + mode
	case tar.TypeSymlink:
		return "l" + mode + " > " + h.Linkname
	}
	return "-" + mode + " " + string(data)
}
