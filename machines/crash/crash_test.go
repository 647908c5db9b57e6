// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The samples are consoles of real kernels; the first line says what must be
// found in the rest.
func TestFindSamples(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no samples", err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txt"), func(t *testing.T) {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			want, console, _ := strings.Cut(string(b), "\n")
			want = strings.TrimPrefix(want, "title: ")
			c, ok := Find(console)
			if ok != (want != "") || c.Title != want {
				t.Errorf("found %v %q, want %q", ok, c.Title, want)
			}
			if ok && !strings.Contains(console, strings.Split(c.Text, "\n")[0]) {
				t.Errorf("the report is not from the console: %q", c.Text)
			}
		})
	}
}

// One complaint does not hide the next, and what follows a death is its
// consequence.
func TestAll(t *testing.T) {
	const warning = "------------[ cut here ]------------\nrefcount_t: underflow; use-after-free.\nWARNING: CPU: 0 PID: 1 at lib/refcount.c:28 refcount_warn_saturate+0xbe/0x110\n---[ end trace 0000000000000000 ]---\n"
	const other = "------------[ cut here ]------------\nWARNING: CPU: 0 PID: 2 at security/apparmor/label.c:78 aa_put_label+0x30/0x50\n"
	const bug = "kernel BUG at fs/dcache.c:1904!\nOops: invalid opcode: 0000 [#1] SMP\n---[ end trace 0000000000000000 ]---\nnote: rmdir[1] exited with irqs disabled\nBUG: scheduling while atomic: rmdir/1/0x2\n"
	for text, want := range map[string][]string{
		"all is well\n":                         nil,
		warning + warning:                       {"refcount_t: underflow"},
		warning + "mount: ok\n" + other:         {"refcount_t: underflow", "WARNING in aa_put_label"},
		other + warning + bug + other + "end\n": {"WARNING in aa_put_label", "refcount_t: underflow", "kernel BUG at fs/dcache.c:1904"},
	} {
		var got []string
		for _, c := range All(text) {
			got = append(got, c.Title)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q of\n%s", got, text)
		}
	}
}

// A pattern without a sample is untested: removing it would not be noticed.
func TestEachPatternHasASample(t *testing.T) {
	lines, err := os.ReadFile("testdata/lines.tsv")
	if err != nil {
		t.Fatal(err)
	}
	text := string(lines)
	files, _ := filepath.Glob("testdata/*.txt")
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		text += "\n" + string(b)
	}
	used := map[int]bool{}
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		line = stamp.ReplaceAllString(line, "")
		if i := slices.IndexFunc(patterns, func(p pattern) bool { return p.re.MatchString(line) }); i >= 0 {
			used[i] = true
		}
	}
	for i, p := range patterns {
		if !used[i] {
			t.Errorf("no sample in testdata has %s as its first match: add one, or remove the pattern", p.re)
		}
	}
}

// Each kind by the kernel's own words.
func TestFindLines(t *testing.T) {
	b, err := os.ReadFile("testdata/lines.tsv")
	if err != nil {
		t.Fatal(err)
	}
	for row := range strings.Lines(string(b)) {
		row = strings.TrimSuffix(row, "\n")
		if strings.HasPrefix(row, "#") {
			continue
		}
		line, title, ok := strings.Cut(row, "\t")
		if !ok {
			t.Fatalf("%q: want a line, a tab and a title", row)
		}
		got, ok := Find(line + "\n")
		if ok != (title != "") || got.Title != title {
			t.Errorf("%q: got %v %q, want %q", line, ok, got.Title, title)
		}
	}
}

func FuzzFind(f *testing.F) {
	f.Add("[ 1.0] ------------[ cut here ]------------\n[ 1.0] WARNING: CPU: 0 PID: 1 at a.c:1 f+0x1/0x2\n---[ end trace ]---\n")
	f.Add("Kernel panic - not syncing: x")
	f.Fuzz(func(t *testing.T, console string) {
		c, ok := Find(console)
		if ok && (c.Title == "" || strings.Contains(c.Title, "\n")) {
			t.Errorf("title %q", c.Title)
		}
	})
}
