// SPDX-License-Identifier: Apache-2.0

package reports

import (
	"encoding/xml"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"proofhouse/internal/exit"
	"proofhouse/internal/printable"
)

// wholeRun is the name of a result about the run as a whole.
const wholeRun = "(run)"

// The elements of a JUnit file, as Jenkins' junit-10.xsd has them: it is the
// strictest of those in use. It knows no properties of a testcase, so what is
// to be said of one subtest is a property of its suite.
type (
	junitSuites struct {
		XMLName  xml.Name     `xml:"testsuites"`
		Name     string       `xml:"name,attr"`
		Time     string       `xml:"time,attr"`
		Tests    int          `xml:"tests,attr"`
		Failures int          `xml:"failures,attr"`
		Errors   int          `xml:"errors,attr"`
		Suites   []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name       string          `xml:"name,attr"`
		Tests      int             `xml:"tests,attr"`
		Failures   int             `xml:"failures,attr"`
		Errors     int             `xml:"errors,attr"`
		Skipped    int             `xml:"skipped,attr"`
		Time       string          `xml:"time,attr"`
		Timestamp  string          `xml:"timestamp,attr,omitempty"`
		Properties []junitProperty `xml:"properties>property"`
		Cases      []junitCase     `xml:"testcase"`
		SystemOut  *junitText      `xml:"system-out"`
		SystemErr  *junitText      `xml:"system-err"`
	}
	junitProperty struct {
		Name  string `xml:"name,attr"`
		Value string `xml:"value,attr"`
	}
	junitCase struct {
		Name      string       `xml:"name,attr"`
		Classname string       `xml:"classname,attr"`
		Time      string       `xml:"time,attr,omitempty"`
		Skipped   *junitReason `xml:"skipped"`
		Error     *junitReason `xml:"error"`
		Failure   *junitReason `xml:"failure"`
		SystemOut *junitText   `xml:"system-out"`
	}
	junitReason struct {
		Type    string `xml:"type,attr"`
		Message string `xml:"message,attr"`
		Body    string `xml:",cdata"` // people read the file too: newlines stay newlines
	}
	junitText struct {
		Text string `xml:",cdata"`
	}
)

// JUnit writes the run as JUnit XML: one testsuite for each spec, one testcase
// for each subtest, and an error for each spec that was planned and did not
// run. Suites and classes are called after the spec ("regression.open"); where
// the run has several kernels, the kernel's spec stands before that.
func JUnit(w io.Writer, run *Run) error {
	doc := junitSuites{Name: "proofhouse"}
	var seconds float64
	for i := range run.Kernels {
		k := &run.Kernels[i]
		prefix := ""
		if len(run.Kernels) > 1 {
			prefix = kernelPrefix(run, k)
		}
		properties := junitProperties(run, k)
		for _, o := range k.Outcomes() {
			s := newJUnitSuite(prefix, properties, o)
			doc.Tests += s.Tests
			doc.Failures += s.Failures
			doc.Errors += s.Errors
			seconds += o.Seconds()
			doc.Suites = append(doc.Suites, s)
		}
	}
	if status, line := Verdict(run); status == exit.NoVerdict && doc.Failures+doc.Errors == 0 {
		// Nothing failed, and yet there is no verdict: a reader that sees only
		// testcases must not take that for a PASS.
		s := junitSuite{Name: "proofhouse", Time: junitSeconds(0)}
		s.add(junitCase{
			Name: wholeRun, Classname: s.Name,
			Error: &junitReason{Type: "NO VERDICT", Message: legal(line), Body: legal(strings.Join(run.Notes(), "\n"))},
		})
		doc.Tests, doc.Errors = doc.Tests+s.Tests, doc.Errors+s.Errors
		doc.Suites = append(doc.Suites, s)
	}
	doc.Time = junitSeconds(seconds)
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", " ")
	if err := enc.Encode(doc); err != nil {
		return fmt.Errorf("write JUnit: %w", err)
	}
	_, err := io.WriteString(w, "\n")
	return err
}

// kernelPrefix tells kernels apart by what stays the same from build to build:
// what the user called them, if that differs.
func kernelPrefix(run *Run, k *Kernel) string {
	same := 0
	for _, other := range run.Kernels {
		if other.Spec == k.Spec {
			same++
		}
	}
	if same > 1 || k.Spec == "" {
		return k.ID + "."
	}
	return k.Spec + "."
}

// maxProperty is how much a property has of a list, in bytes: each suite has it.
const maxProperty = 4000

// junitProperties are those of a kernel, by name; the same for all its suites.
func junitProperties(run *Run, k *Kernel) []junitProperty {
	all := overlay(k.Properties, map[string]string{
		"kernel": k.ID, "spec": k.Spec, "release": k.Release, "version": k.Version,
		"sha256": k.SHA256, "source": k.Source, "append": k.Append, "proofhouse": run.Tool,
		"gaps": strings.Join(k.Gaps, "; "),
	})
	if c := k.Coverage; c != nil && c.Totals != nil {
		all["coverage"] = c.Summary()
		if n := len(c.Missing); n > 0 {
			all["coverage unknown"] = printable.Count(n, "test")
		}
		if c.Patch != nil {
			all["patch"] = c.Patch.Name
			all["patch coverage"] = c.Patch.Sentence()
			all["patch lines"] = clip(strings.Join(c.PatchReport(), "; "), maxProperty)
		}
	}
	if s := run.Selection; s != nil {
		all["selection"] = strings.TrimPrefix(selectionSentence(run), "; ")
	}
	if run.CutShort {
		all["cut short"] = "the run was killed, or is still running"
	}
	var list []junitProperty
	for name, value := range all {
		if value != "" {
			list = append(list, junitProperty{legal(name), legal(value)})
		}
	}
	slices.SortFunc(list, func(a, b junitProperty) int { return strings.Compare(a.Name, b.Name) })
	return list
}

