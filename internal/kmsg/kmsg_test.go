// SPDX-License-Identifier: Apache-2.0

package kmsg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]Message{
		"6,339,5140900,-;audit: type=1400 x\n KEY=v\n":   {true, 339, 5140900 * time.Microsecond, "audit: type=1400 x"},
		"12,7,1,-,caller=T1;a program's\n":               {false, 7, time.Microsecond, "a program's"},
		`5,9,12000000,-;name="/a\x5cb"`:                  {true, 9, 12 * time.Second, `name="/a\x5cb"`},
		"5,339,5140900;of a kernel without flags; and ;": {true, 339, 5140900 * time.Microsecond, "of a kernel without flags; and ;"},
	} {
		if m, ok := Parse([]byte(text)); !ok || m != want {
			t.Errorf("Parse(%q) = %+v, %t, want %+v", text, m, ok, want)
		}
	}
	for _, text := range []string{"", "no prefix", "5,339;x", "x,339,5140900,-;x", "-1,2,3,-;x", "5,2,y,-;x"} {
		if m, ok := Parse([]byte(text)); ok {
			t.Errorf("Parse(%q) = %+v, want no message", text, m)
		}
	}
}

func TestUnescape(t *testing.T) {
	for text, want := range map[string]string{
		`/a\x5cb\x5cx`: `/a\b\x`, `\xc3\xa4`: "ä", "plain": "plain", `\x`: `\x`, `\x5`: `\x5`, `\xzz`: `\xzz`, "": "", `a\x0ab`: "a\nb",
	} {
		if got := Unescape(text); got != want {
			t.Errorf("Unescape(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestLostRecords(t *testing.T) {
	for text, want := range map[string]bool{
		"audit: backlog limit exceeded": true, "audit: audit_lost=1 audit_rate_limit=0": true, "audit: kauditd hold queue overflow": true,
		"audit: type=1400 audit(1.2:3): x": false, "usb 1-1: 3 callbacks": false,
	} {
		if LostRecords(text) != want {
			t.Errorf("LostRecords(%q) is not %t", text, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`5,339,5140900,-;audit: name="/a\x5cb" pid=1`))
	f.Add([]byte("6,1,2,c;x\n KEY=v"))
	f.Fuzz(func(_ *testing.T, b []byte) {
		if m, ok := Parse(b); ok {
			_ = Unescape(m.Text)
		}
	})
}

// What is not the kernel log is never read as one.
func TestOpenNone(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("6,1,2,-;forged\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, os.DevNull, filepath.Join(t.TempDir(), "absent")} {
		if l, err := Open(path, false); !errors.Is(err, ErrNone) {
			t.Errorf("Open(%s) = %v, %v, want %v", path, l, err, ErrNone)
		}
	}
}

// The real log: what is written to it is followed, and the end of ctx ends it.
func TestFollow(t *testing.T) {
	l, err := Open(Path, true)
	if err != nil {
		t.Skip(err)
	}
	defer l.Close()
	if _, err := l.Read(); err != nil && !errors.Is(err, unix.EAGAIN) {
		t.Skipf("read the kernel log: %v", err)
	}
	text := fmt.Sprintf("proofhouse: TestFollow %d", os.Getpid())
	w, err := os.OpenFile(Path, os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer func() { _ = w.Close() }()
	if _, err := w.WriteString("<15>" + text + "\n"); err != nil {
		t.Skip(err)
	}
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	found := false
	l.Follow(ctx, func(m Message) {
		if m.Text == text {
			found = true
			if m.Kernel {
				t.Errorf("%+v was written by a program", m)
			}
			stop()
		}
	})
	if !found {
		t.Error("the message was not read")
	}
}
