// SPDX-License-Identifier: Apache-2.0

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
	// NotRun is the reason why the script is not run; empty for one that is.
	NotRun string
	// Speaks says that it has subtests of which each prints a verdict: where it
	// ends well without a single one, none has run.
	Speaks bool
}

// Parse is [Parse], of what this script printed. A script that has to speak
// and says nothing is an ERROR: it may have been cut, or have left before its
// first subtest, with the exit status of success.
func (s Script) Parse(output []byte, exit Exit) []reports.Result {
	results := Parse(s.Name, output, exit)
	if s.Speaks && len(results) == 1 && results[0].ID == ScriptID(s.Name) && results[0].Status == reports.Pass {
		results[0].Status = reports.Error
		results[0].Reason = "it ended with exit status 0, and no subtest of it ran"
	}
	return results
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
		test, speaks, err := look(dir, filepath.Base(path), map[string]bool{})
		if err != nil {
			return nil, err
		}
		if why := notRun[name]; test || why != "" {
			scripts = append(scripts, Script{Name: name, Makefile: listed[name], NotRun: why, Speaks: test && speaks && why == ""})
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

// speaksRE finds what prints a verdict when VERBOSE is set: prologue.inc's
// functions that run or check a subtest, and the scripts' own lines.
var speaksRE = regexp.MustCompile(`(?m)^[^#\n]*(?:\b(?:run)?checktest\w*\b|\becho\s+["']?(?:ok\b|PASS:))`)

// look reports whether a file, or one that it sources or runs, sources
// prologue.inc, and whether any of them, but prologue.inc itself, speaks.
func look(dir, file string, seen map[string]bool) (test, speaks bool, err error) {
	seen[file] = true
	text, err := os.ReadFile(filepath.Join(dir, file))
	if os.IsNotExist(err) {
		return false, false, nil // written by make, such as uservars.inc
	}
	if err != nil {
		return false, false, exit.BadInputf("read the script %s: %w", file, err)
	}
	speaks = speaksRE.Match(text)
	for _, m := range neighbourRE.FindAllStringSubmatch(string(text), -1) {
		next := m[1]
		switch {
		case next == "prologue.inc":
			test = true
		case !seen[next]:
			t, s, err := look(dir, next, seen)
			if err != nil {
				return false, false, err
			}
			test, speaks = test || t, speaks || s
		}
	}
	return test, speaks, nil
}
