// SPDX-License-Identifier: Apache-2.0

package coverage

import (
	"bytes"
	"errors"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"proofhouse/internal/exit"
)

// sample is a set of two files, as gcov counts them.
func sample() Set {
	return Set{
		{
			Name:      "security/apparmor/file.c",
			Functions: []Function{{"aa_path_perm", 3, 2}, {"unused", 12, 0}},
			Lines:     []Line{{3, 2}, {5, 2}, {7, 0}, {8, 2}, {12, 0}, {14, 0}},
		},
		{Name: "security/apparmor/lsm.c", Functions: []Function{{"apparmor_init", 1, 1}}, Lines: []Line{{1, 1}, {2, 1}}},
	}
}

// sampleSource is the source that sample counts.
var sampleSource = Source{
	"security/apparmor/file.c": `/* A comment. */

int aa_path_perm(int request,
		 int denied)
{	int error = fn(request,
		       denied);
	if (error)
		return error;
	/* nothing */
	return 0;
}
static int unused(void)
{
	return 1;
}
`,
	"security/apparmor/lsm.c":          "int apparmor_init(void)\n{ return 0; }\n",
	"security/apparmor/include/file.h": "int aa_path_perm(int, int);\n",
}

func TestLCOV(t *testing.T) {
	var b bytes.Buffer
	if err := WriteLCOV(&b, sample(), "regression/open file"); err != nil {
		t.Fatal(err)
	}
	const begins = "TN:regression_open_file\nSF:security/apparmor/file.c\nFN:3,aa_path_perm\nFN:12,unused\nFNDA:2,aa_path_perm\nFNDA:0,unused\nFNF:2\nFNH:1\nDA:3,2\n"
	if !strings.HasPrefix(b.String(), begins) || !strings.Contains(b.String(), "LF:6\nLH:3\nend_of_record\n") {
		t.Errorf("got\n%s", b.String())
	}
	set, err := ReadLCOV(&b)
	if err != nil {
		t.Fatal(err)
	}
	if err := sample().Same(set); err != nil || set.Totals() != sample().Totals() {
		t.Errorf("read back: %+v, %v", set, err)
	}
}

// What a kernel for User Mode Linux counted in a row of signals.
func TestReadLCOVReal(t *testing.T) {
	f, err := os.Open("testdata/ipc.info")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	set, err := ReadLCOV(f)
	if err != nil {
		t.Fatal(err)
	}
	got := set.Totals()
	if want := (Totals{Lines: 37, ReachedLines: 32, Functions: 3, ReachedFunctions: 3}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestReadLCOVRefused(t *testing.T) {
	for text, want := range map[string]string{
		"DA:1,1\n":                     "outside of a record",
		"SF:security/apparmor/lsm.c\n": "no end",
		"SF:security/apparmor/lsm.c\nSF:security/apparmor/lsm.c\n":              "without an end",
		"SF:/etc/passwd\nend_of_record\n":                                       "not the name of a file",
		"SF:security/apparmor/../../etc/passwd\nend_of_record\n":                "not the name of a file",
		"SF:security/apparmor/<script>.c\nend_of_record\n":                      "not the name of a file",
		"SF:security/apparmor/lsm.c\nDA:0,1\nend_of_record\n":                   "invalid line number",
		"SF:security/apparmor/lsm.c\nDA:-1,1\nend_of_record\n":                  "invalid line number",
		"SF:security/apparmor/lsm.c\nDA:1,-1\nend_of_record\n":                  "invalid count",
		"SF:security/apparmor/lsm.c\nDA:1\nend_of_record\n":                     "invalid count",
		"SF:security/apparmor/lsm.c\nDA:99999999,1\nend_of_record\n":            "invalid line number",
		"SF:security/apparmor/lsm.c\nFN:1,a b\nend_of_record\n":                 "not the name of a function",
		"SF:security/apparmor/lsm.c\nFNDA:1,f\nend_of_record\n":                 "invalid count of a function",
		"SF:security/apparmor/lsm.c\nFN:1,f\nFN:2,f\nend_of_record\n":           "a function twice",
		"SF:security/apparmor/lsm.c\nXX:1\nend_of_record\n":                     "unknown kind",
		"SF:security/apparmor/lsm.c\nFN:1," + strings.Repeat("f", 5000) + "\n":  "token too long",
		"SF:security/apparmor/lsm.c\n" + strings.Repeat("DA:1,1\n", 4*MaxLines): "too many lines",
	} {
		if _, err := ReadLCOV(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80q: %v, want %q", text, err, want)
		}
	}
}

func FuzzReadLCOV(f *testing.F) {
	var b bytes.Buffer
	_ = WriteLCOV(&b, sample(), "x")
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, text []byte) {
		set, err := ReadLCOV(bytes.NewReader(text))
		if err != nil {
			return
		}
		var b bytes.Buffer
		if err := WriteLCOV(&b, set, "x"); err != nil {
			t.Fatal(err)
		}
		again, err := ReadLCOV(&b)
		if err != nil || set.Same(again) != nil || set.Totals() != again.Totals() {
			t.Errorf("%+v became %+v, %v", set, again, err)
		}
	})
}

