// SPDX-License-Identifier: Apache-2.0

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
	"proofhouse/internal/printable"
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

// ErrInUse is the error of a change that is refused because of live tasks.
// [InUseError] has the tasks.
var ErrInUse = errors.New("in use")

// InUseError is the error of a namespace, or of profiles, that are not removed
// because they confine tasks.
type InUseError struct {
	Namespace Name
	// Profiles are those that were to be removed; nil for the whole namespace.
	Profiles []string
	Tasks    []Task
	// Late is true if the tasks entered during the removal. The profiles are
	// loaded again. Tasks that only they confined became unconfined and were
	// killed.
	Late bool
	// Removed is true if the namespace was removed before the tasks were found.
	Removed bool
}

// Is makes every InUseError an [ErrInUse].
func (e *InUseError) Is(target error) bool { return target == ErrInUse }

func (e *InUseError) Error() string {
	what := fmt.Sprintf("namespace %q", e.Namespace)
	if e.Profiles != nil {
		what = fmt.Sprintf("profile %s of namespace %q", quoteAll(e.Profiles), e.Namespace)
		if e.Namespace == "" {
			what = "profile " + quoteAll(e.Profiles)
		}
	}
	tasks := listTasks(e.Tasks)
	switch {
	case e.Removed:
		return fmt.Sprintf("%s was removed while tasks were entering; they are not confined by it: %s", what, tasks)
	case e.Late:
		return fmt.Sprintf("%s was not removed: tasks entered during the removal, and those that only it confined were killed: %s", what, tasks)
	case e.Profiles != nil:
		return fmt.Sprintf("%s is in use: %s; removing it would make %s unconfined", what, tasks, printable.Count(len(e.Tasks), "task"))
	}
	flat := 0
	for _, t := range e.Tasks {
		if t.Label.Flat(e.Namespace) {
			flat++
		}
	}
	var would []string
	if flat > 0 {
		would = append(would, "make "+printable.Count(flat, "task")+" unconfined")
	}
	if stacked := len(e.Tasks) - flat; stacked > 0 {
		would = append(would, "leave "+printable.Count(stacked, "task")+" on policy that can no longer be updated")
	}
	return fmt.Sprintf("%s is in use: %s; removing it would %s", what, tasks, strings.Join(would, " and "))
}

func listTasks(tasks []Task) string {
	const most = 8
	var b strings.Builder
	for i, t := range tasks {
		if i == most {
			fmt.Fprintf(&b, " and %d more", len(tasks)-most)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(t.String())
	}
	return b.String()
}

func quoteAll(names []string) string {
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = strconv.Quote(n)
	}
	return strings.Join(quoted, ", ")
}

// ErrHasChildren is the error of a namespace that is not removed because it has
// child namespaces.
var ErrHasChildren = errors.New("has namespaces below it")

// HeldError is the error of a namespace whose profiles are still referenced, by
// something that this kernel does not show. It may be a process that has requested
// one of them for its next exec and would run unconfined. It may also be harmless:
// an open file, a socket, or a stale reference.
type HeldError struct{ Namespace Name }

func (e *HeldError) Error() string {
	return fmt.Sprintf("something refers to profiles of namespace %q, and this kernel does not show what: a process that has requested one for its next exec would run unconfined; or an open file, a socket, or a stale reference", e.Namespace)
}

// Deletion are the options of [View.Delete].
type Deletion struct {
	Recursive bool // also remove the namespaces below it
	Kill      bool // kill the tasks in it first
	Force     bool // remove it even with tasks in it
	// Sure keeps the namespace if its profiles are still referenced and the
	// kernel does not show by what ([HeldError]). Without Sure, Doubt is called
	// and the namespace is removed: after a replacement of a profile, or an exec
	// under a stack, Linux 6.1 never releases the profiles, even if no task is
	// left.
	Sure bool
	// Doubt is called with the reason why a removal may leave a task unconfined:
	// a [HeldError], or with Force a [HiddenTasksError]. It may be nil.
	Doubt func(error)
	// Confirm is called before Force removes a namespace with tasks in it. If it
	// returns an error, nothing is removed and Delete returns that error. flat are
	// the tasks that become unconfined. It may be nil.
	Confirm func(flat, stacked []Task) error
}

