// SPDX-License-Identifier: Apache-2.0

package brief

import (
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// One thread is let sleep longer, and not the first, whose children inherit it.
func TestCalm(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may")
	}
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	// Of another thread, root of a container may not change it without
	// CAP_SYS_NICE, which containers seldom have. 0 is the thread's own default.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	other := slices.IndexFunc(threads, func(e os.DirEntry) bool { return e.Name() != strconv.Itoa(unix.Gettid()) })
	if other < 0 {
		t.Fatal("there is one thread")
	}
	if err := os.WriteFile("/proc/"+threads[other].Name()+"/timerslack_ns", []byte("0"), 0); err != nil {
		t.Skipf("it may not here: %v", err)
	}
	calm()
	var found []string
	for _, e := range threads {
		b, err := os.ReadFile("/proc/" + e.Name() + "/timerslack_ns")
		if err == nil && strings.TrimSpace(string(b)) == slack {
			found = append(found, e.Name())
		}
	}
	if len(found) == 0 || slices.Contains(found, strconv.Itoa(os.Getpid())) {
		t.Errorf("threads %v sleep longer", found)
	}
}

func TestCommand(t *testing.T) {
	if len(os.Args) > 1 && command() != os.Args[1] {
		t.Errorf("the first word is %q, want %q", command(), os.Args[1])
	}
}
