// SPDX-License-Identifier: Apache-2.0

package printable

import (
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestText(t *testing.T) {
	for text, want := range map[string]string{
		"":                        "",
		"nginx: worker":           "nginx: worker",
		"größe 日本":                "größe 日本",
		`a\b`:                     `a\b`,
		"a\n7 7 - ok\x1b[2J":      `a\n7 7 - ok\x1b[2J`,
		"\x1b]0;title\a":          `\x1b]0;title\a`,
		"tab\tand\rreturn":        `tab\tand\rreturn`,
		"\u202edexe.fdp":          `\u202edexe.fdp`,
		"\xab\xff x":              `\xab\xff x`,
		"\u009b31m":               `\u009b31m`, // CSI in one character
		"a replacement \ufffd is": "a replacement \ufffd is",
		"nbsp\u00a0":              `nbsp\u00a0`,
	} {
		if got := Text(text); got != want {
			t.Errorf("Text(%q) = %q, want %q", text, got, want)
		}
	}
}

func FuzzText(f *testing.F) {
	f.Add("a\x1b[2J\xffé")
	f.Fuzz(func(t *testing.T, s string) {
		got := Text(s)
		for _, r := range got {
			if !unicode.IsPrint(r) {
				t.Errorf("Text(%q) has %q", s, r)
			}
		}
		if !utf8.ValidString(got) || Text(got) != got {
			t.Errorf("Text(%q) = %q", s, got)
		}
	})
}
