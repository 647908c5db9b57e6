// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"proofhouse/machines"
)

// docStep is a command of a page, and the pattern of its output.
type docStep struct {
	line    int
	command string
	want    string
}

// docSteps reads the commands of a page: lines of indented blocks that begin with
// "# ", each followed by its output.
func docSteps(page string) []docStep {
	var steps []docStep
	for i, line := range strings.Split(page, "\n") {
		text, ok := strings.CutPrefix(line, "    ")
		switch {
		case !ok:
		case strings.HasPrefix(text, "# "):
			steps = append(steps, docStep{line: i + 1, command: text[2:]})
		case len(steps) > 0:
			steps[len(steps)-1].want += text + "\n"
		}
	}
	return steps
}

// matches reports whether the output and the exit status are as the page shows them:
// "…" is any text, and an exit status of 0 is not shown.
func (s docStep) matches(out string, status int) bool {
	if status != 0 {
		out = fmt.Sprintf("%s exit status %d", strings.TrimRight(out, "\n"), status)
	}
	var b strings.Builder
	for i, part := range strings.Split(strings.TrimSpace(s.want), "…") {
		if i > 0 {
			b.WriteString("(?s:.*)")
		}
		b.WriteString(regexp.QuoteMeta(part))
	}
	return regexp.MustCompile(`\A` + b.String() + `\z`).MatchString(strings.TrimSpace(out))
}

func TestDocSteps(t *testing.T) {
	steps := docSteps("text\n\n    # ls a\n    a\n\nmore\n\n    # cat b\n    …denied… exit status 1\n    # true\n")
	if len(steps) != 3 || steps[0].command != "ls a" || steps[0].line != 3 {
		t.Fatalf("%+v", steps)
	}
	for _, c := range []struct {
		step   int
		out    string
		status int
		want   bool
	}{
		{0, "a\n", 0, true}, {0, "a\nb\n", 0, false}, {0, "a\n", 1, false},
		{1, "cat: denied\n", 1, true}, {1, "cat: denied\n", 0, false}, {1, "cat: denied\n", 2, false}, {1, "other\n", 1, false},
		{2, "", 0, true}, {2, "", 1, false}, {2, "x", 0, false},
	} {
		if got := steps[c.step].matches(c.out, c.status); got != c.want {
			t.Errorf("%q with %d against %q: %v", c.out, c.status, steps[c.step].want, got)
		}
	}
}

// playPage does what a page says.
func playPage(ctx context.Context, t *testing.T, m machines.Machine, file string) {
	t.Helper()
	page, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	steps := docSteps(string(page))
	if len(steps) < 5 {
		t.Fatalf("%s: %d commands", file, len(steps))
	}
	for _, s := range steps {
		var out bytes.Buffer
		res, err := m.Run(ctx, machines.Command{Args: []string{"bash", "-c", s.command}, Stdout: &out, Stderr: &out, Deadline: stepTimeout, Detach: true})
		if err != nil || res.Signal != "" || res.Deadline {
			t.Fatalf("%s:%d: %s: %v, %v\n%s", file, s.line, s.command, res, err, out.String())
		}
		if !s.matches(out.String(), res.Status) {
			t.Errorf("%s:%d: %s\ngot %v\n%s\nwant\n%s", file, s.line, s.command, res, out.String(), s.want)
		}
	}
}
