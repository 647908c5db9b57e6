// SPDX-License-Identifier: Apache-2.0

package reports

import (
	"fmt"
	"io"
	"strings"

	"proofhouse/internal/exit"
	"proofhouse/internal/printable"
)

// MarkdownLimit is the most that [Markdown] writes, in bytes: a comment on
// GitHub holds 65,536 characters, and GitLab's hold more.
const MarkdownLimit = 60_000

// Markdown writes the verdict as a comment on a merge request: what failed,
// and the rest folded. What does not fit is counted.
func Markdown(w io.Writer, run *Run) error {
	var text string
	for _, limit := range []int{500, 100, 25, 8, 2} {
		m := &markdown{limit: limit}
		m.run(run)
		if text = m.b.String(); len(text) <= MarkdownLimit {
			break
		}
	}
	if len(text) > MarkdownLimit { // a line of it must be huge
		_, verdict := Verdict(run)
		text = fmt.Sprintf("### %s\n\nThe details do not fit here.\n", mdText(clip(verdict, 500)))
	}
	_, err := io.WriteString(w, text)
	return err
}

type markdown struct {
	b     strings.Builder
	limit int // of items in a list
}

func (m *markdown) line(format string, args ...any) {
	_, _ = fmt.Fprintf(&m.b, format+"\n", args...)
}

func (m *markdown) run(run *Run) {
	status, verdict := Verdict(run)
	sign := map[int]string{exit.OK: "✅", exit.Failed: "❌", exit.NoVerdict: "❓"}[status]
	m.line("### %s %s\n", sign, mdText(verdict))
	m.line("| kernel | machine | userspace | pass | fail | error | skip | known |\n|---|---|---|--:|--:|--:|--:|--:|")
	for i := range run.Kernels {
		k := &run.Kernels[i]
		c := Counts{}
		for _, o := range k.Outcomes() {
			c.add(o.Counts())
		}
		m.line("| %s %s | %s | %s | %s | %s | %s | %s | %s |", mdText(k.name()), mdText(k.Spec), mdText(k.MachineKind()), mdText(clip(k.describe("guest", "parser", "suite"), 200)),
			printable.Number(c[Pass]+c[XPass]+c[Recorded]), printable.Number(c[Fail]), printable.Number(c[Error]), printable.Number(c[Skip]), printable.Number(c[XFail]))
	}
	m.line("")
	for _, r := range run.Notes() {
		m.line("> %s\n", mdText(clip(r, 300)))
	}
	if s := run.Selection; s != nil {
		m.line("> %s selected by %s, from what %s reached\n", printable.Count(s.Selected, "test"), mdCode(s.For), mdCode(s.Map))
		m.fold("Selected, as it is not known what they reach", mdCodes(s.Unknown))
		what := "Left out"
		if s.Rest {
			what = "Run after them"
		}
		m.fold(what, mdCodes(s.LeftOut))
	}
	for i := range run.Kernels {
		m.kernel(run, &run.Kernels[i])
	}
}

func (m *markdown) kernel(run *Run, k *Kernel) {
	outcomes := k.Outcomes()
	on := ""
	if len(run.Kernels) > 1 {
		on = " on " + mdText(k.name())
	}
	m.failures("Failed"+on, Fail, outcomes)
	m.failures("Errors: no verdict on these"+on, Error, outcomes)
	m.fold("Not run"+on, notRunNames(outcomes))
	m.fold("Flaky"+on, eachSubtest(outcomes, func(s Subtest) string {
		if !s.Flaky() {
			return ""
		}
		return mdCode(s.ID) + " " + s.attempts()
	}))
	m.fold("Known problems, still there"+on, eachSubtest(outcomes, func(s Subtest) string {
		if s.Status != XFail {
			return ""
		}
		return mdCode(s.ID) + " " + mdText(clip(s.Reason, 300))
	}))
	m.fold("Known problems that are gone"+on, eachSubtest(outcomes, func(s Subtest) string {
		if s.Status != XPass {
			return ""
		}
		return mdCode(s.ID)
	}))
	var gaps []string
	for _, g := range k.Gaps {
		gaps = append(gaps, mdText(g))
	}
	m.fold("Mediated by the kernel, not tested"+on, gaps)
	var skips []string
	for _, g := range skipGroups(outcomes) {
		skips = append(skips, mdText(g.line("skip")))
	}
	m.fold("Skipped, by what is missing"+on, skips)
	m.coverage(k, on)
}

