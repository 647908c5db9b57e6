// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// A block is code in a document.
type block struct{ file, language, text string }

// blocks are the code of the documents: fenced, or indented by four.
func blocks(t *testing.T) (list []block) {
	t.Helper()
	files, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range append(files, "../../README.md") {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var current *block
		for line := range strings.Lines(string(b)) {
			fence, isFence := strings.CutPrefix(strings.TrimSpace(line), "```")
			code, indented := strings.CutPrefix(line, "    ")
			switch {
			case isFence && current != nil:
				list = append(list, *current)
				current = nil
			case isFence:
				current = &block{file: filepath.Base(file), language: fence}
			case current != nil:
				current.text += line
			case indented:
				list = append(list, block{filepath.Base(file), "", code})
			}
		}
	}
	return list
}

// variableRE matches a variable of the shell or an expression of a CI system.
var variableRE = regexp.MustCompile(`\$\{\{[^}]*\}\}|\$[A-Z_]+`)

var proofhouseRE = regexp.MustCompile(`(?:^|[\s;|&'(])(?:bin/)?proofhouse ([a-z])`)

// commands are those of proofhouse in a piece of shell, without its name.
func commands(text string) (list []string) {
	for _, m := range proofhouseRE.FindAllStringSubmatchIndex(text, -1) {
		list = append(list, untilEnd(text[m[2]:]))
	}
	return list
}

// untilEnd is a shell command without what follows it.
func untilEnd(text string) string {
	quote := rune(0)
	for i, r := range text {
		switch {
		case r == '\n':
			return text[:i]
		case quote != 0:
			if r == quote {
				quote = 0
			}
		case r == '"' || r == '\'':
			if i > 0 && !strings.ContainsRune(" =", rune(text[i-1])) {
				return text[:i] // that in which the whole command stands
			}
			quote = r
		case strings.ContainsRune("|;&>#)`", r):
			return text[:i]
		}
	}
	return text
}

// words splits a shell command, whose variables are letters like any other.
func words(command string) (list []string) {
	word, quote, any := "", rune(0), false
	for _, r := range command + " " {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word += string(r)
		case r == '"' || r == '\'':
			quote, any = r, true
		case r == ' ' || r == '\n':
			if word != "" || any {
				list = append(list, word)
			}
			word, any = "", false
		default:
			word += string(r)
		}
	}
	return list
}

// Each command in the documents is one that the program knows, with flags that
// it has.
func TestDocumentedCommands(t *testing.T) {
	n := 0
	for _, b := range blocks(t) {
		text := strings.ReplaceAll(b.text, "\\\n", " ")
		for _, line := range commands(text) {
			args := words(line)
			root := command()
			root.InitDefaultCompletionCmd(args...)
			c, rest, err := root.Find(args)
			if err != nil || c == root {
				t.Errorf("%s: proofhouse %s: no such command (%v)", b.file, line, err)
				continue
			}
			var kept []string
			for _, a := range rest {
				if !strings.HasPrefix(a, "$SUITE") && a != "..." { // which may be empty
					kept = append(kept, variableRE.ReplaceAllString(a, "1"))
				}
			}
			if err := c.ParseFlags(kept); err != nil {
				t.Errorf("%s: proofhouse %s: %v", b.file, line, err)
				continue
			}
			if c.Args != nil && !strings.Contains(line, "[") {
				if err := c.Args(c, c.Flags().Args()); err != nil {
					t.Errorf("%s: proofhouse %s: %v", b.file, line, err)
				}
			}
			n++
		}
	}
	if n < 30 {
		t.Errorf("only %d commands were found", n)
	}
	for _, bad := range []string{"run --no-such-flag", "no-such-command", "merge"} {
		args := words(bad)
		root := command()
		c, rest, err := root.Find(args)
		if err == nil && c != root && c.ParseFlags(rest) == nil && (c.Args == nil || c.Args(c, c.Flags().Args()) == nil) {
			t.Errorf("%q counts as a command", bad)
		}
	}
}

// recipe is the n-th block of a language in docs/ci.md.
func recipe(t *testing.T, language string, n int) string {
	t.Helper()
	for _, b := range blocks(t) {
		if b.file == "ci.md" && b.language == language {
			if n == 0 {
				return b.text
			}
			n--
		}
	}
	t.Fatalf("docs/ci.md has no such recipe: %s", language)
	return ""
}

func TestRecipesParse(t *testing.T) {
	for n, want := range []string{"proofhouse.script", "jobs.proofhouse.steps", "run.steps"} {
		var v any
		if err := yaml.Unmarshal([]byte(recipe(t, "yaml", n)), &v); err != nil {
			t.Errorf("recipe %d: %v", n, err)
			continue
		}
		if steps, ok := at(v, strings.Split(want, ".")...).([]any); !ok || len(steps) == 0 {
			t.Errorf("recipe %d has no %s", n, want)
		}
	}
}

