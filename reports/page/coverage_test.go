// SPDX-License-Identifier: Apache-2.0

package page

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"proofhouse/reports"
	"proofhouse/reports/coverage"
)

const measuredKernel = "7.3.4-uml-1f2e3d4c"

// measuredSource has what a page must not take for markup.
var measuredSource = coverage.Source{"security/apparmor/file.c": "int f(int a)\n{\n\treturn a <b>a</b>;\n}\nint g(void)\n{\n\treturn 1;\n}\n"}

// counted is a set in which f ran n times, and g never did.
func counted(n uint64) coverage.Set {
	return coverage.Set{{
		Name:      "security/apparmor/file.c",
		Functions: []coverage.Function{{Name: "f", Start: 1, Count: n}, {Name: "g", Start: 5}},
		Lines:     []coverage.Line{{Number: 1, Count: n}, {Number: 3, Count: n}, {Number: 5}, {Number: 7}},
	}}
}

func keep(t *testing.T, dir, name string, write func(io.Writer) error) string {
	t.Helper()
	file := filepath.Join(measuredKernel, "coverage", name)
	if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(file)), 0o755); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := write(&b); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, file), b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

func keepSet(t *testing.T, dir, name string, set coverage.Set) string {
	return keep(t, dir, name, func(w io.Writer) error {
		z := gzip.NewWriter(w)
		if err := coverage.WriteLCOV(z, set, name); err != nil {
			return err
		}
		return z.Close()
	})
}

// measure writes the journal of a run with coverage to dir: two tests, of which one
// reached nothing but what any process does, and one whose coverage is unknown.
func measure(t *testing.T, dir string, edit func(*reports.RunStart, *reports.Coverage)) {
	t.Helper()
	j, err := reports.Create(dir, 1)
	if err != nil {
		t.Fatal(err)
	}
	line := func(n int) coverage.Reach {
		return coverage.Reach{Changed: coverage.Changed{File: "security/apparmor/file.c", Line: n, Text: "x"}}
	}
	begun := reports.RunStart{Tool: "v1", Processes: 1}
	for _, id := range []string{"regression/open", "regression/exec", "isolation/file/lost"} {
		begun.Planned = append(begun.Planned, reports.Planned{ID: id, Kernel: measuredKernel})
	}
	c := &reports.Coverage{
		Tree:   "/src/linux",
		Source: keep(t, dir, "source.json.gz", measuredSource.Write),
		Patch:  &coverage.PatchReach{Name: "fix.patch", Lines: []coverage.Reach{line(2), line(3), line(7)}},
	}
	for _, kind := range []string{reports.Boot, reports.Harness} {
		c.Background = append(c.Background, reports.Background{Kind: kind, File: keepSet(t, dir, kind+".info.gz", counted(0))})
	}
	if edit != nil {
		edit(&begun, c)
	}
	j.RunStarted(begun)
	j.Kernel(reports.Kernel{ID: measuredKernel, Spec: "path/to/linux", Release: "7.3.4", Coverage: c})
	for id, n := range map[string]uint64{"regression/open": 20_000, "regression/exec": 0} {
		s := reports.Spec{ID: id, Kernel: measuredKernel}
		j.SpecStarted(s)
		s.Coverage = keepSet(t, dir, strings.ReplaceAll(id, "/", "-")+".info.gz", counted(n))
		s.Results = []reports.Result{{ID: id + "/a", Status: reports.Pass}}
		j.SpecEnded(s)
	}
	s := reports.Spec{ID: "isolation/file/lost", Kernel: measuredKernel}
	j.SpecStarted(s)
	s.NoCoverage = "read the counters: the machine is lost"
	s.Results = []reports.Result{{ID: s.ID, Status: reports.Pass}}
	j.SpecEnded(s)
	j.RunEnded()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}

const patchSentence = "of 2 changed lines 1 was reached, 1 by nothing (not counted: 1 without code); the coverage of 1 test is unknown"

