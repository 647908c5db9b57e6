// SPDX-License-Identifier: Apache-2.0

package kernels

import (
	"os"
	"strings"
	"testing"
	"time"
)

// Every packaging that Debian has: User Mode Linux, one linux-image package
// (in /lib and in /usr/lib), and from 7.x on a split one.
func TestOnlineResolve(t *testing.T) {
	if os.Getenv("PROOFHOUSE_ONLINE") != "1" {
		t.Skip("needs a mirror: set PROOFHOUSE_ONLINE=1")
	}
	if os.Getenv("PROOFHOUSE_CACHE") == "" {
		t.Setenv("PROOFHOUSE_CACHE", t.TempDir())
	}
	for _, c := range []struct {
		spec    string
		kind    Kind
		release string // its start
	}{
		{"uml:debian:forky", UML, "7."},
		{"uml:debian:trixie", UML, "6.12"},
		{"debian:bookworm", BzImage, "6.1."},
		{"debian:trixie", BzImage, "6.12."},
		{"debian:trixie-backports", BzImage, "7."},
		{"debian:sid", BzImage, "7."},
	} {
		t.Run(c.spec, func(t *testing.T) {
			begun := time.Now()
			b, err := Resolve(t.Context(), c.spec, func(s string) { t.Log(s) })
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%.1f s: %s %q\n%s\nimage %s\nmodules %s\nconfig %s", time.Since(begun).Seconds(), b.ID(), b.Version, b.Source, b.Image, b.Modules, b.Config)
			if b.Kind != c.kind || !strings.HasPrefix(b.Release, c.release) || !strings.HasPrefix(b.Version, "#1 ") {
				t.Errorf("%s %s %q", b.Kind, b.Release, b.Version)
			}
			if !isFile(b.Image) || !isFile(b.Modules+"/modules.dep") || !strings.HasSuffix(b.Modules, "/"+b.Release) {
				t.Errorf("incomplete: image %q, modules %q", b.Image, b.Modules)
			}
			if v, known := b.ConfigValue("CONFIG_SECURITY_APPARMOR"); v != "y" || !known {
				t.Errorf("CONFIG_SECURITY_APPARMOR = %q, %v", v, known)
			}
			if err := b.Check(); err != nil {
				t.Error(err)
			}
			begun = time.Now()
			again, err := Resolve(t.Context(), c.spec, func(s string) { t.Errorf("not cached: %s", s) })
			if err != nil || again.ID() != b.ID() {
				t.Errorf("again: %v, %v", again, err)
			}
			t.Logf("again: %.2f s", time.Since(begun).Seconds())
			if c.kind == BzImage {
				exact, err := Resolve(t.Context(), "debian:"+b.Release, nil)
				if err != nil || exact.ID() != b.ID() {
					t.Errorf("debian:%s: %v, %v", b.Release, exact, err)
				}
			}
		})
	}
}
