// SPDX-License-Identifier: Apache-2.0

package machines

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A flood has a bound, in memory and in the file; the heads and the tail remain,
// and what was cut is said.
func TestLogIsBounded(t *testing.T) {
	file := filepath.Join(t.TempDir(), "console")
	l, err := newLog(file)
	if err != nil {
		t.Fatal(err)
	}
	say := func(s string) {
		t.Helper()
		if _, err := l.Write([]byte(s)); err != nil {
			t.Fatal(err)
		}
	}
	flood := bytes.Repeat([]byte("x"), 1<<20)
	pour := func(megabytes int) {
		for range megabytes {
			say(string(flood))
		}
	}
	say("boot\n")
	var marks []int
	for i := range 12 {
		pour(10)
		marks = append(marks, l.Mark())
		say(fmt.Sprintf("script %d begins\n", i))
	}
	pour(100)
	say("the end\n")
	kept := 0
	for _, s := range l.spans {
		kept += cap(s.text)
	}
	if limit := 3 * ((1+marksKept)*headKept + 2*tailKept); kept > limit {
		t.Errorf("%d bytes are kept of %d, more than %d", kept, l.size, limit)
	}
	all := l.Since(0)
	for _, want := range []string{"boot\n", "script 11 begins\n", "script 4 begins\n", "bytes were cut here\n", "the end\n"} {
		if !strings.Contains(all, want) {
			t.Errorf("%q is lost", want)
		}
	}
	if strings.Contains(all, "script 2 begins") {
		t.Error("the head behind an old mark is kept for ever")
	}
	// What was cut and what is left are all of it.
	left, cut := len(all), 0
	for line := range strings.Lines(all) {
		var n int
		if _, err := fmt.Sscanf(line, l.cutLine+": %d bytes", &n); err == nil {
			cut += n
			left -= len(line) + 1
		}
	}
	if left+cut != l.size || cut == 0 {
		t.Errorf("%d left, %d cut of %d", left, cut, l.size)
	}
	since := l.Since(marks[11])
	if !strings.HasPrefix(since, "script 11 begins\n") || !strings.HasSuffix(since, "the end\n") || !strings.Contains(since, "bytes were cut here") {
		t.Errorf("since the last mark: %d bytes, %.40q … %q", len(since), since, since[len(since)-20:])
	}
	l.close()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(b) > fileKept+tailKept+1000 || !bytes.HasPrefix(b, []byte("boot\n")) || !bytes.HasSuffix(b, []byte("the end\n")) || !bytes.Contains(b, []byte("bytes were cut here")) {
		t.Errorf("the file has %d bytes", len(b))
	}
}

// Short text is kept as it is.
func TestLogIsWhole(t *testing.T) {
	l, err := newLog("")
	if err != nil {
		t.Fatal(err)
	}
	if got := l.Since(0); got != "" {
		t.Errorf("%q", got)
	}
	_, _ = l.Write([]byte("a\nb\n"))
	mark := l.Mark()
	_, _ = l.Write([]byte("c\nd"))
	if got := l.Since(mark); got != "c\nd" {
		t.Errorf("%q", got)
	}
	if got := strings.Join(l.Lines(0), ","); got != "a,b,c" {
		t.Errorf("%q", got)
	}
	if got := l.Since(1000); got != "" {
		t.Errorf("%q", got)
	}
}

// What is waited for is found behind a flood, too.
func TestLogAwait(t *testing.T) {
	l, err := newLog("")
	if err != nil {
		t.Fatal(err)
	}
	mark := l.Mark()
	done := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	go func() { done <- l.await(ctx, mark, "here") }()
	for range 30 {
		_, _ = l.Write(bytes.Repeat([]byte("x"), 1<<20))
	}
	_, _ = l.Write([]byte("here\n"))
	if err := <-done; err != nil {
		t.Error(err)
	}
}
