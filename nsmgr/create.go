// SPDX-License-Identifier: Apache-2.0

package nsmgr

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"proofhouse/internal/exit"
)

// Making says how [View.Create] creates a namespace.
type Making struct {
	Policy    Policy
	Container string // the LXC container that will use it; "" for none
	// Declared keeps the namespace from being collected when nothing uses it:
	// a file declares it.
	Declared bool
	Source   string // the declaration's absolute path, for [Prune]; may be ""
}

// ErrExist is the error of a namespace that already exists.
var ErrExist = errors.New("already exists")

// Create creates the namespace and loads its policy. If that fails, nothing of it
// is left.
func (v *View) Create(ctx context.Context, ns Name, m Making) error {
	parts := ns.Parts()
	if len(parts) == 0 {
		return CheckName("")
	}
	if err := CheckName(parts[len(parts)-1]); err != nil {
		return err
	}
	if above, err := v.level(); err == nil && above+len(parts) > MaxDepth {
		return exit.BadInputf("create namespace %q: it would be %d levels deep: the limit is %d", ns, above+len(parts), MaxDepth)
	}
	unlock, err := v.lock(ctx, ns)
	if err != nil {
		return err
	}
	defer unlock()
	if v.Exists(ns) {
		return exit.BadInput(fmt.Errorf("create namespace %q: it %w", ns, ErrExist))
	}
	if parent := ns.Parent(); !v.Exists(parent) {
		return fmt.Errorf("create namespace %q: %w", ns, missing(parent))
	}
	n := note{Name: ns, State: stateMaking, Made: time.Now(), Booted: uptime(), Container: m.Container, Declared: m.Declared, Source: m.Source}
	if err := v.write(n); err != nil {
		return err
	}
	if err := os.Mkdir(v.path(ns), 0o755); err != nil {
		v.forget(ns)
		return v.explainMkdir(ns, err)
	}
	n.Inode = v.inode(ns)
	err = v.write(n)
	if err == nil && len(m.Policy) > 0 {
		err = v.load(ns, m.Policy, LoadOptions{})
	}
	if err == nil {
		n.State = stateReady
		err = v.write(n)
	}
	if err != nil {
		return errors.Join(err, v.undoCreate(ctx, ns))
	}
	return nil
}

// undoCreate removes a namespace whose creation failed. A task may have
// entered it meanwhile; then it stays, as one that the next collection removes.
func (v *View) undoCreate(ctx context.Context, ns Name) error {
	profiles, err := v.loaded(ns)
	if err != nil {
		return err
	}
	if len(profiles) > 0 {
		c := v.census()
		defer c.close()
		err := v.checkUnused(ctx, c, ns, Deletion{})
		if err == nil {
			_, err = v.shut(c, ns, nil, Deletion{})
		}
		if err != nil {
			return err
		}
	}
	if err := v.rmdir(ns); err != nil {
		return err
	}
	v.forget(ns)
	return nil
}

func (v *View) explainMkdir(ns Name, err error) error {
	why := ""
	switch {
	case errors.Is(err, syscall.EEXIST):
		return exit.BadInput(fmt.Errorf("create namespace %q: it %w", ns, ErrExist))
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		why = ": not policy admin: " + v.whyNotAdmin()
	case errors.Is(err, syscall.ENOSPC):
		why = ": it is too many levels deep for this kernel"
	case errors.Is(err, syscall.ENOENT):
		why = ": the namespace above it was removed"
	}
	return exit.BadInput(fmt.Errorf("create namespace %q: %w%s", ns, errno(err), why))
}

// errno returns only the errno of a failed system call, without the path, which
// our own message has.
func errno(err error) error {
	var e syscall.Errno
	if errors.As(err, &e) {
		return e
	}
	return err
}
