// SPDX-License-Identifier: Apache-2.0

// Package layers holds the test that keeps the project's layers: an import
// points down, never up or across. It has no code of its own.
//
// docs/architecture.md describes the layers.
package layers

import (
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// layers are the directories of the module from top to bottom. A package may
// import packages of lower layers, and those of its own directory, such as
// machines and machines/guest. Go itself refuses cycles.
var layers = [][]string{
	{"cmd"},
	{"bisect", "mutants", "suite"},
	{"runs"},
	{"isolation", "regression", "containers"},
	{"machines"},
	{"gcov", "images", "kernels", "profiles"},
	{"nsmgr"},
	{"reports"},
	{"internal"},
}

// maxFiles is how many Go files a package may have beside its tests: with more
// a reader no longer finds the right one by its name.
const maxFiles = 25

// testModule is the module's path, as go.mod has it.
const testModule = "proofhouse"

func layerOf(dir string) int {
	top, _, _ := strings.Cut(dir, "/")
	return slices.IndexFunc(layers, func(l []string) bool { return slices.Contains(l, top) })
}

// upward returns why the package in the directory "from" must not import that
// in the directory "to", or "".
func upward(from, to string) string {
	fromTop, _, _ := strings.Cut(from, "/")
	toTop, _, _ := strings.Cut(to, "/")
	switch f, t := layerOf(from), layerOf(to); {
	case f < 0:
		return from + " has no layer: add it to the table in this test and to docs/architecture.md"
	case t < 0:
		return to + " has no layer: add it to the table in this test and to docs/architecture.md"
	case fromTop == toTop || f < t:
		return ""
	case f == t:
		return from + " imports " + to + " of the same layer"
	default:
		return from + " imports " + to + ", a layer above it"
	}
}

func TestUpward(t *testing.T) {
	for _, c := range []struct {
		from, to string
		allowed  bool
	}{
		{"cmd/nsmgr", "nsmgr", true},
		{"machines", "machines/guest", true},
		{"machines/guest", "machines/wire", true},
		{"kernels", "internal/apt", true},
		{"images", "regression", false},
		{"containers", "isolation", false},
		{"internal/exit", "reports", false},
		{"helpers", "reports", false},
		{"reports", "helpers", false},
	} {
		if why := upward(c.from, c.to); (why == "") != c.allowed {
			t.Errorf("%s imports %s: got %q", c.from, c.to, why)
		}
	}
}

func TestLayers(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	packages := 0
	for dir, files := range sources(t, root) {
		packages++
		if len(files) > maxFiles {
			t.Errorf("%s has %d files, want at most %d", dir, len(files), maxFiles)
		}
		comment := false
		for _, file := range files {
			f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, dir, file), nil, parser.ImportsOnly|parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			comment = comment || f.Doc != nil
			for _, imported := range f.Imports {
				path := strings.Trim(imported.Path.Value, `"`)
				to, ours := strings.CutPrefix(path, testModule+"/")
				if !ours {
					continue
				}
				if why := upward(dir, to); why != "" {
					t.Errorf("%s/%s: %s", dir, file, why)
				}
			}
		}
		if !comment {
			t.Errorf("%s has no package comment: what lives there, and what does not?", dir)
		}
	}
	if packages < 20 {
		t.Errorf("only %d packages were looked at", packages)
	}
}

// sources returns the names of the Go files of each directory below root,
// without tests.
func sources(t *testing.T, root string) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if rel == "bin" || rel == "out" || d.Name() == "testdata" || d.Name() != "." && strings.HasPrefix(d.Name(), ".") && rel != "." {
				return filepath.SkipDir
			}
			return nil
		}
		if strings.HasSuffix(rel, ".go") && !strings.HasSuffix(rel, "_test.go") {
			dir := filepath.Dir(rel)
			found[dir] = append(found[dir], filepath.Base(rel))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
