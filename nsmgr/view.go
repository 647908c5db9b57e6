// SPDX-License-Identifier: Apache-2.0

package nsmgr

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"proofhouse/internal/exit"
)

// The kernel's interface, and the directory of this package's records, which, like
// the namespaces, are gone after the next boot.
const (
	securityfs = "/sys/kernel/security"
	parameters = "/sys/module/apparmor/parameters"
	procfs     = "/proc"
	stateDir   = "/run/nsmgr"
)

// View is the AppArmor policy that this process sees: its own namespace and
// those below.
type View struct {
	dir        string // securityfs/apparmor
	parameters string
	proc       string
	state      string
}

// Open finds the kernel's interface. The error has the reason why it cannot be
// used.
func Open() (*View, error) {
	v := &View{filepath.Join(securityfs, "apparmor"), parameters, procfs, stateDir}
	if err := v.check(); err != nil {
		return nil, &kindError{err, ErrUnavailable}
	}
	return v, nil
}

func (v *View) check() error {
	if _, err := os.Stat(filepath.Join(v.dir, "policy", "namespaces")); err == nil {
		return nil
	} else if _, err := os.Stat(v.dir); err == nil {
		return exit.BadInputf("%s/policy has no namespaces: AppArmor of this kernel is older than 4.11", v.dir)
	}
	switch enabled, err := os.ReadFile(filepath.Join(v.parameters, "enabled")); {
	case errors.Is(err, fs.ErrNotExist):
		return exit.BadInputf("this kernel has no AppArmor")
	case err == nil && strings.TrimSpace(string(enabled)) != "Y":
		return exit.BadInputf("AppArmor is built into this kernel and disabled: boot with apparmor=1 security=apparmor")
	}
	return exit.BadInputf("%s is not mounted: mount -t securityfs securityfs %[1]s", securityfs)
}

// path returns the directory of the namespace in securityfs.
func (v *View) path(ns Name) string {
	p := filepath.Join(v.dir, "policy")
	for _, part := range ns.Parts() {
		p = filepath.Join(p, "namespaces", part)
	}
	return p
}

// Self is the namespace that this process is in.
type Self struct {
	Name    string `json:"name"`    // as seen from inside
	Level   int    `json:"level"`   // how many namespaces are above it
	Stacked bool   `json:"stacked"` // whether this process is confined by a stack
	// NSStacked is true if the stack crosses namespaces. Guests of LXC read
	// that before they load policy of their own.
	NSStacked bool `json:"ns_stacked"`
}

// Self reads the namespace of this process from the kernel.
func (v *View) Self() (Self, error) {
	var s Self
	var err error
	if s.Name, err = v.word(".ns_name"); err != nil {
		return s, err
	}
	if s.Level, err = v.level(); err != nil {
		return s, err
	}
	stacked, err := v.word(".stacked")
	if err != nil {
		return s, err
	}
	nsStacked, err := v.word(".ns_stacked")
	s.Stacked, s.NSStacked = stacked == "yes", nsStacked == "yes"
	return s, err
}

// level returns how many namespaces are above the view's own.
func (v *View) level() (int, error) {
	word, err := v.word(".ns_level")
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(word)
	if err != nil {
		return 0, fmt.Errorf("read %s/.ns_level: %w", v.dir, err)
	}
	return n, nil
}

func (v *View) word(file string) (string, error) {
	b, err := readSmall(v.dir + "/" + file)
	return strings.TrimSpace(string(b)), err
}

// ErrNotExist is the error of a namespace or profile that does not exist.
var ErrNotExist = errors.New("no such")

// missing returns the error of a namespace that does not exist.
func missing(ns Name) error {
	return exit.BadInput(fmt.Errorf("%w namespace %q", ErrNotExist, ns))
}

// Exists reports whether the namespace exists.
func (v *View) Exists(ns Name) bool {
	_, err := os.Stat(v.path(ns))
	return err == nil
}

