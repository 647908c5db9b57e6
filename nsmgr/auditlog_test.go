// SPDX-License-Identifier: Apache-2.0

package nsmgr

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"proofhouse/internal/exit"
	"proofhouse/internal/kmsg"
)

// logsIn are the logs of a host without a kernel log.
func logsIn(dir string) logFiles {
	return logFiles{filepath.Join(dir, "kmsg"), filepath.Join(dir, "auditd.conf"), filepath.Join(dir, "audit.log")}
}

func put(t *testing.T, path string, lines ...string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// denied is a record as auditd has it.
func denied(at time.Time, serial int, name string) string {
	return fmt.Sprintf(`type=AVC msg=audit(%d.100:%d): apparmor="DENIED" operation="open" class="file" namespace="root//web" profile="p" name=%q pid=5 comm="cat" requested_mask="r" denied_mask="r"`, at.Unix(), serial, name)
}

func objects(records []Record) (names []string) {
	for _, r := range records {
		names = append(names, r.Name)
	}
	return names
}

// The records of one system call share stamp and serial. All are told; the copy
// in another log is not.
func TestRecordsOfOneCall(t *testing.T) {
	head := `audit(1900000000.125:510): apparmor="DENIED" operation="open" class="file" `
	tail := `name="/srv/secret" pid=4100 comm="cat" requested_mask="r" denied_mask="r" fsuid=0 ouid=0`
	dir := t.TempDir()
	put(t, filepath.Join(dir, "audit.log"),
		`type=AVC msg=`+head+`profile="host-ct" `+tail,
		`type=AVC msg=`+head+`namespace="root//web" profile="container" `+tail+"\x1dFSUID=\"root\"",
		`type=SYSCALL msg=audit(1900000000.125:510): arch=c000003e syscall=257 success=no comm="cat" subj=host-ct//&:web:container key=(null)`)
	l, err := logsIn(dir).read(time.Time{}, now())
	if err != nil || len(l.Records) != 2 || l.Records[0].Part() != "host" || !l.Records[1].In("web") {
		t.Fatalf("%+v, %v", l.Records, err)
	}
	var kernel []Record
	for _, part := range []string{`namespace="root//web" profile="container" `, `profile="host-ct" `, `profile="host-ct" `} {
		r, _ := ParseRecord("audit: type=1400 " + head + part + tail)
		kernel = append(kernel, r)
	}
	if all := merge(kernel, l.Records); len(all) != 3 {
		t.Errorf("in both logs: %v", all)
	}
	if all := merge(kernel[:1], l.Records); len(all) != 2 {
		t.Errorf("one in both logs: %v", all)
	}
}

func TestRotatedLogs(t *testing.T) {
	dir := t.TempDir()
	at := time.Now().Truncate(time.Second)
	f := logsIn(dir)
	put(t, f.auditLog, denied(at.Add(-10*time.Second), 30, "/present"))
	put(t, f.auditLog+".1", denied(at.Add(-300*time.Second), 20, "/rotated"))
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	fmt.Fprintln(z, denied(at.Add(-20*time.Minute), 10, "/packed"))
	if err := errors.Join(z.Close(), os.WriteFile(f.auditLog+".2.gz", packed.Bytes(), 0o600)); err != nil {
		t.Fatal(err)
	}
	l, err := f.read(time.Time{}, now())
	if want := []string{"/packed", "/rotated", "/present"}; err != nil || !slices.Equal(objects(l.Records), want) {
		t.Errorf("all: %q, %v", objects(l.Records), err)
	}
	l, err = f.read(at.Add(-10*time.Minute), now())
	if want := []string{"/rotated", "/present"}; err != nil || !slices.Equal(objects(l.Records), want) {
		t.Errorf("since ten minutes: %q, %v", objects(l.Records), err)
	}
	// Without the first one, which a rotation takes away for a moment.
	if err := os.Remove(f.auditLog); err != nil {
		t.Fatal(err)
	}
	if l, err = f.read(at.Add(-10*time.Minute), now()); err != nil || !slices.Equal(objects(l.Records), []string{"/rotated"}) {
		t.Errorf("%q, %v", objects(l.Records), err)
	}
	// Moved by auditd.conf.
	moved := filepath.Join(t.TempDir(), "a b.log")
	put(t, f.auditConf, "# log_file = /nowhere", "log_format = ENRICHED", "Log_File = "+moved)
	put(t, moved, denied(at, 40, "/elsewhere"))
	if l, err = f.read(at.Add(-10*time.Minute), now()); err != nil || !slices.Equal(objects(l.Records), []string{"/rotated", "/elsewhere"}) {
		t.Errorf("%q, %v", objects(l.Records), err)
	}
}

// A log that cannot be read is an error of the caller's, with what the others
// have; what cannot be read of a log is a gap.
func TestUnreadableLogs(t *testing.T) {
	at := time.Now()
	f := logsIn(t.TempDir())
	if _, err := f.read(time.Time{}, now()); exit.Status(err) != exit.Usage || !errors.Is(err, kmsg.ErrNone) {
		t.Errorf("no log at all: %v", err)
	}
	put(t, f.auditLog, denied(at, 1, "/a"))
	for _, target := range []string{"", "/dev/null", "/dev/zero"} {
		if target != "" {
			_ = os.Remove(f.kmsg)
			if err := os.Symlink(target, f.kmsg); err != nil {
				t.Fatal(err)
			}
		}
		l, err := f.read(time.Time{}, now())
		if err != nil || len(l.Records) != 1 || len(l.Gaps) != 1 || l.Gaps[0].Source != f.kmsg {
			t.Errorf("%q for the kernel log: %+v, %v", target, l, err)
		}
	}
	put(t, f.auditLog, "\x00\x00\x00"+denied(at, 1, "/a"), strings.TrimSuffix(denied(at, 2, "/b"), `"`), strings.Repeat("x", maxLine+10), denied(at, 3, "/c"),
		"kernel: audit: audit_lost=7 audit_rate_limit=0 audit_backlog_limit=64")
	l, err := f.read(time.Time{}, now())
	if want := []string{"/a", "/b", "/c"}; err != nil || !slices.Equal(objects(l.Records), want) {
		t.Errorf("damaged: %q, %v", objects(l.Records), err)
	}
	for _, want := range []string{"1 records are truncated", "1 lines of more than", "audit_lost=7"} {
		if !slices.ContainsFunc(l.Gaps, func(g Gap) bool { return strings.Contains(g.String(), want) }) {
			t.Errorf("%q is not in %q", want, l.Gaps)
		}
	}
	if err := errors.Join(os.Remove(f.auditLog), os.Mkdir(f.auditLog, 0o700)); err != nil {
		t.Fatal(err)
	}
	if _, err := f.read(time.Time{}, now()); exit.Status(err) != exit.Usage {
		t.Errorf("a directory in its place: %v", err)
	}
	if os.Geteuid() == 0 {
		return
	}
	if err := errors.Join(os.Remove(f.auditLog), os.WriteFile(f.auditLog, nil, 0)); err != nil {
		t.Fatal(err)
	}
	if _, err := f.read(time.Time{}, now()); exit.Status(err) != exit.Usage || !errors.Is(err, os.ErrPermission) {
		t.Errorf("without rights: %v", err)
	}
}

// A board without a clock stamps 1970 until NTP answers.
func TestLogged(t *testing.T) {
	wall := time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)
	c := hostClock{wall: wall, boot: 10 * time.Hour, monotonic: 2 * time.Hour}
	for _, x := range []struct {
		stamp     time.Time
		sinceBoot time.Duration
		want      time.Time
	}{
		{wall.Add(-time.Minute), time.Hour, wall.Add(-time.Minute)},                           // as the clock said
		{wall.Add(-9 * time.Hour), 10 * time.Minute, wall.Add(-9 * time.Hour)},                // the host slept meanwhile
		{time.Unix(41, 0), 2*time.Hour - 5*time.Second, wall.Add(-5 * time.Second)},           // 1970
		{wall.Add(24 * time.Hour), 2*time.Hour - 5*time.Second, wall.Add(-5 * time.Second)},   // it was set back
		{wall.Add(10 * time.Second), 2*time.Hour - 5*time.Second, wall.Add(10 * time.Second)}, // corrected a little
		{time.Time{}, time.Hour, wall.Add(-time.Hour)},                                        // unreadable
	} {
		if got := c.logged(x.stamp, x.sinceBoot); !got.Equal(x.want) {
			t.Errorf("stamped %v, %v after boot: %v, want %v", x.stamp, x.sinceBoot, got, x.want)
		}
	}
	// In a file, the place counts.
	f := logsIn(t.TempDir())
	present := time.Now()
	put(t, f.auditLog, denied(present.Add(-time.Hour), 1, "/old"), denied(present.Add(-time.Minute), 2, "/new"), denied(time.Unix(50, 0), 3, "/reset"))
	l, err := f.read(present.Add(-10*time.Minute), now())
	if want := []string{"/new", "/reset"}; err != nil || !slices.Equal(objects(l.Records), want) {
		t.Errorf("%q, %v", objects(l.Records), err)
	}
}

