// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

func FuzzQuote(f *testing.F) {
	f.Add("ls", "-l", "it's")
	f.Add("", "a b", "$(reboot)")
	f.Add("\\", "'", "\"\n`x`")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		in := []string{a, b, c}
		out, err := Split(Quote(in))
		if err != nil || !slices.Equal(in, out) {
			t.Fatalf("%q came back as %q, %v", in, out, err)
		}
	})
}

// A real shell must read what Quote writes as Split does: the line goes to an
// sshd's shell as well as to our own init.
func TestQuoteIsTheShells(t *testing.T) {
	in := []string{"it's", "a b", "$(echo no)", "`no`", "*", "\\", "", "\"", "new\nline", "~"}
	out, err := exec.Command("/bin/sh", "-c", "for w in "+Quote(in)+`; do printf '%s\0' "$w"; done`).Output()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00"); !slices.Equal(got, in) {
		t.Errorf("the shell read %q as %q", in, got)
	}
}

func TestSplitRefusesShell(t *testing.T) {
	for _, line := range []string{"a;b", "a | b", "$HOME", "a > b", "`id`", "'open", "end\\", "a && b", `"x"`} {
		if words, err := Split(line); err == nil {
			t.Errorf("Split(%q) = %q, want an error", line, words)
		}
	}
}

func TestSplitPlainWords(t *testing.T) {
	words, err := Split(`uname  -r 'a b'c\ d`)
	if want := []string{"uname", "-r", "a bc d"}; err != nil || !slices.Equal(words, want) {
		t.Errorf("got %q, %v, want %q", words, err, want)
	}
}
