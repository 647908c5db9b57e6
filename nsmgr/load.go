// SPDX-License-Identifier: Apache-2.0

package nsmgr

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"proofhouse/internal/exit"
)

// LoadError is the error of policy that the kernel refused. The namespace is
// unchanged.
type LoadError struct {
	Namespace Name
	Verb      string // "load", "remove"
	Profile   string // the one that the kernel named; "" where it named none
	Origin    string // the file it came from
	Info      string // the kernel's message, from its log
	Err       error  // the errno
	Cause     string // what the errno means
}

func (e *LoadError) Error() string {
	var b strings.Builder
	b.WriteString(e.Verb)
	if e.Profile != "" {
		fmt.Fprintf(&b, " profile %q", e.Profile)
	} else {
		b.WriteString(" policy")
	}
	if e.Origin != "" {
		fmt.Fprintf(&b, " of %s", e.Origin)
	}
	where := " into"
	if e.Verb == "remove" {
		where = " from"
	}
	name := "this namespace"
	if e.Namespace != "" {
		name = ":" + string(e.Namespace) + ":"
	}
	fmt.Fprintf(&b, "%s %s: %v", where, name, e.Err)
	if e.Info != "" {
		fmt.Fprintf(&b, " (kernel: %s)", e.Info)
	}
	if e.Cause != "" {
		fmt.Fprintf(&b, ": %s", e.Cause)
	}
	return b.String()
}

func (e *LoadError) Unwrap() error { return e.Err }

// causes explain the errors with which the kernel refuses policy.
var causes = map[syscall.Errno]string{
	syscall.EPROTO:          "it was compiled for another ABI than this kernel's, or is damaged",
	syscall.EPROTONOSUPPORT: "it is not compiled policy, or of a version that this kernel does not support",
	syscall.ENOENT:          "not found",
	syscall.EEXIST:          "already loaded",
	syscall.ENOMEM:          "the kernel is out of memory, or the limit of memory for policy is reached",
	syscall.ENOSPC:          "a limit of the kernel is reached",
	syscall.EBADMSG:         "it is damaged",
	syscall.EINVAL:          "it is damaged, or not policy",
}

// Removal are the options of a removal of profiles that confine tasks.
type Removal struct {
	// Force removes profiles also where a task is confined by them alone. That
	// task becomes unconfined within the namespace.
	Force bool
	// Confirm is told, with Force, which tasks become unconfined; an error ends
	// the change with that error before anything is changed. It may be nil.
	Confirm func(unconfined []Task) error
	// Note is told of what does not stop the change: that it cannot be undone,
	// or with Force that not all tasks can be seen. It may be nil.
	Note func(error)
}

func (r Removal) note(err error) {
	if r.Note != nil {
		r.Note(err)
	}
}

// LoadOptions are the options of [View.Load].
type LoadOptions struct {
	// ReplaceAll removes the profiles of the namespace that are not in the
	// policy, as the Removal allows.
	ReplaceAll bool
	Removal
}

// Load loads the policy into the namespace: new profiles are added, profiles of
// the same name are replaced, for running tasks too. It is one write: the kernel
// loads all of it or nothing. With ReplaceAll it fails with an
// [InUseError], before anything is changed, where a task would become
// unconfined, and with a [HiddenTasksError] where that cannot be known.
func (v *View) Load(ctx context.Context, ns Name, p Policy, o LoadOptions) error {
	unlock, err := v.lock(ctx, ns)
	if err != nil {
		return err
	}
	defer unlock()
	return v.load(ns, p, o)
}

func (v *View) load(ns Name, p Policy, o LoadOptions) error {
	units, origin, err := p.units()
	if err != nil {
		return exit.BadInputf("load policy into namespace %q: %w", ns, err)
	}
	if !v.Exists(ns) {
		return missing(ns)
	}
	for _, u := range units {
		// The kernel would create that namespace below this one.
		if other := u.foreign(); other != "" {
			return exit.BadInputf("load policy into namespace %q: profile %q of %s must not name a namespace, and names %q: remove it from the policy (or compile without -n)", ns, u.Name, origin[u.Name], other)
		}
		if n := strings.Count(u.Name, Separator); n > maxChildren {
			return exit.BadInputf("load policy into namespace %q: profile %q of %s is nested %d levels deep: the limit is %d", ns, shorten(u.Name), origin[u.Name], n, maxChildren)
		}
	}
	if !o.ReplaceAll {
		return v.replace(ns, p, origin)
	}
	there, err := v.loaded(ns)
	if err != nil {
		return err
	}
	before, err := v.undoable(ns, there, o.Removal)
	if err != nil {
		return err
	}
	surplus := superfluous(there, units)
	w, err := v.watchRemoval(ns, surplus, o.Removal)
	if err != nil {
		return err
	}
	defer w.close()
	if err := v.replace(ns, p, origin); err != nil {
		return err
	}
	added := slices.DeleteFunc(units, func(u Unit) bool { return hasProfile(there, u.Name) })
	if err := w.remove(); err != nil {
		return errors.Join(err, v.restore(ns, before, added))
	}
	return nil
}

