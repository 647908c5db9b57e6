// SPDX-License-Identifier: Apache-2.0

package nsmgr

import (
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// The text of a label is ambiguous. A profile's name may have any character in
// it, and others choose names: the root of a container that loads policy of its
// own, and any user whose process runs in complain mode, where the kernel names
// a profile after the hat or the program that was asked for
// ("PROFILE//null-NAME"). A NAME such as "x//&:prod:p" reads as a part in
// another namespace.
//
// So a part is believed where no such name can end before it. Elsewhere the
// kernel is asked: a thread of this process enters the namespace and reads the
// label from there. It is shown (security/apparmor/procattr.c aa_getprocattr)
// only if the label really reaches into that namespace.

// learning marks the name of a profile that the kernel made in complain mode.
const learning = "//null-"

// segments splits a task's label as the kernel wrote it, and takes off the mode.
func segments(text string) (parts []string, mode string) {
	s := strings.TrimRight(text, "\n\x00")
	for _, m := range modes {
		if rest, ok := strings.CutSuffix(s, " ("+m+")"); ok {
			s, mode = rest, m
			break
		}
	}
	return strings.Split(s, stackSeparator), mode
}

// readLabel reads a task's label. It asks whether a part is really in its
// namespace where that is in doubt; a part of which that cannot be told makes
// the label Unverified. It never fails: what is no label by itself is a part of
// the name before it.
func readLabel(text string, ask func(ns Name) (bool, error)) (Label, error) {
	parts, mode := segments(text)
	l := Label{Mode: mode}
	doubt := false // whether a name of others' choice may continue
	var ns Name
	for i, s := range parts {
		p, named, err := parsePart(s, ns)
		real := err == nil && s != ""
		if i > 0 && real && doubt {
			real = !named // the same namespace, whether it is one name or two
			if named {
				if real, err = ask(p.Namespace); err != nil {
					if gone(err) {
						return l, err
					}
					real, l.Unverified = true, true
				}
			}
		}
		if real || i == 0 {
			if !real { // the first one cannot be part of another
				p = Part{"", s}
			}
			l.Parts = append(l.Parts, p)
			if named && err == nil {
				ns = p.Namespace
			}
		} else {
			l.Parts[len(l.Parts)-1].Profile += stackSeparator + s
		}
		doubt = doubt || ns != "" || strings.Contains(s, learning)
	}
	return l, nil
}

// resolve reads the label of a task; see readLabel. read reads its file again.
func (c *census) resolve(text string, read func() error) (Label, error) {
	return readLabel(text, func(ns Name) (bool, error) {
		if !c.v.Exists(ns) {
			return false, nil
		}
		return c.insider(ns).sees(read)
	})
}

// insider is a thread of this process that is in a namespace.
type insider struct {
	v    *View
	tid  int
	err  error // why it could not enter
	ask  chan func() error
	told chan error
}

func (c *census) insider(ns Name) *insider {
	i := c.inside[ns]
	if i == nil {
		i = &insider{v: c.v, ask: make(chan func() error), told: make(chan error)}
		go i.enter(ns)
		i.err = <-i.told
		c.own[i.tid] = true
		c.inside[ns] = i
	}
	return i
}

// enter stacks the namespace's unconfined profile on the thread's label and
// answers until there are no more questions. The thread ends with the
// goroutine, as it is locked to it and stays so.
func (i *insider) enter(ns Name) {
	runtime.LockOSThread()
	i.tid = unix.Gettid()
	if i.tid == unix.Getpid() { // the first thread stays: keep it busy while another enters
		defer runtime.UnlockOSThread()
		done := make(chan struct{})
		go func() {
			defer close(done)
			i.enter(ns)
		}()
		<-done
		return
	}
	l := Label{Parts: []Part{{ns, Unconfined}}}
	i.told <- i.v.writeAttribute("current", "stack "+l.String())
	for read := range i.ask {
		i.told <- read()
	}
}

// sees reports whether the kernel shows the label in the namespace.
func (i *insider) sees(read func() error) (bool, error) {
	if i.err != nil {
		return false, fmt.Errorf("read tasks from within the namespace: %w", i.err)
	}
	i.ask <- read
	switch err := <-i.told; {
	case err == nil:
		return true, nil
	case errors.Is(err, fs.ErrPermission):
		return false, nil
	default:
		return false, err
	}
}

// dismissTimeout is how long the threads of insiders may take to end.
const dismissTimeout = time.Second

// dismiss ends the insiders and waits until no other nsmgr can see them.
func (c *census) dismiss() {
	for ns, i := range c.inside {
		close(i.ask)
		delete(c.inside, ns)
		for end := time.Now().Add(dismissTimeout); !c.v.dead(unix.Getpid(), i.tid) && time.Now().Before(end); {
			time.Sleep(100 * time.Microsecond)
		}
	}
}