// coverage says which lines of AppArmor the tests reached. What became of the
// lines of a patch is open: it is what the reader asked for.
func (m *markdown) coverage(k *Kernel, on string) {
	c := k.Coverage
	if c == nil || c.Totals == nil {
		return
	}
	m.line("**Lines reached%s**: %s\n", on, mdText(c.Summary()))
	if c.Patch != nil {
		m.line("%s: %s\n", mdCode(c.Patch.Name), mdText(c.Patch.Sentence()))
		lines := c.PatchReport()
		for _, l := range lines[:min(len(lines), m.limit)] {
			m.line("- %s", mdText(clip(l, 300)))
		}
		if rest := len(lines) - m.limit; rest > 0 {
			m.line("- … and %d more", rest)
		}
		m.line("")
	}
	var missing []string
	for _, u := range c.Missing {
		missing = append(missing, mdCode(u.ID)+" "+mdText(clip(u.Reason, 300)))
	}
	m.fold("Unknown what these reached"+on, missing)
}

func mdCodes(texts []string) (list []string) {
	for _, t := range texts {
		list = append(list, mdCode(t))
	}
	return list
}

func eachSubtest(outcomes []Outcome, item func(Subtest) string) (list []string) {
	for _, o := range outcomes {
		for _, s := range o.Subtests {
			if l := item(s); l != "" {
				list = append(list, l)
			}
		}
	}
	return list
}

func notRunNames(outcomes []Outcome) (list []string) {
	for _, o := range outcomes {
		for range o.NotRun {
			list = append(list, mdCode(o.ID))
		}
	}
	return list
}

// fold is a list that is closed at first.
func (m *markdown) fold(title string, items []string) {
	if len(items) == 0 {
		return
	}
	m.line("<details><summary>%s (%d)</summary>\n", title, len(items))
	for _, i := range items[:min(len(items), m.limit)] {
		m.line("- %s", i)
	}
	if rest := len(items) - m.limit; rest > 0 {
		m.line("- … and %d more", rest)
	}
	m.line("\n</details>\n")
}

// failures are open: they are what the reader is here for.
func (m *markdown) failures(title string, st Status, outcomes []Outcome) {
	n, shown := 0, 0
	for _, o := range outcomes {
		n += o.Counts()[st]
	}
	if n == 0 {
		return
	}
	m.line("#### %s (%d)\n", title, n)
	for _, o := range outcomes {
		if o.Counts()[st] == 0 || shown >= m.limit {
			continue
		}
		for _, s := range o.Subtests {
			if s.Status != st || shown >= m.limit {
				continue
			}
			shown++
			m.line("- %s %s", mdCode(s.ID), mdText(clip(s.why(), 400)))
		}
		m.records(o)
	}
	if rest := n - shown; rest > 0 {
		m.line("- … and %d more", rest)
	}
	m.line("")
}

// records are folded below an item of a list.
func (m *markdown) records(o Outcome) {
	lines := ktapRecords(o)
	lines = lines[:min(len(lines), m.limit)]
	if len(lines) == 0 {
		return
	}
	fence := "```"
	for _, l := range lines {
		for strings.Contains(l, fence) {
			fence += "`"
		}
	}
	m.line("\n  <details><summary>what the kernel said</summary>\n\n  %s", fence)
	for _, l := range lines {
		m.line("  %s", clip(printable.Line(l), 600))
	}
	m.line("  %s\n  </details>\n", fence)
}

// mdCode is a text as it is, in a line: between more backquotes than it has.
func mdCode(s string) string {
	s = clip(printable.Line(s), 300)
	if s == "" {
		return ""
	}
	quote := "`"
	for strings.Contains(s, quote) {
		quote += "`"
	}
	if s[0] == '`' || s[len(s)-1] == '`' {
		s = " " + s + " "
	}
	return quote + s + quote
}

var mdEscaper = strings.NewReplacer(`\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "<", "&lt;", ">", "&gt;", "&", "&amp;", "|", `\|`, "#", `\#`, "~", `\~`, "@", "&#64;", "!", `\!`, "$", `\$`, "://", `:&#47;/`, "www.", "www&#46;")

// mdText is a text whose signs mean nothing to Markdown; nor does it mention
// anybody.
func mdText(s string) string { return mdEscaper.Replace(printable.Line(s)) }

// clip is s, cut where it is very long.
func clip(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n]) + "…"
	}
	return s
}
