// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/joshdk/go-junit"

	"proofhouse/internal/cache"
	"proofhouse/reports"
)

// binary is bin/proofhouse, as a user has it.
func binary(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("PROOFHOUSE_E2E")
	if dir == "" {
		t.Skip("boots kernels: make test")
	}
	return filepath.Join(dir, "proofhouse")
}

type end struct {
	status         int
	stdout, stderr string
}

// proofhouse runs the command to its end.
func proofhouse(t testing.TB, stdin string, args ...string) end {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary(t), args...)
	var out, errOut bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errOut
	err := cmd.Run()
	var exited *exec.ExitError
	if err != nil && !errors.As(err, &exited) {
		t.Fatalf("%q: %v", args, err)
	}
	return end{cmd.ProcessState.ExitCode(), out.String(), errOut.String()}
}

func readResults(t *testing.T, dir string) reports.Run {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, reports.ResultsFile))
	if err != nil {
		t.Fatal(err)
	}
	var run reports.Run
	if err := json.Unmarshal(b, &run); err != nil {
		t.Fatal(err)
	}
	return run
}

// The road that everything else stands on, on both kinds of virtual machine.
func TestE2ERun(t *testing.T) {
	for _, kernel := range []string{"uml:debian:forky", "debian:trixie"} {
		t.Run(kernel, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "run")
			e := proofhouse(t, "", "run", "-k", kernel, "--script", "open,namespaces,stackprofile", "--out", dir)
			if e.status != 0 || !strings.HasPrefix(e.stdout, "PASS") {
				t.Fatalf("exit status %d\n%s%s", e.status, e.stdout, e.stderr)
			}
			run := readResults(t, dir)
			if len(run.Kernels) != 1 || len(run.Kernels[0].Specs) != 3 || len(run.Kernels[0].NotRun) != 0 {
				t.Fatalf("%+v", run)
			}
			suites, err := junit.IngestFile(filepath.Join(dir, "junit.xml"))
			if err != nil {
				t.Fatal(err)
			}
			cases := 0
			for _, s := range suites {
				cases += s.Totals.Tests
				if s.Totals.Failed+s.Totals.Error > 0 {
					t.Errorf("%s: %+v", s.Name, s.Totals)
				}
			}
			// 9 of open, 2 of namespaces, and stackprofile's.
			if cases < 20 {
				t.Errorf("JUnit has only %d test cases", cases)
			}
		})
	}
}

// With -p and a focus that leaves one spec, through Ginkgo itself.
func TestE2EGinkgo(t *testing.T) {
	bin := os.Getenv("PROOFHOUSE_E2E")
	binary(t)
	dir := t.TempDir()
	cmd := exec.Command(filepath.Join(bin, "ginkgo"), "run", "--procs=2", "--label-filter=script:open || script:chdir",
		"--junit-report=ginkgo.xml", "--output-dir="+dir, filepath.Join(bin, "suite.test"), "--", "-out", dir)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !strings.Contains(string(out), "Ran 2 of") {
		t.Errorf("not two specs:\n%s", out)
	}
	if suites, err := junit.IngestFile(filepath.Join(dir, "ginkgo.xml")); err != nil || len(suites) == 0 {
		t.Errorf("Ginkgo's own report: %v", err)
	}
	if run := readResults(t, filepath.Join(dir, "latest")); len(run.Kernels[0].Specs) != 2 {
		t.Errorf("%+v", run)
	}
}

// No machine has scripts and rows of the isolation matrix: aa_exec leaves a
// namespace behind, and view.siblings would see it. The scripts come first, or
// each change would cost a boot.
func TestE2EOrder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	filter := "script:open || script:aa_exec || row:file.read || row:view.siblings"
	if e := proofhouse(t, "", "run", "--procs", "1", "--label-filter", filter, "--out", dir); e.status != 0 {
		t.Fatalf("exit status %d\n%s%s", e.status, e.stdout, e.stderr)
	}
	k := readResults(t, dir).Kernels[0]
	if len(k.Specs) != 4 || len(k.Machines) != 2 {
		t.Fatalf("%d specs on %d machines, not 4 on 2", len(k.Specs), len(k.Machines))
	}
	for _, s := range k.Specs {
		want := k.Machines[0].ID
		if strings.HasPrefix(s.ID, "isolation/") {
			want = k.Machines[1].ID
		}
		if s.Machine != want {
			t.Errorf("%s was on %s, not %s", s.ID, s.Machine, want)
		}
	}
}

