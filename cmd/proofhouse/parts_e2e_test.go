// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/onsi/ginkgo/v2/types"

	"proofhouse/reports"
	"proofhouse/runs/history"
)

// A run that was split is, joined, the run: each spec once, on both kernels,
// with its files.
func TestE2EShards(t *testing.T) {
	out := t.TempDir()
	var dirs []string
	args := []string{"run", "-k", "uml:debian:forky", "-k", "uml:debian:forky,append=quiet", "--script", "open,chdir,fork"}
	for i := range 2 {
		dir := filepath.Join(out, fmt.Sprintf("shard-%d", i+1))
		e := proofhouse(t, "", append(args, "--shard", fmt.Sprintf("%d/2", i+1), "--out", dir)...)
		if e.status != 0 || !strings.HasPrefix(e.stdout, "PASS") {
			t.Fatalf("shard %d: exit status %d\n%s%s", i+1, e.status, e.stdout, e.stderr)
		}
		if n := len(specs(readResults(t, dir))); n != 3 {
			t.Errorf("shard %d has %d specs, not 3", i+1, n)
		}
		dirs = append(dirs, dir)
	}
	joined := filepath.Join(out, "joined")
	e := proofhouse(t, "", append([]string{"merge", "--out", joined}, dirs...)...)
	if e.status != 0 || !strings.HasPrefix(e.stdout, "PASS") || !strings.Contains(e.stdout, "\nMATRIX\n") {
		t.Fatalf("exit status %d\n%s%s", e.status, e.stdout, e.stderr)
	}
	seen := map[string]int{}
	for _, s := range specs(readResults(t, joined)) {
		seen[s.Kernel+" "+s.ID]++
		if _, err := os.Stat(filepath.Join(joined, s.Output)); err != nil {
			t.Error(err)
		}
		if b, err := os.ReadFile(filepath.Join(joined, s.Kernel, reports.ConsoleFile)); err != nil || !strings.Contains(string(b), "=== machine uml-") {
			t.Errorf("console: %v", err)
		}
	}
	if len(seen) != 6 {
		t.Errorf("%v", seen)
	}
	for key, n := range seen {
		if n != 1 {
			t.Errorf("%s is there %d times", key, n)
		}
	}
	// One of the parts alone is no whole.
	if e := proofhouse(t, "", "merge", "--out", filepath.Join(out, "half"), dirs[1]); e.status != 3 || !strings.Contains(e.stdout, "shard 1/2 is missing") {
		t.Errorf("exit status %d\n%s%s", e.status, e.stdout, e.stderr)
	}
	if e := proofhouse(t, "", append([]string{"merge", "--out", filepath.Join(out, "twice"), joined}, dirs...)...); e.status != 2 || strings.Count(e.stderr, "\n") != 1 {
		t.Errorf("exit status %d\n%s%s", e.status, e.stdout, e.stderr)
	}
	e = proofhouse(t, "", "run", "--script", "open", "--shard", "1/2", "--out", filepath.Join(out, "few"))
	if e.status != 2 || !strings.Contains(e.stderr, "only 1 specs to divide") {
		t.Errorf("exit status %d\n%s%s", e.status, e.stdout, e.stderr)
	}
	var runs []history.Entry
	e = proofhouse(t, "", "runs", "--json", "--out", out)
	if err := json.Unmarshal([]byte(e.stdout), &runs); err != nil || len(runs) < 4 {
		t.Errorf("%v: %s", err, e.stdout)
	}
}

func specs(run reports.Run) (all []reports.Spec) {
	for _, k := range run.Kernels {
		all = append(all, k.Specs...)
	}
	return all
}

