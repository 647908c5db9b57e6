// SPDX-License-Identifier: Apache-2.0

package nsmgr

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A thread that requested a label ends, and with it the request.
func TestOnOwnThread(t *testing.T) {
	for range 50 {
		tid := make(chan int, 1)
		go onOwnThread(func() { tid <- unix.Gettid() })
		n := <-tid
		if n == unix.Getpid() {
			t.Fatal("called on the first thread, which never ends")
		}
		end := time.Now().Add(time.Minute)
		for unix.Tgkill(unix.Getpid(), n, 0) == nil {
			if time.Now().After(end) {
				t.Fatalf("thread %d did not end", n)
			}
			time.Sleep(time.Millisecond)
		}
	}
}

func TestCheckTransition(t *testing.T) {
	if err := (&View{proc: procfs}).CheckTransition(Label{Parts: []Part{{"", "no-such-profile-here"}}}); err == nil {
		t.Error("a label that is not loaded was accepted")
	}
}

// A program that cannot be executed leaves no thread with a request.
func TestExecFails(t *testing.T) {
	v := &View{proc: t.TempDir()}
	if err := v.exec(Target{Namespace: "none", Profile: "p"}, "/no/such/program", nil, os.Environ()); err == nil {
		t.Error("it was executed")
	}
}