func TestE2EExec(t *testing.T) {
	for _, c := range []struct {
		args  []string
		stdin string
		want  end
	}{
		{args: []string{"sh", "-c", "cat; echo err >&2; exit 7"}, stdin: "in", want: end{7, "in", "err\n"}},
		{args: []string{"sh", "-c", "kill -TERM $$"}, want: end{128 + 15, "", ""}},
		{args: []string{"no-such-command"}, want: end{127, "", "no-such-command: exec: \"no-such-command\": executable file not found in $PATH\n"}},
		{args: []string{"cat", "/sys/module/apparmor/parameters/enabled"}, want: end{0, "Y\n", ""}},
	} {
		got := proofhouse(t, c.stdin, append([]string{"exec", "--"}, c.args...)...)
		if got != c.want {
			t.Errorf("%q: %+v, want %+v", c.args, got, c.want)
		}
	}
}

// An executable of this machine is carried along.
func TestE2EExecCarries(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "mine"), []byte("#!/bin/sh\necho \"carried $1 to $(uname -r)\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary(t), "exec", "./mine", "me")
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil || !strings.HasPrefix(string(out), "carried me to 7.") {
		t.Errorf("%q, %v", out, err)
	}
}

// Each mistake is one line on stderr and exit status 2.
func TestE2EBadInput(t *testing.T) {
	binary(t)
	dir := t.TempDir()
	notKernel := filepath.Join(dir, "not-a-kernel")
	arm := filepath.Join(dir, "Image")
	armHeader := make([]byte, 4096)
	copy(armHeader[0x38:], "ARM\x64")
	for file, text := range map[string]string{notKernel: "hello\n", arm: string(armHeader)} {
		if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"run", "-k", "nonsense:spec"}, "nonsense:spec"},
		{[]string{"run", "-k", "/no/such/kernel"}, "/no/such/kernel"},
		{[]string{"run", "-k", notKernel}, "not a kernel"},
		{[]string{"run", "-k", arm}, "without AppArmor"},
		{[]string{"run", "-k", "debian:nosuchsuite"}, "nosuchsuite"},
		{[]string{"run", "-k", "debian:0.0.1-cloud-amd64"}, "0.0.1-cloud-amd64"},
		{[]string{"run", "-k", "ssh://root@board"}, "ssh"},
		{[]string{"run", "-k", "debian:trixie,modules=/no/such/folder"}, "/no/such/folder"},
		{[]string{"run", "--guest", "buster"}, "buster"},
		{[]string{"run", "--apparmor-src", "/no/such/source"}, "/no/such/source"},
		{[]string{"run", "--script", "nosuchscript"}, "nosuchscript"},
		{[]string{"run", "--label-filter", "nosuchlabel"}, "no spec matches"},
		{[]string{"run", "--label-filter", "((("}, "label"},
		{[]string{"run", "--procs", "0"}, "--procs"},
		{[]string{"run", "--nosuchflag"}, "nosuchflag"},
		{[]string{"run", "-k", "debian:trixie", "--accel", "warp"}, "warp"},
		{[]string{"run", "-k", "uml:debian:forky,append=apparmor=0"}, "runs without AppArmor"},
		{[]string{"nosuchcommand"}, "nosuchcommand"},
		{[]string{"exec"}, "command"},
		{[]string{"report", "/no/such/run"}, "/no/such/run"},
		{[]string{"report", dir}, "want the directory of a run"},
		{[]string{"run", "--shard", "3/2"}, "3/2"},
		{[]string{"run", "--durations", "/no/such/run"}, "/no/such/run"},
		{[]string{"merge"}, "give the directories"},
		{[]string{"merge", "/no/such/run"}, "/no/such/run"},
		{[]string{"merge", dir}, "want the directory of a run"},
		{[]string{"runs", "prune"}, "--keep"},
		{[]string{"runs", "prune", "--keep", "-1"}, "-1"},
		{[]string{"runs", "nosuch"}, "nosuch"},
		{[]string{"bisect", "--good", "debian:trixie"}, "both ends"},
		{[]string{"bisect", "--good", "a", "--bad", "b", "--from", dir}, "there are none"},
		{[]string{"bisect", "--good", "a", "--bad", "b", "--builds", "/no/such/file"}, "/no/such/file"},
		{[]string{"bisect", "--good", "uml:debian:forky", "--bad", "debian:trixie"}, "two of Debian's kernels"},
	} {
		args := c.args
		if args[0] == "run" {
			args = append(args, "--out", filepath.Join(t.TempDir(), "run"))
		}
		got := proofhouse(t, "", args...)
		lines := strings.Split(strings.TrimSpace(got.stderr), "\n")
		last := lines[len(lines)-1]
		if got.status != 2 || !strings.HasPrefix(last, "proofhouse: ") || !strings.Contains(last, c.says) || strings.Contains(got.stderr, "goroutine") {
			t.Errorf("%q: exit status %d, want 2 and a line with %q:\n%s", c.args, got.status, c.says, got.stderr)
		}
	}
}

