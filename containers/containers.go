// Package containers makes, starts and ends LXC containers that are confined
// by a policy namespace, and runs commands in them. It works through liblxc
// (github.com/lxc/go-lxc, with cgo and the build tag lxc) and loads no policy.
//
//	ct := containers.Container{Name: "web"}
//	err := ct.Create(ctx, containers.Making{Label: label})
//	err = ct.Start(ctx)
//	end, err := ct.Run(ctx, containers.Command{Args: []string{"cat", "/proc/self/attr/current"}})
//
// What a container is confined by is in its LXC configuration, as
// lxc.apparmor.profile, and nowhere else. Start and Run read back from the
// kernel what confines a task, and end one that is not confined as asked.
//
// liblxc forks, changes signal handlers and namespaces, and go-lxc holds one
// lock for each of its containers while a command runs in it; so one process
// is best for one operation.
package containers

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"proofhouse/internal/exit"
	"proofhouse/nsmgr"
)

// DefaultPath is the directory of LXC's containers where LXC's configuration
// names no other.
const DefaultPath = "/var/lib/lxc"

// SystemPath returns the directory of this system's containers: lxc.lxcpath of
// LXC's configuration.
func SystemPath(ctx context.Context) (string, error) { return systemPath(ctx) }

// knownPath is SystemPath, read once; [DefaultPath] where LXC cannot tell.
var knownPath = sync.OnceValue(func() string {
	path, err := systemPath(context.Background())
	if err != nil {
		return DefaultPath
	}
	return path
})

// ErrMissing is the error of every operation in a program that was built
// without liblxc.
var ErrMissing = errors.New("this nsmgr was built without liblxc and cannot drive containers (build it with cgo, Debian's lxc-dev and -tags lxc, or put such a one beside it as nsmgr-lxc)")

// Container is a container of LXC's, which need not exist.
type Container struct {
	Name string
	Path string // directory of LXC's containers; "" means [SystemPath]
}

func (c Container) path() string {
	if c.Path == "" {
		return knownPath()
	}
	return c.Path
}

// dir is what the container is in.
func (c Container) dir() string { return filepath.Join(c.path(), c.Name) }

func (c Container) config() string { return filepath.Join(c.dir(), "config") }

// CheckName says why no container can have the name.
func CheckName(name string) error {
	why := ""
	switch {
	case name == "":
		why = "it is empty"
	case len(name) > 200:
		// LXC makes cgroups and sockets of it, with more around it.
		why = "it has more than 200 bytes"
	case strings.HasPrefix(name, ".") || strings.HasPrefix(name, "-"):
		why = "it begins with a dot or a dash"
	}
	for _, r := range name {
		if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-", r) {
			why = fmt.Sprintf("%q is not a letter, a digit, a dot, a dash or an underscore", r)
		}
	}
	if why != "" {
		return exit.BadInputf("container name %q: %s", name, why)
	}
	return nil
}

// Making says how a container is made. Of Template and Rootfs one may be
// given; with neither, it is LXC's busybox template, or, if there is a
// container of that name, that one, which gets the label.
type Making struct {
	Label        nsmgr.Label
	Template     string   // of LXC's
	Args         []string // of the template
	Rootfs       string   // folder with a root file system, which stays the user's
	Unprivileged bool     // its users are mapped to others of the host
	Nesting      bool     // it may run containers of its own
}

// Status is what there is to know of a container.
type Status struct {
	Name      string     `json:"name"`
	State     string     `json:"state"`               // LXC's word: RUNNING, STOPPED, …
	Label     string     `json:"label"`               // that it is configured to have
	Namespace nsmgr.Name `json:"namespace,omitempty"` // of that label
	Profile   string     `json:"profile,omitempty"`   // in the namespace
	Host      string     `json:"host_profile,omitempty"`
	PID       int        `json:"pid,omitempty"`       // of its init
	Confined  string     `json:"confined,omitempty"`  // the label that its init has
	AsAsked   bool       `json:"as_asked"`            // the two are the same
	Mapped    bool       `json:"unprivileged"`        // its users are mapped
	Rootfs    string     `json:"rootfs"`              // as configured
	Leftovers []string   `json:"leftovers,omitempty"` // of a crash, that the next start removes
}

// setLabel fills in what the configured label says.
func (s *Status) setLabel(text string) {
	s.Label = text
	l, err := nsmgr.ParseLabel(text)
	if err != nil {
		return
	}
	for _, p := range l.Parts {
		if p.Namespace == "" {
			s.Host = p.Profile
		} else {
			s.Namespace, s.Profile = p.Namespace, p.Profile
		}
	}
	if s.Namespace == "" {
		s.Host = "" // LXC's own words, such as generated, are no profiles
	}
}

// wanted is the label that a container is to have, if it is one that puts it
// into a namespace.
func wanted(name, text string) (nsmgr.Label, error) {
	l, err := nsmgr.ParseLabel(text)
	if text == "" || err != nil || !l.In("") {
		return l, exit.BadInputf("container %q has %q as lxc.apparmor.profile, which is in no namespace (nsmgr container create %s --namespace NS gives it one)", name, text, name)
	}
	return l, nil
}

