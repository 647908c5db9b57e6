// SPDX-License-Identifier: Apache-2.0

package runner

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// An interrupt ends the run with its cause: before the suite has started, and
// while it runs.
func TestInterruptOfGinkgo(t *testing.T) {
	interrupted := errors.New("interrupted")
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}

	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(interrupted)
	if err := ginkgoRun(ctx, sh, []string{"-c", "true"}, t.TempDir()); !errors.Is(err, interrupted) {
		t.Errorf("before the start: %v", err)
	}

	dir := t.TempDir()
	ctx, cancel = context.WithCancelCause(t.Context())
	left := filepath.Join(dir, "left")
	done := make(chan error, 1)
	go func() {
		done <- ginkgoRun(ctx, sh, []string{"-c", `trap 'exit 1' INT; (trap "" INT; exec sleep 1000) & echo $! > "$0.new"; mv "$0.new" "$0"; wait`, left}, dir)
	}()
	var pid int
	for deadline := time.Now().Add(time.Minute); pid == 0; time.Sleep(10 * time.Millisecond) {
		b, _ := os.ReadFile(left)
		pid, _ = strconv.Atoi(strings.TrimSpace(string(b)))
		if time.Now().After(deadline) {
			t.Fatal("the command did not start")
		}
	}
	cancel(interrupted)
	if err := <-done; !errors.Is(err, interrupted) {
		t.Errorf("while it runs: %v", err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		// It may be a zombie until its new parent has asked for it.
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		if err != nil || strings.Contains(string(stat), ") Z ") || errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("what it started is left: %d", pid)
		}
	}
}
