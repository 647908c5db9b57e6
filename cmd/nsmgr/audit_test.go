// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"proofhouse/internal/exit"
)

func TestParseSince(t *testing.T) {
	now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.Local)
	for text, want := range map[string]time.Time{
		"":                     {},
		"10m":                  now.Add(-10 * time.Minute),
		"2d":                   now.Add(-48 * time.Hour),
		"2026-11-01":           time.Date(2026, 11, 1, 0, 0, 0, 0, time.Local),
		"2026-11-01 07:30":     time.Date(2026, 11, 1, 7, 30, 0, 0, time.Local),
		"2026-11-01T07:30:10Z": time.Date(2026, 11, 1, 7, 30, 10, 0, time.UTC),
		"07:30":                time.Date(2026, 11, 28, 7, 30, 0, 0, time.Local),
		"07:30:05":             time.Date(2026, 11, 28, 7, 30, 5, 0, time.Local),
	} {
		if got, err := parseSince(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%q: %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"x", "-10m", "d", "-1d", "1.5d", "2026-13-01", "yesterday", "10"} {
		if got, err := parseSince(text, now); exit.Status(err) != exit.Usage {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
}

// audited is what audit prints of a log of another host, and the notes.
func audited(t *testing.T, log string, words ...string) (out, notes string) {
	t.Helper()
	words = append([]string{"audit"}, words...)
	c := command(words)
	c.SetArgs(words)
	var o, e bytes.Buffer
	c.SetIn(strings.NewReader(log))
	c.SetOut(&o)
	c.SetErr(&e)
	if err := c.ExecuteContext(t.Context()); err != nil {
		t.Fatalf("%q: %v", words, err)
	}
	return o.String(), e.String()
}

// TestAuditFile reads the logs of another host, in each form that they have.
func TestAuditFile(t *testing.T) {
	record := `apparmor="DENIED" operation="open" class="file" namespace="root//web" profile="p" name="/srv/x" pid=5 comm="cat" requested_mask="r" denied_mask="r" fsuid=0 ouid=0`
	for name, log := range map[string]string{
		"auditd":           `type=AVC msg=audit(1795400718.740:6): ` + record,
		"dmesg":            `[    1.860000] audit: type=1400 audit(1795400718.740:6): ` + record,
		"dmesg -x":         `kern  :notice: [    1.860000] audit: type=1400 audit(1795400718.740:6): ` + record,
		"syslog":           `Nov 23 02:25:18 web1 kernel: [    1.860000] audit: type=1400 audit(1795400718.740:6): ` + record,
		"rsyslog":          `2026-11-23T02:25:18.740000+00:00 web1 kernel: audit: type=1400 audit(1795400718.740:6): ` + record,
		"journal":          `Nov 23 02:25:18 web1 kernel: audit: type=1400 audit(1795400718.740:6): ` + record,
		"journal of audit": `2026-11-23T02:25:18.740000+0000 web1 audit[812]: AVC ` + record,
		"journal in JSON":  `{"_TRANSPORT":"audit","__REALTIME_TIMESTAMP":"1795400718740000","MESSAGE":"AVC ` + strings.ReplaceAll(record, `"`, `\"`) + `"}`,
	} {
		out, notes := audited(t, "something else\n"+log+"\n", "web", "--file", "-", "--json")
		var list []struct {
			Name string    `json:"name"`
			Time time.Time `json:"time"`
		}
		if err := json.Unmarshal([]byte(out), &list); err != nil || len(list) != 1 || list[0].Name != "/srv/x" || list[0].Time.UnixMilli() != 1795400718740 || notes != "" {
			t.Errorf("%s: %s%s%v", name, out, notes, err)
		}
		if out, _ := audited(t, log, "other", "--file", "-"); out != "" {
			t.Errorf("%s: of another namespace: %s", name, out)
		}
		if out, _ := audited(t, log, "--file", "-", "--since", "2026-11-24"); out != "" {
			t.Errorf("%s: before --since: %s", name, out)
		}
	}
	// Lines that only look like the kernel's.
	for _, log := range []string{
		`Nov 23 02:25:18 web1 evil[9]: audit: type=1400 audit(1795400718.740:6): ` + record,
		`Nov 23 02:25:18 web1 evil: kernel: audit: type=1400 audit(1795400718.740:6): ` + record,
		`{"_TRANSPORT":"syslog","_COMM":"logger","MESSAGE":"audit: type=1400 audit(1795400718.740:6): ` + strings.ReplaceAll(record, `"`, `\"`) + `"}`,
	} {
		if out, _ := audited(t, log, "--file", "-"); out != "" {
			t.Errorf("%s: %s", log, out)
		}
	}
	// JSON lines can be read again.
	lines, _ := audited(t, `type=AVC msg=audit(1795400718.740:6): `+record, "--file", "-", "--json-lines")
	text, _ := audited(t, lines, "--file", "-")
	if strings.Count(lines, "\n") != 1 || !strings.Contains(text, `open :web:p "/srv/x"`) {
		t.Errorf("%s%s", lines, text)
	}
	if _, notes := audited(t, strings.Repeat("x", 2<<20), "--file", "-"); !strings.Contains(notes, "lines of more than") {
		t.Errorf("%q", notes)
	}
}

func TestAuditUsage(t *testing.T) {
	for _, words := range []string{"audit --file x --follow", "audit --since x", "audit --file /nowhere", "audit a b"} {
		c := command(strings.Fields(words))
		c.SetArgs(strings.Fields(words))
		if err := c.Execute(); exit.Status(err) != exit.Usage {
			t.Errorf("%s: %v", words, err)
		}
	}
}
