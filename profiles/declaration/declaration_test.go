// SPDX-License-Identifier: Apache-2.0

package declaration

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"proofhouse/internal/exit"
)

// What is read of a declaration: the names, in order.
func TestRead(t *testing.T) {
	for _, c := range []struct {
		text string
		want string // names, or a part of the error
		bad  bool
	}{
		{"namespaces:\n- name: a\n  kind: nested\n  profiles: [x.aa]\n  container: c\n", "a", false},
		{"namespaces: []\n", "", false},
		{"---\nnamespaces:\n- name: web\n---\nnamespaces:\n- name: db\n", "web db", false},
		{"# a comment\n---\nnamespaces:\n- name: web\n---\n---\n", "web", false},
		{"namespaces:\r\n- name: crlf\r\n  kind: unprivileged\r\n", "crlf", false},
		{"namespaces: [&a {name: a, kind: privileged}, *a]\n", "a a", false}, // refused as a duplicate later
		{"namespaces:\n- name: a\n  profiles: []\n", "a", false},

		{"", "declares nothing", true},
		{"# nothing yet\n", "declares nothing", true},
		{"---\n---\n", "declares nothing", true},
		{"namespaces:\n", "namespaces has no value", true},
		{"namespaces: []\n---\nnamespaces: null\n", "document 2: namespaces has no value", true},
		{"{}\n", "namespaces has no value", true},
		{"namespaces:\n- name: a\n  profiles:\n", `namespace "a": profiles has no value`, true},
		{"namespaces:\n- name: a\n  profiles: ['']\n", "empty path", true},
		{"namespaces:\n- name: a\n  profiles: x.aa\n", "cannot unmarshal", true},
		{"namespaces:\n- name: a\n  kin: x\n", "field kin not found", true},
		{"namespaces: []\n---\nother: 1\n", "document 2", true},
		{"namespaces:\n- {name: a, name: b}\n", "already defined", true},
		{"namespaces: 3\n", "cannot unmarshal", true},
		{"namespaces: []\n---\n{", "document 2", true},
		{strings.Repeat(" ", maxSize) + "namespaces: []", "larger than 4 MiB", true},
	} {
		f, err := Read(strings.NewReader(c.text), "f.yaml", "/etc/nsmgr")
		if c.bad {
			if err == nil || !strings.Contains(err.Error(), c.want) || exit.Status(err) != exit.Usage || strings.Contains(err.Error(), "EOF") {
				t.Errorf("%.60q: got %+v, %v; want an error with %q", c.text, f, err, c.want)
			}
			continue
		}
		var names []string
		for _, e := range f.entries {
			names = append(names, e.Name)
		}
		if got := strings.Join(names, " "); err != nil || got != c.want {
			t.Errorf("%.60q: got %q, %v; want %q", c.text, got, err, c.want)
		}
	}
}

func TestPaths(t *testing.T) {
	f, err := Read(strings.NewReader("namespaces:\n- name: a\n  profiles: [./x.aa, /srv/y]\n- name: b\n  profiles: [../z]\n"), "f", "/etc/nsmgr")
	if want := []string{"/etc/nsmgr/x.aa", "/srv/y", "/etc/z"}; err != nil || !slices.Equal(f.Paths(), want) {
		t.Errorf("%q, %v", f.Paths(), err)
	}
}

// A directory is read like a Kubernetes volume lays it out: links to files of a
// hidden directory.
func TestOpen(t *testing.T) {
	dir := t.TempDir()
	data := filepath.Join(dir, "..data")
	if err := os.Mkdir(data, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"..data/b.yaml": "namespaces:\n- name: b\n  kind: nested\n", "a.yml": "namespaces:\n- name: a\n  profiles: [x.aa]\n", "note.txt": "{", ".c.yaml": "{"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("..data/b.yaml", filepath.Join(dir, "b.yaml")); err != nil {
		t.Fatal(err)
	}
	f, err := Open(dir)
	if err != nil || len(f.entries) != 2 || f.entries[0].Name != "a" || f.entries[1].Name != "b" || f.Paths()[0] != filepath.Join(dir, "x.aa") {
		t.Errorf("%+v, %v", f, err)
	}
	if got := f.Kinds(); !slices.Equal(got, []string{"nested"}) {
		t.Errorf("kinds %q", got)
	}
	if f, err := Open(t.TempDir()); err != nil || len(f.entries) != 0 {
		t.Errorf("an empty directory: %+v, %v", f, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "z.yaml"), []byte("namespaces:\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, filepath.Join(dir, "nope")} {
		if _, err := Open(path); exit.Status(err) != exit.Usage {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add("namespaces:\n- name: a\n  kind: nested\n---\nnamespaces: []\n")
	f.Add("a: &a [x,x]\nnamespaces: *a")
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := Read(strings.NewReader(text), "f", "/"); err != nil && exit.Status(err) != exit.Usage {
			t.Errorf("%q: %v", text, err)
		}
	})
}
