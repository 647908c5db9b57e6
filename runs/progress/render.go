// SPDX-License-Identifier: Apache-2.0

package progress

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"proofhouse/internal/printable"
	"proofhouse/reports"
)

// statusLines returns the lines that are redrawn in place on a terminal: how far
// the run is, and which specs are running and for how long.
func statusLines(s *state, now time.Time, style reports.Style) []string {
	separator := ", "
	if style.Unicode {
		separator = " · "
	}
	width := style.Width - 1 // a terminal wraps when its last column is filled
	return []string{
		fit("  "+joinFitting(figures(s, now), separator, width-2), width),
		fit("  "+running(s, now, separator, width-2), width),
	}
}

// statusLine returns the same in one line, for a log.
func statusLine(s *state, now time.Time) string {
	return strings.Join(figures(s, now), ", ") + "; " + running(s, now, ", ", 200)
}

// joinFitting joins items and leaves out those that do not fit.
func joinFitting(items []string, separator string, width int) string {
	text := items[0]
	for _, item := range items[1:] {
		if utf8.RuneCountInString(text+separator+item) > width {
			break
		}
		text += separator + item
	}
	return text
}

// figures returns the numbers of the run, the most important ones first.
func figures(s *state, now time.Time) []string {
	list := []string{fmt.Sprintf("%d/%d %ss", len(s.finished), s.total(), reports.Noun(s.ids...))}
	for _, c := range []struct {
		word   string
		status reports.Status
	}{{"failed", reports.Fail}, {"without verdict", reports.Error}} {
		if n := s.counts[c.status]; n > 0 {
			list = append(list, fmt.Sprintf("%d %s", n, c.word))
		}
	}
	if left, ok := s.left(now); ok {
		list = append(list, "about "+rough(left)+" left")
	}
	list = append(list, subtests(s.counts.Total()))
	if !s.started.IsZero() {
		list = append(list, clock(now.Sub(s.started)))
	}
	return list
}

func subtests(n int) string {
	if n == 1 {
		return "1 subtest"
	}
	return fmt.Sprintf("%d subtests", n)
}

// running returns the running specs, the longest first, as many as fit.
func running(s *state, now time.Time, separator string, width int) string {
	switch {
	case len(s.running) > 0:
	case len(s.queue) > 0:
		return "waiting for a machine"
	default:
		return "finishing"
	}
	text := ""
	for i, r := range s.running {
		name := printable.Line(reports.ID(s.name(r.kernel, r.id)).Brief())
		item := name + " " + clock(now.Sub(r.start))
		rest := ""
		if n := len(s.running) - i - 1; n > 0 {
			rest = fmt.Sprintf("%s+%d more", separator, n)
		}
		if i > 0 {
			item = separator + item
		}
		if i > 0 && utf8.RuneCountInString(text+item+rest) > width {
			return text + fmt.Sprintf("%s+%d more", separator, len(s.running)-i)
		}
		text += item
	}
	return text
}

// clock formats an elapsed duration, in whole seconds.
func clock(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("%d s", max(int(d.Seconds()), 0))
	}
	return reports.Elapsed(d.Truncate(time.Second))
}

// rough formats an estimated duration.
func rough(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return "10 s"
	case d < 50*time.Second:
		return fmt.Sprintf("%d s", int((d+9*time.Second)/(10*time.Second))*10)
	case d < 59*time.Minute:
		return fmt.Sprintf("%d min", int((d+time.Minute/2)/time.Minute))
	}
	d = d.Round(10 * time.Minute)
	return fmt.Sprintf("%dh%02d", int(d.Hours()), int(d.Minutes())%60)
}

// line formats a notice.
func (n notice) line(style reports.Style) string {
	text := printable.Line(n.text)
	if n.status == "" {
		return text
	}
	return style.Mark(n.status) + " " + style.Paint(n.status, string(n.status)) + " " + text
}

// fit truncates a line to the width.
func fit(line string, width int) string {
	line = strings.TrimRight(line, " ")
	if width <= 0 || utf8.RuneCountInString(line) <= width {
		return line
	}
	return string([]rune(line)[:width])
}

// frame returns the terminal output that replaces the drawn lines with lines, and
// prints the lines that stay above them. It overwrites each line and then clears
// the rest of it, to avoid flicker. The cursor ends at the end of the last line.
func frame(drawn int, stay, lines []string) string {
	var b strings.Builder
	b.WriteString("\r")
	if drawn > 1 {
		fmt.Fprintf(&b, "\x1b[%dA", drawn-1)
	}
	for _, l := range stay {
		b.WriteString(l + "\x1b[K\n")
	}
	for i, l := range lines {
		if i > 0 {
			b.WriteString("\n")
		}
		b.WriteString(l + "\x1b[K")
	}
	b.WriteString("\x1b[J")
	return b.String()
}
