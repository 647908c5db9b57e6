package nsmgr

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"proofhouse/internal/exit"
)

func (v *View) rmdir(ns Name) error {
	err := unix.Rmdir(v.path(ns))
	switch {
	case err == nil, errors.Is(err, syscall.ENOENT):
		return nil
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return exit.BadInput(fmt.Errorf("remove namespace %q: %w: not policy admin: %s", ns, errno(err), v.whyNotAdmin()))
	}
	return fmt.Errorf("remove namespace %q: %w", ns, errno(err))
}

// InUseError is the error of a namespace that is not removed because tasks
// are in it.
type InUseError struct {
	Namespace Name
	Tasks     []Task
	// Late is true for tasks that came while the namespace was being removed.
	Late bool
	// Removed is true where it was too late to keep the namespace.
	Removed bool
}

func (e *InUseError) Error() string {
	const most = 8
	var b strings.Builder
	switch {
	case e.Removed:
		fmt.Fprintf(&b, "namespace %q is removed, but tasks came into it at the last moment, and nothing of it holds them:", e.Namespace)
	case e.Late:
		fmt.Fprintf(&b, "namespace %q is not removed: tasks came into it meanwhile, and its profiles no longer hold those that are in it alone:", e.Namespace)
	default:
		fmt.Fprintf(&b, "namespace %q is in use:", e.Namespace)
	}
	for i, t := range e.Tasks {
		if i == most {
			fmt.Fprintf(&b, " and %d more", len(e.Tasks)-most)
			break
		}
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, " %s", t)
	}
	if !e.Late {
		flat := len(slices.DeleteFunc(slices.Clone(e.Tasks), func(t Task) bool { return !t.Label.Flat(e.Namespace) }))
		var would []string
		if flat > 0 {
			would = append(would, fmt.Sprintf("make %d of them unconfined", flat))
		}
		if stacked := len(e.Tasks) - flat; stacked > 0 {
			would = append(would, fmt.Sprintf("leave %d on policy that nobody can change any more", stacked))
		}
		fmt.Fprintf(&b, "; removing it would %s (--kill ends them first)", strings.Join(would, " and "))
	}
	return b.String()
}

// Deletion says how far Delete may go.
type Deletion struct {
	Recursive bool // also with namespaces below it
	Kill      bool // end the tasks in it first
	Force     bool // remove it under the tasks that are in it
	// Sure has the namespace stay where something refers to its profiles and
	// the kernel does not show what ([HeldError]); otherwise Doubt is told, if
	// it is not nil, and the namespace goes. 6.1 keeps the profiles for ever
	// after a replacement, or an exec under a stack, though no task is left.
	Sure  bool
	Doubt func(*HeldError)
	// Confirm is asked before Force removes a namespace with tasks in it; an
	// error stays its end. flat are those that become unconfined. May be nil.
	Confirm func(flat, stacked []Task) error
}

// Delete removes the namespace. The kernel would do so under the tasks that
// are in it: those confined by it alone become unconfined in the root
// namespace. So Delete looks for tasks first, then takes the profiles away,
// which shuts the door, and looks again: what came between is seen by its
// label, and the namespace stays.
func (v *View) Delete(ctx context.Context, ns Name, d Deletion) error {
	if ns == "" {
		return exit.BadInputf("this process's own namespace cannot be removed")
	}
	unlock, err := v.lock(ctx, ns)
	if err != nil {
		return err
	}
	defer unlock()
	return v.delete(ctx, ns, d)
}

func (v *View) delete(ctx context.Context, ns Name, d Deletion) error {
	below, err := v.Below(ns)
	if err != nil {
		return err
	}
	if len(below) > 0 && !d.Recursive {
		return refuse(fmt.Errorf("namespace %q has %d below it, such as %q (--recursive removes them too)", ns, len(below), below[0]))
	}
	if d.Kill {
		if err := v.kill(ctx, ns); err != nil {
			return err
		}
	}
	c := v.census()
	defer c.close()
	tasks, err := c.tasks(ns)
	if err != nil {
		return err
	}
	if len(tasks) > 0 {
		if !d.Force {
			return refuse(&InUseError{Namespace: ns, Tasks: tasks})
		}
		if err := confirm(ns, tasks, d.Confirm); err != nil {
			return err
		}
	}
	n, ours := v.read(ns)
	if !ours {
		n = note{Name: ns}
	}
	n.State, n.Inode = stateRemoving, v.inode(ns)
	if err := v.write(n); err != nil {
		return err
	}
	if !d.Force {
		if err := v.shut(ctx, c, ns, below, d); err != nil {
			var late *InUseError
			var held *HeldError
			if errors.As(err, &late) || errors.As(err, &held) { // the profiles are back
				v.reopen(n, ours)
			}
			return err
		}
	}
	if err := v.rmdir(ns); err != nil {
		return err
	}
	for _, gone := range append(below, ns) {
		v.forget(gone)
	}
	if d.Force {
		return nil
	}
	// Between the last look and the removal, the door was shut but for the
	// profile that every namespace has, unconfined.
	if tasks, err = c.tasks(ns); err != nil || len(tasks) == 0 {
		return err
	}
	return refuse(&InUseError{Namespace: ns, Tasks: tasks, Late: true, Removed: true})
}

