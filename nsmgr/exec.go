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
	// Host is the profile of the view's own namespace to stack it on; "" is
	// the label that this process has.
	Host string
	// Flat leaves out the stack: the namespace's profile is all. What is so
	// confined is not kept apart from tasks that other namespaces confine,
	// and becomes unconfined when the namespace is removed.
	Flat bool
}

// Label is the target as the kernel is told it.
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

// transition is what is written to a task's exec attribute.
func (t Target) transition() string {
	l := t.Label()
	if l.Onto {
		l.Onto = false
		return "stack " + l.String()
	}
	return "exec " + l.String()
}

// Exec becomes the program at path, confined by the target: it returns only
// if it fails. The kernel takes the wish from a thread for that thread's own
// next execve, so both happen on one.
func (v *View) Exec(t Target, path string, argv, env []string) error {
	if err := v.checkTarget(t); err != nil {
		return err
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	attr := filepath.Join(v.proc, "thread-self", "attr", "apparmor", "exec")
	if _, err := os.Stat(attr); err != nil {
		attr = filepath.Join(v.proc, "thread-self", "attr", "exec") // kernels before 5.8
	}
	if err := writeOnce(attr, []byte(t.transition())); err != nil {
		why := ""
		switch {
		case errors.Is(err, syscall.ENOENT):
			why = ": a part of it is not there"
		case errors.Is(err, syscall.EPERM) && noNewPrivs():
			why = ": no_new_privs is set for this process, so the kernel only allows labels that stack on its present one (without --stack-on)"
		case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
			why = ": the policy that confines this process does not let it"
		}
		return exit.BadInput(fmt.Errorf("ask for the label %s: %w%s", t.Label(), err, why))
	}
	err := syscall.Exec(path, argv, env)
	// The wish must not stay for another program.
	_ = writeOnce(attr, []byte("exec "))
	return exit.BadInput(fmt.Errorf("run %s with the label %s: %w", path, t.Label(), err))
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
	go v.requestExec("exec "+l.String(), result, tid)
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

// requestExec writes the transition for the next exec of a thread that ends
// with it. The process's first thread never ends, so that is kept busy while
// another one is used.
func (v *View) requestExec(transition string, result chan<- error, thread chan<- int) {
	runtime.LockOSThread()
	if unix.Gettid() == unix.Getpid() {
		defer runtime.UnlockOSThread()
		done := make(chan struct{})
		go func() {
			defer close(done)
			v.requestExec(transition, result, thread)
		}()
		<-done
		return
	}
	attr := filepath.Join(v.proc, "thread-self", "attr", "apparmor", "exec")
	if !exists(attr) {
		attr = filepath.Join(v.proc, "thread-self", "attr", "exec") // kernels before 5.8
	}
	err := writeOnce(attr, []byte(transition))
	thread <- unix.Gettid()
	result <- err
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// checkTarget says what of the target is not there.
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

// names are the profiles' names for people.
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
