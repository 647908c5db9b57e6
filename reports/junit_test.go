// SPDX-License-Identifier: Apache-2.0

package reports

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"

	junit "github.com/joshdk/go-junit"
)

// junitSchema is what Jenkins' junit-10.xsd allows of each element, as far as
// we use it.
var junitSchema = map[string]struct {
	children, required, optional []string
}{
	"testsuites": {[]string{"testsuite"}, nil, []string{"name", "time", "tests", "failures", "errors"}},
	"testsuite": {
		[]string{"properties", "testcase", "system-out", "system-err"},
		[]string{"name", "tests", "failures", "errors"}, []string{"skipped", "time", "timestamp"},
	},
	"properties": {[]string{"property"}, nil, nil},
	"property":   {nil, []string{"name", "value"}, nil},
	"testcase":   {[]string{"skipped", "error", "failure", "system-out"}, []string{"name"}, []string{"classname", "time"}},
	"skipped":    {nil, nil, []string{"type", "message"}},
	"error":      {nil, nil, []string{"type", "message"}},
	"failure":    {nil, nil, []string{"type", "message"}},
	"system-out": {nil, nil, nil},
	"system-err": {nil, nil, nil},
}

// checkJUnit checks that text is well-formed, keeps to the schema, and counts
// its testcases right.
func checkJUnit(t *testing.T, text []byte) {
	t.Helper()
	d := xml.NewDecoder(bytes.NewReader(text))
	var open []xml.StartElement
	counts := map[string]int{}
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("not well-formed: %v\n%s", err, text)
		}
		switch e := token.(type) {
		case xml.StartElement:
			parent := ""
			if len(open) > 0 {
				parent = open[len(open)-1].Name.Local
			}
			checkElement(t, parent, e)
			if e.Name.Local == "testsuite" {
				clear(counts)
			}
			counts[e.Name.Local]++
			open = append(open, e.Copy())
		case xml.EndElement:
			start := open[len(open)-1]
			open = open[:len(open)-1]
			if e.Name.Local == "testsuite" {
				checkCounts(t, start, counts)
			}
		}
	}
}

func checkElement(t *testing.T, parent string, e xml.StartElement) {
	t.Helper()
	name := e.Name.Local
	rule, ok := junitSchema[name]
	if !ok || parent == "" && name != "testsuites" || parent != "" && !slices.Contains(junitSchema[parent].children, name) {
		t.Errorf("<%s> within <%s>", name, parent)
	}
	has := map[string]bool{}
	for _, a := range e.Attr {
		has[a.Name.Local] = true
		if !slices.Contains(rule.required, a.Name.Local) && !slices.Contains(rule.optional, a.Name.Local) {
			t.Errorf("<%s %s>", name, a.Name.Local)
		}
		if a.Name.Local == "time" && strings.Trim(a.Value, "0123456789.") != "" {
			t.Errorf("<%s time=%q>", name, a.Value)
		}
	}
	for _, a := range rule.required {
		if !has[a] {
			t.Errorf("<%s> without %s", name, a)
		}
	}
}

func checkCounts(t *testing.T, suite xml.StartElement, counts map[string]int) {
	t.Helper()
	elements := map[string]string{"tests": "testcase", "failures": "failure", "errors": "error", "skipped": "skipped"}
	for _, a := range suite.Attr {
		if e, ok := elements[a.Name.Local]; ok && a.Value != strconv.Itoa(counts[e]) {
			t.Errorf("testsuite %s=%s, but %d <%s>", a.Name.Local, a.Value, counts[e], e)
		}
	}
}

