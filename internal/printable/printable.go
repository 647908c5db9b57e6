// SPDX-License-Identifier: Apache-2.0

// Package printable makes text that other programs, kernels and guests wrote
// safe to print on a terminal. It formats nothing else.
//
//	fmt.Println(printable.Text(command))
package printable

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Text returns s on one line. Each character that a terminal may interpret is
// written as Go escapes it: \x1b, \n, \u202e. These are control characters,
// line breaks, tabs, direction marks, and bytes that are not UTF-8. All other
// text is unchanged, backslashes included: Text(Text(s)) == Text(s).
func Text(s string) string {
	var b strings.Builder
	plain := 0 // s[:plain] is in b
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if !unicode.IsPrint(r) || r == utf8.RuneError && size == 1 {
			quoted := strconv.Quote(s[i : i+size])
			b.WriteString(s[plain:i])
			b.WriteString(quoted[1 : len(quoted)-1])
			plain = i + size
		}
		i += size
	}
	if plain == 0 {
		return s
	}
	return b.String() + s[plain:]
}
