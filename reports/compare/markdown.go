// SPDX-License-Identifier: Apache-2.0

package compare

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"proofhouse/internal/printable"
	"proofhouse/reports"
)

// MarkdownLimit is the most that [Markdown] writes, in bytes: a comment on
// GitHub holds 65,536 characters, and GitLab's hold more.
const MarkdownLimit = 60_000

// Markdown writes the comparison as a comment on a merge request: the verdict,
// the regressions, and the rest folded. What does not fit is counted.
func Markdown(w io.Writer, c *Comparison) error {
	var text string
	for _, limit := range []int{1000, 200, 50, 20, 8, 3, 1} {
		m := &markdown{c: c, limit: limit}
		m.all()
		if text = m.b.String(); len(text) <= MarkdownLimit {
			break
		}
	}
	if len(text) > MarkdownLimit { // one line of it must be huge
		text = fmt.Sprintf("### %s\n\nThe details do not fit here.\n", escape(clip(c.Verdict, 500)))
	}
	_, err := io.WriteString(w, text)
	return err
}

type markdown struct {
	b     strings.Builder
	c     *Comparison
	limit int // of items in a list
}

func (m *markdown) line(format string, args ...any) { fmt.Fprintf(&m.b, format+"\n", args...) }

func (m *markdown) all() {
	c := m.c
	sign := "✅"
	switch {
	case len(c.Regressions) > 0:
		sign = "❌"
	case c.Compared == 0:
		sign = "❓"
	case c.resultsChanged():
		sign = "🔶"
	}
	m.line("### %s %s\n", sign, escape(c.Verdict))
	m.line("| | kernel | machine | results | run |\n|---|---|---|---|---|")
	for _, s := range []struct {
		name string
		sum  Summary
	}{{"BASE", c.Base}, {"NEW", c.New}} {
		m.line("| **%s** | %s %s | %s | %s | %s |", s.name, cell(s.sum.Release), cell(s.sum.Spec), cell(s.sum.Machine), cell(counts(s.sum.Counts)), cell(s.sum.Name))
	}
	m.line("")
	if c.SameBuild {
		m.line("The same build and userspace: what differs between them is flaky.\n")
	}
	for _, n := range c.Notes {
		m.line("> %s\n", escape(n))
	}
	for i, s := range c.sections() {
		m.section(s, i == 0)
	}
	m.skips()
	m.groups("New subtests", c.Added)
	m.groups("Vanished subtests", c.Vanished)
	m.differences("Features of the kernel", c.Features)
	m.differences("Userspace: not the kernel's doing", c.Userspace)
	m.differences("Machine", c.Machine)
	if len(c.Durations) > 0 {
		m.fold("Durations that stand out", len(c.Durations))
		m.list(len(c.Durations), func(i int) { m.line("- %s", escape(c.Durations[i].line())) })
		m.line("\n</details>\n")
	}
	if len(c.NotCompared) > 0 {
		m.line("Not compared, for only one side ran them: %s\n", escape(names(c.NotCompared, m.limit)))
	}
}

// fold begins a part that is closed at first.
func (m *markdown) fold(title string, n int) {
	m.line("<details><summary>%s (%d)</summary>\n", title, n)
}

// list writes the first of n items.
func (m *markdown) list(n int, item func(int)) {
	for i := range min(n, m.limit) {
		item(i)
	}
	if n > m.limit {
		m.line("- … and %d more", n-m.limit)
	}
}

func (m *markdown) section(s section, open bool) {
	if len(s.changes) == 0 {
		return
	}
	if open {
		m.line("#### %s (%d)\n", escape(s.title), s.n)
	} else {
		m.fold(s.title, s.n)
	}
	m.list(len(s.changes), func(i int) {
		ch := s.changes[i]
		m.line("- %s %s", code(ch.ID), escape(ch.arrow()))
		for _, f := range ch.facts() {
			if f[0] == "note" || f[0] == "lost" { // our own words
				m.line("  - %s: %s", f[0], escape(clip(f[1], 400)))
				continue
			}
			m.line("  - %s: %s", f[0], code(clip(f[1], 400)))
		}
		last := !slices.ContainsFunc(s.changes[i+1:min(len(s.changes), m.limit)], func(o Change) bool { return o.Spec == ch.Spec })
		if s.proof && last {
			m.evidence(ch.Spec)
		}
	})
	m.line("")
	if !open {
		m.line("</details>\n")
	}
}

