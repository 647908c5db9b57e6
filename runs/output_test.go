// SPDX-License-Identifier: Apache-2.0

package runs

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
)

// A full disk does not change what a script printed.
func TestOutputFullDisk(t *testing.T) {
	f, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	o := newOutput(f)
	for range 2 {
		if n, err := o.Write([]byte("ok: a\n")); n != 6 || err != nil {
			t.Error(n, err)
		}
	}
	if o.String() != "ok: a\nok: a\n" || o.cut() != 0 {
		t.Errorf("%q, %d bytes cut", o, o.cut())
	}
	if err := o.close(); !errors.Is(err, syscall.ENOSPC) {
		t.Error(err)
	}
}

type file struct{ bytes.Buffer }

func (*file) Close() error { return nil }

// Of too much output, the head and the tail are kept in whole lines, in memory
// and in the file, however it came in.
func TestOutputCut(t *testing.T) {
	for _, piece := range []int{1, 7, 64, 100000} {
		f := &file{}
		o := newOutput(f)
		o.limit = 100
		text := "first\n" + strings.Repeat("0123456789\n", 1000) + "last\n"
		for rest := text; rest != ""; {
			n := min(piece, len(rest))
			_, _ = o.Write([]byte(rest[:n]))
			rest = rest[n:]
		}
		if err := o.close(); err != nil {
			t.Fatal(err)
		}
		if want := int64(len(text) - 100); o.cut() != want {
			t.Errorf("pieces of %d: %d cut, want %d", piece, o.cut(), want)
		}
		for what, got := range map[string]string{"memory": o.String(), "file": f.String()} {
			if !strings.HasPrefix(got, "first\n0123456789\n") || !strings.HasSuffix(got, "0123456789\nlast\n") || !strings.Contains(got, "[proofhouse cut ") || len(got) > 250 {
				t.Errorf("pieces of %d: %s: %q", piece, what, got)
			}
		}
		for line := range strings.Lines(o.String()) {
			if line != "first\n" && line != "last\n" && line != "0123456789\n" && !strings.HasPrefix(line, "[proofhouse cut") {
				t.Errorf("pieces of %d: a line was cut in two: %q", piece, line)
			}
		}
		if len(o.tail) > 100+piece {
			t.Errorf("pieces of %d: %d bytes in memory", piece, len(o.tail))
		}
	}
}
