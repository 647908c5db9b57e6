// SPDX-License-Identifier: Apache-2.0

package containers

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"proofhouse/nsmgr"
)

// Owner is the container that a namespace belongs to, by its name: LXC, Incus
// and LXD create a namespace of a fixed name for each container.
type Owner struct {
	Tool    string // lxc, incus or lxd
	Project string // of Incus and LXD; "" is the default one
	Name    string // of the container; "" where the name is only a hash
	// State is present, missing or unknown. It is unknown where the directory
	// of the tool's containers cannot be found from the namespace's name.
	State string
}

// States of an [Owner].
const (
	Present = "present"
	Missing = "missing"
	Unknown = "unknown"
)

// String returns the owner as lists show it: lxc:web, incus:project/web. A
// container that no longer exists has "(missing)" behind it.
func (o Owner) String() string {
	name := o.Name
	if name == "" {
		name = "?"
	}
	if o.Project != "" {
		name = o.Project + "/" + name
	}
	if o.State == Missing {
		name += " (missing)"
	}
	return o.Tool + ":" + name
}

// Owners finds the containers of namespaces.
type Owners struct {
	lxc     string          // LXC's directory of containers
	names   map[string]bool // of the containers in it
	readErr error           // why names is not known
	root    string          // of the file system, for tests
}

// FindOwners reads which containers LXC has.
func FindOwners(ctx context.Context) (*Owners, error) {
	path, err := SystemPath(ctx)
	if err != nil {
		return nil, err
	}
	return findOwners(path, "/"), nil
}

func findOwners(lxc, root string) *Owners {
	o := &Owners{lxc: lxc, names: map[string]bool{}, root: root}
	list, err := os.ReadDir(filepath.Join(root, lxc))
	o.readErr = err
	for _, e := range list {
		if e.IsDir() && exists(filepath.Join(root, lxc, e.Name(), "config")) {
			o.names[e.Name()] = true
		}
	}
	return o
}

// MayHaveOwner reports whether a namespace has a name as LXC, Incus or LXD choose
// it, without a look at their containers.
func MayHaveOwner(ns nsmgr.Name) bool {
	return isHash(string(ns)) || strings.HasPrefix(string(ns), "lxc-") || strings.HasPrefix(string(ns), "incus-") || strings.HasPrefix(string(ns), "lxd-")
}

// isHash reports whether a name is a hash of LXC's: 64 bits in hexadecimal.
func isHash(name string) bool {
	return len(name) == 16 && strings.Trim(name, "0123456789abcdef") == ""
}

// Of returns the owner of a namespace. It is false for one that has no name of
// such a tool, and for one below another: its container is the upper one's.
func (o *Owners) Of(ns nsmgr.Name) (Owner, bool) {
	if len(ns.Parts()) != 1 {
		return Owner{}, false
	}
	name := string(ns)
	if rest, ok := strings.CutPrefix(name, "lxc-"); ok {
		return o.ofLXC(name, rest)
	}
	for _, tool := range []string{"incus", "lxd"} {
		if rest, ok := strings.CutPrefix(name, tool+"-"); ok {
			return o.ofIncus(tool, rest)
		}
	}
	return o.ofHash(name)
}

// Left returns the namespaces that LXC, Incus or LXD created for containers that
// no longer exist.
func (o *Owners) Left(v *nsmgr.View) ([]nsmgr.Name, error) {
	names, err := v.Children("")
	if err != nil {
		return nil, err
	}
	var left []nsmgr.Name
	for _, ns := range names {
		if owner, ok := o.Of(ns); ok && owner.State == Missing && !v.Mine(ns) {
			left = append(left, ns)
		}
	}
	return left, nil
}

// ofLXC reads "lxc-NAME_<-var-lib-lxc>": LXC writes its path with dashes for
// slashes, so it is compared, not parsed.
func (o *Owners) ofLXC(whole, rest string) (Owner, bool) {
	i := strings.LastIndex(rest, "_<")
	if i <= 0 || !strings.HasSuffix(rest, ">") {
		return Owner{}, false
	}
	owner := Owner{Tool: "lxc", Name: rest[:i], State: Unknown}
	if o.readErr == nil && nsmgr.LXCName(owner.Name, o.lxc) == whole {
		owner.State = Missing
		if o.names[owner.Name] {
			owner.State = Present
		}
	}
	return owner, true
}

// ofHash finds the container of a name that LXC hashed because it is too long.
// A hash does not tell the name of a container that is missing.
func (o *Owners) ofHash(name string) (Owner, bool) {
	if !isHash(name) {
		return Owner{}, false
	}
	for c := range o.names {
		if nsmgr.LXCName(c, o.lxc) == name {
			return Owner{Tool: "lxc", Name: c, State: Present}, true
		}
	}
	return Owner{}, false
}

// incusDirs are the directories that Incus and LXD keep their data in, as their
// packages set them.
var incusDirs = []string{"/var/lib/incus", "/var/lib/lxd", "/var/snap/lxd/common/lxd"}

// ofIncus reads "incus-PROJECT_NAME_<var-lib-incus>", where the default project
// is left out (Incus, internal/server/apparmor/instance.go). Names of instances
// have no underscore. A long name is a SHA-256 in hexadecimal.
func (o *Owners) ofIncus(tool, rest string) (Owner, bool) {
	if len(rest) == 64 && strings.Trim(rest, "0123456789abcdef") == "" {
		return Owner{Tool: tool, State: Unknown}, true
	}
	i := strings.LastIndex(rest, "_<")
	if i <= 0 || !strings.HasSuffix(rest, ">") {
		return Owner{}, false
	}
	full, written := rest[:i], strings.TrimSuffix(rest[i+2:], ">")
	owner := Owner{Tool: tool, Name: full, State: Unknown}
	if j := strings.LastIndexByte(full, '_'); j >= 0 {
		owner.Project, owner.Name = full[:j], full[j+1:]
	}
	at := slices.IndexFunc(incusDirs, func(dir string) bool {
		return strings.ReplaceAll(strings.Trim(dir, "/"), "/", "-") == written
	})
	if at < 0 || !filepath.IsLocal(full) || strings.Contains(full, "/") {
		return owner, true
	}
	dir := filepath.Join(o.root, incusDirs[at], "containers")
	if _, err := os.ReadDir(dir); err == nil {
		owner.State = Missing
		if exists(filepath.Join(dir, full)) {
			owner.State = Present
		}
	}
	return owner, true
}