// evidence is a folded part below an item of a list.
func (m *markdown) evidence(spec string) {
	i := slices.IndexFunc(m.c.Evidence, func(e Evidence) bool { return e.Spec == spec })
	if i < 0 {
		return
	}
	m.line("\n  <details><summary>what the kernels said during %s</summary>\n", tagless(reports.ID(spec).Brief()))
	for _, s := range []struct {
		name string
		said Said
	}{{"NEW", m.c.Evidence[i].New}, {"BASE", m.c.Evidence[i].Base}} {
		m.line("  **%s**: %s", s.name, escape(s.said.denied()))
		var lines []string
		if s.said.Crash != "" {
			lines = append(lines, "crash: "+s.said.Crash)
		}
		only := min(len(s.said.Only), m.limit, maxOnly)
		lines = append(lines, s.said.Only[:only]...)
		if rest := len(s.said.Only) - only + s.said.More; rest > 0 {
			lines = append(lines, fmt.Sprintf("and %d more", rest))
		}
		if s.said.Console != "" {
			console := strings.Split(strings.Trim(s.said.Console, "\n"), "\n")
			lines = append(lines, console[:min(len(console), consoleShown, m.limit*4)]...)
		}
		m.block(lines)
	}
	m.line("  </details>\n")
}

// block is code below an item of a list.
func (m *markdown) block(lines []string) {
	if len(lines) == 0 {
		m.line("")
		return
	}
	fence := "```"
	for _, l := range lines {
		for strings.Contains(l, fence) {
			fence += "`"
		}
	}
	m.line("\n  %s", fence)
	for _, l := range lines {
		m.line("  %s", clip(printable.Line(l), 600))
	}
	m.line("  %s\n", fence)
}

func (m *markdown) skips() {
	if len(m.c.Skips) == 0 {
		return
	}
	m.fold("Skips that changed", len(m.c.Skips))
	m.list(len(m.c.Skips), func(i int) {
		m.line("- %s", escape(m.c.Skips[i].line(names(m.c.Skips[i].Scripts, min(m.limit, 40)))))
	})
	m.line("\n</details>\n")
}

func (m *markdown) groups(title string, groups []Group) {
	if len(groups) == 0 {
		return
	}
	m.fold(title, sum(groups))
	m.list(len(groups), func(i int) {
		g := groups[i]
		note := ""
		if g.Note != "" {
			note = " (" + escape(g.Note) + ")"
		}
		m.line("- %s: %d%s", escape(reports.ID(g.Spec).Brief()), len(g.IDs), note)
	})
	m.line("\n</details>\n")
}

func (m *markdown) differences(title string, list []Difference) {
	if len(list) == 0 {
		return
	}
	m.fold(title, len(list))
	m.list(len(list), func(i int) { m.line("- %s", code(clip(list[i].line(), 1000))) })
	m.line("\n</details>\n")
}

// code is a text as it is, in a line: between more backquotes than it has.
func code(s string) string {
	s = printable.Line(s)
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

var (
	escaper = strings.NewReplacer(`\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "<", "&lt;", ">", "&gt;", "&", "&amp;", "|", `\|`, "#", `\#`, "~", `\~`, "@", "&#64;", "!", `\!`, "$", `\$`, "://", `:&#47;/`, "www.", "www&#46;")
	htmler  = strings.NewReplacer("<", "&lt;", ">", "&gt;", "&", "&amp;")
)

// escape is a text whose signs mean nothing to Markdown; nor does it mention
// anybody.
func escape(s string) string { return escaper.Replace(printable.Line(s)) }

// cell is a text in a table.
func cell(s string) string { return escape(clip(s, 200)) }

func tagless(s string) string { return htmler.Replace(printable.Line(s)) }

// clip is s, cut where it is very long.
func clip(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	return string(r[:n]) + "…"
}