func newJUnitSuite(prefix string, properties []junitProperty, o Outcome) junitSuite {
	name := legal(prefix + strings.ReplaceAll(o.ID, "/", "."))
	s := junitSuite{Name: name, Time: junitSeconds(o.Seconds()), Properties: slices.Clone(properties)}
	if len(o.Attempts) > 0 {
		s.Timestamp = o.Attempts[0].Start.UTC().Format("2006-01-02T15:04:05")
	}
	for _, t := range o.Subtests {
		s.add(newJUnitCase(name, o, t))
		s.Properties = append(s.Properties, subtestProperties(o, t)...)
	}
	for n := range o.NotRun {
		c := junitCase{Name: Whole(o.ID), Classname: name, Error: &junitReason{Type: "NOT RUN", Message: "planned, and never started"}}
		if n > 0 || len(o.Attempts) > 0 {
			c.Name = fmt.Sprintf("%s, attempt %d", Whole(o.ID), len(o.Attempts)+n+1)
		}
		s.add(c)
	}
	if len(s.Cases) == 1 && len(o.Attempts) > 0 {
		// A script's time is not that of its subtests: only one alone has it.
		s.Cases[0].Time = s.Time
	}
	s.SystemOut, s.SystemErr = suiteOutput(o)
	return s
}

func (s *junitSuite) add(c junitCase) {
	s.Tests++
	switch {
	case c.Failure != nil:
		s.Failures++
	case c.Error != nil:
		s.Errors++
	case c.Skipped != nil:
		s.Skipped++
	}
	s.Cases = append(s.Cases, c)
}

func newJUnitCase(class string, o Outcome, t Subtest) junitCase {
	c := junitCase{Name: legal(shortID(o.ID, t.ID)), Classname: class}
	why := &junitReason{Type: string(t.Status), Message: legal(t.why()), Body: legal(t.details())}
	switch t.Status {
	case Fail:
		c.Failure = why
	case Error:
		c.Error = why
	case Skip, XFail:
		// Most readers show the message alone.
		why.Message = legal(string(t.Status) + ": " + t.why())
		why.Body = ""
		c.Skipped = why
	}
	if t.Output != "" {
		c.SystemOut = &junitText{legal(t.Output)}
	}
	return c
}

// shortID is the ID of a subtest within its spec.
func shortID(spec, id string) string {
	if short, ok := strings.CutPrefix(id, spec+"/"); ok && short != "" {
		return short
	}
	return id
}

// why is one line for people.
func (t Subtest) why() string {
	parts := make([]string, 0, 3)
	if t.Lacks != "" {
		parts = append(parts, "lacks "+t.Lacks)
	}
	if t.Status == Fail && t.Expected != "" && t.Got != "" {
		parts = append(parts, fmt.Sprintf("expected %s, got %s", t.Expected, t.Got))
	}
	if t.Reason != "" {
		parts = append(parts, t.Reason)
	}
	if len(parts) == 0 {
		return "no reason is known"
	}
	return strings.Join(parts, ": ")
}

// details are what a person who opens a failure wants beside its reason.
func (t Subtest) details() string {
	var b strings.Builder
	for _, l := range []struct{ name, value string }{
		{"id", t.ID}, {"expected", t.Expected}, {"got", t.Got}, {"reason", t.Reason}, {"attempts", t.attempts()},
	} {
		if l.value != "" {
			fmt.Fprintf(&b, "%s: %s\n", l.name, l.value)
		}
	}
	return b.String()
}

// attempts are the verdicts of a subtest that ran more than once: "PASS, FAIL".
func (t Subtest) attempts() string {
	if len(t.Attempts) < 2 {
		return ""
	}
	words := make([]string, len(t.Attempts))
	for i, s := range t.Attempts {
		words[i] = string(s)
	}
	return strings.Join(words, ", ")
}

// subtestProperties say what a passed testcase alone would not.
func subtestProperties(o Outcome, t Subtest) (list []junitProperty) {
	name := shortID(o.ID, t.ID)
	if t.Status == XPass || t.Status == Recorded {
		value := t.Reason
		if t.Got != "" {
			value = strings.TrimPrefix(value+": "+t.Got, ": ")
		}
		list = append(list, junitProperty{legal(string(t.Status) + " " + name), legal(value)})
	}
	if t.Flaky() {
		list = append(list, junitProperty{legal("flaky " + name), t.attempts()})
	}
	return list
}

// suiteOutput is what the kernel said while the spec ran: audit records, and
// its complaints.
func suiteOutput(o Outcome) (out, complaints *junitText) {
	var denials, console []string
	for _, s := range o.Attempts {
		if s.Output != "" {
			denials = append(denials, "whole output: "+s.Output)
		}
		denials = append(denials, s.Denials...)
		for _, text := range []string{s.Crash, s.Console} {
			if text != "" {
				console = append(console, text)
			}
		}
	}
	if len(denials) > 0 {
		out = &junitText{legal(strings.Join(denials, "\n"))}
	}
	if len(console) > 0 {
		complaints = &junitText{legal(strings.Join(console, "\n"))}
	}
	return out, complaints
}

// legal is s as XML 1.0 can hold it, which has no way to escape a control
// character, and as people can read it.
func legal(s string) string { return printable.Lines(s) }

func junitSeconds(s float64) string {
	return fmt.Sprintf("%.3f", (time.Duration(max(s, 0) * float64(time.Second))).Seconds())
}
