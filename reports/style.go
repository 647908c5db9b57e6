// SPDX-License-Identifier: Apache-2.0

package reports

import (
	"os"
	"strings"
	"unicode/utf8"

	"github.com/fatih/color"
	"golang.org/x/term"
)

// Style says how a text is shown.
type Style struct {
	Color   bool
	Unicode bool
	// Width is the number of columns of a terminal. In a pipe or a file it is
	// 0: what the kernel and the tests said then stays one line that can be
	// searched for, and all else takes 80 columns.
	Width int
	// Verbose shows each spec and each failure; otherwise specs that passed
	// are one line, and a spec with very many failures shows the first.
	Verbose bool
}

// StyleOf returns the style for f: colours on a terminal that is not dumb and
// unless NO_COLOR is set (https://no-color.org), signs beyond ASCII where the
// locale is UTF-8.
func StyleOf(f *os.File) Style {
	s := Style{Unicode: utf8Locale(os.Getenv)}
	if !term.IsTerminal(int(f.Fd())) {
		return s
	}
	s.Width = 80
	if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
		s.Width = max(w, 40)
	}
	s.Color = os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	return s
}

// utf8Locale follows the order of locale(7).
func utf8Locale(getenv func(string) string) bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := strings.ToUpper(getenv(name)); v != "" {
			return strings.Contains(v, "UTF-8") || strings.Contains(v, "UTF8")
		}
	}
	return false
}

// looks say how a status is shown: a sign for each kind of terminal and a
// colour.
var looks = map[Status]struct {
	unicode, ascii string
	color          color.Attribute
}{
	Pass:     {"✓", "+", color.FgGreen},
	Fail:     {"✗", "x", color.FgRed},
	Error:    {"!", "!", color.FgMagenta},
	Skip:     {"–", "-", color.FgYellow},
	XFail:    {"✓", "+", color.FgGreen},
	XPass:    {"✓", "+", color.FgGreen},
	Recorded: {"✓", "+", color.FgGreen},
}

// Mark returns the sign for a status, in its colour.
func (s Style) Mark(st Status) string {
	if s.Unicode {
		return s.Paint(st, looks[st].unicode)
	}
	return s.Paint(st, looks[st].ascii)
}

// Paint returns text in the colour of a status.
func (s Style) Paint(st Status, text string) string { return s.paint(text, looks[st].color) }

// paint does not use color's own idea of the terminal: it looks at standard
// output only.
func (s Style) paint(text string, attributes ...color.Attribute) string {
	if !s.Color || text == "" {
		return text
	}
	c := color.New(attributes...)
	c.EnableColor()
	return c.Sprint(text)
}

// Wrap breaks text at single spaces so that each line has at most width
// columns; a word that is longer stays whole. Width 0 is one line.
func Wrap(text string, width int) []string {
	if width <= 0 || utf8.RuneCountInString(text) <= width {
		return []string{text}
	}
	words := strings.Split(text, " ")
	lines := []string{words[0]}
	for _, w := range words[1:] {
		last := &lines[len(lines)-1]
		if utf8.RuneCountInString(*last)+1+utf8.RuneCountInString(w) <= width {
			*last += " " + w
		} else {
			lines = append(lines, w)
		}
	}
	return lines
}