// A line of kernels of which some only complain: found, around one that cannot
// be tested.
func TestE2EBisect(t *testing.T) {
	// Words of their own, so that nothing that was found before is used.
	mark := fmt.Sprintf("proofhouse.e2e=%d", time.Now().UnixNano())
	line := func(words string) string { return "uml:debian:forky,append=" + mark + " " + words }
	builds := []string{line("quiet"), line("a=1"), line("a=2 apparmor=0"), line("a=3 apparmor.mode=complain"), line("a=4 apparmor.mode=complain")}
	file := filepath.Join(t.TempDir(), "builds")
	if err := os.WriteFile(file, []byte("# the oldest first\n"+strings.Join(builds, "\n")+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	e := proofhouse(t, "", "bisect", "--builds", file, "--good", builds[0], "--bad", builds[4], "--test", "open", "--repeat", "0")
	if want := "first bad build: " + builds[3] + " or earlier; unclear: " + builds[2] + "; last good build: " + builds[1]; e.status != 3 || !strings.HasPrefix(e.stdout, want+"\n") {
		t.Errorf("exit status %d, want %q\n%s%s", e.status, want, e.stdout, e.stderr)
	}
	if !strings.Contains(e.stdout, "runs without AppArmor: its command line has apparmor=0") {
		t.Errorf("why it could not be told:\n%s", e.stdout)
	}
	// From the other side, and from what was found.
	began := time.Now()
	e = proofhouse(t, "", "bisect", "--builds", file, "--bad", builds[3], "--good", builds[1], "--test", "open", "--repeat", "0")
	if !strings.HasPrefix(e.stdout, "first bad build: "+builds[3]+" or earlier") {
		t.Errorf("%s%s", e.stdout, e.stderr)
	}
	t.Logf("with what was found: %v", time.Since(began))
	if e = proofhouse(t, "", "bisect", "--builds", file, "--good", builds[3], "--bad", builds[4], "--test", "open", "--repeat", "0"); e.status != 2 || !strings.Contains(e.stderr, "is not good") || strings.Count(e.stderr, "proofhouse: ") != 1 {
		t.Errorf("exit status %d\n%s%s", e.status, e.stdout, e.stderr)
	}
}

// The exit statuses that git bisect run knows, and no others.
func TestE2EBisectStep(t *testing.T) {
	for _, c := range []struct {
		args []string
		want int
	}{
		{[]string{"-k", "uml:debian:forky", "--test", "open", "--repeat", "0"}, 0},
		{[]string{"-k", "uml:debian:forky,append=apparmor.mode=complain", "--test", "open", "--repeat", "0"}, 1},
		{[]string{"-k", "uml:debian:forky,append=apparmor=0", "--test", "open", "--repeat", "0"}, 125},
		{[]string{"-k", t.TempDir() + "/linux", "--test", "open"}, 125}, // it was not built
		{[]string{"-k", "uml:debian:forky", "--test", "opne"}, 128},
		{[]string{"-k", "/no/such/folder/linux"}, 128},
		{[]string{"--no-such-flag"}, 128},
		{[]string{"extra"}, 128},
	} {
		e := proofhouse(t, "", append([]string{"bisect-step"}, c.args...)...)
		if e.status != c.want {
			t.Errorf("%q: exit status %d, want %d\n%s%s", c.args, e.status, c.want, e.stdout, e.stderr)
		}
	}
}

// The shards of the whole suite, isolation rows and all, have each spec once.
func TestE2EPartition(t *testing.T) {
	bin := filepath.Dir(binary(t))
	listed := func(flags ...string) (texts []string) {
		t.Helper()
		dir := t.TempDir()
		args := append([]string{"run", "--dry-run", "--json-report=report.json", "--output-dir=" + dir, filepath.Join(bin, "suite.test"), "--",
			"-kernel", "uml:debian:forky", "-kernel", "uml:debian:forky,append=quiet", "-out", dir}, flags...)
		if out, err := exec.Command(filepath.Join(bin, "ginkgo"), args...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", flags, err, out)
		}
		b, err := os.ReadFile(filepath.Join(dir, "report.json"))
		if err != nil {
			t.Fatal(err)
		}
		var suites []types.Report
		if err := json.Unmarshal(b, &suites); err != nil || len(suites) != 1 {
			t.Fatal(len(suites), err)
		}
		for _, s := range suites[0].SpecReports {
			if s.LeafNodeType == types.NodeTypeIt && s.State != types.SpecStateSkipped {
				texts = append(texts, s.FullText())
			}
		}
		return texts
	}
	whole := listed()
	const n = 3
	var parts []string
	for i := range n {
		part := listed("-shard", fmt.Sprintf("%d/%d", i+1, n))
		if len(part) == 0 || len(part) == len(whole) {
			t.Errorf("shard %d has %d of %d specs", i+1, len(part), len(whole))
		}
		parts = append(parts, part...)
	}
	slices.Sort(whole)
	slices.Sort(parts)
	if !slices.Equal(parts, whole) {
		t.Errorf("the shards have %d specs, the whole %d", len(parts), len(whole))
	}
}

// git bisect run over commits of which each is another kernel: here its command
// line, which takes no time to build.
func TestE2EGitBisectRun(t *testing.T) {
	dir := t.TempDir()
	git := func(args ...string) string {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-c", "user.name=e2e", "-c", "user.email=e2e@localhost", "-c", "init.defaultBranch=main"}, args...)...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(binary(t))+":"+os.Getenv("PATH"), "GIT_CONFIG_NOSYSTEM=1", "HOME="+os.Getenv("HOME"))
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %q: %v\n%s", args, err, out)
		}
		return string(out)
	}
	git("init", "-q")
	mark := fmt.Sprintf("proofhouse.e2e=%d", time.Now().UnixNano())
	// The one in the middle, which is the first to be tried, cannot be tested.
	for i, words := range []string{"a=0", "a=1", "a=2", "apparmor=0", "apparmor.mode=complain a=4", "apparmor.mode=complain a=5"} {
		if err := os.WriteFile(filepath.Join(dir, "cmdline"), []byte(mark+" "+words+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		git("add", "cmdline")
		git("commit", "-q", "-m", fmt.Sprintf("commit %d: %s", i, words))
	}
	step := filepath.Join(t.TempDir(), "step.sh")
	text := "#!/bin/sh\nexec proofhouse bisect-step -k \"uml:debian:forky,append=$(cat cmdline)\" --test open --repeat 0\n"
	if err := os.WriteFile(step, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	git("bisect", "start", "HEAD", "HEAD~5")
	cmd := exec.Command("git", "bisect", "run", step)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(binary(t))+":"+os.Getenv("PATH"))
	out, _ := cmd.CombinedOutput() // which is not 0 where commits were skipped
	log := git("bisect", "log")
	for _, want := range []string{"# good: ", "] commit 2: a=2", "# bad: ", "] commit 4: apparmor.mode=complain a=4", "# only skipped commits left to test", "# possible first bad commit"} {
		if !strings.Contains(log, want) {
			t.Errorf("%q is not in the log:\n%s\n%s", want, log, out)
		}
	}
	if strings.Contains(log, "# bad: ") && strings.Contains(log, "] commit 3") && !strings.Contains(log, "# skip: ") {
		t.Errorf("a kernel that cannot be tested counts:\n%s", log)
	}
}
