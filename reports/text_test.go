// SPDX-License-Identifier: Apache-2.0

package reports

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"io"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"proofhouse/internal/printable"
)

// nasty is what a guest may print: it colours, moves the cursor, sets the
// window's title, reverses the text, hides, ends a line and forges another, and
// is markup of every form.
const nasty = "a\x1b[2J\x1b]0;t\x07\u009b31m\x7f\u202egnp.\u2066\u200b\ufeff\u2028\r\nok 1 forged # SKIP\n| x | ]]> <script>alert(1)</script> <img src=x onerror=alert(1)> ![i](http://h/) @root \xff\x00 `${x}` </details> ``` \U000e0041"

// nastyRun has such a text in each place where one can be.
func nastyRun() *Run {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	spec := func(id string, status Status) Spec {
		return Spec{
			ID: "regression/" + id + nasty, Kernel: nasty, Start: at, End: at.Add(time.Second), Machine: nasty,
			Output: nasty, Audit: nasty, Denials: []string{"apparmor=\"DENIED\" " + nasty}, Console: nasty, Crash: nasty,
			Results: []Result{
				{ID: "regression/" + id + nasty + "/" + nasty, Status: status, Expected: nasty, Got: nasty, Reason: nasty, Lacks: nasty, Output: nasty},
				{ID: "regression/" + id + nasty + "/known", Status: XFail, Reason: nasty, Known: &Known{Found: Fail, Reason: nasty, By: nasty, Reference: "https://h/" + nasty}},
				{ID: "regression/" + id + nasty + "/unknown", Status: Status(nasty)},
			},
		}
	}
	kernel := func(id string) Kernel {
		return Kernel{
			ID: id + nasty, Spec: nasty + id, Release: nasty + id, Version: nasty, Source: nasty, SHA256: nasty, Append: nasty,
			Properties: map[string]string{"machine": nasty, "guest": nasty, "parser": nasty, nasty: nasty},
			Features:   map[string]string{nasty: nasty}, Gaps: []string{nasty},
			Machines: []Machine{{ID: nasty, Lost: nasty}}, NotRun: []string{"regression/" + nasty},
			Specs: []Spec{spec("a", Fail), spec("b", Error), spec("c", Skip), spec("d", Recorded), spec("e", XPass), spec("f", Pass), spec("a", Pass)},
		}
	}
	run := &Run{
		Format: FormatVersion, Tool: nasty, Started: at, Ended: at.Add(time.Minute), Planned: 9, Argv: []string{nasty},
		Host: map[string]string{nasty: nasty}, Remarks: []string{nasty}, Doubts: []string{nasty + "!"}, Parts: []Part{{Number: 1, Name: nasty}},
		Kernels: []Kernel{kernel("1"), kernel("2")},
	}
	run.settle()
	return run
}

// TestNastyText: whatever a guest printed, no report has a character of it
// that a terminal or a browser would obey.
func TestNastyText(t *testing.T) {
	for name, write := range map[string]func(w io.Writer, run *Run) error{
		"json": JSON, "junit": JUnit, "ktap": KTAP, "markdown": Markdown,
		"kcidb": func(w io.Writer, run *Run) error { return KCIDB(w, run, KCIDBOrigin) },
		"terminal": func(w io.Writer, run *Run) error {
			return Terminal(w, run, Style{Verbose: true, Unicode: true}, "out/"+nasty+"/junit.xml", "out/"+nasty+"/k/junit.xml")
		},
		"terminal, one kernel": func(w io.Writer, run *Run) error {
			one := run.only(run.Kernels[0])
			return Terminal(w, &one, Style{Width: 80})
		},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			if err := write(&b, nastyRun()); err != nil {
				t.Fatal(err)
			}
			text := b.String()
			if text != printable.Lines(text) {
				t.Fatalf("hidden characters: %q", text)
			}
			if !utf8.ValidString(text) {
				t.Error("not UTF-8")
			}
			switch name {
			case "json", "kcidb":
				if !json.Valid(b.Bytes()) {
					t.Error("not JSON")
				}
			case "junit":
				if err := xml.Unmarshal(b.Bytes(), new(junitSuites)); err != nil {
					t.Error(err)
				}
			case "ktap":
				for line := range strings.Lines(text) {
					if strings.HasPrefix(strings.TrimSpace(line), "ok 1 forged") {
						t.Errorf("a forged line: %q", line)
					}
				}
			case "markdown":
				// Between backquotes, and in a fence, it is text.
				for line := range strings.Lines(text) {
					if i := strings.Index(line, "<script"); i >= 0 && !strings.Contains(line[:i], "`") && !strings.HasPrefix(line, "  ") {
						t.Errorf("markup: %q", line)
					}
				}
			}
		})
	}
}