// TestJUnit keeps to the schema and reads the files back with a reader that
// others wrote.
func TestJUnit(t *testing.T) {
	for name, want := range map[string]junit.Totals{
		"pass":    {Tests: 663, Passed: 662, Skipped: 1},
		"fail":    {Tests: 26, Passed: 24, Skipped: 1, Failed: 1},
		"error":   {Tests: 24, Passed: 23, Error: 1},
		"mixed":   {Tests: 90, Passed: 57, Skipped: 4, Failed: 28, Error: 1},
		"killed":  {Tests: 27, Passed: 24, Error: 3}, // one cut, two not run
		"skip":    {Tests: 2, Skipped: 1, Error: 1},  // no verdict
		"nothing": {Tests: 1, Error: 1},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			if err := JUnit(&b, samples[name]().run()); err != nil {
				t.Fatal(err)
			}
			checkJUnit(t, b.Bytes())
			suites, err := junit.Ingest(b.Bytes())
			if err != nil {
				t.Fatal(err)
			}
			var got junit.Totals
			for _, s := range suites {
				got.Tests += s.Totals.Tests
				got.Passed += s.Totals.Passed
				got.Skipped += s.Totals.Skipped
				got.Failed += s.Totals.Failed
				got.Error += s.Totals.Error
			}
			if got != want {
				t.Errorf("%+v, want %+v", got, want)
			}
			if name == "fail" || name == "killed" || name == "mixed" {
				golden(t, "junit/"+name+".xml", b.Bytes())
			}
		})
	}
}

// TestJUnitCases looks at single testcases as a CI server would show them.
func TestJUnitCases(t *testing.T) {
	run := samples["mixed"]().run()
	var b bytes.Buffer
	if err := JUnit(&b, run); err != nil {
		t.Fatal(err)
	}
	suites, err := junit.Ingest(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	type id struct{ class, name string }
	cases := map[id]junit.Test{}
	properties := map[string]map[string]string{}
	for _, s := range suites {
		properties[s.Name] = s.Properties
		for _, c := range s.Tests {
			if _, twice := cases[id{c.Classname, c.Name}]; twice {
				t.Errorf("%s %q comes twice", c.Classname, c.Name)
			}
			cases[id{c.Classname, c.Name}] = c
		}
	}
	for _, c := range []struct {
		id
		status  junit.Status
		message string
	}{
		{id{"debian:trixie.regression.complain", "file permission 1"}, junit.StatusFailed, "expected fail, got pass"},
		{id{"uml:debian:forky.regression.open", "SUBTEST 23"}, junit.StatusError, "no answer within 60 s"},
		{id{"uml:debian:forky.regression.unix_socket", "(skipped: parser: unix rules)"}, junit.StatusSkipped, "SKIP: lacks parser: unix rules"},
		{id{"uml:debian:forky.regression.unix_socket", "getopt"}, junit.StatusPassed, ""},
		{id{"uml:debian:forky.regression.syscall", "ptrace \\x1b[31m & <b>"}, junit.StatusPassed, ""},
	} {
		got, ok := cases[c.id]
		if !ok || got.Status != c.status || got.Message != c.message {
			t.Errorf("%v: there %v, %s %q", c.id, ok, got.Status, got.Message)
		}
	}
	for _, p := range []struct{ suite, name, value string }{
		{"debian:trixie.regression.open", "accelerator", "tcg"},
		{"debian:trixie.regression.open", "parser", "4.1.8"},
		{"debian:trixie.regression.open", "release", "6.12.94+deb13-cloud-amd64"},
		{"uml:debian:forky.regression.open", "flaky SUBTEST 23", "PASS, ERROR"},
		{"uml:debian:forky.regression.unix_socket", "XPASS getopt", "known problem"},
		{"uml:debian:forky.regression.syscall", "RECORDED ioperm", "EPERM"},
	} {
		if got := properties[p.suite][p.name]; got != p.value {
			t.Errorf("property %s of %s: %q, want %q", p.name, p.suite, got, p.value)
		}
	}
}

func TestLegal(t *testing.T) {
	for in, want := range map[string]string{
		"a\x00b\x1b[1mc\td\n": "a\\x00b\\x1b[1mc\td\n",
		"\xff é \uFFFE":       "\\xff é \\ufffe",
	} {
		if got := legal(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