// reopen takes back the note of a removal that did not come to be.
func (v *View) reopen(n note, ours bool) {
	if !ours {
		v.forget(n.Name)
		return
	}
	n.State = stateReady
	_ = v.write(n) // an old note would have the namespace collected once it is empty
}

func confirm(ns Name, tasks []Task, ask func(flat, stacked []Task) error) error {
	if ask == nil {
		return nil
	}
	var flat, stacked []Task
	for _, t := range tasks {
		if t.Label.Flat(ns) {
			flat = append(flat, t)
		} else {
			stacked = append(stacked, t)
		}
	}
	return ask(flat, stacked)
}

// HeldError is about a namespace that is to be removed while something refers
// to its profiles that this kernel does not show: a process that has asked for
// one for its next exec, and would run unconfined, or, harmless, an open file or
// a socket that one of its tasks left to others.
type HeldError struct{ Namespace Name }

func (e *HeldError) Error() string {
	return fmt.Sprintf("something refers to profiles of namespace %q, and this kernel does not show what: a process that has asked for one for its next exec would run unconfined; it may as well be an open file or a socket, or nothing any more", e.Namespace)
}

// heldPatience is how long the kernel may take to let go of profiles that
// nothing refers to: an RCU grace period or a few, and the end of what a
// container had, such as its network namespace (0.3 to 0.8 s on 6.1 under TCG).
const heldPatience = time.Second

// shut removes all profiles of the namespace and of those below, so that no
// task can come to be confined by them, and then makes sure that none is. If
// one is, the profiles are brought back.
func (v *View) shut(ctx context.Context, c *census, ns Name, below []Name, d Deletion) error {
	all := append([]Name{ns}, below...)
	had := map[Name]Policy{}
	loads := map[string]bool{} // what the profiles came with: folders
	for _, n := range all {
		profiles, err := v.loaded(n)
		if err != nil {
			return err
		}
		if len(profiles) == 0 {
			continue
		}
		// Where the kernel does not keep the policy, it cannot be brought back.
		had[n], _ = v.policyOf(n, profiles)
		for _, p := range profiles {
			if p.Raw >= 0 {
				loads[v.path(n)+"/raw_data/"+strconv.Itoa(p.Raw)] = true
			}
			if top(p.Name) != p.Name {
				continue
			}
			if err := v.remove(n, p.Name); err != nil && !errors.Is(err, syscall.ENOENT) {
				return err
			}
		}
	}
	late := v.mustBeEmpty(ctx, c, ns, loads)
	if late == nil {
		return nil
	}
	var held *HeldError
	if errors.As(late, &held) && !d.Sure {
		if d.Doubt != nil {
			d.Doubt(held)
		}
		return nil
	}
	for _, n := range all {
		if err := v.replace(n, had[n], nil); err != nil {
			return errors.Join(late, err)
		}
	}
	return late
}

// mustBeEmpty is the last look before a namespace goes, which has no profiles
// any more. A kernel that does not show what tasks have asked for (6.1) still
// shows that something has: the policy of a load stays in raw_data until the
// last reference to its profiles is gone.
//
// To end here would leave the namespace without its profiles, so ctx is not
// heeded: but to ask for its end keeps a program that listens only then, as
// nsmgr does, from being ended by a signal while this waits.
func (v *View) mustBeEmpty(ctx context.Context, c *census, ns Name, loads map[string]bool) error {
	end := time.Now().Add(heldPatience)
	for looks := 1; ; looks++ {
		tasks, err := c.tasks(ns)
		if err != nil {
			return err
		}
		if len(tasks) > 0 {
			return refuse(&InUseError{Namespace: ns, Tasks: tasks, Late: true})
		}
		for dir := range loads {
			var st unix.Stat_t
			if errors.Is(unix.Stat(dir, &st), unix.ENOENT) {
				delete(loads, dir)
			}
		}
		if len(loads) == 0 || c.shows() {
			return nil
		}
		// It is late only behind some looks: the machine may have stood still.
		if looks > 20 && time.Now().After(end) {
			return refuse(&HeldError{ns})
		}
		_ = ctx.Done()
		time.Sleep(5 * time.Millisecond)
	}
}
