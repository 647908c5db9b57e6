// SPDX-License-Identifier: Apache-2.0

package reports

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (go test -update writes it anew); got:\n%s", path, got)
	}
}

func TestTerminal(t *testing.T) {
	styles := map[string]Style{
		"":         {Unicode: true, Width: 80},
		"-pipe":    {},
		"-verbose": {Unicode: true, Width: 80, Verbose: true},
		"-colour":  {Unicode: true, Width: 80, Color: true},
	}
	for name, make := range samples {
		for suffix, style := range styles {
			if suffix != "" && name != "mixed" && name != "fail" {
				continue
			}
			t.Run(name+suffix, func(t *testing.T) {
				var b bytes.Buffer
				if err := Terminal(&b, make().run(), style, "out/run/junit.xml", "out/run/results.json"); err != nil {
					t.Fatal(err)
				}
				golden(t, "terminal/"+name+suffix+".txt", b.Bytes())
				if !style.Color {
					checkPlain(t, b.String(), style)
				}
			})
		}
	}
}

// checkPlain looks for what a plain text must not hold.
func checkPlain(t *testing.T, text string, style Style) {
	t.Helper()
	if strings.Contains(text, "\x1b") {
		t.Error("an escape sequence in a text without colours")
	}
	for _, l := range strings.Split(text, "\n") {
		if strings.TrimRight(l, " ") != l {
			t.Errorf("space at the end of %q", l)
		}
		if n := utf8.RuneCountInString(l); style.Width > 0 && n > style.Width {
			t.Errorf("%d columns: %q", n, l)
		}
		if !style.Unicode && strings.IndexFunc(l, func(r rune) bool { return r > 126 }) >= 0 {
			t.Errorf("beyond ASCII: %q", l)
		}
	}
}

func TestElapsed(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second:               "0 s",
		0:                          "0.0 s",
		9949 * time.Millisecond:    "9.9 s",
		9950 * time.Millisecond:    "10 s",
		59499 * time.Millisecond:   "59 s",
		59500 * time.Millisecond:   "1m00s",
		185 * time.Second:          "3m05s",
		3599700 * time.Millisecond: "1h00m",
		62 * time.Minute:           "1h02m",
	} {
		if got := Elapsed(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}

func TestLocale(t *testing.T) {
	for _, c := range []struct {
		env  map[string]string
		want bool
	}{
		{nil, false},
		{map[string]string{"LANG": "C"}, false},
		{map[string]string{"LANG": "en_GB.UTF-8"}, true},
		{map[string]string{"LANG": "de_DE.utf8"}, true},
		{map[string]string{"LC_ALL": "C", "LANG": "en_GB.UTF-8"}, false},
		{map[string]string{"LC_CTYPE": "C.UTF-8", "LANG": "C"}, true},
	} {
		if got := utf8Locale(func(k string) string { return c.env[k] }); got != c.want {
			t.Errorf("%v: %v", c.env, got)
		}
	}
}

// TestKnownOnly: a spec with nothing but known failures did not pass.
func TestKnownOnly(t *testing.T) {
	s := newSample("v1", []Kernel{uml()}, "e2e", "open")
	s.spec(1, uml().ID, "e2e", 2, Result{ID: "regression/e2e/cached policy", Status: XFail})
	s.spec(1, uml().ID, "open", 2, passes(3)...)
	dir := t.TempDir()
	s.end().write(t, dir)
	run, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := Terminal(&b, run, Style{}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"XFAIL 1 script failed as known", "PASS  1 script passed"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in\n%s", want, b.String())
		}
	}
	if status, line := Verdict(run); status != 0 || line != "PASS: 3 subtests passed on 7.2.7" {
		t.Error(status, line)
	}
}

// TestAlike: the same denial of many processes is one line.
func TestAlike(t *testing.T) {
	record := func(id, pid int, name string) string {
		return fmt.Sprintf(`audit(1795641535.%d:%d): apparmor="DENIED" operation="open" name=%q pid=%d comm="cat"`, id, id, name, pid)
	}
	got := alike([]string{record(1, 10, "/a"), record(2, 11, "/b"), record(3, 12, "/a"), record(4, 13, "/a")})
	want := []string{record(1, 10, "/a") + "  (and 2 like it)", record(2, 11, "/b")}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}
