// SPDX-License-Identifier: Apache-2.0

package printable

import (
	"bytes"
	"encoding/json"
	"strings"
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
		"\u3164":                  `\u3164`, // a letter without a shape
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

func TestLine(t *testing.T) {
	for text, want := range map[string]string{
		" a\tb\r\nc\n": "a b c", "a\rb": `a\rb`, "\u3164": `\u3164`, "": "", " \n": "",
	} {
		if got := Line(text); got != want {
			t.Errorf("Line(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestLines(t *testing.T) {
	for text, want := range map[string]string{
		"a\tb\r\nc\rd": "a\tb\nc\\rd", "é 漢 ✓": "é 漢 ✓", "\u202e\u200b": `\u202e\u200b`, "\x1b[31m": `\x1b[31m`, "": "",
	} {
		if got := Lines(text); got != want {
			t.Errorf("Lines(%q) = %q, want %q", text, got, want)
		}
	}
}

// Nothing is lost by the escapes of JSON, and none is seen.
func TestEncodeJSON(t *testing.T) {
	const nasty = "\x1b[2J\u202e <a&b> \u2800 \U000e0001 \xff é\n\t"
	var b bytes.Buffer
	if err := EncodeJSON(&b, nasty, ""); err != nil {
		t.Fatal(err)
	}
	var back string
	if err := json.Unmarshal(b.Bytes(), &back); err != nil || back != strings.ToValidUTF8(nasty, "\ufffd") {
		t.Errorf("%v: %q of %s", err, back, b.String())
	}
	if text := b.String(); text != Lines(text) || !strings.Contains(text, "<a&b>") {
		t.Errorf("%q", text)
	}
}

func TestCount(t *testing.T) {
	for n, want := range map[int]string{0: "0 tasks", 1: "1 task", 999: "999 tasks", 1000: "1,000 tasks", 1234567: "1,234,567 tasks", -100: "-100 tasks", -1000: "-1,000 tasks"} {
		if got := Count(n, "task"); got != want {
			t.Errorf("Count(%d) = %q, want %q", n, got, want)
		}
	}
}
