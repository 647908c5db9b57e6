package regression

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"

	"proofhouse/internal/exit"
	"proofhouse/reports"
)

// Script is one script of the suite: bash Name.sh, in [TestDir].
type Script struct {
	Name     string // without ".sh"
	Makefile bool   // upstream's Makefile runs it (its variable TESTS)
	// NotRun says why there is nothing to run, and is empty where there is.
	NotRun string
}

// Skipped is what to report for a script with NotRun, instead of running it.
func (s Script) Skipped() reports.Result {
	return reports.Result{ID: ScriptID(s.Name), Status: reports.Skip, Lacks: "upstream: a test in it", Reason: s.NotRun}
}

// notRun are the scripts that look like tests and hold none. Read in 4.1.8.
var notRun = map[string]string{
	"env_check": "the program that environ.sh confines: checks the variable named in its argument, and tests nothing by itself",
	"owlsm":     "upstream removed what it tested: it says so and exits with 1 in its first line",
	"strace":    "a wrapper that runs its arguments under strace: no script uses it, and it tests nothing by itself",
}

// Scripts lists all scripts that are there, sorted by name, also those that
// upstream's Makefile forgets. A script is a test when it, or a file that it
// runs or sources, sources prologue.inc; one that isn't is listed only where
// it is known why it is no test.
func (s *Source) Scripts() ([]Script, error) {
	dir := filepath.Join(s.Dir, testPath)
	found, err := filepath.Glob(filepath.Join(dir, "*.sh"))
	if err != nil {
		return nil, fmt.Errorf("list the scripts in %s: %w", dir, err)
	}
	makefile, err := os.ReadFile(filepath.Join(dir, "Makefile"))
	if err != nil {
		return nil, exit.BadInputf("read the suite's Makefile: %w", err)
	}
	listed := makeTests(string(makefile))
	var scripts []Script
	for _, path := range found {
		name := strings.TrimSuffix(filepath.Base(path), ".sh")
		test, err := reachesPrologue(dir, filepath.Base(path), map[string]bool{})
		if err != nil {
			return nil, err
		}
		if why := notRun[name]; test || why != "" {
			scripts = append(scripts, Script{Name: name, Makefile: listed[name], NotRun: why})
		}
	}
	if len(scripts) == 0 {
		return nil, exit.BadInputf("no script in %s", dir)
	}
	sort.Slice(scripts, func(i, j int) bool { return scripts[i].Name < scripts[j].Name })
	return scripts, nil
}

var testsRE = regexp.MustCompile(`(?m)^\s*(?:CONDITIONAL_|RISKY_)?TESTS\s*\+?=(.*)$`)

// makeTests reads what the Makefile adds to TESTS, on whatever condition.
func makeTests(makefile string) map[string]bool {
	tests := map[string]bool{}
	for _, m := range testsRE.FindAllStringSubmatch(strings.ReplaceAll(makefile, "\\\n", " "), -1) {
		for _, word := range strings.Fields(m[1]) {
			if !strings.HasPrefix(word, "$") {
				tests[word] = true
			}
		}
	}
	return tests
}

// neighbourRE finds the files beside it that a script sources or runs as a
// script.
var neighbourRE = regexp.MustCompile(`(?m)^\s*(?:(?:\.|source|bash|sh)\s+["']?(?:\S*/)?|\./)([\w.-]+\.(?:sh|inc))\b`)

func reachesPrologue(dir, file string, seen map[string]bool) (bool, error) {
	seen[file] = true
	text, err := os.ReadFile(filepath.Join(dir, file))
	if os.IsNotExist(err) {
		return false, nil // written by make, such as uservars.inc
	}
	if err != nil {
		return false, exit.BadInputf("read the script %s: %w", file, err)
	}
	for _, m := range neighbourRE.FindAllStringSubmatch(string(text), -1) {
		next := m[1]
		if next == "prologue.inc" {
			return true, nil
		}
		if seen[next] {
			continue
		}
		if yes, err := reachesPrologue(dir, next, seen); yes || err != nil {
			return yes, err
		}
	}
	return false, nil
}
