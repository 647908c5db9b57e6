package nsmgr

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// The thread that requested a label ends, so that the request is gone and the
// process is in no namespace's list of tasks.
func TestRequestExec(t *testing.T) {
	v := &View{proc: procfs}
	for range 20 {
		result, tid := make(chan error, 1), make(chan int, 1)
		go v.requestExec("exec no-such-profile-here", result, tid)
		if err := <-result; err == nil {
			t.Fatal("a label that is not loaded was accepted")
		}
		if n := <-tid; n == unix.Getpid() {
			t.Fatal("the first thread requested the label")
		}
	}
	if err := v.CheckTransition(Label{Parts: []Part{{"", "no-such-profile-here"}}}); err == nil {
		t.Error("a label that is not loaded was accepted")
	}
	if _, err := os.Stat(filepath.Join(procfs, "self", "task")); err != nil {
		t.Fatal(err)
	}
}
