package probe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// administration are steps of tasks that deal with policy and labels.
var administration = map[string]func(c *call) (int, string, syscall.Errno){
	"mkdirat": func(c *call) (int, string, syscall.Errno) {
		return c.num(c.sys(unix.SYS_MKDIRAT, c.n(0), c.str(c.word(1)), 0o755))
	},
	"rmdirat": func(c *call) (int, string, syscall.Errno) {
		return c.num(c.sys(unix.SYS_UNLINKAT, c.n(0), c.str(c.word(1)), unix.AT_REMOVEDIR))
	},
	"openat": func(c *call) (int, string, syscall.Errno) {
		flags := uintptr(unix.O_RDONLY)
		if c.word(2) == "w" {
			flags = unix.O_WRONLY
		}
		return c.num(c.sys(unix.SYS_OPENAT, c.n(0), c.str(c.word(1)), flags, 0))
	},
	// peersec is the label of who is at a socket's other end.
	"peersec": func(c *call) (int, string, syscall.Errno) {
		p, b := c.room(512)
		n, l := c.room(4)
		binary.NativeEndian.PutUint32(l, uint32(len(b)))
		_, e := c.sys(unix.SYS_GETSOCKOPT, c.n(0), unix.SOL_SOCKET, unix.SO_PEERSEC, p, n)
		if e != 0 {
			return 0, "", e
		}
		return 0, trim(string(b[:min(len(b), int(binary.NativeEndian.Uint32(l)))])), 0
	},
}

func init() { maps.Copy(operations, administration) }

// hold remembers all policy outside a namespace, and of the host with "-": the
// revision and the profiles with their hashes of every namespace.
func (x *experiment) hold(words []string) (string, syscall.Errno) {
	x.free = words[0]
	var err error
	x.holds, err = x.outside()
	return "", errnoOf(err)
}

// held says whether that is as it was: "unchanged", or what is not.
func (x *experiment) held([]string) (string, syscall.Errno) {
	now, err := x.outside()
	if err != nil {
		return "", errnoOf(err)
	}
	var diff []string
	for _, ns := range slices.Sorted(maps.Keys(x.holds)) {
		if is, there := now[ns]; !there {
			diff = append(diff, fmt.Sprintf("namespace %q is gone", ns))
		} else if is != x.holds[ns] {
			diff = append(diff, fmt.Sprintf("policy of %q was %s and is %s", ns, x.holds[ns], is))
		}
	}
	for _, ns := range slices.Sorted(maps.Keys(now)) {
		if _, there := x.holds[ns]; !there {
			diff = append(diff, fmt.Sprintf("namespace %q is new", ns))
		}
	}
	if diff == nil {
		return "unchanged", 0
	}
	return strings.Join(diff, "; "), 0
}

// outside is the policy of all namespaces but x.free and those below it.
func (x *experiment) outside() (map[string]string, error) {
	all := map[string]string{}
	var walk func(ns string) error
	walk = func(ns string) error {
		if ns == x.free {
			return nil
		}
		revision, err := revisionOf(ns)
		if err != nil {
			return err
		}
		profiles, err := hashes(policyDir(ns))
		if err != nil {
			return err
		}
		all[ns] = "revision " + revision + ": " + profiles
		below, err := os.ReadDir(filepath.Join(policyDir(ns), "namespaces"))
		if err != nil {
			return err
		}
		for _, d := range below {
			name := d.Name()
			if ns != "" {
				name = ns + "//" + name
			}
			if err := walk(name); err != nil {
				return err
			}
		}
		return nil
	}
	return all, walk("")
}

// revisionOf is a namespace's revision. To read that of one into which nothing
// was loaded yet waits until something is (apparmorfs.c, ns_revision_read).
func revisionOf(ns string) (string, error) {
	fd, err := unix.Open(filepath.Join(policyDir(ns), "revision"), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer func() { _ = unix.Close(fd) }()
	b := make([]byte, 32)
	n, err := unix.Read(fd, b)
	if errors.Is(err, unix.EAGAIN) {
		return "0", nil
	}
	return trim(string(b[:max(0, n)])), err
}
