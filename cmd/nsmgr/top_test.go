// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"proofhouse/nsmgr"
)

// The table stays within the screen, and names that a container chooses stay
// text.
func TestDrawTop(t *testing.T) {
	var log nsmgr.Log
	for i := range 40 {
		r, ok := nsmgr.ParseRecord(fmt.Sprintf(`audit(1795400718.740:6): apparmor="DENIED" operation="open" class="file" namespace="root//web" profile=%X name=%X pid=1`, fmt.Sprintf("p%d\x1b[2J\n", i), strings.Repeat("/ü ", 100)))
		if !ok {
			t.Fatal("no record")
		}
		log.Records = append(log.Records, r)
	}
	log.Gaps = []nsmgr.Gap{{Source: "/dev/kmsg", Reason: "it goes back to \x1b[31m"}}
	now := time.Unix(1795400720, 0)
	for _, c := range []struct{ width, height, lines int }{{0, 0, 43}, {80, 24, 23}, {20, 5, 4}} {
		var b bytes.Buffer
		drawTop(&b, log, now, 5*time.Minute, c.width, c.height)
		lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
		if len(lines) != c.lines {
			t.Errorf("%+v: %d lines\n%s", c, len(lines), b.String())
		}
		for _, line := range lines {
			if strings.ContainsFunc(line, unicode.IsControl) || c.width > 0 && utf8.RuneCountInString(line) > c.width {
				t.Errorf("%+v: %q", c, line)
			}
		}
		if c.width == 0 && !strings.Contains(b.String(), `p7\x1b[2J\n`) {
			t.Errorf("%s", b.String())
		}
	}
	// On a screen, each table goes over the last one in one write.
	var b bytes.Buffer
	if err := show(&b, []byte("a\nb\n"), true); err != nil || b.String() != "\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J" {
		t.Errorf("%q, %v", b.String(), err)
	}
}

func TestReplacePublic(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.prom")
	text := func(s string, err error) func(io.Writer) error {
		return func(w io.Writer) error { _, _ = io.WriteString(w, s); return err }
	}
	if err := replacePublic(path, text("one", nil)); err != nil {
		t.Fatal(err)
	}
	if err := replacePublic(path, text("half", io.ErrShortWrite)); err == nil {
		t.Error("no error")
	}
	b, err := os.ReadFile(path)
	st, _ := os.Stat(path)
	left, _ := os.ReadDir(filepath.Dir(path))
	if err != nil || string(b) != "one" || st.Mode().Perm() != 0o644 || len(left) != 1 {
		t.Errorf("%q, %v, %v, %v", b, st.Mode(), left, err)
	}
}

// TestAuditRules makes rules of the log of another host.
func TestAuditRules(t *testing.T) {
	if _, err := os.Stat("/usr/sbin/apparmor_parser"); err != nil {
		t.Skip("apparmor_parser is not installed")
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "web"), []byte("abi <kernel>,\nprofile p flags=(attach_disconnected) {\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	line := `type=AVC msg=audit(1795400718.740:6): apparmor="DENIED" operation="open" class="file" %sname="/srv/x" pid=5 comm="cat" requested_mask="r" denied_mask="r" fsuid=0 ouid=0` + "\n"
	log := fmt.Sprintf(line, `namespace="root//web" profile="p" `) + fmt.Sprintf(line, `profile="h" `)
	out, notes := audited(t, log, "--file", "-", "--rules", "--policy", dir)
	want := `# namespace part, namespace web, profile "p"
# add to ` + filepath.Join(dir, "web") + `, in the profile that begins in line 2
  owner "/srv/x" r,  # 1 record

# host part, profile "h"
`
	if !strings.HasPrefix(out, want) || notes != "" {
		t.Errorf("%s%s", out, notes)
	}
	if out, _ := audited(t, log, "web", "--file", "-", "--rules", "--json"); !strings.Contains(out, `"rule": "owner \"/srv/x\" r,"`) || strings.Contains(out, `"profile": "h"`) {
		t.Errorf("%s", out)
	}
	if out, _ := audited(t, "", "--file", "-", "--rules"); out != "# nothing was denied\n" {
		t.Errorf("%q", out)
	}
}