// maxChildren is how deep children of profiles may nest. Each level is a
// directory in securityfs, whose path would become too long, and kernels have
// removed them recursively (CVE-2026-23404).
const maxChildren = 200

// shorten shortens a name for a message.
func shorten(s string) string {
	const most = 60
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// superfluous returns the profiles to be removed so that only the wanted ones
// stay. Children go with their parents; a parent of a wanted one stays, as the
// kernel creates one if it is missing.
func superfluous(there []Profile, wanted []Unit) (names []string) {
	for _, p := range there {
		within := func(outer string) bool { return covers(outer, p.Name) }
		if !slices.ContainsFunc(wanted, func(u Unit) bool { return covers(p.Name, u.Name) || u.contains(p.Name) }) && !slices.ContainsFunc(names, within) {
			names = append(names, p.Name)
		}
	}
	return names
}

// contains reports whether the unit contains the profile besides its own: a parser
// may write children into the unit of their parent.
func (u Unit) contains(profile string) bool {
	return slices.Contains(u.inner, profile)
}

// covers reports whether profile is outer or one of its children.
func covers(outer, profile string) bool {
	return profile == outer || strings.HasPrefix(profile, outer+Separator)
}

// undoable returns the policy to load again if the change fails. It is nil where
// the kernel does not keep loaded policy.
func (v *View) undoable(ns Name, profiles []Profile, r Removal) (Policy, error) {
	before, err := v.policyOf(ns, profiles)
	if errors.Is(err, ErrNotKept) {
		r.note(fmt.Errorf("a change of namespace %q that fails cannot be undone: %w", ns, err))
		return nil, nil
	}
	if before == nil {
		before = Policy{} // it has no profiles
	}
	return before, err
}

// restore loads the previous policy again after a change of several steps failed.
func (v *View) restore(ns Name, before Policy, added []Unit) error {
	if before == nil {
		return fmt.Errorf("restore the previous policy of namespace %q: %w", ns, ErrNotKept)
	}
	if err := v.replace(ns, before, nil); err != nil {
		return fmt.Errorf("restore the previous policy: %w", err)
	}
	for _, u := range added {
		w, err := v.watchRemoval(ns, []string{u.Name}, Removal{})
		if err == nil {
			err = w.remove()
			w.close()
		}
		if err != nil {
			return fmt.Errorf("restore the previous policy: %w", err)
		}
	}
	return nil
}

// Unload removes profiles, with their children. All must exist. It fails with
// an [InUseError], before anything is changed, where a task would become
// unconfined within the namespace, and with a [HiddenTasksError] where that
// cannot be known. A task that is stacked on a profile elsewhere keeps the
// removed policy.
func (v *View) Unload(ctx context.Context, ns Name, r Removal, profiles ...string) error {
	unlock, err := v.lock(ctx, ns)
	if err != nil {
		return err
	}
	defer unlock()
	there, err := v.loaded(ns)
	if err != nil {
		return err
	}
	for _, name := range profiles {
		if !slices.ContainsFunc(there, func(p Profile) bool { return p.Name == name }) {
			return exit.BadInput(fmt.Errorf("%w profile %q in namespace %q", ErrNotExist, name, ns))
		}
	}
	// Only what is removed has to be restored: the kernel may not keep the
	// policy of the others.
	there = slices.DeleteFunc(there, func(p Profile) bool {
		return !slices.ContainsFunc(profiles, func(name string) bool { return covers(name, p.Name) })
	})
	before, err := v.undoable(ns, there, r)
	if err != nil {
		return err
	}
	w, err := v.watchRemoval(ns, profiles, r)
	if err != nil {
		return err
	}
	defer w.close()
	if err := w.remove(); err != nil {
		return errors.Join(err, v.restore(ns, before, nil))
	}
	return nil
}

// removalWatch makes sure that the removal of profiles leaves no task
// unconfined. The kernel gives each task that only a removed profile confines the
// unconfined profile of the namespace.
type removalWatch struct {
	c        *census
	ns       Name
	profiles []string
	forced   bool
	// unconfined are the processes that were unconfined in the namespace before.
	unconfined map[int]bool
}

// watchRemoval fails if a live task is confined by the profiles alone, or if that
// cannot be known.
func (v *View) watchRemoval(ns Name, profiles []string, r Removal) (*removalWatch, error) {
	w := &removalWatch{v.census(), ns, profiles, r.Force, map[int]bool{}}
	if len(profiles) == 0 {
		return w, nil
	}
	err := w.check(r)
	if err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

func (w *removalWatch) close() { w.c.close() }

func (w *removalWatch) check(r Removal) error {
	tasks, err := w.c.described(sight{own: w.ns == "", match: func(l Label) bool { return w.loses(l) || w.free(l) }})
	if err != nil {
		return err
	}
	tasks = slices.DeleteFunc(tasks, func(t Task) bool {
		free := w.free(t.Label)
		if free {
			w.unconfined[t.PID] = true
		}
		return free
	})
	if hidden := w.c.complete(); hidden != nil {
		if !r.Force {
			return fmt.Errorf("remove profile %s from namespace %q: %w", quoteAll(w.profiles), w.ns, hidden)
		}
		r.note(hidden)
	}
	switch {
	case len(tasks) == 0:
		return nil
	case !r.Force:
		return refuse(&InUseError{Namespace: w.ns, Profiles: w.profiles, Tasks: tasks})
	case r.Confirm != nil:
		return r.Confirm(tasks)
	}
	return nil
}

// remove removes the profiles and kills the tasks that lost their confinement by
// it. The error is an [InUseError] if there were such tasks.
func (w *removalWatch) remove() error {
	for _, name := range w.profiles {
		// A child is removed with its parent.
		if err := w.c.v.remove(w.ns, name); err != nil && !errors.Is(err, syscall.ENOENT) {
			return errors.Join(err, w.late())
		}
	}
	return w.late()
}

// late looks again after the removal: a task that entered meanwhile has lost its
// confinement and is killed. In the view's own namespace such a task cannot be
// distinguished from others.
func (w *removalWatch) late() error {
	if len(w.profiles) == 0 || w.forced || w.ns == "" {
		return nil
	}
	tasks, err := w.c.described(sight{match: w.free})
	if err != nil {
		return err
	}
	hidden := w.c.complete()
	tasks = slices.DeleteFunc(tasks, w.wasFree)
	var late error
	if len(tasks) > 0 {
		late = refuse(&InUseError{Namespace: w.ns, Profiles: w.profiles, Tasks: slices.Clone(tasks), Late: true})
		late = errors.Join(late, w.c.v.killUnconfined(w.c, tasks, w.free, w.wasFree))
	}
	if hidden != nil {
		late = errors.Join(late, fmt.Errorf("check the tasks of namespace %q after the removal of profile %s: %w", w.ns, quoteAll(w.profiles), hidden))
	}
	return late
}

// wasFree reports whether the task's process, or its parent, was unconfined in the
// namespace before the removal.
func (w *removalWatch) wasFree(t Task) bool {
	if !w.unconfined[t.PID] && w.unconfined[w.c.v.statusNumber(t.PID, "PPid:")] {
		w.unconfined[t.PID] = true
	}
	return w.unconfined[t.PID]
}

// loses reports whether the label confines by profiles that are removed, and by
// nothing else. A stack that reaches out of the namespace stays in force, even
// one on the unconfined profile.
func (w *removalWatch) loses(l Label) bool {
	removed := func(profile string) bool {
		return slices.ContainsFunc(w.profiles, func(name string) bool { return covers(name, profile) })
	}
	some := false
	for i, p := range l.Parts {
		switch {
		case p.Namespace != w.ns:
			return false
		case removed(p.Profile):
			some = true
		case p.Profile == Unconfined:
		default:
			// It may be one name with those that follow, which has the stack's
			// separator in it.
			joined := p.Profile
			for _, q := range l.Parts[i+1:] {
				joined += stackSeparator + q.Profile
			}
			return removed(joined)
		}
	}
	return some
}

// free reports whether the label is the namespace's unconfined profile alone.
func (w *removalWatch) free(l Label) bool {
	return w.ns != "" && len(l.Parts) == 1 && l.Parts[0] == Part{w.ns, Unconfined}
}

// replace loads the policy in one write.
func (v *View) replace(ns Name, p Policy, origin map[string]string) error {
	var all bytes.Buffer
	for _, b := range p {
		all.Write(b.Data)
	}
	if all.Len() == 0 {
		return nil
	}
	return v.command(ns, "load", ".replace", all.Bytes(), origin)
}

func (v *View) remove(ns Name, profile string) error {
	return v.command(ns, "remove", ".remove", []byte(profile), map[string]string{profile: ""})
}

// command writes to a file of the namespace, in one write. If the kernel refuses,
// the error is a [LoadError].
func (v *View) command(ns Name, verb, file string, data []byte, origin map[string]string) error {
	// The log has no reason for a refused removal.
	logErr := error(unix.ENOENT)
	var log *kernelLog
	if verb != "remove" {
		if log, logErr = openKernelLog(hostLogs.kmsg, true); logErr == nil {
			defer log.Close()
		}
	}
	err := writeOnce(filepath.Join(v.path(ns), file), data)
	if err == nil {
		return nil
	}
	e := &LoadError{Namespace: ns, Verb: verb, Err: err}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		e.Err, e.Cause = errno, causes[errno]
	}
	if len(origin) == 1 {
		for name, from := range origin {
			e.Profile, e.Origin = name, from
		}
	}
	if logErr == nil {
		e.fromLog(log, origin)
	}
	if i := strings.LastIndex(e.Profile, Separator); i > 0 && verb == "load" && errno == syscall.ENOENT {
		e.Cause = fmt.Sprintf("it is a child of profile %q, which is not loaded: load both together", shorten(e.Profile[:i]))
	}
	if errno == syscall.EACCES || errno == syscall.EPERM {
		e.Cause = "not policy admin: " + v.whyNotAdmin()
		return exit.BadInput(e)
	}
	return refuse(e)
}

// logTimeout is how long to wait for the record of a refusal in the kernel log,
// which the kernel's audit thread writes. If auditd is running, or the rate limit
// of the log is reached, there is no record.
const logTimeout = 300 * time.Millisecond

// fromLog sets the profile and the reason from the kernel log.
func (e *LoadError) fromLog(log *kernelLog, origin map[string]string) {
	for end := time.Now().Add(logTimeout); ; {
		if i := slices.IndexFunc(log.pending(now()), func(r Record) bool { return e.explainedBy(r, origin) }); i >= 0 {
			return
		}
		left := time.Until(end)
		if left <= 0 {
			return
		}
		log.Wait(left)
	}
}

// explainedBy sets the profile and the reason from the record, and reports whether
// the record is of this refusal. For an atomic set, the kernel names the profile
// that failed and calls the others "unchecked" or "valid".
func (e *LoadError) explainedBy(r Record, origin map[string]string) bool {
	if r.Kind != "STATUS" || r.Error == 0 || r.PID != os.Getpid() && r.PID != unix.Gettid() {
		return false
	}
	if strings.HasPrefix(r.Info, "unchecked") || strings.HasPrefix(r.Info, "valid profile in failed") {
		return false
	}
	e.Info = r.Info
	if r.Name != "" {
		e.Profile, e.Origin = r.Name, origin[r.Name]
	}
	return true
}

// MayAdminister returns the reason why this process may not change policy
// ([ErrNotAdmin]), as far as can be told without trying; nil is no promise.
func (v *View) MayAdminister() error {
	writable := unix.Access(filepath.Join(v.dir, "policy", ".replace"), unix.W_OK) == nil
	if writable && hasCapability(capMacAdmin) && !v.locked() {
		return nil
	}
	return exit.BadInputf("%w: %s", ErrNotAdmin, v.whyNotAdmin())
}

// locked reports whether policy can no longer be changed until the next boot.
func (v *View) locked() bool {
	b, err := readSmall(filepath.Join(v.parameters, "lock_policy"))
	return err == nil && strings.TrimSpace(string(b)) == "Y"
}

// capMacAdmin is CAP_MAC_ADMIN, the capability of policy administration.
const capMacAdmin = 33

// whyNotAdmin finds what keeps this process from administering policy
// (security/apparmor/policy.c aa_may_manage_policy).
func (v *View) whyNotAdmin() string {
	if v.locked() {
		return "policy is locked until the next boot (apparmor.lock_policy)"
	}
	if !hasCapability(capMacAdmin) {
		return "root or CAP_MAC_ADMIN is required"
	}
	levels := userNamespaceLevel(filepath.Join(v.proc, "self", "uid_map"))
	if levels == 0 {
		return "the policy that confines this process denies it"
	}
	// The kernel lets only policy admins read the setting (lsm.c
	// apparmor_dointvec), so where it is 0 this process cannot read it.
	const setting = "kernel.unprivileged_userns_apparmor_policy"
	b, err := os.ReadFile(filepath.Join(v.proc, "sys", "kernel", "unprivileged_userns_apparmor_policy"))
	switch {
	case err != nil:
		return "this process is in a user namespace, and either " + setting + " is 0, or its policy namespace is not as many levels deep as that"
	case strings.TrimSpace(string(b)) != "1":
		return "this process is in a user namespace, and " + setting + " is 0"
	}
	return "this process is in a user namespace, and its policy namespace is not as many levels deep as that"
}

// hasCapability reports whether this thread has the capability in its effective
// set. It returns true if that is unknown.
func hasCapability(number uint) bool {
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if unix.Capget(&head, &sets[0]) != nil {
		return true
	}
	return sets[number/32].Effective>>(number%32)&1 == 1
}

// userNamespaceLevel is 0 in the first user namespace, else at least 1.
func userNamespaceLevel(uidMap string) int {
	b, err := os.ReadFile(uidMap)
	if err != nil || strings.Join(strings.Fields(string(b)), " ") == "0 0 4294967295" {
		return 0
	}
	return 1
}

// snapshot returns the policy of the namespace as it was loaded, profile by
// profile.
func (v *View) snapshot(ns Name) (Policy, error) {
	profiles, err := v.loaded(ns)
	if err != nil {
		return nil, err
	}
	return v.policyOf(ns, profiles)
}

// ErrNotKept is the error of policy that is loaded and cannot be read back.
var ErrNotKept = errors.New("the kernel does not keep loaded policy (kernel parameter apparmor.export_binary, or CONFIG_SECURITY_APPARMOR_EXPORT_BINARY)")

// policyOf returns the policy that the profiles of the namespace were loaded from.
// The error is [ErrNotKept] if the kernel does not keep it.
func (v *View) policyOf(ns Name, profiles []Profile) (Policy, error) {
	loads := map[int][]Unit{}
	var p Policy
	for _, pr := range profiles {
		if pr.Raw < 0 {
			// The kernel creates a parent without policy for a child that is
			// loaded before it.
			if slices.ContainsFunc(profiles, func(q Profile) bool { return q.Raw >= 0 && q.Name != pr.Name && covers(pr.Name, q.Name) }) {
				continue
			}
			return nil, refuse(fmt.Errorf("profile %q of namespace %q: %w", pr.Name, ns, ErrNotKept))
		}
		if _, read := loads[pr.Raw]; !read {
			data, err := v.RawData(ns, pr.Raw)
			if err != nil {
				return nil, err
			}
			if loads[pr.Raw], err = Units(data); err != nil {
				return nil, fmt.Errorf("load %d of namespace %q: %w", pr.Raw, ns, err)
			}
		}
		i := slices.IndexFunc(loads[pr.Raw], func(u Unit) bool { return u.Name == pr.Name })
		if i >= 0 {
			p = append(p, Blob{pr.Name, loads[pr.Raw][i].bare()})
		} else if top(pr.Name) == pr.Name {
			return nil, fmt.Errorf("load %d of namespace %q does not have profile %q", pr.Raw, ns, pr.Name)
		}
	}
	return p, nil
}

// Save returns the policy of the namespace as it was loaded. [View.Load] with
// ReplaceAll gives this namespace, or another one on a kernel with the same
// features, the same policy again. The Origin of a Blob is the name of its profile.
func (v *View) Save(ctx context.Context, ns Name) (Policy, error) {
	unlock, err := v.lock(ctx, ns)
	if err != nil {
		return nil, err
	}
	defer unlock()
	return v.snapshot(ns)
}
