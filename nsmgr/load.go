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

// LoadError says why the kernel refused policy. The namespace is as it was.
type LoadError struct {
	Namespace Name
	Verb      string // "load", "remove"
	Profile   string // the one that the kernel named; "" where it named none
	Origin    string // the file it came from
	Info      string // the kernel's own words, from its log
	Err       error  // the errno
	Cause     string // what it means
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
		fmt.Fprintf(&b, " (the kernel says: %s)", e.Info)
	}
	if e.Cause != "" {
		fmt.Fprintf(&b, ": %s", e.Cause)
	}
	return b.String()
}

func (e *LoadError) Unwrap() error { return e.Err }

// causes are what the kernel means by its errors on policy.
var causes = map[syscall.Errno]string{
	syscall.EPROTO:          "it was compiled for another ABI than this kernel's, or is damaged",
	syscall.EPROTONOSUPPORT: "this is no compiled policy, or of a version that this kernel does not know",
	syscall.ENOENT:          "it is not there",
	syscall.EEXIST:          "it is loaded already",
	syscall.ENOMEM:          "the kernel is out of memory, or of the memory that it allows for policy",
	syscall.ENOSPC:          "the kernel allows no more of it",
	syscall.EBADMSG:         "it is damaged",
	syscall.EINVAL:          "it is damaged, or not policy",
}

// LoadOptions say how policy is to be loaded.
type LoadOptions struct {
	// ReplaceAll makes the policy all that the namespace has: profiles that
	// are not in it are removed.
	ReplaceAll bool
}

// Load puts the policy into the namespace: new profiles are added, those of
// the same name are replaced, for running tasks too. It is one write, which
// the kernel takes whole or not at all.
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
		return exit.BadInput(err)
	}
	if !v.Exists(ns) {
		return missing(ns)
	}
	for _, u := range units {
		// The kernel would make that namespace below this one.
		if u.Namespace != "" || strings.HasPrefix(u.Name, ":") {
			return exit.BadInputf("profile %q of %s names the namespace %q itself: leave that to nsmgr", u.Name, origin[u.Name], u.Namespace)
		}
	}
	if !o.ReplaceAll {
		return v.replace(ns, p, origin)
	}
	before, err := v.snapshot(ns)
	if err != nil {
		return err
	}
	if len(p) > 0 {
		if err := v.replace(ns, p, origin); err != nil {
			return err
		}
	}
	wanted := map[string]bool{}
	for _, u := range units {
		wanted[top(u.Name)] = true
	}
	had := map[string]bool{}
	for _, name := range before.tops() {
		had[name] = true
		if wanted[name] {
			continue
		}
		if err := v.remove(ns, name); err != nil {
			added := slices.DeleteFunc(units, func(u Unit) bool { return had[u.Name] })
			return errors.Join(err, v.restore(ns, before, added))
		}
	}
	return nil
}

// restore brings back a snapshot after a change of several steps failed.
func (v *View) restore(ns Name, before Policy, added []Unit) error {
	if err := v.replace(ns, before, nil); err != nil {
		return fmt.Errorf("bring back the policy that was there: %w", err)
	}
	for _, u := range added {
		if err := v.remove(ns, u.Name); err != nil && !errors.Is(err, syscall.ENOENT) {
			return fmt.Errorf("bring back the policy that was there: %w", err)
		}
	}
	return nil
}

// Unload removes profiles, with their hats. All must be there. Tasks that they
// confine alone become unconfined within the namespace.
func (v *View) Unload(ctx context.Context, ns Name, profiles ...string) error {
	unlock, err := v.lock(ctx, ns)
	if err != nil {
		return err
	}
	defer unlock()
	there, err := v.Profiles(ns)
	if err != nil {
		return err
	}
	for _, name := range profiles {
		if !slices.ContainsFunc(there, func(p Profile) bool { return p.Name == name }) {
			return exit.BadInput(fmt.Errorf("%w profile %q in namespace %q", ErrNotExist, name, ns))
		}
	}
	before, err := v.snapshot(ns)
	if err != nil {
		return err
	}
	for _, name := range profiles {
		if err := v.remove(ns, name); err != nil {
			return errors.Join(err, v.restore(ns, before, nil))
		}
	}
	return nil
}