func TestKernelLogGaps(t *testing.T) {
	first := time.Now().Add(-time.Hour)
	l := &kernelLog{path: "/dev/kmsg", first: first, older: 12, missing: 3, lost: []loss{{first, "audit: audit_lost=1"}, {first.Add(time.Minute), "kauditd_printk_skb: 34 callbacks suppressed"}}}
	for _, c := range []struct {
		since   time.Time
		audited bool
		want    []string
	}{
		{time.Time{}, false, []string{"12 older messages", "3 messages were overwritten", "2 messages report"}},
		{time.Time{}, true, []string{"3 messages were overwritten", "2 messages report"}},
		{first.Add(time.Second), false, []string{"3 messages were overwritten", "1 messages report"}},
		{time.Now(), false, []string{"3 messages were overwritten"}},
	} {
		gaps := l.gaps(c.since, c.audited)
		if len(gaps) != len(c.want) {
			t.Errorf("since %v: %q, want %q", c.since, gaps, c.want)
			continue
		}
		for i, g := range gaps {
			if !strings.Contains(g.String(), c.want[i]) {
				t.Errorf("since %v: %q, want %q", c.since, g, c.want[i])
			}
		}
	}
	for text, want := range map[string]bool{"kauditd_printk_skb: 34 callbacks suppressed": true, "audit: backlog limit exceeded": true, "audit: type=1400 audit(1.2:3): x": false, "usb 1-1: 3 callbacks": false} {
		if saysLost(text) != want {
			t.Errorf("%q", text)
		}
	}
}

