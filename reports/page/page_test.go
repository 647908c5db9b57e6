// SPDX-License-Identifier: Apache-2.0

package page

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"proofhouse/internal/printable"
	"proofhouse/reports"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func at(seconds float64) time.Time {
	return start.Add(time.Duration(seconds * float64(time.Second)))
}

func spec(kernel, id string, from, seconds float64, results ...reports.Result) reports.Spec {
	for i := range results {
		results[i].ID = id + "/" + results[i].ID
	}
	return reports.Spec{ID: id, Kernel: kernel, Start: at(from), End: at(from + seconds), Seconds: seconds, Attempt: 1, Results: results}
}

const denial = `audit: type=1400 audit(1772366405.123:42): apparmor="DENIED" operation="exec" class="file" ` +
	`info="profile transition not found" error=-13 profile="/tmp/sdtest.1234/complain" name="/tmp/sdtest.1234/file" ` +
	`pid=812 comm="complain" requested_mask="x" denied_mask="x" fsuid=0 ouid=0`

// sample is a run on two kernels between which there is one regression, in
// complain. The other differences are a script that one kernel lacks the
// feature for, and a row of the isolation matrix without a verdict.
func sample() *reports.Run {
	const old, new = "6.12.107-1f2e3d4c", "7.3.4-9a8b7c6d"
	known := reports.Result{ID: "known", Status: reports.XFail, Reason: "upstream's",
		Known: &reports.Known{Found: reports.Fail, Reason: "it fails", By: "expectations.yaml:12", Reference: "the issue"}}
	fail := spec(new, "regression/complain", 9, 4,
		reports.Result{ID: "no permission", Status: reports.Pass, Expected: "pass", Got: "pass"},
		reports.Result{ID: "exec cx", Status: reports.Fail, Expected: "pass", Got: "fail", Reason: "exec: Permission denied", Output: "Error: complain failed."})
	fail.Denials, fail.Output = []string{denial}, "7.3.4-9a8b7c6d/scripts/complain.log"
	crash := spec(new, "isolation/signal/flat", 20, 3, reports.Result{ID: "host/deny", Status: reports.Error, Reason: "the kernel crashed"})
	crash.Crash, crash.Console = "BUG: kernel NULL pointer dereference", "[ 9.1] BUG: kernel NULL pointer dereference"
	return &reports.Run{
		Format: reports.FormatVersion, Tool: "v1", Started: start, Ended: at(60), Planned: 9,
		Kernels: []reports.Kernel{{
			ID: old, Spec: "debian:trixie", Release: "6.12.107+deb13-cloud-amd64",
			Specs: []reports.Spec{
				spec(old, "isolation/signal/flat", 1, 3, reports.Result{ID: "host/deny", Status: reports.Pass}),
				spec(old, "isolation/signal/stacked", 1, 3, reports.Result{ID: "host/deny", Status: reports.Pass}),
				spec(old, "regression/complain", 1, 4,
					reports.Result{ID: "no permission", Status: reports.Pass, Expected: "pass", Got: "pass"},
					reports.Result{ID: "exec cx", Status: reports.Pass, Expected: "pass", Got: "pass"}),
				spec(old, "regression/open", 5, 1, reports.Result{ID: "RW", Status: reports.Pass}, known),
				spec(old, "regression/unix_socket", 6, 1, reports.Result{ID: "(script)", Status: reports.Skip, Lacks: "kernel: af_unix"}),
			},
		}, {
			ID: new, Spec: "debian:trixie-backports", Release: "7.3.4+deb14-cloud-amd64",
			Specs: []reports.Spec{
				crash,
				spec(new, "isolation/signal/stacked", 1, 3, reports.Result{ID: "host/deny", Status: reports.Pass}),
				fail,
				spec(new, "regression/open", 5, 1, reports.Result{ID: "RW", Status: reports.Pass}, known),
				spec(new, "regression/unix_socket", 6, 1, reports.Result{ID: "getopt", Status: reports.Pass}, reports.Result{ID: "setopt", Status: reports.Pass}),
			},
			Machines: []reports.Machine{{ID: "qemu-1", Process: 2, Lost: "panic"}},
		}},
	}
}

