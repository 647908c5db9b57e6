// SPDX-License-Identifier: Apache-2.0

package reports

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Everything that a guest, a script or the file of a run contains is text from
// somebody else. It never reaches a terminal, a page or a file that people look
// at with its control characters or its marks of direction.

// Plain returns s as one line that is safe to print: tabs and newlines become
// spaces, and what would not be seen or would move the cursor becomes "?".
func Plain(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case hidden(r):
			return '?'
		}
		return r
	}, strings.TrimSpace(s))
}

// Visible returns s with its lines: as [Plain], but tabs and newlines stay, and
// "\r\n" is a newline.
func Visible(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && hidden(r) {
			return '?'
		}
		return r
	}, strings.ReplaceAll(s, "\r\n", "\n"))
}

// hidden reports whether a character is not seen where it is printed: control
// characters, marks of direction, characters of no width, and those that are
// none.
func hidden(r rune) bool {
	switch r {
	case '\u115f', '\u1160', '\u2800', '\u3164', '\uffa0': // fillers: letters without a shape
		return true
	}
	return !unicode.IsPrint(r) && r != ' '
}

// EncodeJSON writes v as JSON for programs and people: <, > and & stay, and
// characters that would not be seen are escaped, so that nothing is lost.
// indent is that of [json.Encoder.SetIndent].
func EncodeJSON(w io.Writer, v any, indent string) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", indent)
	if err := enc.Encode(v); err != nil {
		return err
	}
	_, err := w.Write(EscapeHidden(b.Bytes()))
	return err
}

// EscapeHidden escapes what stands in the strings of a JSON text and would not
// be seen. Outside of strings, JSON has no such character but newlines.
func EscapeHidden(text []byte) []byte {
	plain := true
	for _, c := range text {
		plain = plain && c < 0x7f
	}
	if plain {
		return text
	}
	out := make([]byte, 0, len(text)+64)
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		switch {
		case r == '\n' || !hidden(r):
			out = append(out, text[:n]...)
		case r > 0xffff:
			r -= 0x10000
			out = fmt.Appendf(out, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
		text = text[n:]
	}
	return out
}
