// SPDX-License-Identifier: Apache-2.0

package reports

import (
	"bufio"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"proofhouse/internal/exit"
	"proofhouse/internal/printable"
)

// KTAP writes the run in the kernel's Test Anything Protocol, version 1
// (Documentation/dev-tools/ktap.rst): one test for each spec, with its subtests
// nested, and around them one for each kernel where there are several. XFAIL
// and SKIP are "ok" with their directive, ERROR is "not ok".
func KTAP(w io.Writer, run *Run) error {
	var tests []ktapTest
	for i := range run.Kernels {
		k := &run.Kernels[i]
		var specs []ktapTest
		for _, o := range k.Outcomes() {
			specs = append(specs, ktapSpec(o))
		}
		if len(run.Kernels) == 1 {
			tests = specs
			break
		}
		tests = append(tests, ktapParent(k.ID, specs))
	}
	status, verdict := Verdict(run)
	if status != exit.OK && ktapParent("", tests).ok {
		// Nothing failed, and yet there is no verdict: a reader that sees
		// only what is ok must not take it for one.
		tests = append(tests, ktapTest{name: wholeRun, detail: "ERROR " + verdict})
	}
	out := &ktapWriter{w: bufio.NewWriter(w)}
	out.plan(0, "", tests)
	out.line(0, "# "+printable.Line(verdict))
	return out.w.Flush()
}

// ktapTest is one line with a result, and what stands before it.
type ktapTest struct {
	name     string
	ok       bool
	detail   string // behind the #, directive included
	remarks  []string
	subtests []ktapTest
}

// ktapParent is ok if all of its subtests are, and skipped if all are.
func ktapParent(name string, subtests []ktapTest) ktapTest {
	t := ktapTest{name: name, ok: true, subtests: subtests}
	skipped := len(subtests) > 0
	for _, s := range subtests {
		t.ok = t.ok && s.ok
		skipped = skipped && strings.HasPrefix(s.detail, "SKIP")
	}
	if skipped {
		t.detail = subtests[0].detail
	}
	return t
}

func ktapSpec(o Outcome) ktapTest {
	var subtests []ktapTest
	for _, s := range o.Subtests {
		subtests = append(subtests, ktapSubtest(o.ID, s))
	}
	for range o.NotRun {
		subtests = append(subtests, ktapTest{name: Whole(o.ID), detail: "ERROR planned, and never started"})
	}
	t := ktapParent(o.ID, subtests)
	if !t.ok {
		t.remarks = ktapRecords(o)
	}
	return t
}

// ktapRecords are what the kernel said while a spec ran that did not pass.
func ktapRecords(o Outcome) (list []string) {
	var denials []string
	for _, a := range o.Attempts {
		if a.Crash != "" {
			list = append(list, "crash: "+a.Crash)
		}
		if a.Console != "" {
			lines := strings.Split(strings.Trim(a.Console, "\n"), "\n")
			for _, l := range lines[:min(len(lines), consoleShown)] {
				list = append(list, "console: "+l)
			}
		}
		denials = append(denials, a.Denials...)
	}
	slices.SortStableFunc(denials, func(a, b string) int { return telling(a) - telling(b) })
	for _, d := range denials[:min(len(denials), denialsShown)] {
		list = append(list, "denied: "+d)
	}
	return list
}

func ktapSubtest(spec string, s Subtest) ktapTest {
	t := ktapTest{name: shortID(spec, s.ID), ok: true}
	switch s.Status {
	case Fail:
		t.ok = false
		t.detail = s.why()
		if ktapDirective.MatchString(t.detail) { // it must not speak as one
			t.detail = "failed: " + t.detail
		}
	case Error:
		t.ok = false
		t.detail = "ERROR " + s.why()
	case Skip:
		t.detail = "SKIP " + s.why()
	case XFail:
		t.detail = "XFAIL " + s.why()
	case XPass:
		t.detail = "known problem, and gone: " + s.why()
	case Recorded:
		t.detail = "recorded: " + s.Got
	}
	if s.Flaky() {
		t.remarks = append(t.remarks, "flaky: "+s.attempts())
	}
	return t
}

var ktapDirective = regexp.MustCompile(`(?i)^(SKIP|TODO|XFAIL|TIMEOUT|ERROR)`)

type ktapWriter struct{ w *bufio.Writer }

func (k *ktapWriter) line(level int, text string) {
	_, _ = fmt.Fprintf(k.w, "%s%s\n", strings.Repeat("  ", level), text)
}

// plan writes tests one level below that of their parent's result.
func (k *ktapWriter) plan(level int, parent string, tests []ktapTest) {
	k.line(level, "KTAP version 1")
	if parent != "" {
		// Not in the specification, but in what KUnit writes, whose reader
		// shows the name before it has seen the result.
		k.line(level, "# Subtest: "+parent)
	}
	k.line(level, fmt.Sprintf("1..%d", len(tests)))
	for i, t := range tests {
		name := ktapName(t.name)
		if len(t.subtests) > 0 {
			k.plan(level+1, name, t.subtests)
		}
		for _, r := range t.remarks {
			k.line(level, "# "+printable.Line(r))
		}
		word := "ok"
		if !t.ok {
			word = "not ok"
		}
		line := fmt.Sprintf("%s %d %s", word, i+1, name)
		if d := strings.TrimSpace(printable.Line(t.detail)); d != "" {
			// Some readers take the last directive of a line.
			line += " # " + strings.ReplaceAll(d, "#", "%23")
		}
		k.line(level, line)
	}
}

var ktapAgain = regexp.MustCompile(` #(\d+)$`)

// ktapName is a description: it can hold anything but #, which begins what is
// no description.
func ktapName(s string) string {
	s = ktapAgain.ReplaceAllString(printable.Line(s), " ($1)")
	if s == "" {
		s = "(no name)"
	}
	return strings.ReplaceAll(s, "#", "%23")
}
