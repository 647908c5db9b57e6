// SPDX-License-Identifier: Apache-2.0

package compare

import (
	"bytes"
	"html"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var tag = regexp.MustCompile(`<(/?)([a-z0-9]+)[^>]*>`)

// What GitHub's own renderer, cmark-gfm, makes of it is what was meant: every
// element is closed, and what a test printed is none. Skipped where it is not
// installed.
func TestMarkdownRendered(t *testing.T) {
	cmark, err := exec.LookPath("cmark-gfm")
	if err != nil {
		t.Skip("no cmark-gfm here")
	}
	var text bytes.Buffer
	c := sample(t)
	if err := Markdown(&text, c); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(cmark, "--unsafe", "--extension", "table", "--extension", "strikethrough", "--extension", "autolink")
	cmd.Stdin = &text
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	page := string(out)
	var open []string
	for _, m := range tag.FindAllStringSubmatch(page, -1) {
		switch name := m[2]; {
		case name == "br" || name == "hr":
		case m[1] == "":
			open = append(open, name)
			if !slices.Contains(strings.Fields("h3 h4 p ul li table thead tbody tr th td strong code pre details summary blockquote"), name) {
				t.Errorf("an element of its own: %s", m[0])
			}
		case len(open) == 0 || open[len(open)-1] != name:
			t.Fatalf("%s closes %v", m[0], open)
		default:
			open = open[:len(open)-1]
		}
	}
	if len(open) > 0 {
		t.Errorf("not closed: %v", open)
	}
	for _, r := range c.Regressions {
		id := html.EscapeString(strings.ReplaceAll(r.ID, "\x1b", "?"))
		if !strings.Contains(page, "<code>"+id+"</code>") {
			t.Errorf("%s is not in it", id)
		}
	}
}
