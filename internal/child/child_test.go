// SPDX-License-Identifier: Apache-2.0

package child

import (
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A process that leaves another behind, which holds none of its files open.
func TestWait(t *testing.T) {
	cmd := Command(t.Context(), "/bin/sh", "-c", "sleep 600 </dev/null >/dev/null 2>&1 & exit 3")
	cmd.Stdout = &discard{}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := Wait(cmd); err == nil || cmd.ProcessState.ExitCode() != 3 {
		t.Errorf("it ended with %v, want exit status 3", err)
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if errors.Is(unix.Kill(-cmd.Process.Pid, 0), unix.ESRCH) {
			return
		}
		if time.Now().After(end) {
			_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL)
			t.Fatal("a process of its group is still running")
		}
	}
}

type discard struct{}

func (*discard) Write(p []byte) (int, error) { return len(p), nil }
