// SPDX-License-Identifier: Apache-2.0

package images

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"proofhouse/internal/exit"
)

// testsFor is a test suite for tests.
func testsFor(suite string) Tests {
	return Tests{
		Source: "1.0 debian:" + suite, Hash: "f00d",
		Dirs:     map[string]string{"/usr/lib/tests": "/nowhere"},
		Packages: []string{"apparmor", "make"},
		Files:    map[string]File{"/usr/local/bin/uname": {Mode: 0o755, Data: []byte("#!/bin/sh\n")}},
		Make:     []string{"make", "all"}, Dir: "/usr/lib/tests",
	}
}

func recipeFor(t *testing.T, suite string) *rootRecipe {
	t.Helper()
	r, err := newRecipe(Request{Suite: suite, Tests: testsFor(suite)})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func hashOf(t *testing.T, r *rootRecipe) string {
	t.Helper()
	hash, err := r.hash()
	if err != nil {
		t.Fatal(err)
	}
	return hash
}

// A root is made anew when, and only when, something that goes into it differs.
func TestHash(t *testing.T) {
	want := hashOf(t, recipeFor(t, "trixie"))
	if len(want) != 64 {
		t.Fatalf("hash %q: not SHA-256 in hex", want)
	}
	elsewhere := recipeFor(t, "trixie")
	elsewhere.tests.Dirs = map[string]string{"/usr/lib/tests": "/elsewhere"}
	elsewhere.tests.Source = "/elsewhere"
	if got := hashOf(t, elsewhere); got != want {
		t.Errorf("the same source in another directory: %s, want %s", got, want)
	}

	seen := map[string]string{want: "the first"}
	for name, change := range map[string]func(*rootRecipe){
		"suite":    func(r *rootRecipe) { r.Suite = "sid" },
		"source":   func(r *rootRecipe) { r.Tests = "beef" },
		"package":  func(r *rootRecipe) { r.Options = mmdebstrapOptions("amd64", []string{"apparmor"}) },
		"make":     func(r *rootRecipe) { r.Make = append(slices.Clone(r.Make), "V=1") },
		"make dir": func(r *rootRecipe) { r.MakeDir = "/usr/lib" },
		"dirs":     func(r *rootRecipe) { r.Dirs = []string{"/usr/lib/other"} },
		"script":   func(r *rootRecipe) { r.Scripts["build"] += "\n" },
		"recipe":   func(r *rootRecipe) { r.Version++ },
		"settings": func(r *rootRecipe) { r.Settings = maps.Clone(r.Settings); delete(r.Settings, "/etc/hosts") },
		"mode":     func(r *rootRecipe) { r.Guest["/usr/local/bin/uname"] = File{Mode: 0o644} },
		"content":  func(r *rootRecipe) { r.Guest["/usr/local/bin/uname"] = File{Mode: 0o755, Data: []byte("x")} },
	} {
		r := recipeFor(t, "trixie")
		change(r)
		got := hashOf(t, r)
		if other, ok := seen[got]; ok {
			t.Errorf("another %s: the same hash as %s", name, other)
		}
		seen[got] = name
	}
}

// A root of another architecture has a name of its own, and the name of an amd64
// root is what it was before there was another.
func TestArch(t *testing.T) {
	hashes := map[string]bool{}
	for arch, name := range map[string]string{"": "sid", "arm64": "sid:arm64"} {
		r, err := newRecipe(Request{Suite: "sid", Arch: arch, Tests: testsFor("sid")})
		if err != nil {
			t.Fatal(err)
		}
		hashes[hashOf(t, r)] = true
		if r.name() != name {
			t.Errorf("architecture %q: name %q, want %q", arch, r.name(), name)
		}
		b, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if want := "--architectures=" + cmp.Or(arch, "amd64"); !strings.Contains(string(b), want) {
			t.Errorf("%s does not have %s", b, want)
		}
		if strings.Contains(string(b), `"Arch"`) {
			t.Errorf("%s: a new field changes the hash of all roots", b)
		}
	}
	if len(hashes) != 2 {
		t.Errorf("%d hashes for two architectures", len(hashes))
	}
	if _, err := newRecipe(Request{Suite: "sid", Arch: "riscv64", Tests: testsFor("sid")}); exit.Status(err) != exit.Usage || !strings.Contains(err.Error(), "want amd64 or arm64") {
		t.Error(err)
	}
}

func TestBadRequest(t *testing.T) {
	_, err := Get(t.Context(), Request{Suite: "buster", Tests: testsFor("buster")}, nil)
	if exit.Status(err) != exit.Usage || !strings.Contains(err.Error(), "bookworm, trixie, forky, sid") {
		t.Errorf("an unknown suite: %v, status %d", err, exit.Status(err))
	}
	if _, err := Get(t.Context(), Request{Suite: "trixie"}, nil); err == nil {
		t.Error("no source: no error")
	}
}
