// SPDX-License-Identifier: Apache-2.0

package nsmgr

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"proofhouse/internal/exit"
)

// Target is the label to run a program with.
type Target struct {
	Namespace Name
	Profile   string
	// Host is the profile of the view's own namespace to stack it on; "" stands
	// for the label of this process.
	Host string
	// Flat omits the stack: the label is only the namespace's profile. Such a
	// task is not isolated from tasks that other namespaces confine, and becomes
	// unconfined when the namespace is removed.
	Flat bool
}

// Label returns the label of the target.
func (t Target) Label() Label {
	l := Label{Parts: []Part{{t.Namespace, t.Profile}}}
	switch {
	case t.Host != "":
		l.Parts = []Part{{"", t.Host}, {t.Namespace, t.Profile}}
	case !t.Flat:
		l.Onto = true
	}
	return l
}

// transition returns what is written to the exec attribute of a task.
func (t Target) transition() string {
	l := t.Label()
	if l.Onto {
		l.Onto = false
		return "stack " + l.String()
	}
	return "exec " + l.String()
}

// Exec executes the program at path in place of this one, confined by the target.
// It returns only if that fails. The kernel applies a request for a label to the
// next execve of the thread that made it.
func (v *View) Exec(t Target, path string, argv, env []string) error {
	if err := v.checkTarget(t); err != nil {
		return err
	}
	result := make(chan error, 1)
	// A request cannot be taken back: if execve fails, it ends with its thread.
	go onOwnThread(func() { result <- v.exec(t, path, argv, env) })
	return <-result
}

func (v *View) exec(t Target, path string, argv, env []string) error {
	if err := v.request(t.transition()); err != nil {
		why := ""
		switch {
		case errors.Is(err, syscall.ENOENT):
			why = ": a part of the label is not loaded"
		case errors.Is(err, syscall.EPERM) && noNewPrivs():
			why = ": no_new_privs is set for this process, so the kernel only allows labels that stack on its present one"
		case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
			why = ": the policy that confines this process does not allow it"
		}
		return exit.BadInput(fmt.Errorf("request the label %s: %w%s", t.Label(), err, why))
	}
	err := syscall.Exec(path, argv, env)
	return exit.BadInput(fmt.Errorf("run %s with the label %s: %w", path, t.Label(), err))
}

// request writes the transition for this thread's next exec.
func (v *View) request(transition string) error {
	attr := filepath.Join(v.proc, "thread-self", "attr", "apparmor", "exec")
	if !exists(attr) {
		attr = filepath.Join(v.proc, "thread-self", "attr", "exec") // kernels before 5.8
	}
	return writeOnce(attr, []byte(transition))
}

// onOwnThread calls do on a thread that ends when do returns. It must be called in a
// goroutine of its own. The first thread of a process never ends, so it waits while
// another thread calls do.
func onOwnThread(do func()) {
	runtime.LockOSThread()
	if unix.Gettid() != unix.Getpid() {
		do()
		return
	}
	defer runtime.UnlockOSThread()
	done := make(chan struct{})
	go func() {
		defer close(done)
		onOwnThread(do)
	}()
	<-done
}

// noNewPrivs reports whether this thread cannot gain privileges by an exec
// (prctl(2), PR_SET_NO_NEW_PRIVS).
func noNewPrivs() bool {
	set, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	return err == nil && set == 1
}

// ErrTransition is the error of a label that the policy of this process, or
// no_new_privs, does not let it change to.
var ErrTransition = errors.New("permission denied by the policy that confines this process")

// CheckTransition reports whether this process may change to the label, which
// must be loaded. It requests the label for the next exec of a thread, and ends
// that thread: the kernel has no way to take a request back. The error is
// [ErrTransition] where the kernel refuses.
func (v *View) CheckTransition(l Label) error {
	l.Mode = ""
	result, tid := make(chan error, 1), make(chan int, 1)
	go onOwnThread(func() {
		tid <- unix.Gettid()
		result <- v.request("exec " + l.String())
	})
	err := <-result
	// Until the thread is gone, it counts as a task that is about to enter the
	// namespace.
	thread := filepath.Join(v.proc, "self", "task", strconv.Itoa(<-tid))
	for end := time.Now().Add(threadTimeout); exists(thread) && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		now := "unknown"
		if b, err := readSmall(filepath.Join(v.proc, "self", "attr", "current")); err == nil {
			now = strings.TrimRight(string(b), "\n\x00")
		}
		return fmt.Errorf("change from label %s to %s: %w", now, l, ErrTransition)
	}
	return fmt.Errorf("request the label %s: %w", l, err)
}

// threadTimeout limits the wait for the end of a thread of this process.
const threadTimeout = 10 * time.Second

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// checkTarget returns an error if a profile of the target does not exist.
func (v *View) checkTarget(t Target) error {
	profiles, err := v.Profiles(t.Namespace)
	if err != nil {
		return err
	}
	if !hasProfile(profiles, t.Profile) {
		return exit.BadInput(fmt.Errorf("%w profile %q in namespace %q: it has %s", ErrNotExist, t.Profile, t.Namespace, names(profiles)))
	}
	if t.Host == "" {
		return nil
	}
	host, err := v.Profiles("")
	if err == nil && !hasProfile(host, t.Host) {
		return exit.BadInput(fmt.Errorf("%w profile %q to stack on: this namespace has %s", ErrNotExist, t.Host, names(host)))
	}
	return nil
}

func hasProfile(profiles []Profile, name string) bool {
	if name == Unconfined {
		return true
	}
	for _, p := range profiles {
		if p.Name == name {
			return true
		}
	}
	return false
}

// names lists the names of the profiles for a message.
func names(profiles []Profile) string {
	var n []string
	for _, p := range profiles {
		n = append(n, p.Name)
	}
	const most = 10
	switch {
	case len(n) == 0:
		return "none"
	case len(n) > most:
		return fmt.Sprintf("%s and %d more", strings.Join(n[:most], ", "), len(n)-most)
	}
	return strings.Join(n, ", ")
}