// replace is the one write that policy is loaded with.
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

// command writes to one of a namespace's files, in one write, and says what
// the kernel had against it.
func (v *View) command(ns Name, verb, file string, data []byte, origin map[string]string) error {
	// Of a removal, the log says no more than the error does.
	logErr := error(unix.ENOENT)
	var log *kernelLog
	if verb != "remove" {
		if log, logErr = openKmsg(true); logErr == nil {
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
	if errno == syscall.EACCES || errno == syscall.EPERM {
		e.Cause = "not policy admin: " + v.whyNotAdmin()
		return exit.BadInput(e)
	}
	return refuse(e)
}

// logPatience is how long the record of a refusal may take to the kernel log:
// the kernel's audit thread writes it when it comes to it. Where auditd runs,
// or records come too fast for the log, there is none.
const logPatience = 300 * time.Millisecond

// fromLog takes the profile and the reason from what the kernel logs.
func (e *LoadError) fromLog(log *kernelLog, origin map[string]string) {
	for end := time.Now().Add(logPatience); ; {
		if i := slices.IndexFunc(log.pending(), func(r Record) bool { return e.explainedBy(r, origin) }); i >= 0 {
			return
		}
		left := time.Until(end)
		if left <= 0 {
			return
		}
		fds := []unix.PollFd{{Fd: int32(log.fd), Events: unix.POLLIN}}
		_, _ = unix.Poll(fds, int(left.Milliseconds())+1)
	}
}

// explainedBy takes the reason from the record, if it is of this refusal. Of
// an atomic set, the kernel names the profile at fault and calls the others
// "unchecked" or "valid".
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

// MayAdminister says why this process may not change policy, as far as can be
// told without trying; nil is no promise.
func (v *View) MayAdminister() error {
	writable := unix.Access(filepath.Join(v.dir, "policy", ".replace"), unix.W_OK) == nil
	if writable && hasCapability(capMacAdmin) && !v.locked() {
		return nil
	}
	return exit.BadInputf("not policy admin: %s", v.whyNotAdmin())
}

// locked says whether policy can no longer be changed until the next boot.
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
		return "it takes root, or CAP_MAC_ADMIN"
	}
	levels := userNamespaceLevel(filepath.Join(v.proc, "self", "uid_map"))
	if levels == 0 {
		return "the policy that confines this process does not let it"
	}
	// The kernel lets only policy admins read the setting (lsm.c
	// apparmor_dointvec), so where it is 0 it is not to be seen.
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

// hasCapability says whether this thread has the capability in effect, or that
// cannot be told.
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

// snapshot is the policy of the namespace as it was loaded, profile by
// profile.
func (v *View) snapshot(ns Name) (Policy, error) {
	profiles, err := v.loaded(ns)
	if err != nil {
		return nil, err
	}
	return v.policyOf(ns, profiles)
}

// policyOf is the policy that the profiles of the namespace came from.
func (v *View) policyOf(ns Name, profiles []Profile) (Policy, error) {
	loads := map[int][]Unit{}
	var p Policy
	for _, pr := range profiles {
		if pr.Raw < 0 {
			return nil, refuse(fmt.Errorf("the kernel keeps no text of profile %q of namespace %q (apparmor.export_binary)", pr.Name, ns))
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
			return nil, fmt.Errorf("load %d of namespace %q has no profile %q, and should", pr.Raw, ns, pr.Name)
		}
	}
	return p, nil
}

// tops are the profiles of a snapshot that are no hats.
func (p Policy) tops() []string {
	var names []string
	for _, b := range p {
		if top(b.Origin) == b.Origin {
			names = append(names, b.Origin)
		}
	}
	return names
}

// Save is the policy of the namespace as it was loaded: loading it with
// ReplaceAll, into this namespace or another, on a kernel with the same
// features, makes it the same. A Blob's Origin is its profile's name.
func (v *View) Save(ctx context.Context, ns Name) (Policy, error) {
	unlock, err := v.lock(ctx, ns)
	if err != nil {
		return nil, err
	}
	defer unlock()
	return v.snapshot(ns)
}
