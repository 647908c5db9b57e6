package nsmgr

import (
	"context"
	"slices"
	"strings"
	"time"
)

// Garbage is a namespace that can go.
type Garbage struct {
	Name Name   `json:"name"`
	Why  string `json:"why"`
}

// FindGarbage lists the namespaces that nsmgr made and nothing uses: those
// whose making or removal was cut short at once, the others when they are at
// least idle old. A namespace with a task in it, one that a file declares, and
// one that others made, stay.
func (v *View) FindGarbage(idle time.Duration) ([]Garbage, error) {
	notes, err := v.notes()
	if err != nil {
		return nil, err
	}
	c := v.census()
	defer c.close()
	tasks, err := c.look(true)
	if err != nil {
		return nil, err
	}
	var found []Garbage
	for _, n := range notes {
		inUse := slices.ContainsFunc(tasks, func(t Task) bool { return t.Label.In(n.Name) })
		if why := v.garbage(n, inUse, idle); why != "" {
			found = append(found, Garbage{n.Name, why})
		}
	}
	// Those below go first.
	slices.SortFunc(found, func(a, b Garbage) int { return strings.Compare(string(b.Name), string(a.Name)) })
	return found, nil
}

const whyStale = "only nsmgr's note of it is left"

func (v *View) garbage(n note, inUse bool, idle time.Duration) string {
	_, same := v.read(n.Name)
	switch {
	case !v.Exists(n.Name) || !same:
		return whyStale
	case inUse:
		return ""
	case n.State == stateRemoving:
		return "its removal was cut short"
	case n.State == stateMaking && n.Inode != 0:
		return "its making was cut short"
	case n.State == stateMaking:
		// It may be that of somebody else, made after ours was not.
		if p, err := v.Profiles(n.Name); err == nil && len(p) == 0 {
			return "its making was cut short"
		}
		return whyStale
	case n.Declared, n.Made.IsZero(), time.Since(n.Made) < idle:
		return ""
	}
	if children, err := v.Children(n.Name); err != nil || len(children) > 0 {
		return ""
	}
	return "no task is in it"
}

// Collect removes garbage, having looked again, under the lock, that it is.
func (v *View) Collect(ctx context.Context, g Garbage, idle time.Duration) error {
	unlock, err := v.lock(ctx, g.Name)
	if err != nil {
		return err
	}
	defer unlock()
	// Whatever happened since, the note says it.
	b, ok := v.read(g.Name)
	if !v.Exists(g.Name) || !ok {
		v.forget(g.Name)
		return nil
	}
	tasks, err := v.Tasks(g.Name)
	if err != nil {
		return err
	}
	switch why := v.garbage(b, len(tasks) > 0, idle); why {
	case "":
		return nil
	case whyStale:
		v.forget(g.Name)
		return nil
	}
	return v.delete(ctx, g.Name, Deletion{Recursive: b.State != stateReady})
}
