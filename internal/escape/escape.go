// Package escape makes text from untrusted sources safe to print on a terminal:
// names of processes, labels, files and profiles. Formats of reports, such as
// HTML and JUnit, have their own escaping and do not live here.
package escape

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Line returns s as one printable line. Characters that are not printable, such
// as escape sequences, line breaks, tabs and bidirectional marks, become Go
// escapes: \x1b, \n, \u202e. Bytes that are not UTF-8 become \xNN. Text without
// them is returned unchanged.
func Line(s string) string {
	if !strings.ContainsFunc(s, special) && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch char := s[i : i+size]; {
		case r == utf8.RuneError && size == 1, special(r):
			quoted := strconv.QuoteToASCII(char)
			b.WriteString(quoted[1 : len(quoted)-1])
		default:
			b.WriteString(char)
		}
		i += size
	}
	return b.String()
}

func special(r rune) bool { return !unicode.IsPrint(r) }