func TestCoverage(t *testing.T) {
	dir := t.TempDir()
	measure(t, dir, nil)
	run, files, err := Reports(dir)
	if err != nil {
		t.Fatal(err)
	}
	c := run.Kernels[0].Coverage
	if want := (coverage.Totals{Lines: 4, ReachedLines: 2, Functions: 2, ReachedFunctions: 1}); c.Totals == nil || *c.Totals != want || c.Tests != 2 || len(c.Missing) != 1 {
		t.Errorf("%+v, totals %+v", c, c.Totals)
	}
	if _, line := reports.Verdict(run); line != "PASS: 3 subtests passed on 7.3.4; "+patchSentence {
		t.Error(line)
	}
	for format, wants := range map[string][]string{
		"text": {
			patchSentence, "50.0 % of 4 lines and 50.0 % of 2 functions of security/apparmor", "file.c:7 in g: reached by nothing", "file.c:3 in f: reached by open", "file.c:2: no code",
			"isolation/file/lost: read the counters: the machine is lost",
		},
		"markdown": {"file.c:7 in g: reached by nothing", "of 2 changed lines 1 was reached", "`isolation/file/lost`"},
		"junit":    {`<property name="patch coverage" value="of 2 changed lines 1 was reached, 1 by nothing (not counted: 1 without code)">`, "file.c:3 in f: reached by open"},
		"json":     {`"state": "unreached"`, `"reached_lines": 2`},
	} {
		f, ok := reports.FindFormat(format)
		if !ok {
			t.Fatal(format)
		}
		var b bytes.Buffer
		if err := f.Write(&b, run, reports.FormatOptions{}); err != nil {
			t.Fatal(err)
		}
		text := strings.Join(strings.Fields(b.String()), " ")
		for _, want := range wants {
			if !strings.Contains(text, want) {
				t.Errorf("%s lacks %q:\n%s", format, want, b.String())
			}
		}
	}
	var listed []string
	for _, f := range files {
		listed = append(listed, filepath.Base(f))
	}
	for _, want := range []string{reports.CoveragePage, reports.CoverageFile} {
		if !strings.Contains(strings.Join(listed, " "), want) {
			t.Errorf("files %q lack %s", listed, want)
		}
	}
	tracefile, err := os.Open(filepath.Join(dir, measuredKernel, reports.CoverageFile))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tracefile.Close() }()
	if set, err := coverage.ReadLCOV(tracefile); err != nil || set.Totals() != *c.Totals {
		t.Errorf("%v, %v", set, err)
	}
	if index, err := os.ReadFile(filepath.Join(dir, File)); err != nil || !strings.Contains(string(index), `<a href="./`+measuredKernel+`/coverage.html">Lines reached</a>`) {
		t.Errorf("index.html has no link to the page: %v", err)
	}
	checkCoveragePage(t, filepath.Join(dir, measuredKernel, reports.CoveragePage))
}

func checkCoveragePage(t *testing.T, file string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for _, want := range []string{"return a &lt;b&gt;a&lt;/b&gt;;", "20k", "Functions that nothing reached: g (5)", patchSentence[:30], "light dark", "default-src &#39;none&#39;"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	doc, err := html.Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	for n := range doc.Descendants() {
		for _, a := range n.Attr {
			if (a.Key == "src" || a.Key == "href") && (strings.Contains(a.Val, ":") || strings.HasPrefix(a.Val, "//")) {
				t.Errorf("an external resource: %s", a.Val)
			}
		}
		if n.Data == "script" || n.Data == "b" {
			t.Errorf("an element <%s>", n.Data)
		}
	}
}

// What only the harness reaches is not reached by a test, and a damaged file loses
// no result.
func TestCoverageDamaged(t *testing.T) {
	dir := t.TempDir()
	measure(t, dir, func(_ *reports.RunStart, c *reports.Coverage) {
		c.Background = append(c.Background,
			reports.Background{Kind: reports.Harness, File: "../../etc/passwd"},
			reports.Background{Kind: reports.Harness, File: "/etc/passwd"})
		c.Source = filepath.Join(measuredKernel, "coverage", "none")
	})
	if err := os.WriteFile(filepath.Join(dir, measuredKernel, "coverage", "regression-open.info.gz"), []byte("no gzip"), 0o644); err != nil {
		t.Fatal(err)
	}
	run, _, err := Reports(dir)
	if err != nil {
		t.Fatal(err)
	}
	c := run.Kernels[0].Coverage
	if len(c.Missing) != 5 || c.Totals.ReachedLines != 0 || c.Tests != 1 {
		t.Errorf("%+v", c)
	}
	if status, line := reports.Verdict(run); status != 0 || !strings.Contains(line, "of 2 changed lines 0 were reached, 2 by nothing") || !strings.Contains(line, "the coverage of 5 tests is unknown") {
		t.Errorf("%d %s", status, line)
	}
}

// A selected run is never a full PASS, in any format.
func TestSelection(t *testing.T) {
	for _, rest := range []bool{false, true} {
		t.Run(fmt.Sprint(rest), func(t *testing.T) {
			dir := t.TempDir()
			measure(t, dir, func(r *reports.RunStart, _ *reports.Coverage) {
				r.Selection = &reports.Selection{For: "fix.patch", Map: "out/map", Selected: 3, Unknown: []string{"regression/new"}, LeftOut: []string{"regression/mount", "regression/swap"}, Rest: rest}
			})
			run, _, err := Reports(dir)
			if err != nil {
				t.Fatal(err)
			}
			_, line := reports.Verdict(run)
			want := "PASS OF A SELECTION: 3 subtests passed on 7.3.4; a selection for fix.patch: 2 of 5 tests left out; "
			if rest {
				want = "PASS: 3 subtests passed on 7.3.4; first the 3 tests that fix.patch may affect; "
			}
			if !strings.HasPrefix(line, want) {
				t.Errorf("%s\nwant %s", line, want)
			}
			var text bytes.Buffer
			if err := reports.Terminal(&text, run, reports.Style{}); err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"mount, swap", "new", "out/map"} {
				if !strings.Contains(text.String(), name) {
					t.Errorf("the text lacks %q:\n%s", name, text.String())
				}
			}
			index, err := os.ReadFile(filepath.Join(dir, File))
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Contains(string(index), `"word":"PASS OF A SELECTION"`); got == rest {
				t.Errorf("rest %v: the page's word", rest)
			}
		})
	}
}
