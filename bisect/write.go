// SPDX-License-Identifier: Apache-2.0

package bisect

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"regexp"
	"strings"

	"proofhouse/internal/printable"
	"proofhouse/reports"
)

// what a person can take in; the rest is in the JSON.
const (
	changesShown = 40
	valueShown   = 60 // characters
)

// logRE matches the changelog lines that are shown: those about AppArmor or the
// security hooks.
var logRE = regexp.MustCompile(`(?i)apparmor|\bLSM\b|\bsecurity:|SECURITY_`)

// upstreamRE matches the version of Linux in a release.
var upstreamRE = regexp.MustCompile(`^[0-9]+\.[0-9]+`)

// Text writes the result for people.
func Text(w io.Writer, f *Found, c Changes, style reports.Style) error {
	t := &writer{w: bufio.NewWriter(w), style: style}
	t.verdict(f)
	t.line("")
	t.line("EVIDENCE")
	for _, id := range f.Targets {
		t.line("  %s", printable.Line(id))
		for _, b := range []Tested{f.Last, f.First} {
			t.subtest(b, id)
		}
	}
	t.line("")
	t.line("CHANGED in %s since %s", f.First.Name(), f.Last.Name())
	t.differences("features", c.Features, "no difference in AppArmor's features")
	if c.ConfigKnown {
		t.differences("config", c.Config, fmt.Sprintf("%d options changed, none about security", c.Options))
		if len(c.Config) > 0 {
			t.line("    and %d options that are not about security", c.Options-len(c.Config))
		}
	} else {
		t.line("  config: unknown")
	}
	t.log(f, c)
	t.line("")
	t.line("BUILDS TESTED")
	var gone []string
	for _, b := range f.Tested {
		if b.Lacks != "" {
			gone = append(gone, b.Name())
			continue
		}
		text := string(b.Verdict)
		if b.Why != "" {
			text += ": " + b.Why
		}
		t.line("  %-34s %s", b.Name(), printable.Line(text))
	}
	if len(gone) > 0 {
		t.line("  incomplete on the mirror: %s", strings.Join(gone, ", "))
	}
	t.line("")
	t.verdict(f)
	return t.w.Flush()
}

type writer struct {
	w     *bufio.Writer
	style reports.Style
}

func (t *writer) line(format string, args ...any) {
	// Errors stay in the bufio.Writer until Flush.
	_, _ = fmt.Fprintf(t.w, strings.TrimRight(format, " ")+"\n", args...)
}

// Line returns the result in one line.
func (f *Found) Line() string {
	word, before := "bad", "good"
	if f.Fixed {
		word, before = "fixed", "bad"
	}
	first := f.First.Name()
	if f.First.Version != "" {
		first += " (" + f.First.Version + ")"
	}
	if len(f.Between) == 0 {
		return fmt.Sprintf("first %s build: %s", word, first)
	}
	var names []string
	for _, b := range f.Between {
		names = append(names, b.Name())
	}
	return fmt.Sprintf("first %s build: %s or earlier; unclear: %s; last %s build: %s", word, first, strings.Join(names, ", "), before, f.Last.Name())
}

func (t *writer) verdict(f *Found) {
	ink := reports.Fail
	if f.Fixed {
		ink = reports.Pass
	}
	if len(f.Between) > 0 {
		ink = reports.Error
	}
	t.line("%s", t.style.Paint(ink, f.Line()))
}

func (t *writer) subtest(b Tested, id string) {
	if b.Evidence == nil {
		t.line("    %-34s %s", b.Name(), b.Why)
		return
	}
	s := b.Evidence.find(id)
	text := s.said()
	if s.Reason != "" {
		text += "  " + s.Reason
	}
	st := cmp.Or(s.stable(), reports.Error)
	t.line("    %-34s %s", b.Name(), t.style.Paint(st, printable.Line(text)))
	for _, d := range s.Denials {
		t.line("      %s", printable.Line(d))
	}
	t.line("      run  %s", printable.Line(b.Evidence.Dir))
}

func (t *writer) differences(what string, list []Difference, none string) {
	if len(list) == 0 {
		t.line("  %s: %s", what, none)
		return
	}
	t.line("  %s", what)
	for i, d := range list {
		if i == changesShown {
			t.line("    and %d more (--json has all)", len(list)-i)
			return
		}
		switch {
		case d.Old == "":
			t.line("    + %s %s", printable.Line(d.Name), short(d.New))
		case d.New == "":
			t.line("    - %s %s", printable.Line(d.Name), short(d.Old))
		default:
			t.line("    ~ %s %s -> %s", printable.Line(d.Name), short(d.Old), short(d.New))
		}
	}
}

func short(s string) string {
	s = printable.Line(s)
	if r := []rune(s); len(r) > valueShown {
		return string(r[:valueShown]) + "…"
	}
	return s
}

func (t *writer) log(f *Found, c Changes) {
	if !c.LogKnown {
		t.line("  changelog: the build has none")
		return
	}
	lines, shown := 0, 0
	for _, v := range c.Log {
		lines += len(v.Lines)
	}
	t.line("  changelog: %d versions, %d lines; those that name AppArmor or the security hooks:", len(c.Log), lines)
	for _, v := range c.Log {
		for _, l := range v.Lines {
			if !logRE.MatchString(l) {
				continue
			}
			if shown++; shown <= changesShown {
				t.line("    %s  %s", v.Version, printable.Line(l))
			}
		}
	}
	switch {
	case shown == 0:
		t.line("    none")
		if a, b := upstreamRE.FindString(f.Last.Release), upstreamRE.FindString(f.First.Release); a != "" && b != "" && a != b {
			t.line("    a new upstream version is one line there; of Linux itself: git log v%s..v%s -- security/apparmor", a, b)
		}
	case shown > changesShown:
		t.line("    and %d more (--json has all)", shown-changesShown)
	}
}