// earlier is the sample a day before, when complain passed.
func earlier() reports.Past {
	run := sample()
	run.Started = run.Started.Add(-24 * time.Hour)
	for _, s := range run.Kernels[1].Specs {
		for i := range s.Results {
			s.Results[i].Status = reports.Pass
		}
	}
	return reports.Past{Dir: "/nowhere/a day before", Run: run}
}

func TestModel(t *testing.T) {
	doc := newDocument(t.TempDir(), sample(), []reports.Past{earlier()})
	if doc.Word != "FAIL" || doc.Line != "1 of 15 subtests failed on 2 kernels; 1 error" {
		t.Errorf("verdict %q %q", doc.Word, doc.Line)
	}
	var rows []string
	for _, r := range doc.Rows {
		row := r.ID
		for _, c := range r.Cells {
			row += " " + c.Letters
		}
		rows = append(rows, row)
	}
	want := []string{
		"isolation/signal PP EP", // two specs, one row
		"regression/complain PP PF",
		"regression/open PX PX",
		"regression/unix_socket S .PP", // what one kernel lacks has its place on it
	}
	if !slices.Equal(rows, want) {
		t.Errorf("rows %q, want %q", rows, want)
	}
	new := doc.Kernels[1]
	if new.Short != "7.3.4" || new.Name != "7.3.4+deb14-cloud-amd64" || new.Line != "1 of 8 subtests failed; 1 error" {
		t.Errorf("kernel %q %q: %q", new.Short, new.Name, new.Line)
	}
	if want := (place{1, 1}); new.First == nil || *new.First != want {
		t.Errorf("first to fail %+v, want %+v", new.First, want)
	}
	if doc.Kernels[0].First != nil {
		t.Errorf("nothing failed on %s, and %+v first", doc.Kernels[0].Name, doc.Kernels[0].First)
	}
	if len(new.Past) != 1 || new.Past[0].Word != "PASS" || new.Past[0].Link != "" || new.RowPast[1] != "P" {
		t.Errorf("history %+v %q", new.Past, new.RowPast)
	}
	if want := []subtestPast{{place{0, 0}, "P"}, {place{1, 1}, "P"}}; !slices.Equal(new.SubtestPast, want) {
		t.Errorf("history of subtests %+v, want %+v", new.SubtestPast, want)
	}
	d := doc.Details[doc.Rows[1].Cells[1].Details[1]]
	if doc.Texts[d[0]] != "pass" || doc.Texts[d[2]] != "exec: Permission denied" {
		t.Errorf("details %v", d)
	}
	d = doc.Details[doc.Rows[2].Cells[1].Details[1]]
	if doc.Texts[d[6]] != "expectations.yaml:12" || doc.Texts[d[7]] != "the issue" || doc.Texts[d[8]] != "it fails" {
		t.Errorf("details of what was expected to fail %v", d)
	}
	if run := doc.Rows[1].Cells[1].Runs[0]; doc.Texts[run.Denials[0]] != denial || run.Output != "" {
		t.Errorf("%+v: the record, and no link to a file that is not there", run)
	}
}

// Two specs of a row can have a result of the same name: a FAIL is not hidden by
// a PASS.
func TestSameName(t *testing.T) {
	run := &reports.Run{Kernels: []reports.Kernel{{ID: "k", Specs: []reports.Spec{
		{ID: "isolation/signal", Results: []reports.Result{{ID: "isolation/signal/flat/x", Status: reports.Fail}}},
		{ID: "isolation/signal/flat", Results: []reports.Result{{ID: "isolation/signal/flat/x", Status: reports.Pass}}},
	}}}}
	doc := newDocument(t.TempDir(), run, nil)
	if got := doc.Rows[0].Cells[0].Letters; got != "FP" || doc.Texts[doc.Rows[0].Subtests[1]] != "flat/x #2" {
		t.Errorf("%q of %q", got, doc.Texts)
	}
}

func TestSplit(t *testing.T) {
	for _, c := range []struct{ id, row, rest string }{
		{"regression/open", "regression/open", ""},
		{"regression/open/OPEN RW (a/b)", "regression/open", "OPEN RW (a/b)"},
		{"isolation/signal/host-to-stacked/label/policy", "isolation/signal", "host-to-stacked/label/policy"},
		{"alone", "alone", ""},
		{"a//c", "a/", "c"},
		{"", "", ""},
	} {
		if row, rest := split(c.id); row != c.row || rest != c.rest {
			t.Errorf("%q: %q and %q, want %q and %q", c.id, row, rest, c.row, c.rest)
		}
	}
}

