// SPDX-License-Identifier: Apache-2.0

package nsmgr

import (
	"context"
	"slices"
	"strings"
	"time"
)

// Garbage is a namespace that can be removed.
type Garbage struct {
	Name Name   `json:"name"`
	Why  string `json:"why"`
}

// FindGarbage returns the unused namespaces that nsmgr created. A namespace whose
// creation or removal was interrupted is returned at once, another one only if it
// was created at least idle ago. A namespace with a task in it, a namespace that a
// file declares, and a namespace that another program created are never returned.
// The error is a [HiddenTasksError] if this process cannot see all tasks: then a
// returned namespace may be in use.
func (v *View) FindGarbage(idle time.Duration) ([]Garbage, error) {
	notes, err := v.notes()
	if err != nil {
		return nil, err
	}
	if len(notes) == 0 {
		return nil, nil
	}
	c := v.census()
	defer c.close()
	tasks, err := c.look(true, Label.namespaced)
	if err != nil {
		return nil, err
	}
	var found []Garbage
	var hidden error
	for _, n := range notes {
		why := v.garbage(n, slices.DeleteFunc(slices.Clone(tasks), func(t Task) bool { return !t.Label.In(n.Name) }), idle)
		if why != "" {
			found = append(found, Garbage{n.Name, why})
		}
		if why != "" && why != whyStale && hidden == nil {
			hidden = c.complete()
		}
	}
	// Children come before their parents.
	slices.SortFunc(found, func(a, b Garbage) int { return strings.Compare(string(b.Name), string(a.Name)) })
	return found, hidden
}

const whyStale = "it no longer exists, and only the record of it is left"

// garbage returns why the namespace can be removed, or "" if it cannot. tasks are
// those in the namespace. If its removal was interrupted, an unconfined task in it
// entered during the removal: such a task does not keep the namespace.
func (v *View) garbage(n note, tasks []Task, idle time.Duration) string {
	_, same := v.read(n.Name)
	inUse := slices.ContainsFunc(tasks, func(t Task) bool {
		return n.State != stateRemoving || t.Pending || t.Label.Unverified || !t.Label.lost(n.Name)
	})
	switch {
	case !v.Exists(n.Name) || !same:
		return whyStale
	case inUse:
		return ""
	case n.State == stateRemoving:
		return "its removal was interrupted"
	case n.State == stateMaking && n.Inode != 0:
		return "its creation was interrupted"
	case n.State == stateMaking:
		// Ours was never created: another program may have created this one.
		if p, err := v.Profiles(n.Name); err == nil && len(p) == 0 {
			return "its creation was interrupted"
		}
		return whyStale
	case n.Declared, n.Made.IsZero(), n.age() < idle:
		return ""
	}
	if children, err := v.Children(n.Name); err != nil || len(children) > 0 {
		return ""
	}
	return "no task is in it"
}

// Collect removes the namespace if it is still garbage once this process holds the
// lock.
func (v *View) Collect(ctx context.Context, g Garbage, idle time.Duration) error {
	unlock, err := v.lock(ctx, g.Name)
	if err != nil {
		return err
	}
	defer unlock()
	// The record is read again: the namespace may have changed before the lock.
	b, ok := v.read(g.Name)
	if !v.Exists(g.Name) || !ok {
		v.forget(g.Name)
		return nil
	}
	c := v.census()
	defer c.close()
	tasks, err := c.tasks(g.Name)
	if err != nil {
		return err
	}
	switch why := v.garbage(b, tasks, idle); why {
	case "":
		return nil
	case whyStale:
		v.forget(g.Name)
		return nil
	}
	if b.State == stateRemoving {
		lost := func(l Label) bool { return l.lost(g.Name) }
		if err := v.killUnconfined(c, tasks, lost, nil); err != nil {
			return err
		}
	}
	return v.delete(ctx, g.Name, Deletion{Recursive: b.State != stateReady})
}
