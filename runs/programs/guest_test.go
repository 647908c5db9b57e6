// SPDX-License-Identifier: Apache-2.0

package programs

import (
	"os"
	"path/filepath"
	"testing"
)

// A guest's program is built again when something of it may have changed, and
// only then.
func TestSourceSum(t *testing.T) {
	source := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(source, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	sum := func(args ...string) string {
		t.Helper()
		s, err := sourceSum(source, args)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	write("go.mod", "module proofhouse\n")
	write("nsmgr/a.go", "package nsmgr\n")
	write("profiles/policy/p.aa", "profile p {}\n")
	last := sum("build")
	if sum("build") != last {
		t.Error("it is another every time")
	}
	for _, name := range []string{"README.md", "docs/x.txt", "bin/nsmgr", "out/run/journal", ".git/index", "nsmgr/testdata/x"} {
		write(name, "text")
		if sum("build") != last {
			t.Errorf("%s counts", name)
		}
	}
	for _, name := range []string{"go.mod", "go.sum", "nsmgr/a.go", "nsmgr/b.go", "profiles/policy/p.aa", "cmd/bin/main.go"} {
		write(name, "changed")
		now := sum("build")
		if now == last {
			t.Errorf("%s does not count", name)
		}
		last = now
	}
	if sum("test") == last {
		t.Error("what is built does not count")
	}
}

// This package's tests run in the checkout.
func TestSourceRoot(t *testing.T) {
	root, err := sourceRoot()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, "runs", "programs", "guest_test.go")); err != nil {
		t.Error(err)
	}
	t.Chdir(t.TempDir())
	if root, err := sourceRoot(); err == nil {
		t.Errorf("a source at %s, where there is none", root)
	}
}
