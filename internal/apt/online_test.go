// SPDX-License-Identifier: Apache-2.0

package apt

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"proofhouse/internal/exit"
)

func online(t *testing.T) *Apt {
	t.Helper()
	if os.Getenv("PROOFHOUSE_ONLINE") != "1" {
		t.Skip("needs a mirror: set PROOFHOUSE_ONLINE=1")
	}
	if os.Getenv("PROOFHOUSE_CACHE") == "" {
		t.Setenv("PROOFHOUSE_CACHE", t.TempDir())
	}
	a, err := Open(t.Context(), func(s string) { t.Log(s) })
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestOnlinePackages(t *testing.T) {
	a := online(t)
	versions, err := a.Versions(t.Context(), "trixie", "hello")
	if err != nil || len(versions) == 0 {
		t.Fatalf("Versions = %q, %v", versions, err)
	}
	deps, err := a.Depends(t.Context(), "trixie", "hello", versions[0])
	if err != nil || !slices.Contains(deps, "libc6") {
		t.Errorf("Depends = %q, %v, want libc6 among them", deps, err)
	}
	path, err := a.Download(t.Context(), "trixie", "hello", "", t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(path); err != nil || fi.Size() < 10_000 {
		t.Errorf("Download left %v, %v", fi, err)
	}
	suite, version, err := a.Find(t.Context(), "hello", "trixie-backports", "trixie")
	if err != nil || suite != "trixie" || version != versions[0] {
		t.Errorf("Find = %q, %q, %v", suite, version, err)
	}
}

func TestOnlineMissing(t *testing.T) {
	a := online(t)
	for _, c := range []struct{ suite, pkg, version, want string }{
		{"trixie", "no-such-package", "", "has no package no-such-package"},
		{"trixie", "hello", "99-1", "has no package hello 99-1"},
		{"nosuchsuite", "hello", "", "suite nosuchsuite not found"},
	} {
		_, err := a.Download(t.Context(), c.suite, c.pkg, c.version, t.TempDir())
		if exit.Status(err) != exit.Usage || !strings.Contains(err.Error(), c.want) {
			t.Errorf("Download(%s, %s, %s): %v, want bad input: %s", c.suite, c.pkg, c.version, err, c.want)
		}
	}
}

func TestOnlineSource(t *testing.T) {
	a := online(t)
	for _, suite := range []string{"trixie", "forky"} {
		got, err := a.Source(t.Context(), suite, "apparmor", t.TempDir())
		if err != nil {
			t.Errorf("%s: %v", suite, err)
			continue
		}
		t.Logf("%s: %s complete=%v missing=%q", suite, got.Version, got.Complete, got.Missing)
		if !strings.HasPrefix(filepath.Base(got.Orig), "apparmor_") {
			t.Errorf("%s: no upstream tarball: %+v", suite, got)
		}
		if got.Complete != (len(got.Missing) == 0) || len(got.Files) == 0 {
			t.Errorf("%s: %+v", suite, got)
		}
	}
}
