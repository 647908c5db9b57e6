// SPDX-License-Identifier: Apache-2.0

// Package printable makes text that other programs, kernels, guests and files
// wrote safe to print: on a terminal, in a page, in a file that people read. It
// also formats numbers for people. It prints nothing.
//
//	fmt.Println(printable.Text(command))
package printable

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Text returns s on one line. Each hidden character is written as Go escapes it:
// \x1b, \n, \u202e. Hidden are control characters, line breaks, tabs, direction
// marks, characters without a shape or a width, and bytes that are not UTF-8. All
// other text is unchanged, backslashes included: Text(Text(s)) == Text(s).
func Text(s string) string { return escape(s, "") }

// Line is [Text] for prose of several lines: white space around it is removed, and
// each line break or tab within it becomes a space.
func Line(s string) string {
	return escape(strings.NewReplacer("\r\n", " ", "\n", " ", "\t", " ").Replace(strings.TrimSpace(s)), "")
}

// Lines is [Text] with line breaks and tabs unchanged; "\r\n" is a line break.
func Lines(s string) string { return escape(strings.ReplaceAll(s, "\r\n", "\n"), "\n\t") }

// escape escapes the hidden characters of s that are not in keep.
func escape(s, keep string) string {
	var b strings.Builder
	plain := 0 // s[:plain] is in b
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if (hidden(r) || r == utf8.RuneError && size == 1) && !strings.ContainsRune(keep, r) {
			b.WriteString(s[plain:i])
			b.WriteString(escaped(s[i:i+size], r))
			plain = i + size
		}
		i += size
	}
	if plain == 0 {
		return s
	}
	return b.String() + s[plain:]
}

func escaped(s string, r rune) string {
	quoted := strconv.QuoteToASCII(s)
	if r == utf8.RuneError { // a byte that is not UTF-8
		quoted = strconv.Quote(s)
	}
	return quoted[1 : len(quoted)-1]
}

// hidden reports whether a character is not seen where it is printed.
func hidden(r rune) bool {
	switch r {
	case '\u115f', '\u1160', '\u2800', '\u3164', '\uffa0': // fillers: letters without a shape
		return true
	}
	return !unicode.IsPrint(r)
}

// EncodeJSON writes v as JSON for programs and people: <, > and & stay, and
// hidden characters are escaped, so that nothing is lost. indent is that of
// [json.Encoder.SetIndent].
func EncodeJSON(w io.Writer, v any, indent string) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", indent)
	if err := enc.Encode(v); err != nil {
		return err
	}
	_, err := w.Write(JSON(b.Bytes()))
	return err
}

// JSON escapes the hidden characters in the strings of a JSON text. Outside of
// strings, JSON has none but white space.
func JSON(text []byte) []byte {
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
		case strings.ContainsRune("\n\r\t", r) || !hidden(r):
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
