package escape

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestLine(t *testing.T) {
	for text, want := range map[string]string{
		"":                               "",
		"host-ct//&:web:p (enforce)":     "host-ct//&:web:p (enforce)",
		`dev-disk\x2d1.device`:           `dev-disk\x2d1.device`,
		"é 名前":                           "é 名前",
		"a\x1b[2Kb\nc":                   `a\x1b[2Kb\nc`,
		"\x1b]0;title\a":                 `\x1b]0;title\a`,
		"a\tb\rc\x00":                    `a\tb\rc\x00`,
		"rlo\u202ex, soft\u00adhyphen":   `rlo\u202ex, soft\u00adhyphen`,
		"C1 \u009b31m, no-break\u00a0":   `C1 \u009b31m, no-break\u00a0`,
		"cut \xff, whole \ufffd":         "cut \\xff, whole \ufffd",
		"tag \U000e0041":                 `tag \U000e0041`,
		"line\u2028separator\u2029 here": `line\u2028separator\u2029 here`,
	} {
		if got := Line(text); got != want {
			t.Errorf("Line(%q) = %q, want %q", text, got, want)
		}
	}
}

func FuzzLine(f *testing.F) {
	f.Add("a\x1b[31m\n\xff\u202e")
	f.Fuzz(func(t *testing.T, s string) {
		got := Line(s)
		if !utf8.ValidString(got) || strings.ContainsFunc(got, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("Line(%q) = %q", s, got)
		}
	})
}
