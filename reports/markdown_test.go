// SPDX-License-Identifier: Apache-2.0

package reports

import (
	"bytes"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"proofhouse/internal/printable"
)

func TestMarkdown(t *testing.T) {
	for name, make := range samples {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			if err := Markdown(&b, make().run()); err != nil {
				t.Fatal(err)
			}
			golden(t, "markdown/"+name+".md", b.Bytes())
			checkMarkdown(t, b.String())
		})
	}
}

func checkMarkdown(t *testing.T, text string) {
	t.Helper()
	if len(text) > MarkdownLimit {
		t.Errorf("%d bytes", len(text))
	}
	if strings.Count(text, "<details>") != strings.Count(text, "</details>") {
		t.Error("a part is not closed")
	}
	if strings.Contains(text, "\x1b") {
		t.Error("a control character")
	}
}

// However much failed, it is a comment that a merge request takes.
func TestMarkdownLimit(t *testing.T) {
	for _, n := range []int{40, 2000} {
		s := newSample("v1", []Kernel{uml()}, "open")
		var results []Result
		for i := range n {
			results = append(results, Result{ID: fmt.Sprintf("`x` <b>|@me %d%s", i, strings.Repeat("y*", 200)), Status: Fail, Reason: strings.Repeat("`z|", 300)})
		}
		spec := s.spec(1, uml().ID, "open", 3, results...)
		spec.Denials = []string{denial + "```"}
		run := s.end().run()
		var b bytes.Buffer
		if err := Markdown(&b, run); err != nil {
			t.Fatal(err)
		}
		checkMarkdown(t, b.String())
		if !strings.Contains(b.String(), "of "+printable.Number(n)+" subtests failed") || strings.Contains(b.String(), "\n@me") {
			t.Errorf("%.400s", &b)
		}
	}
}

// GitHub's own renderer, cmark-gfm, takes it as it was meant. Skipped where it
// is not installed.
func TestMarkdownRendered(t *testing.T) {
	cmark, err := exec.LookPath("cmark-gfm")
	if err != nil {
		t.Skip("no cmark-gfm here")
	}
	s := newSample("v1", []Kernel{uml()}, "open")
	spec := s.spec(1, uml().ID, "open", 1,
		Result{ID: "`x` <b>|@me*y*_z_", Status: Fail, Reason: "<script>`|"}, Result{ID: "known <i>", Status: XFail, Reason: "[a](b) </details>"})
	spec.Denials = []string{denial + "``` <u>"}
	var text bytes.Buffer
	if err := Markdown(&text, s.end().run()); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(cmark, "--unsafe", "--extension", "table")
	cmd.Stdin = &text
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	page := string(out)
	for _, bad := range []string{"<b>", "<i>", "<u>", "<script>", "<em>", "<a "} {
		if strings.Contains(page, bad) {
			t.Errorf("%s in %s", bad, page)
		}
	}
	for _, want := range []string{"<code>regression/open/`x` &lt;b&gt;|@me*y*_z_</code>", "<pre><code>denied: ", "[a](b) &lt;/details&gt;"} {
		if !strings.Contains(page, want) {
			t.Errorf("no %s in %s", want, page)
		}
	}
	if strings.Count(page, "<details>") != 3 || strings.Count(page, "</details>") != 3 {
		t.Errorf("%d details, %d closed: %s", strings.Count(page, "<details>"), strings.Count(page, "</details>"), page)
	}
}