// What is appended to auditd's log is told, also over a rotation and after a
// truncation, each record once.
func TestFollow(t *testing.T) {
	f := logsIn(t.TempDir())
	at := time.Now()
	put(t, f.auditLog, denied(at, 1, "/before"))
	w, gaps, err := f.follow()
	if err != nil || len(gaps) != 1 || w.fd() != -1 {
		t.Fatalf("%q, %v", gaps, err)
	}
	defer w.close()
	check := func(what string, want ...string) {
		t.Helper()
		got, gaps := w.pending()
		if !slices.Equal(objects(got), want) || len(gaps) > 0 {
			t.Errorf("%s: %q, want %q; %q", what, objects(got), want, gaps)
		}
	}
	add := func(text string) {
		t.Helper()
		file, err := os.OpenFile(f.auditLog, os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.WriteString(text); err != nil {
			t.Fatal(err)
		}
		_ = file.Close()
	}
	check("nothing yet")
	line := denied(at, 2, "/two") + "\n"
	add(line[:40])
	check("half a line")
	add(line[40:] + denied(at, 2, "/two") + "\n")
	check("two alike", "/two", "/two")
	add(denied(at, 3, "/three") + "\n")
	if err := os.Rename(f.auditLog, f.auditLog+".1"); err != nil {
		t.Fatal(err)
	}
	check("moved away", "/three")
	add(denied(at, 4, "/four") + "\n")
	check("rotated", "/four")
	put(t, f.auditLog, denied(at, 5, "/5"))
	check("truncated", "/5")
	check("nothing more")
}