// Nothing outlives a kill -9: no machine, no directory after the next start; and
// what was found is in the journal. A machine is gone within two seconds where
// there is little other work.
func TestE2EKill(t *testing.T) {
	others := machineDirs(t) // of runs that are none of our business
	dir := filepath.Join(t.TempDir(), "run")
	cmd := exec.Command(binary(t), "run", "--script", "open,capabilities", "--procs", "2", "--out", dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// open is over, and capabilities runs on.
	const limit = 10 * time.Minute // for the boot, too
	for end := time.Now().Add(limit); ; time.Sleep(50 * time.Millisecond) {
		if run, err := reports.Read(dir); err == nil && len(run.Kernels) > 0 {
			ended := 0
			for _, s := range run.Kernels[0].Specs {
				if !s.End.IsZero() {
					ended++
				}
			}
			if ended > 0 && len(run.Kernels[0].Specs) > ended {
				break
			}
		}
		if time.Now().After(end) {
			_ = cmd.Process.Kill()
			t.Fatalf("nothing ended within %v", limit)
		}
	}
	ours := without(machineDirs(t), others)
	if len(running(t, ours)) == 0 {
		t.Fatal("no machine is seen during the run: this test would not see one afterwards")
	}
	_ = cmd.Process.Signal(syscall.SIGKILL)
	_ = cmd.Wait()
	killed := time.Now()
	for left := running(t, ours); len(left) > 0; left = running(t, ours) {
		if took := time.Since(killed); took > 30*time.Second {
			t.Fatalf("left after %v: %q", took, left)
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Logf("its machines were gone after %v", time.Since(killed))
	got := proofhouse(t, "", "report", dir)
	if got.status != 3 || !strings.Contains(got.stdout, "killed") {
		t.Errorf("report: exit status %d\n%s%s", got.status, got.stdout, got.stderr)
	}
	passed := 0
	for _, s := range readResults(t, dir).Kernels[0].Specs {
		for _, r := range s.Results {
			if s.ID == "regression/open" && r.Status == reports.Pass {
				passed++
			}
		}
	}
	if passed < 9 {
		t.Errorf("of open, %d subtests are left, not 9", passed)
	}
	if got := proofhouse(t, "", "exec", "true"); got.status != 0 {
		t.Errorf("the next start: %+v", got)
	}
	for _, d := range machineDirs(t) {
		if slices.Contains(ours, d) {
			t.Errorf("left after the next start: %s", d)
		}
	}
}

// machineDirs are the directories of the machines that run from this cache.
func machineDirs(t *testing.T) []string {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(cache.Root(), "run", "machine-*"))
	if err != nil {
		t.Fatal(err)
	}
	return dirs
}

func without(all, some []string) []string {
	return slices.DeleteFunc(all, func(s string) bool { return slices.Contains(some, s) })
}

// running are the command lines of the processes that have one of the directories
// in them.
func running(t *testing.T, dirs []string) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		line := string(bytes.ReplaceAll(b, []byte{0}, []byte{' '}))
		if slices.ContainsFunc(dirs, func(d string) bool { return strings.Contains(line, d) }) {
			found = append(found, fmt.Sprintf("%s: %s", filepath.Base(filepath.Dir(f)), line))
		}
	}
	return found
}