// Children returns the namespaces directly below ns, sorted.
func (v *View) Children(ns Name) ([]Name, error) {
	list, err := entries(v.path(ns) + "/namespaces")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, missing(ns)
	}
	if err != nil {
		return nil, fmt.Errorf("list the namespaces below %q: %w", ns, err)
	}
	names := make([]Name, len(list))
	for i, name := range list {
		names[i] = ns.Child(name)
	}
	return names, nil
}

// Below returns all namespaces below ns, each before its own children.
func (v *View) Below(ns Name) ([]Name, error) {
	children, err := v.Children(ns)
	if err != nil {
		return nil, err
	}
	var all []Name
	for _, c := range children {
		deeper, err := v.Below(c)
		if errors.Is(err, ErrNotExist) {
			continue // removed since it was listed
		}
		if err != nil {
			return nil, err
		}
		all = append(append(all, c), deeper...)
	}
	return all, nil
}

// Profile is one loaded profile.
type Profile struct {
	Name   string `json:"name"`             // a hat's is "p//hat"
	Mode   string `json:"mode"`             // enforce, complain, kill, unconfined, user
	Attach string `json:"attach,omitempty"` // the programs it attaches to; "<unknown>" where the kernel does not keep it
	Hash   string `json:"hash,omitempty"`   // "sha256:…" of the policy as it was loaded; sha1 up to 6.2
	// Raw is the number of the load that loaded the profile, in the namespace's
	// raw_data; -1 where the kernel does not keep it.
	Raw int `json:"raw"`
}

// Profiles reads the profiles of the namespace, hats included, sorted by name.
func (v *View) Profiles(ns Name) ([]Profile, error) {
	return v.profilesBy(ns, readProfile)
}

// loaded is Profiles with only the name and the load of each.
func (v *View) loaded(ns Name) ([]Profile, error) {
	return v.profilesBy(ns, readLoaded)
}