func TestShortNames(t *testing.T) {
	for _, c := range []struct {
		kernels []reports.Kernel
		want    []string
	}{
		{[]reports.Kernel{{Release: "6.12.107+deb13-cloud-amd64"}, {Release: "7.4-rc2-um"}}, []string{"6.12.107", "7.4-rc2"}},
		{[]reports.Kernel{{Release: "7.2.7", Spec: "x"}, {Release: "7.2.7", Spec: "x,append=quiet", Append: "quiet"}}, []string{"7.2.7", "7.2.7 quiet"}},
		{[]reports.Kernel{{Release: "6.12.1+a", Spec: "x"}, {Release: "6.12.1+b", Spec: "y"}}, []string{"x", "y"}},
		{[]reports.Kernel{{Release: "6.12.1+a", Spec: "x"}, {Release: "6.12.1+b", Spec: "x"}}, []string{"6.12.1+a", "6.12.1+b"}},
		{[]reports.Kernel{{ID: "6.12.1-a"}, {ID: "6.12.1-b"}}, []string{"6.12.1-a", "6.12.1-b"}},
		{[]reports.Kernel{{Release: "6.12.1-a"}, {Release: "6.12.1-b", Properties: map[string]string{"arch": "aarch64"}}}, []string{"6.12.1", "6.12.1 aarch64"}},
	} {
		if got := shortNames(c.kernels); !slices.Equal(got, c.want) {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

// A link leads to a file of the run or is not there.
func TestLink(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	for _, name := range []string{"k/a b#1?.log", "javascript:alert(1)"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "..", "secret"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	b := &builder{dir: dir}
	for name, want := range map[string]string{
		"k/a b#1?.log":        "./k/a%20b%231%3F.log",
		"javascript:alert(1)": "./javascript:alert%281%29",
		"../secret":           "",
		"/etc/passwd":         "",
		"k":                   "",
		"none":                "",
		"":                    "",
	} {
		if got := b.link(name); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}

// hostile is what a test that means harm can print.
var hostile = []string{
	`</script><script>document.title="owned"</script>`,
	`<!--<script>`,
	`<img src=x onerror=document.title="owned">`,
	`"><svg onload=document.title="owned">`,
	`{{.Policy}}`,
	"\u2028\u2029\u202e gnirts",
	"\x00\x1b[31m\xff\xfe",
	`javascript:document.title="owned"`,
	`</style></title></textarea>]]>`,
	"__proto__",
	"constructor",
}

// hostileRun has hostile texts wherever a run has texts.
func hostileRun() *reports.Run {
	run := &reports.Run{Format: 1, Tool: hostile[0], Started: start, Ended: at(9), Argv: hostile, Remarks: hostile}
	for i, h := range hostile {
		k := reports.Kernel{
			ID: fmt.Sprintf("%d%s", i, h), Spec: h, Release: h, Version: h, SHA256: h, Source: h, Append: h,
			Properties: map[string]string{h: h, "machine": h}, Features: map[string]string{h: h}, Gaps: []string{h},
			Machines: []reports.Machine{{ID: h, Lost: h}}, NotRun: []string{"z" + h},
		}
		for j, g := range hostile {
			if (i+j)%3 != 0 {
				continue
			}
			s := spec(k.ID, fmt.Sprintf("g%s/%02d%s", h, j, g), 1, 1,
				reports.Result{ID: g, Status: reports.Fail, Expected: h, Got: g, Reason: g, Output: h + g, Known: &reports.Known{By: h, Reference: g, Reason: h}},
				reports.Result{ID: h, Status: reports.Skip, Lacks: g},
				reports.Result{ID: "x", Status: reports.Recorded, Got: g},
				reports.Result{ID: "y", Status: reports.Status(h)})
			s.Output, s.Audit, s.Denials, s.Console, s.Crash, s.Machine = h, g, []string{g, `apparmor="DENIED" name="` + h + `"`}, g, h, h
			k.Specs = append(k.Specs, s)
		}
		run.Kernels = append(run.Kernels, k)
	}
	return run
}

// Nothing of what a test printed becomes markup: the page of the hostile run
// has the elements of any other page.
func TestHostile(t *testing.T) {
	elements := func(run *reports.Run) (tags map[string]int, attributes []string, data string) {
		var b bytes.Buffer
		if err := HTML(&b, t.TempDir(), run, []reports.Past{{Dir: "/x/" + hostile[0], Run: run}}); err != nil {
			t.Fatal(err)
		}
		tags = map[string]int{}
		z := html.NewTokenizer(&b)
		for {
			switch z.Next() {
			case html.ErrorToken:
				return tags, attributes, data
			case html.StartTagToken, html.SelfClosingTagToken:
				tok := z.Token()
				tags[tok.Data]++
				for _, a := range tok.Attr {
					attributes = append(attributes, a.Key)
					if a.Key == "id" && a.Val == "data" {
						z.Next()
						data = string(z.Raw())
					}
				}
			}
		}
	}
	plain := hostileRun()
	for i := range plain.Kernels {
		k := &plain.Kernels[i]
		*k = reports.Kernel{ID: fmt.Sprint(i), Release: fmt.Sprint(i)}
	}
	want, _, _ := elements(plain)
	got, attributes, data := elements(hostileRun())
	for tag := range got {
		if got[tag] != want[tag] {
			t.Errorf("%d <%s>, want %d", got[tag], tag, want[tag])
		}
	}
	for _, a := range attributes {
		if strings.HasPrefix(a, "on") {
			t.Errorf("the page has an attribute %q", a)
		}
	}
	if strings.ContainsAny(data, "<>&\u2028\u2029") {
		t.Error("the data have characters that mean something in HTML or in a script")
	}
	var doc document
	if err := json.Unmarshal([]byte(data), &doc); err != nil {
		t.Fatal(err)
	}
	if len(doc.Kernels) != len(hostile) || !slices.Contains(doc.Texts, hostile[0]) {
		t.Error("the data do not hold what the tests printed")
	}
}

// The policy names exactly the script and the style that stand in the page.
func TestPolicy(t *testing.T) {
	var b bytes.Buffer
	if err := HTML(&b, t.TempDir(), sample(), nil); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	policy := regexp.MustCompile(`http-equiv="Content-Security-Policy" content="([^"]*)"`).FindStringSubmatch(text)
	if policy == nil {
		t.Fatal("the page has no policy")
	}
	allowed := html.UnescapeString(policy[1])
	for _, element := range []string{"<style>(.*)</style>", "<script>(.*)</script>"} {
		m := regexp.MustCompile("(?s)" + element).FindStringSubmatch(text)
		if m == nil {
			t.Fatalf("the page has no %s", element)
		}
		if !strings.Contains(allowed, hash(m[1])) {
			t.Errorf("policy %q does not allow the page's own %s", allowed, element)
		}
	}
	if strings.Contains(allowed, "unsafe") || !strings.HasPrefix(allowed, "default-src 'none'") {
		t.Errorf("policy %q is loose", allowed)
	}
	frame, _, _ := strings.Cut(text, `id="data"`)
	if m := regexp.MustCompile(`(src|href)="[^#"]`).FindString(frame); m != "" {
		t.Errorf("the frame loads something: %s", m)
	}
}

// Without scripts the page still says what came out.
func TestNoScript(t *testing.T) {
	var b bytes.Buffer
	if err := HTML(&b, t.TempDir(), sample(), nil); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"1 of 15 subtests failed on 2 kernels; 1 error", "7.3.4&#43;deb14-cloud-amd64", "1 of 8 subtests failed; 1 error"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}

// FuzzHTML: whatever the texts of a run, the page's data can be read again and
// have nothing that means something in HTML; no result is lost.
func FuzzHTML(f *testing.F) {
	for _, h := range hostile {
		f.Add("regression/open", h, h)
		f.Add(h, "a/b", h)
	}
	f.Add("a", "", "")
	f.Add("a/b/c", "//", "\xff")
	f.Fuzz(func(t *testing.T, id, name, text string) {
		run := &reports.Run{Kernels: []reports.Kernel{{ID: text, Release: name, NotRun: []string{id + name}}}}
		for range 2 {
			run.Kernels[0].Specs = append(run.Kernels[0].Specs, reports.Spec{ID: id, Console: text, Denials: []string{text}, Results: []reports.Result{
				{ID: id + "/" + name, Status: reports.Fail, Reason: text}, {ID: name, Status: reports.Status(text)}, {ID: id, Status: reports.Pass, Output: text},
			}})
		}
		var b bytes.Buffer
		if err := HTML(&b, t.TempDir(), run, []reports.Past{{Dir: name, Run: run}}); err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(b.String(), `id="data">`)
		data, _, _ := strings.Cut(rest, "</script>")
		if strings.ContainsAny(data, "<>&\u2028\u2029") {
			t.Fatal("the data have characters that mean something in HTML or in a script")
		}
		var doc document
		if err := json.Unmarshal([]byte(data), &doc); err != nil {
			t.Fatal(err)
		}
		results := 0
		for _, r := range doc.Rows {
			for _, c := range r.Cells {
				if c != nil {
					results += len(strings.ReplaceAll(c.Letters, ".", ""))
				}
			}
		}
		want := 0
		for _, o := range run.Kernels[0].Outcomes() {
			want += o.Counts().Total()
		}
		if results != want {
			t.Fatalf("%d results in the page, want %d", results, want)
		}
	})
}

// The page is one of the reports, and those of the runs beside it are its
// history.
func TestReports(t *testing.T) {
	out := t.TempDir()
	for i, name := range []string{"monday", "tuesday"} {
		dir := filepath.Join(out, name)
		j, err := reports.Create(dir, 1)
		if err != nil {
			t.Fatal(err)
		}
		s := sample().Kernels[i].Specs[3]
		s.Kernel = "k"
		j.RunStarted(reports.RunStart{Processes: 1, Planned: []reports.Planned{{ID: s.ID, Kernel: "k"}}})
		j.Kernel(reports.Kernel{ID: "k", Spec: "debian:trixie"})
		j.SpecStarted(s)
		j.SpecEnded(s)
		j.RunEnded()
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		run, files, err := Reports(dir, func(r *reports.Run) { r.Remarks = append(r.Remarks, "edited") })
		if err != nil || run == nil || len(files) != 3 || files[0] != filepath.Join(dir, File) {
			t.Fatalf("%q %v", files, err)
		}
		text, err := os.ReadFile(files[0])
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), "edited") {
			t.Error("the page is not of the run as it was edited")
		}
		if got := strings.Contains(string(text), `"link":"../monday/index.html"`); got != (name == "tuesday") {
			t.Errorf("%s: a link to the page of monday: %v", name, got)
		}
	}
}

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	for range 2 { // also over an old one
		path, err := Write(dir, sample(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o644 || path != filepath.Join(dir, File) {
			t.Errorf("%s: %v %v", path, st, err)
		}
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("%d files, want one", len(entries))
	}
	if _, err := Write(filepath.Join(dir, "none"), sample(), nil); err == nil {
		t.Error("a page in a folder that is not there")
	}
}

// TestNastyText: what a guest printed is in the page only as text that can be
// seen.
func TestNastyText(t *testing.T) {
	const nasty = "a\x1b[2J\u009b31m\u202egnp.\u2066\u200b\ufeff\u2028</script><script>alert(1)</script>\x7f"
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	run := &reports.Run{
		Format: 2, Tool: nasty, Started: at, Ended: at.Add(time.Minute), Planned: 1, Remarks: []string{nasty}, Doubts: []string{nasty},
		Kernels: []reports.Kernel{{
			ID: nasty, Spec: nasty, Release: nasty, Properties: map[string]string{nasty: nasty}, Gaps: []string{nasty},
			Specs: []reports.Spec{{ID: "regression/" + nasty, Start: at, End: at, Console: nasty, Crash: nasty, Denials: []string{nasty}, Results: []reports.Result{{ID: nasty, Status: reports.Fail, Reason: nasty, Output: nasty}}}},
		}},
	}
	var b bytes.Buffer
	if err := HTML(&b, t.TempDir(), run, nil); err != nil {
		t.Fatal(err)
	}
	if text := b.String(); text != printable.Lines(text) {
		t.Error("characters that are not seen")
	}
	if strings.Contains(b.String(), "<script>alert") {
		t.Error("a script of the guest's")
	}
}
