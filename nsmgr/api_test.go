// SPDX-License-Identifier: Apache-2.0

package nsmgr_test

import (
	"bytes"
	"errors"
	"flag"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"proofhouse/nsmgr"
)

var updateAPI = flag.Bool("update-api", false, "write testdata/api.txt")

// TestAPI compares what this package exports with testdata/api.txt. Programs of others
// use it: a change must be meant, and CHANGELOG.md has to have it. "make api" reports
// whether it is compatible.
func TestAPI(t *testing.T) {
	const file = "testdata/api.txt"
	got, err := exported(".")
	if err != nil {
		t.Fatal(err)
	}
	if *updateAPI {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	was, is := strings.Split(string(want), "\n\n"), strings.Split(got, "\n\n")
	for _, d := range was {
		if !slices.Contains(is, d) {
			t.Errorf("removed from the API:\n%s", d)
		}
	}
	for _, d := range is {
		if !slices.Contains(was, d) {
			t.Errorf("added to the API:\n%s", d)
		}
	}
	if t.Failed() {
		t.Error("if this is meant: go test ./nsmgr -run TestAPI -update-api")
	}
}

// A removed method, a changed type and a new field are each noticed.
func TestExported(t *testing.T) {
	dir := t.TempDir()
	text := "package p\n// T is a type.\ntype T struct { A int; b string }\nfunc (T) M() { println() }\nfunc (t) N() {}\ntype t int\nvar V, w = 1, 2\nconst C = 3\n"
	write := func(s string) string {
		if err := os.WriteFile(filepath.Join(dir, "a.go"), []byte(s), 0o644); err != nil {
			t.Fatal(err)
		}
		api, err := exported(dir)
		if err != nil {
			t.Fatal(err)
		}
		return api
	}
	api := write(text)
	if want := "const C = 3\n\nfunc (T) M()\n\ntype T struct {\n\tA int\n\t// contains filtered or unexported fields\n}\n\nvar V\n"; api != want {
		t.Errorf("got %q\nwant %q", api, want)
	}
	for _, change := range [][2]string{{"M()", "M(int)"}, {"A int", "A int8"}, {"A int;", "A, B int;"}, {"func (T) M() { println() }", ""}, {"C = 3", "C = 4"}} {
		if write(strings.Replace(text, change[0], change[1], 1)) == api {
			t.Errorf("%q as %q is not noticed", change[0], change[1])
		}
	}
	for _, same := range [][2]string{{"b string", "b int"}, {"println()", "print()"}, {"// T is", "// T was"}, {"func (t) N()", "func (t) O()"}} {
		if write(strings.Replace(text, same[0], same[1], 1)) != api {
			t.Errorf("%q as %q is part of the API", same[0], same[1])
		}
	}
}

// exported returns the exported declarations of the package in a directory, without
// comments and bodies, sorted.
func exported(dir string) (string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return "", err
	}
	fset := token.NewFileSet()
	var all []string
	add := func(node any) error {
		var b bytes.Buffer
		err := format.Node(&b, fset, node)
		all = append(all, b.String())
		return err
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
		if err != nil {
			return "", err
		}
		ast.FileExports(f)
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Recv != nil && !ast.IsExported(receiver(d.Recv.List[0].Type)) {
					continue
				}
				d.Body = nil
				if err := add(d); err != nil {
					return "", err
				}
			case *ast.GenDecl:
				for _, s := range d.Specs {
					if _, ok := s.(*ast.ImportSpec); ok {
						continue
					}
					// What is left of "var V, w = 1, 2".
					if v, ok := s.(*ast.ValueSpec); ok && len(v.Names) != len(v.Values) {
						v.Values = nil
					}
					// Each by itself, so that one more changes no other.
					if err := add(&ast.GenDecl{Tok: d.Tok, Specs: []ast.Spec{s}}); err != nil {
						return "", err
					}
				}
			}
		}
	}
	slices.Sort(all)
	return strings.Join(all, "\n\n") + "\n", nil
}

// receiver is the name of a receiver's type.
func receiver(x ast.Expr) string {
	switch x := x.(type) {
	case *ast.StarExpr:
		return receiver(x.X)
	case *ast.IndexExpr:
		return receiver(x.X)
	case *ast.Ident:
		return x.Name
	}
	return ""
}

// The kinds of error that a caller distinguishes without reading texts.
func TestErrorKinds(t *testing.T) {
	_, name := nsmgr.ParseName("a::b")
	_, label := nsmgr.ParseLabel("a//&")
	for _, c := range []struct{ err, kind error }{
		{name, nsmgr.ErrInvalid},
		{label, nsmgr.ErrInvalid},
		{nsmgr.CheckName(".load"), nsmgr.ErrInvalid},
		{&nsmgr.InUseError{}, nsmgr.ErrInUse},
		{&nsmgr.HiddenTasksError{}, nsmgr.ErrTasksHidden},
		{&nsmgr.FeatureError{}, nsmgr.ErrFeature},
	} {
		if !errors.Is(c.err, c.kind) || errors.Is(c.err, nsmgr.ErrNotExist) {
			t.Errorf("%v (%T) is not %v", c.err, c.err, c.kind)
		}
	}
}