// at goes down into what was read of a YAML file.
func at(v any, path ...string) any {
	for _, p := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[p]
	}
	return v
}

// script is what a step of a recipe runs, with its expressions filled in.
func script(v any, fill ...string) string {
	var lines []string
	switch v := v.(type) {
	case string:
		lines = []string{v}
	case []any:
		for _, l := range v {
			if s, ok := l.(string); ok {
				lines = append(lines, s)
			}
		}
	}
	return strings.NewReplacer(fill...).Replace(strings.Join(lines, "\n"))
}

// The recipes do what they say, on a kernel that is good and one that is not.
func TestE2ERecipes(t *testing.T) {
	bin := filepath.Dir(binary(t))
	const good, bad = "uml:debian:forky", "uml:debian:forky,append=apparmor.mode=complain"
	run := func(dir, shell, text string, env ...string) (status int, output string) {
		t.Helper()
		cmd := exec.Command("bash", "-e", "-o", "pipefail", "-c", text)
		if shell == "sh" {
			cmd = exec.Command("sh", "-c", text)
		}
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), append(env, "PATH="+bin+":"+dir+":"+os.Getenv("PATH"), "SUITE=--script open,chdir")...)
		out, err := cmd.CombinedOutput()
		var exited *exec.ExitError
		if err != nil && !errors.As(err, &exited) {
			t.Fatal(err)
		}
		return cmd.ProcessState.ExitCode(), string(out)
	}
	parse := func(n int) (v any) {
		t.Helper()
		if err := yaml.Unmarshal([]byte(recipe(t, "yaml", n)), &v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	exists := func(path string) {
		t.Helper()
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}

	t.Run("GitLab", func(t *testing.T) {
		dir := t.TempDir()
		v := parse(0)
		for _, index := range []string{"1", "2"} {
			status, out := run(dir, "bash", script(at(v, "proofhouse", "script")), "KERNEL="+good, "CI_NODE_INDEX="+index, "CI_NODE_TOTAL=2")
			if status != 0 {
				t.Fatalf("job %s: %d\n%s", index, status, out)
			}
		}
		if status, out := run(dir, "bash", script(at(v, "verdict", "script"))); status != 0 {
			t.Errorf("verdict: %d\n%s", status, out)
		}
		exists(filepath.Join(dir, "merged", "junit.xml"))
		exists(filepath.Join(dir, "verdict.md"))
		if err := os.Rename(filepath.Join(dir, "merged"), filepath.Join(dir, "good")); err != nil {
			t.Fatal(err)
		}
		// A shard that is missing, and then a kernel that is worse.
		if status, out := run(dir, "bash", "rm -r shard-2\n"+script(at(v, "verdict", "script"))); status == 0 {
			t.Errorf("without a shard: %d\n%s", status, out)
		}
		status, out := run(dir, "bash", "rm -rf shard-* merged\n"+script(at(v, "proofhouse", "script")), "KERNEL="+bad, "CI_NODE_INDEX=1", "CI_NODE_TOTAL=1")
		if status != 0 {
			t.Fatalf("%d\n%s", status, out)
		}
		if status, out := run(dir, "bash", script(at(v, "verdict", "script"))); status != 1 {
			t.Errorf("a regression: %d\n%s", status, out)
		}
		exists(filepath.Join(dir, "comparison.md"))
		// Bad input ends the job.
		if status, out := run(dir, "bash", script(at(v, "proofhouse", "script")), "KERNEL=nonsense", "CI_NODE_INDEX=1", "CI_NODE_TOTAL=1"); status == 0 {
			t.Errorf("a kernel that is not there: %d\n%s", status, out)
		}
	})

	t.Run("GitHub", func(t *testing.T) {
		dir := t.TempDir()
		v := parse(1)
		steps := func(job string) string {
			for _, s := range at(v, "jobs", job, "steps").([]any) {
				if text, ok := at(s, "run").(string); ok {
					return text
				}
			}
			return "exit 99"
		}
		for i, part := range []string{"1", "2", "3"} {
			text := script(strings.ReplaceAll(steps("proofhouse"), "}}/3", "}}/2"), "${{ matrix.kernel }}", good, "${{ matrix.part }}", part, "${{ strategy.job-index }}", part)
			status, out := run(dir, "bash", text)
			if i < 2 && status != 0 || i == 2 && status == 0 { // 3/2 is bad usage
				t.Fatalf("part %s: %d\n%s", part, status, out)
			}
		}
		summary := filepath.Join(dir, "summary.md")
		const kernels = "--kernel debian:trixie --kernel debian:trixie-backports"
		verdict := steps("verdict")
		if !strings.Contains(verdict, kernels) {
			t.Fatalf("the recipe does not name its kernels:\n%s", verdict)
		}
		ours := strings.Replace(verdict, kernels, "--kernel "+good, 1)
		if status, out := run(dir, "bash", "mkdir parts && mv part-? parts\n"+ours, "GITHUB_STEP_SUMMARY="+summary); status != 0 {
			t.Errorf("verdict: %d\n%s", status, out)
		}
		// The kernels of the recipe, whose jobs are all missing here.
		if status, out := run(dir, "bash", "rm -r merged\n"+verdict, "GITHUB_STEP_SUMMARY="+summary); status != 3 {
			t.Errorf("without the jobs of a kernel: %d\n%s", status, out)
		}
		exists(summary)
	})

	t.Run("cron and LAVA", func(t *testing.T) {
		dir := t.TempDir()
		nightly := recipe(t, "sh", 0)
		for i, c := range []struct {
			kernel string
			status int
			mail   string
		}{{good, 0, ""}, {good, 0, ""}, {bad, 1, "FAIL"}} {
			status, out := run(dir, "sh", nightly, "WORK="+dir, "KERNEL="+c.kernel, "MAIL=cat", "TO=/dev/stdin")
			if status != c.status || !strings.Contains(out, c.mail) {
				t.Fatalf("night %d: %d\n%s", i+1, status, out)
			}
			exists(filepath.Join(dir, "good", "results.json"))
		}
		runs, err := filepath.Glob(filepath.Join(dir, "out", "2*"))
		if err != nil || len(runs) != 3 {
			t.Fatal(runs, err)
		}
		if err := os.Symlink(runs[2], filepath.Join(dir, "proofhouse-run")); err != nil {
			t.Fatal(err)
		}
		fake := "#!/bin/sh\n[ $# = 3 ] && [ \"$2\" = --result ] && echo \"$3 $1\" >> cases\n"
		if err := os.WriteFile(filepath.Join(dir, "lava-test-case"), []byte(fake), 0o755); err != nil {
			t.Fatal(err)
		}
		steps := at(parse(2), "run", "steps").([]any)
		text := strings.ReplaceAll(script(steps[1:]), "proofhouse/results.json", "proofhouse-run/results.json")
		text = strings.ReplaceAll(text, "report proofhouse ", "report proofhouse-run ")
		if status, out := run(dir, "bash", text); status != 0 {
			t.Fatalf("%d\n%s", status, out)
		}
		b, err := os.ReadFile(filepath.Join(dir, "cases"))
		if err != nil || !strings.Contains(string(b), "fail regression_open_") || !strings.Contains(string(b), "pass ") || strings.Contains(string(b), "unknown") {
			t.Errorf("%v\n%s", err, b)
		}
		exists(filepath.Join(dir, "proofhouse.ktap"))
	})
}

var (
	getenvRE   = regexp.MustCompile(`Getenv\("(PROOFHOUSE_\w+)"\)`)
	variableOf = regexp.MustCompile("`(PROOFHOUSE_\\w+)`")
)

// Each environment variable that the programs read is in the table of
// docs/suite.md, and none is there that nothing reads.
func TestDocumentedVariables(t *testing.T) {
	read := map[string]string{}
	err := filepath.WalkDir("../..", func(path string, d os.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "bin" || d.Name() == "out" || path != "../.." && strings.HasPrefix(d.Name(), ".")):
			return filepath.SkipDir
		case filepath.Ext(path) != ".go":
			return nil
		}
		b, err := os.ReadFile(path)
		for _, m := range getenvRE.FindAllStringSubmatch(string(b), -1) {
			if read[m[1]] == "" || !strings.HasSuffix(path, "_test.go") {
				read[m[1]] = path
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile("../../docs/suite.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(b), "## Environment variables")
	table, _, _ = strings.Cut(table, "\n## ")
	documented := map[string]bool{}
	for _, m := range variableOf.FindAllStringSubmatch(table, -1) {
		documented[m[1]] = true
		if read[m[1]] == "" {
			t.Errorf("docs/suite.md has %s, which no code reads", m[1])
		}
	}
	if len(read) < 5 {
		t.Errorf("the code reads only %v", read)
	}
	for name, file := range read {
		// Those of tests are for people who know the tests.
		if !documented[name] && !strings.HasSuffix(file, "_test.go") {
			t.Errorf("docs/suite.md lacks %s, which %s reads", name, file)
		}
	}
}