// same says whether two labels confine alike: the kernel writes the parts in an
// order of its own, and adds the mode.
func same(a, b nsmgr.Label) bool { return slices.Equal(parts(a), parts(b)) }

func parts(l nsmgr.Label) []nsmgr.Part {
	p := slices.Clone(l.Parts)
	slices.SortFunc(p, func(a, b nsmgr.Part) int {
		if n := strings.Compare(string(a.Namespace), string(b.Namespace)); n != 0 {
			return n
		}
		return strings.Compare(a.Profile, b.Profile)
	})
	return p
}

// LabelError is the error of a task that is not confined as asked.
type LabelError struct {
	Container string
	Task      string // "init", or the command
	Want, Got nsmgr.Label
}

func (e *LabelError) Error() string {
	return fmt.Sprintf("container %q: %s has the label %s, not %s: it was ended", e.Container, e.Task, e.Got, e.Want)
}

// Command is one to run in a container.
type Command struct {
	Args []string
	Env  []string // NAME=VALUE; nothing of this process's own gets in
	Dir  string   // "" = /
	// What it reads and writes; a nil one is /dev/null.
	Stdin, Stdout, Stderr *os.File
	// Signals are passed on to it; may be nil.
	Signals <-chan os.Signal
}

// End is how a command ended.
type End struct {
	Status int            // exit status; 0 where a signal ended it
	Signal syscall.Signal // that ended it, or 0
}

func (e End) String() string {
	if e.Signal != 0 {
		return "ended by " + SignalName(e.Signal)
	}
	return fmt.Sprintf("exit status %d", e.Status)
}

// rootfsFolder is the folder that an lxc.rootfs.path names, or "" where it is
// something else.
func rootfsFolder(path string) string {
	path = strings.TrimPrefix(path, "dir:")
	if !filepath.IsAbs(path) {
		return ""
	}
	return filepath.Clean(path)
}

// foreign says whether the root file system is the user's own folder, which is
// not ours to remove.
func (c Container) foreign(rootfs string) bool {
	folder := rootfsFolder(rootfs)
	return folder != "" && !strings.HasPrefix(folder, c.dir()+"/")
}

// setting is a line of a container's configuration; one without a value takes
// away those that there are.
type setting struct{ key, value string }

// wholeBinds are the settings that make bind mounts bring along what is mounted
// below: the kernel lets a user namespace take no part of a tree by itself
// (EINVAL), and the busybox template binds the host's /lib, below which may be
// mounts, such as modules.
func wholeBinds(entries []string) []setting {
	set := []setting{{"lxc.mount.entry", ""}}
	for _, entry := range entries {
		fields := strings.Fields(entry)
		if len(fields) > 3 {
			options := strings.Split(fields[3], ",")
			for i, o := range options {
				if o == "bind" {
					options[i] = "rbind"
				}
			}
			fields[3] = strings.Join(options, ",")
		}
		if len(fields) > 0 {
			set = append(set, setting{"lxc.mount.entry", strings.Join(fields, " ")})
		}
	}
	return set
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// idRange is how many user and group ids a container gets.
const idRange = 65536

// subordinate reads the first id and the number of ids that a file such as
// /etc/subuid gives to root.
func subordinate(file string) (first, count int, err error) {
	f, err := os.Open(file)
	if err != nil {
		return 0, 0, exit.BadInputf("find ids for an unprivileged container: %w", err)
	}
	defer func() { _ = f.Close() }()
	s := bufio.NewScanner(f)
	for s.Scan() {
		fields := strings.Split(strings.TrimSpace(s.Text()), ":")
		if len(fields) != 3 || fields[0] != "root" && fields[0] != "0" {
			continue
		}
		if _, err := fmt.Sscan(fields[1]+" "+fields[2], &first, &count); err == nil && count >= idRange {
			return first, count, nil
		}
	}
	return 0, 0, exit.BadInputf("%s gives root no %d ids: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 root", file, idRange)
}

// freeRange is the first range of ids that none of the others uses.
func freeRange(first, count int, used []int) (int, error) {
	for at := first; at+idRange <= first+count; at += idRange {
		if !slices.ContainsFunc(used, func(u int) bool { return u < at+idRange && at < u+idRange }) {
			return at, nil
		}
	}
	return 0, exit.BadInputf("all of root's subordinate ids are given to containers: give root more in /etc/subuid and /etc/subgid")
}

// mappedTo reads where a container's user 0 is, of the values of lxc.idmap
// ("u 0 100000 65536"); -1 if its users are not mapped.
func mappedTo(idmap []string) int {
	for _, line := range idmap {
		var kind string
		var inside, outside, n int
		if _, err := fmt.Sscan(line, &kind, &inside, &outside, &n); err == nil && kind == "u" && inside == 0 {
			return outside
		}
	}
	return -1
}