func (v *View) profilesBy(ns Name, read func(dir string) (Profile, error)) ([]Profile, error) {
	var all []Profile
	if err := readProfiles(v.path(ns)+"/profiles", "", read, &all); errors.Is(err, fs.ErrNotExist) {
		return nil, missing(ns)
	} else if err != nil {
		return nil, fmt.Errorf("read the profiles of namespace %q: %w", ns, err)
	}
	slices.SortFunc(all, func(a, b Profile) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}

func readProfiles(dir, prefix string, read func(dir string) (Profile, error), all *[]Profile) error {
	list, err := entries(dir)
	if err != nil {
		return err
	}
	for _, name := range list {
		at := dir + "/" + name
		p, err := read(at)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed or replaced since it was listed
		}
		if err != nil {
			return err
		}
		p.Name = prefix + p.Name
		*all = append(*all, p)
		if err := readProfiles(at+"/profiles", p.Name+Separator, read, all); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func readLoaded(dir string) (Profile, error) {
	p := Profile{Raw: -1}
	b, err := readSmall(dir + "/name")
	if err != nil {
		return p, err
	}
	p.Name = strings.TrimSuffix(string(b), "\n")
	// The link points to raw_data/N/raw_data.
	if to, err := os.Readlink(dir + "/raw_data"); err == nil {
		if n, err := strconv.Atoi(filepath.Base(filepath.Dir(to))); err == nil {
			p.Raw = n
		}
	}
	return p, nil
}

func readProfile(dir string) (Profile, error) {
	p, err := readLoaded(dir)
	if err != nil {
		return p, err
	}
	for file, into := range map[string]*string{"mode": &p.Mode, "attach": &p.Attach} {
		b, err := readSmall(dir + "/" + file)
		if err != nil {
			return p, err
		}
		*into = strings.TrimSuffix(string(b), "\n")
	}
	for _, hash := range []string{"sha256", "sha1"} {
		if b, err := readSmall(dir + "/" + hash); err == nil {
			p.Hash = hash + ":" + strings.TrimSpace(string(b))
			break
		}
	}
	return p, nil
}

// HasProfile reports whether the namespace has a profile of that name, which is
// not a child. It does not read all profiles.
func (v *View) HasProfile(ns Name, profile string) (bool, error) {
	dir := filepath.Join(v.path(ns), "profiles")
	list, err := entries(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, missing(ns)
	}
	if err != nil {
		return false, fmt.Errorf("list the profiles of namespace %q: %w", ns, err)
	}
	for _, entry := range list {
		// The directory is named after the profile, changed where a file name
		// cannot be the same, and has a number.
		if !strings.HasPrefix(profile, "/") && !strings.HasPrefix(entry, profile[:min(1, len(profile))]) {
			continue
		}
		if b, err := readSmall(dir + "/" + entry + "/name"); err == nil && strings.TrimSuffix(string(b), "\n") == profile {
			return true, nil
		}
	}
	return false, nil
}

// RawData returns the policy of one load, as it was written to the kernel.
func (v *View) RawData(ns Name, raw int) ([]byte, error) {
	b, err := readWhole(v.path(ns) + "/raw_data/" + strconv.Itoa(raw) + "/raw_data")
	if err != nil {
		return nil, fmt.Errorf("read the policy of namespace %q: %w", ns, err)
	}
	return b, nil
}

// Revision returns the number of changes to the namespace's policy.
func (v *View) Revision(ns Name) (int, error) {
	fd, err := v.openRevision(ns)
	if err != nil {
		return 0, err
	}
	defer func() { _ = syscall.Close(fd) }()
	return readRevision(fd)
}

func (v *View) openRevision(ns Name) (int, error) {
	fd, err := syscall.Open(filepath.Join(v.path(ns), "revision"), syscall.O_RDONLY|syscall.O_CLOEXEC|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ENOENT) {
		return -1, missing(ns)
	}
	if err != nil {
		return -1, fmt.Errorf("open the revision of namespace %q: %w", ns, err)
	}
	return fd, nil
}

// readRevision reads once: a second read of the same open file blocks until the
// next change.
func readRevision(fd int) (int, error) {
	var b [32]byte
	n, err := syscall.Read(fd, b[:])
	if errors.Is(err, syscall.EAGAIN) {
		return 0, nil // nothing has changed since the namespace was created
	}
	if err != nil {
		return 0, fmt.Errorf("read a namespace's revision: %w", err)
	}
	rev, err := strconv.Atoi(strings.TrimSpace(string(b[:max(n, 0)])))
	if err != nil {
		return 0, fmt.Errorf("read a namespace's revision: %w", err)
	}
	return rev, nil
}

// Listed is a namespace in the result of [View.List].
type Listed struct {
	Name     Name `json:"name"`
	Level    int  `json:"level"` // below the view's own
	Profiles int  `json:"profiles"`
	Tasks    int  `json:"tasks"` // with a part in this very namespace
	Mine     bool `json:"made_by_nsmgr"`
}

// List reads all namespaces below the view's own, each before its children.
func (v *View) List() ([]Listed, error) {
	names, err := v.Below("")
	if err != nil {
		return nil, err
	}
	c := v.census()
	defer c.close()
	tasks, err := c.look(false, Label.namespaced)
	if err != nil {
		return nil, err
	}
	count := map[Name]int{}
	for _, t := range tasks {
		seen := map[Name]bool{}
		for _, p := range t.Label.Parts {
			if !seen[p.Namespace] {
				seen[p.Namespace] = true
				count[p.Namespace]++
			}
		}
	}
	list := make([]Listed, 0, len(names))
	for _, ns := range names {
		// The profiles are counted, not read: 1,000 namespaces take 1,000 reads
		// of a directory.
		profiles, err := entries(v.path(ns) + "/profiles")
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list the profiles of namespace %q: %w", ns, err)
		}
		list = append(list, Listed{ns, len(ns.Parts()), len(profiles), count[ns], v.Mine(ns)})
	}
	return list, nil
}