// Delete removes the namespace. The kernel itself would remove a namespace with
// tasks in it, and would leave the tasks that only the namespace confines
// unconfined. So Delete fails with an [InUseError] if the namespace has tasks, and
// with a [HiddenTasksError] if it cannot see all tasks. Then it removes the
// profiles, so that no task can enter any more, and checks again. A task that
// entered between the two checks became unconfined: it is killed, the profiles are
// loaded again, and the namespace stays.
func (v *View) Delete(ctx context.Context, ns Name, d Deletion) error {
	if ns == "" {
		return exit.BadInputf("remove a namespace: that of this process itself cannot be removed")
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
		return refuse(fmt.Errorf("remove namespace %q: it %w: %d, such as %q", ns, ErrHasChildren, len(below), below[0]))
	}
	c := v.census()
	defer c.close()
	if err := v.checkUnused(ctx, c, ns, d); err != nil {
		return err
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
		if restored, err := v.shut(c, ns, below, d); err != nil {
			if restored {
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
	// Between the last check and the removal, a task could only enter the
	// unconfined profile, which every namespace has.
	tasks, err := c.tasks(ns)
	if err != nil || len(tasks) == 0 {
		return err
	}
	return refuse(&InUseError{Namespace: ns, Tasks: tasks, Late: true, Removed: true})
}

// checkUnused returns an error if a task is in the namespace, unless d allows it.
func (v *View) checkUnused(ctx context.Context, c *census, ns Name, d Deletion) error {
	tasks, err := c.tasks(ns)
	if err == nil && d.Kill && len(tasks) > 0 && (c.complete() == nil || d.Force) {
		if err := v.kill(ctx, ns); err != nil {
			return err
		}
		tasks, err = c.tasks(ns)
	}
	if err != nil {
		return err
	}
	switch hidden := c.complete(); {
	case hidden == nil:
	case !d.Force:
		return fmt.Errorf("remove namespace %q: %w", ns, hidden)
	case d.Doubt != nil:
		d.Doubt(hidden)
	}
	switch {
	case len(tasks) == 0:
		return nil
	case !d.Force:
		return refuse(&InUseError{Namespace: ns, Tasks: tasks})
	}
	return confirm(ns, tasks, d.Confirm)
}

// reopen restores the record of a namespace whose removal was undone.
func (v *View) reopen(n note, ours bool) {
	if !ours {
		v.forget(n.Name)
		return
	}
	n.State = stateReady
	_ = v.write(n) // with the old record, the namespace would be collected once it is empty
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

// heldTimeout limits the wait until the kernel releases profiles that are no
// longer referenced. That takes some RCU grace periods, and the cleanup of what a
// container used, such as its network namespace (0.3 to 0.8 s on 6.1 under TCG).
const heldTimeout = time.Second

// shut removes all profiles of the namespace and of the namespaces below it, so
// that no task can enter them. Then it checks that no task is in them, and that no
// other program has changed them. If a check fails, it kills the tasks that became
// unconfined and loads the profiles again; restored reports whether that worked.
//
// It has no context: an interruption would leave the namespace without its
// profiles.
func (v *View) shut(c *census, ns Name, below []Name, d Deletion) (restored bool, err error) {
	all := append([]Name{ns}, below...)
	had := map[Name]Policy{}
	loads := map[string]bool{} // directories of what the profiles were loaded with
	err = v.removeAll(all, had, loads)
	if err == nil {
		err = mustBeEmpty(ns, loads, c.shows, func() ([]Task, error) {
			tasks, err := c.tasks(ns)
			if err == nil {
				err = c.complete()
			}
			return tasks, err
		})
	}
	var held *HeldError
	if errors.As(err, &held) && !d.Sure {
		if d.Doubt != nil {
			d.Doubt(held)
		}
		err = nil
	}
	if err == nil {
		err = v.unchanged(ns, below)
	}
	if err == nil {
		return false, nil
	}
	lost := func(l Label) bool { return l.lost(ns) }
	tasks, lookErr := c.described(sight{match: lost})
	if lookErr == nil {
		lookErr = v.killUnconfined(c, tasks, lost, nil)
	}
	err = errors.Join(err, lookErr)
	for _, n := range all {
		p, ok := had[n]
		if !ok {
			continue
		}
		if len(p) == 0 {
			return false, errors.Join(err, fmt.Errorf("load the profiles of namespace %q again: %w", n, ErrNotKept))
		}
		if again := v.replace(n, p, nil); again != nil {
			return false, errors.Join(err, again)
		}
	}
	return true, err
}

// removeAll removes the profiles of the namespaces. It adds their policy to had
// (an empty one if the kernel does not keep policy), and the raw_data directories
// of their loads to loads.
func (v *View) removeAll(all []Name, had map[Name]Policy, loads map[string]bool) error {
	for _, n := range all {
		profiles, err := v.loaded(n)
		if err != nil {
			return err
		}
		if len(profiles) == 0 {
			continue
		}
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
	return nil
}

// unchanged returns an error if another program has loaded profiles or created a
// namespace during the removal: a task could have entered those.
func (v *View) unchanged(ns Name, below []Name) error {
	now, err := v.Below(ns)
	if err != nil {
		return err
	}
	for _, n := range now {
		if !slices.Contains(below, n) {
			return refuse(fmt.Errorf("remove namespace %q: another program created namespace %q during the removal", ns, n))
		}
	}
	for _, n := range append(now, ns) {
		profiles, err := v.loaded(n)
		if err != nil {
			return err
		}
		if len(profiles) > 0 {
			return refuse(fmt.Errorf("remove namespace %q: another program loaded profile %q into %q during the removal", ns, profiles[0].Name, n))
		}
	}
	return nil
}

// mustBeEmpty is the last check before a namespace without profiles is removed.
// Linux 6.1 does not show which label a task has requested, but it shows that
// profiles are still referenced: their policy stays in raw_data until the last
// reference is gone.
func mustBeEmpty(ns Name, loads map[string]bool, shows func() bool, look func() ([]Task, error)) error {
	end := time.Now().Add(heldTimeout)
	for looks := 1; ; looks++ {
		tasks, err := look()
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
		if len(loads) == 0 || shows() {
			return nil
		}
		// Retry before timing out: this process may not have run for a while.
		if looks > 20 && time.Now().After(end) {
			return refuse(&HeldError{ns})
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// killUnconfined kills the tasks that a removal left unconfined, and those that
// they start in the meantime, until none is left. They entered a profile while it
// was removed, and would escape if they continued. Tasks for which spare returns
// true are not killed; spare may be nil.
func (v *View) killUnconfined(c *census, tasks []Task, unconfined func(Label) bool, spare func(Task) bool) error {
	for end := time.Now().Add(killTimeout); ; {
		tasks = slices.DeleteFunc(tasks, func(t Task) bool {
			return t.Label.Unverified || !unconfined(t.Label) || spare != nil && spare(t)
		})
		if len(tasks) == 0 {
			return nil
		}
		for _, t := range tasks {
			if err := v.killOne(c, t, unconfined); err != nil {
				return err
			}
		}
		if time.Now().After(end) {
			return refuse(fmt.Errorf("kill tasks that are no longer confined: some are still running after %v: %s", killTimeout, listTasks(tasks)))
		}
		time.Sleep(time.Millisecond)
		var err error
		if tasks, err = c.described(sight{match: unconfined}); err != nil {
			return err
		}
	}
}
