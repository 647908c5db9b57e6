// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"

	"proofhouse/internal/exit"
)

// transcript is what a terminal showed so far.
type transcript struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *transcript) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *transcript) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// With --keep-failed there is a shell on the machine on which a script failed,
// with what the script left; then the run continues.
func TestE2EKeepFailed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	cmd := exec.Command(binary(t), "run", "-k", "uml:debian:forky,append=apparmor.mode=complain", "--script", "open", "--keep-failed", "--out", dir)
	terminal, err := pty.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = terminal.Close() }()
	var seen transcript
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := terminal.Read(buf)
			_, _ = seen.Write(buf[:n])
			if err != nil {
				return
			}
		}
	}()
	await := func(text string) {
		t.Helper()
		for end := time.Now().Add(10 * time.Minute); !strings.Contains(seen.String(), text); time.Sleep(50 * time.Millisecond) {
			if time.Now().After(end) {
				_ = cmd.Process.Kill()
				t.Fatalf("%q did not come:\n%s", text, seen.String())
			}
		}
	}
	await("The run continues when you exit.")
	await("# ") // the prompt
	// The shell's echo must not look like its answer.
	if _, err := terminal.WriteString("echo kept-$((6*7)) $(cat /sys/module/apparmor/parameters/mode)\n"); err != nil {
		t.Fatal(err)
	}
	await("kept-42 complain")
	if _, err := terminal.WriteString("exit\n"); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if status := cmd.ProcessState.ExitCode(); status != exit.Failed {
		t.Errorf("exit status %d, not 1\n%s", status, seen.String())
	}
	if run := readResults(t, dir); len(run.Kernels) != 1 || len(run.Kernels[0].Specs) != 1 || run.CutShort {
		t.Errorf("%+v", run)
	}
}

// A run that somebody ends says that it was cut short, and --rerun does what it
// did not.
func TestE2EInterruptAndRerun(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	cmd := exec.Command(binary(t), "run", "--script", "open,chdir,capabilities", "--procs", "1", "--out", dir)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// capabilities is the longest, and so the first.
	for end := time.Now().Add(10 * time.Minute); len(processesOf(t, cmd.Process.Pid, "virtual machine")) == 0; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("no machine")
		}
	}
	time.Sleep(3 * time.Second)
	if err := cmd.Process.Signal(interrupt); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if status := cmd.ProcessState.ExitCode(); status != exit.NoVerdict || !strings.Contains(out.String(), "cut short") {
		t.Errorf("exit status %d\n%s", status, out.String())
	}
	got := proofhouse(t, "", "run", "--rerun", dir, "--dry-run")
	if got.status != exit.OK || !strings.Contains(got.stdout, "regression/capabilities") || !strings.Contains(got.stdout, "regression/open") {
		t.Errorf("%+v", got)
	}
	if got := proofhouse(t, "", "run", "--rerun", dir, "--script", "open", "--out", filepath.Join(t.TempDir(), "again")); got.status != exit.OK || !strings.Contains(got.stdout, "PASS") {
		t.Errorf("%+v", got)
	}
}
