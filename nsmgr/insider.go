// SPDX-License-Identifier: Apache-2.0

package nsmgr

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// The text of a label is ambiguous. A profile's name may contain any character,
// and untrusted users choose names: the root of a container that loads its own
// policy, and any user whose process runs in complain mode. In complain mode the
// kernel names a profile after the requested hat or program
// ("PROFILE//null-NAME"). A NAME such as "x//&:prod:p" looks like a part in
// another namespace.
//
// So a part is accepted only if no such name can end before it. Otherwise the
// kernel decides: a thread of this process enters the namespace and reads the
// label from there. The kernel returns it (security/apparmor/procattr.c
// aa_getprocattr) only if the label has a part in that namespace.

// learning marks the name of a profile that the kernel made in complain mode.
const learning = "//null-"

// segments splits a task's label, as the kernel wrote it, into its parts and its
// mode.
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

// readLabel parses a task's label. If it is in doubt whether a part is in its
// namespace, ask decides; if ask fails, the label is Unverified. The only error is
// that of a task that has ended. Text that is not a label by itself belongs to the
// name before it.
func readLabel(text string, ask func(ns Name) (bool, error)) (Label, error) {
	parts, mode := segments(text)
	l := Label{Mode: mode}
	doubt := false // a name that an untrusted user chose may continue
	var ns Name
	for i, s := range parts {
		p, named, err := parsePart(s, ns)
		real := err == nil && s != ""
		if i > 0 && real && doubt {
			real = !named // it is in the same namespace, whether it is one name or two
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

// resolve parses the label of a task: see readLabel. read reads its file again.
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
		go onOwnThread(func() { i.serve(ns) })
		i.err = <-i.told
		c.own[i.tid] = true
		c.inside[ns] = i
	}
	return i
}

// serve stacks the namespace's unconfined profile on the thread's label, and calls
// the functions of ask there until ask is closed.
func (i *insider) serve(ns Name) {
	i.tid = unix.Gettid()
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

// dismissTimeout limits the wait for the end of the insiders' threads.
const dismissTimeout = time.Second

// dismiss ends the insiders, and waits until their threads have ended: another
// nsmgr would see them as tasks.
func (c *census) dismiss() {
	for ns, i := range c.inside {
		close(i.ask)
		delete(c.inside, ns)
		for end := time.Now().Add(dismissTimeout); !c.v.dead(unix.Getpid(), i.tid) && time.Now().Before(end); {
			time.Sleep(100 * time.Microsecond)
		}
	}
}
