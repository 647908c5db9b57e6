package reports

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
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
		if !strings.Contains(b.String(), "of "+number(n)+" subtests failed") || strings.Contains(b.String(), "\n@me") {
			t.Errorf("%.400s", &b)
		}
	}
}
