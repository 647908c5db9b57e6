// SPDX-License-Identifier: Apache-2.0

// Package containers creates, starts and stops LXC containers that a policy
// namespace confines, and runs commands in them, through liblxc
// (github.com/lxc/go-lxc, with cgo and the build tag lxc). Without liblxc it has
// the hooks that LXC runs, and reads LXC's configuration with LXC's own programs.
// Namespaces and policy themselves are managed by package nsmgr.
//
//	ct := containers.Container{Name: "web"}
//	err := ct.Create(ctx, containers.Making{Label: label})
//	err = ct.Start(ctx)
//	end, err := ct.Run(ctx, containers.Command{Args: []string{"cat", "/proc/self/attr/current"}})
//
// The label of a container is in its LXC configuration, as lxc.apparmor.profile,
// and nowhere else. Start and Run read the label of a task back from the kernel,
// and kill a task that has another one.
//
// liblxc forks and changes signal handlers and namespaces, and go-lxc holds a
// lock for each container while a command runs in it: use one process for each
// operation.
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

// ErrMissing is the error of each operation in a program that was built without
// liblxc.
var ErrMissing = errors.New("this nsmgr was built without liblxc and cannot manage containers (install the package nsmgr-lxc, or build nsmgr with cgo, Debian's lxc-dev and -tags lxc, and put it beside this program as nsmgr-lxc)")

// Container is an LXC container, which need not exist.
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

// dir is the container's directory.
func (c Container) dir() string { return filepath.Join(c.path(), c.Name) }

func (c Container) config() string { return filepath.Join(c.dir(), "config") }

// CheckName returns an error if no container can have the name.
func CheckName(name string) error {
	why := ""
	switch {
	case name == "":
		why = "it is empty"
	case len(name) > 200:
		// LXC makes longer names of it, for cgroups and sockets.
		why = "it is longer than 200 bytes"
	case strings.HasPrefix(name, ".") || strings.HasPrefix(name, "-"):
		why = "it begins with a dot or a dash"
	}
	for _, r := range name {
		if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-", r) {
			why = fmt.Sprintf("%q is not a letter, digit, dot, dash or underscore", r)
		}
	}
	if why != "" {
		return exit.BadInputf("container name %q: %s", name, why)
	}
	return nil
}

// Making describes a container to create. One of Template and Rootfs may be set.
// Without them it is created from LXC's busybox template; if a container of that
// name already exists, that one gets the label.
type Making struct {
	Label        nsmgr.Label
	Template     string   // of LXC: its name, or a program's path
	Args         []string // arguments of the template
	Rootfs       string   // directory with a root file system, which Destroy keeps
	Unprivileged bool     // map its users to subordinate ids of root
	Nesting      bool     // allow containers in it
}

// Status describes a container.
type Status struct {
	Name      string     `json:"name"`
	State     string     `json:"state"`               // as LXC names it: RUNNING, STOPPED, …
	Label     string     `json:"label"`               // configured
	Namespace nsmgr.Name `json:"namespace,omitempty"` // of the configured label
	Profile   string     `json:"profile,omitempty"`   // in the namespace
	Host      string     `json:"host_profile,omitempty"`
	PID       int        `json:"pid,omitempty"`        // of its init
	Confined  string     `json:"confined,omitempty"`   // the label of its init
	AsAsked   bool       `json:"as_asked"`             // the two labels are equal
	NotLoaded []string   `json:"not_loaded,omitempty"` // profiles of its init's label that are no longer loaded
	Mapped    bool       `json:"unprivileged"`         // its users are mapped
	Rootfs    string     `json:"rootfs"`               // as configured
	Leftovers []string   `json:"leftovers,omitempty"`  // of a crash; the next start removes them
}

// setLabel sets the configured label and its parts.
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
		s.Host = "" // a keyword of LXC, such as generated, is no profile
	}
}

// wanted parses the configured label of a container. A label without a namespace
// is a user error.
func wanted(name, text string) (nsmgr.Label, error) {
	l, err := nsmgr.ParseLabel(text)
	if text == "" || err != nil || !l.In("") {
		return l, exit.BadInputf("container %q has lxc.apparmor.profile = %q, which names no namespace (nsmgr container create %s --namespace NS sets one)", name, text, name)
	}
	return l, nil
}

// same reports whether two labels have the same parts. The kernel writes them in
// its own order and adds the mode.
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

// LabelError is the error of a task that has another label than requested. The
// task was killed.
type LabelError struct {
	Container string
	Task      string // "init", or the command
	Want, Got nsmgr.Label
}

func (e *LabelError) Error() string {
	return fmt.Sprintf("container %q: %s has the label %s instead of %s, and was killed", e.Container, e.Task, e.Got, e.Want)
}

// Command is a command to run in a container.
type Command struct {
	Args []string
	Env  []string // NAME=VALUE; this process's environment is not inherited
	Dir  string   // "" = /
	// Its standard streams; nil means /dev/null.
	Stdin, Stdout, Stderr *os.File
	// Signals are forwarded to it; may be nil.
	Signals <-chan os.Signal
}

// End is how a command ended.
type End struct {
	Status int            // exit status; 0 if a signal killed it
	Signal syscall.Signal // the signal that killed it, or 0
}

func (e End) String() string {
	if e.Signal != 0 {
		return "killed by " + SignalName(e.Signal)
	}
	return fmt.Sprintf("exit status %d", e.Status)
}

// rootfsDir returns the directory that an lxc.rootfs.path names, or "" if it is
// something else.
func rootfsDir(path string) string {
	path = strings.TrimPrefix(path, "dir:")
	if !filepath.IsAbs(path) {
		return ""
	}
	return filepath.Clean(path)
}

// foreign reports whether the root file system is a directory of the user, which
// must not be removed.
func (c Container) foreign(rootfs string) bool {
	dir := rootfsDir(rootfs)
	return dir != "" && !strings.HasPrefix(dir, c.dir()+"/")
}

// setting is a line of a container's configuration. One without a value removes
// the values that are set.
type setting struct{ key, value string }

// wholeBinds returns settings that make bind mounts recursive. The kernel allows a
// user namespace no bind mount of a part of a tree that has mounts below it
// (EINVAL), and the busybox template binds the host's /lib, which may have mounts
// below it, such as modules.
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

// idRange is the number of user and group ids of a container.
const idRange = 65536

// subordinate reads the first id and the number of ids that root has in a file
// such as /etc/subuid.
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
	return 0, 0, exit.BadInputf("%s has no range of %d ids for root (usermod --add-subuids 100000-165535 --add-subgids 100000-165535 root)", file, idRange)
}

// freeRange returns the first range of ids that no other container uses.
func freeRange(first, count int, used []int) (int, error) {
	for at := first; at+idRange <= first+count; at += idRange {
		if !slices.ContainsFunc(used, func(u int) bool { return u < at+idRange && at < u+idRange }) {
			return at, nil
		}
	}
	return 0, exit.BadInputf("all subordinate ids of root are used by containers (give root more in /etc/subuid and /etc/subgid)")
}

// mappedTo returns the host's id of a container's user 0, from the values of
// lxc.idmap ("u 0 100000 65536"), or -1 if its users are not mapped.
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