func TestAdd(t *testing.T) {
	var s Set
	s.Add(sample())
	s.Add(sample())
	s.Add(Set{{Name: "security/apparmor/audit.c", Lines: []Line{{1, math.MaxUint64}}}})
	s.Add(Set{{Name: "security/apparmor/audit.c", Lines: []Line{{1, 5}, {2, 1}}}})
	if n, _ := s.File("security/apparmor/file.c").Count(5); n != 4 {
		t.Errorf("line 5: %d", n)
	}
	if n, _ := s.File("security/apparmor/audit.c").Count(1); n != math.MaxUint64 {
		t.Errorf("a count wrapped around: %d", n)
	}
	if got := s.Totals(); got.Lines != 10 || got.ReachedLines != 7 || got.Functions != 3 || got.ReachedFunctions != 2 {
		t.Errorf("%+v", got)
	}
	if !slices.IsSortedFunc(s, func(a, b File) int { return strings.Compare(a.Name, b.Name) }) {
		t.Error("not sorted")
	}
	if n, _ := sample().File("security/apparmor/file.c").Count(5); n != 2 {
		t.Error("the argument was changed")
	}
}

func TestFunction(t *testing.T) {
	for line, want := range map[int]string{1: "", 2: "", 3: "aa_path_perm", 4: "aa_path_perm", 7: "aa_path_perm", 11: "aa_path_perm", 12: "unused", 14: "unused", 99: ""} {
		if got, first, last := sampleSource.function("security/apparmor/file.c", line); got != want || want != "" && (line < first || line > last) {
			t.Errorf("line %d: %q from %d to %d, want %q", line, got, first, last, want)
		}
	}
	for text, want := range map[string]string{
		"static __always_inline bool fqlookupn(struct aa_label *l)": "fqlookupn", "struct aa_label *aa_label_alloc(int size,": "aa_label_alloc",
		"int x = f(1)": "", "\tf(a)": "", "int f(int);": "",
	} {
		got, _, _ := Source{"a": text + "\n{\n"}.function("a", 2)
		if got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestSource(t *testing.T) {
	var b bytes.Buffer
	if err := sampleSource.Write(&b); err != nil {
		t.Fatal(err)
	}
	got, err := ReadSource(&b)
	if err != nil || len(got) != 3 || got["security/apparmor/lsm.c"] != sampleSource["security/apparmor/lsm.c"] {
		t.Errorf("%v, %v", got, err)
	}
	b.Reset()
	if err := (Source{"security/apparmor/../../etc/passwd": "x"}).Write(&b); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadSource(&b); err == nil {
		t.Error("a name that leads elsewhere")
	}
}

// patch is a patch that is applied to sampleSource: an added condition, a changed
// comment, a changed declaration, a removed line, and changes elsewhere.
const patch = `From 0123 Mon Sep 17 00:00:00 2001
Subject: [PATCH] apparmor: test

diff --git a/security/apparmor/file.c b/security/apparmor/file.c
--- a/security/apparmor/file.c
+++ b/security/apparmor/file.c
@@ -1,12 +1,12 @@
-/* Another comment. */
+/* A comment. */
 
 int aa_path_perm(int request,
 		 int denied)
 {	int error = fn(request,
-		       0);
-	if (!error)
+		       denied);
+	if (error)
 		return error;
 	/* nothing */
 	return 0;
 }
-static int unused(int x)
+static int unused(void)
diff --git a/security/apparmor/include/file.h b/security/apparmor/include/file.h
--- a/security/apparmor/include/file.h
+++ b/security/apparmor/include/file.h
@@ -1,2 +1 @@
-int aa_path_perm(int);
-int gone(void);
+int aa_path_perm(int, int);
diff --git a/Documentation/x.rst b/Documentation/x.rst
--- a/Documentation/x.rst
+++ b/Documentation/x.rst
@@ -1 +1,2 @@
 a
+b
`

func parse(t *testing.T, text string) *Patch {
	t.Helper()
	p, err := ParsePatch(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func applied(t *testing.T, text string) *PatchReach {
	t.Helper()
	p := parse(t, text)
	changed, removed, err := p.Applied(sampleSource)
	if err != nil {
		t.Fatal(err)
	}
	r := &PatchReach{Name: "x.patch", Removed: removed, Elsewhere: p.Elsewhere}
	for _, c := range changed {
		r.Lines = append(r.Lines, Reach{Changed: c})
	}
	return r
}

func TestPatchReach(t *testing.T) {
	r := applied(t, patch)
	c := NewCollector(sampleSource, r)
	boot := sample()
	for i := range boot {
		for n := range boot[i].Lines {
			boot[i].Lines[n].Count = 0
		}
	}
	c.Boot(boot)
	c.Test("regression/open", sample())
	c.Test("isolation/file/a", sample())
	c.End()
	type line struct {
		file  string
		line  int
		state State
		by    int
	}
	var got []line
	for _, l := range r.Lines {
		got = append(got, line{strings.TrimPrefix(l.File, Dir+"/"), l.Line, l.State, len(l.By)})
	}
	want := []line{
		{"file.c", 1, NoCode, 0},
		{"file.c", 6, ByTest, 2}, // a part of the statement in line 5
		{"file.c", 7, Nothing, 0},
		{"file.c", 12, Nothing, 0},
		{"include/file.h", 1, Unbuilt, 0},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v\nwant %v", got, want)
	}
	const sentence = "of 3 changed lines 1 was reached, 2 by nothing (not counted: 1 without code, 1 not in this build, 1 removed, 1 outside security/apparmor)"
	if r.Sentence() != sentence {
		t.Errorf("got  %s\nwant %s", r.Sentence(), sentence)
	}
	if r.Lines[1].Function != "aa_path_perm" || !slices.Equal(r.Lines[1].By, []string{"isolation/file/a", "regression/open"}) {
		t.Errorf("%+v", r.Lines[1])
	}
}

// What only the boot or the harness reaches is reached by no test.
func TestPatchReachAtBoot(t *testing.T) {
	r := applied(t, patch)
	c := NewCollector(sampleSource, r)
	c.Boot(sample())
	nothing := sample()
	for n := range nothing[0].Lines {
		nothing[0].Lines[n].Count = 0
	}
	c.Test("regression/open", nothing)
	c.End()
	if r.Lines[1].State != AtBoot {
		t.Errorf("%+v", r.Lines[1])
	}
	if s := r.Sentence(); !strings.HasPrefix(s, "of 3 changed lines 0 were reached, 1 only at boot, 2 by nothing") {
		t.Error(s)
	}
}

func TestPatchWithoutCode(t *testing.T) {
	r := applied(t, "--- a/security/apparmor/file.c\n+++ b/security/apparmor/file.c\n@@ -1,2 +1,2 @@\n-/* x */\n+/* A comment. */\n \n")
	c := NewCollector(sampleSource, r)
	c.Test("regression/open", sample())
	c.End()
	if s := r.Sentence(); s != "the patch changes no line with code (not counted: 1 without code)" {
		t.Error(s)
	}
}

func TestPatchNotApplied(t *testing.T) {
	for name, c := range map[string]struct{ patch, want string }{
		"other lines": {strings.Replace(patch, "+	if (error)", "+	if (error > 0)", 1), "file.c does not have the lines of the hunk at line 1"},
		"no file":     {strings.ReplaceAll(patch, "security/apparmor/file.c", "security/apparmor/new.c"), "it has no security/apparmor/new.c"},
		"not deleted": {"diff --git a/security/apparmor/lsm.c b/security/apparmor/lsm.c\ndeleted file mode 100644\n--- a/security/apparmor/lsm.c\n+++ /dev/null\n@@ -1,2 +0,0 @@\n-int apparmor_init(void)\n-{ return 0; }\n", "lsm.c is not deleted"},
	} {
		_, _, err := parse(t, c.patch).Applied(sampleSource)
		if err == nil || !strings.Contains(err.Error(), "not applied to the tree") || !strings.Contains(err.Error(), c.want) || exit.Status(err) != exit.Usage {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A patch that was applied some lines away is found.
func TestPatchOffset(t *testing.T) {
	moved := "--- a/security/apparmor/file.c\n+++ b/security/apparmor/file.c\n@@ -101,2 +101,2 @@\n-	if (!error)\n+	if (error)\n 		return error;\n"
	changed, _, err := parse(t, moved).Applied(sampleSource)
	if err != nil || len(changed) != 1 || changed[0].Line != 7 {
		t.Errorf("%v, %v", changed, err)
	}
}

func TestParsePatchRefused(t *testing.T) {
	for name, text := range map[string]string{
		"empty": "", "text": "hello\n", "binary": "\x00\xff\x7fELF",
		"cut":      patch[:300],
		"too long": strings.Repeat("x", MaxPatch+1),
		"too many": "--- a/security/apparmor/a.c\n+++ b/security/apparmor/a.c\n@@ -0,0 +1,20001 @@\n" + strings.Repeat("+x\n", 20001),
	} {
		if _, err := ParsePatch(strings.NewReader(text)); exit.Status(err) != exit.Usage {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Names that lead out of the tree are not AppArmor's, whatever they end in.
func TestPatchNames(t *testing.T) {
	for name, want := range map[string]string{
		"security/apparmor/lsm.c":                       "security/apparmor/lsm.c",
		"linux.orig/security/apparmor/lsm.c":            "security/apparmor/lsm.c",
		"./security/apparmor/include/label.h":           "security/apparmor/include/label.h",
		"../security/apparmor/lsm.c":                    "security/apparmor/lsm.c", // below the tree, after its first component
		"/etc/security/apparmor/../../passwd":           "",
		"security/apparmor/../../../etc/passwd":         "",
		"security/apparmor/a\nb.c":                      "",
		"security/apparmor/\x1b[31m.c":                  "",
		"drivers/security/apparmor":                     "",
		"/dev/null":                                     "",
		"security/apparmor/" + strings.Repeat("a", 300): "",
	} {
		if got := measured(name); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}

func FuzzPatch(f *testing.F) {
	f.Add([]byte(patch))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := ParsePatch(bytes.NewReader(text))
		if err != nil {
			return
		}
		for _, h := range p.Hunks {
			for _, name := range []string{h.File, h.Before} {
				if name != "" && CheckName(name) != nil {
					t.Errorf("name %q", name)
				}
			}
		}
		changed, _, err := p.Applied(sampleSource)
		for _, c := range changed {
			if err == nil && (c.Line < 1 || c.Line > len(sampleSource.Lines(c.File))) {
				t.Errorf("%+v", c)
			}
		}
		_, _ = p.Places(sampleSource, sample())
	})
}

func TestPlaces(t *testing.T) {
	before := Source{}
	for name, text := range sampleSource {
		before[name] = text
	}
	before["security/apparmor/file.c"] = strings.NewReplacer("/* A comment. */", "/* Another comment. */", "denied);", "0);", "if (error)", "if (!error)", "unused(void)", "unused(int x)").Replace(sampleSource["security/apparmor/file.c"])
	before["security/apparmor/include/file.h"] = "int aa_path_perm(int);\nint gone(void);\n"
	for name, source := range map[string]Source{"applied": sampleSource, "not applied": before} {
		places, err := parse(t, patch).Places(source, sample())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var got []string
		for _, p := range places {
			got = append(got, p.Function)
			if p.Function == "aa_path_perm" && !slices.Equal(p.Lines, []int{5, 7}) || p.Function == "unused" && !slices.Equal(p.Lines, []int{12}) {
				t.Errorf("%s: %+v", name, p)
			}
		}
		if !slices.Equal(got, []string{"", "aa_path_perm", "unused"}) {
			t.Errorf("%s: %q", name, got)
		}
	}
	if _, err := parse(t, strings.Replace(patch, " 		return error;", " 		return 5;", 1)).Places(sampleSource, sample()); exit.Status(err) != exit.Usage {
		t.Errorf("a hunk that is nowhere: %v", err)
	}
}

func TestSelect(t *testing.T) {
	set := func(lines ...int) Set {
		s := Set{{Name: "security/apparmor/file.c"}}
		for _, n := range []int{3, 5, 7, 12, 14} {
			l := Line{Number: n}
			if slices.Contains(lines, n) {
				l.Count = 1
			}
			s[0].Lines = append(s[0].Lines, l)
		}
		return s
	}
	tests := map[string]Set{"line": set(3, 5, 7), "function": set(3), "other": set(12), "nothing": set()}
	each := func(f func(string, Set)) error {
		for id, s := range tests {
			f(id, s)
		}
		return nil
	}
	for _, c := range []struct {
		place Place
		want  []string
	}{
		{Place{"security/apparmor/file.c", []int{7}, "f", 3, 11}, []string{"line"}},
		{Place{"security/apparmor/file.c", []int{3}, "f", 3, 11}, []string{"function", "line"}},
		{Place{"security/apparmor/file.c", nil, "f", 3, 11}, []string{"function", "line"}},
		{Place{"security/apparmor/file.c", []int{14}, "g", 12, 15}, []string{"other"}},            // by its function
		{Place{"security/apparmor/file.c", nil, "", 0, 0}, []string{"function", "line", "other"}}, // by its file
		{Place{"security/apparmor/lsm.c", []int{1}, "h", 1, 2}, nil},
	} {
		list, err := Select([]Place{c.place}, each)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, s := range list {
			got = append(got, s.ID)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%+v: %q, want %q", c.place, got, c.want)
		}
	}
	// What few reach counts more.
	list, _ := Select([]Place{{"security/apparmor/file.c", []int{7}, "f", 3, 11}, {"security/apparmor/file.c", []int{3}, "f", 3, 11}}, each)
	if list[0].ID != "line" || list[0].Score != 3 || list[1].Score != 1 {
		t.Errorf("%+v", list)
	}
	broken := errors.New("broken")
	if _, err := Select(nil, func(func(string, Set)) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("an error of the map: %v", err)
	}
}

// A hunk that is not in the source is not found at another place that looks the same:
// its lines would be called reached.
func TestPatchElsewhere(t *testing.T) {
	source := Source{"security/apparmor/file.c": "int f(void)\n{\n\tcheck();\n\treturn 0;\n}\nint g(void)\n{\n\tcall();\n\treturn 0;\n}\nint h(void)\n{\n\treturn 0;\n}\n"}
	const head = "--- a/security/apparmor/file.c\n+++ b/security/apparmor/file.c\n"
	const hunk = " {\n+\tcheck();\n \treturn 0;\n }\n"
	for name, c := range map[string]struct {
		patch string
		want  int // the line; 0: not applied
	}{
		"applied":                     {head + "@@ -2,3 +2,4 @@\n" + hunk, 3},
		"moved":                       {head + "@@ -6,3 +6,4 @@\n" + hunk, 3},
		"only one of two equal ones":  {head + "@@ -2,3 +2,4 @@\n" + hunk + "@@ -11,3 +12,4 @@\n" + hunk, 0},
		"a hunk twice":                {head + "@@ -2,3 +2,4 @@\n" + hunk + "@@ -2,3 +2,4 @@\n" + hunk, 0},
		"a series":                    {head + "@@ -2,3 +2,4 @@\n" + hunk + head + "@@ -2,3 +2,4 @@\n" + hunk, 3},
		"without context":             {head + "@@ -2,0 +3,1 @@\n+\tcheck();\n", 3},
		"without context, elsewhere":  {head + "@@ -7,0 +8,1 @@\n+\treturn 0;\n", 0},
		"without context, at the end": {head + "@@ -99,0 +100,1 @@\n+\treturn 0;\n", 0},
	} {
		changed, _, err := parse(t, c.patch).Applied(source)
		if c.want == 0 {
			if exit.Status(err) != exit.Usage {
				t.Errorf("%s: %+v, %v", name, changed, err)
			}
		} else if err != nil || len(changed) != 1 || changed[0].Line != c.want {
			t.Errorf("%s: %+v, %v, want line %d", name, changed, err, c.want)
		}
	}
}

// What has no lines is not a patch of no lines.
func TestBinaryPatch(t *testing.T) {
	const text = "diff --git a/security/apparmor/table.c b/security/apparmor/table.c\nindex 1111111..2222222 100644\nBinary files a/security/apparmor/table.c and b/security/apparmor/table.c differ\n"
	if _, err := ParsePatch(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), "security/apparmor/table.c is changed in binary form") {
		t.Error(err)
	}
}
