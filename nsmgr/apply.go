// SPDX-License-Identifier: Apache-2.0

package nsmgr

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"proofhouse/internal/exit"
)

// Wanted is a declared namespace: it has this policy and no other.
type Wanted struct {
	Name      Name
	Policy    Policy
	Container string
	Source    string // see [Making]
}

// Prune says which namespaces [View.Diff] deletes that are no longer declared: none if
// it is the zero value.
type Prune struct {
	All    bool   // all that an earlier apply created
	Source string // those that a declaration of this path created
}

func (p Prune) covers(n note) bool {
	return n.Declared && !n.Made.IsZero() && (p.All || p.Source != "" && n.Source == p.Source)
}

// Change is one step towards what is wanted.
type Change struct {
	Do     string   `json:"do"` // create, load, delete
	Name   Name     `json:"name"`
	Detail []string `json:"detail,omitempty"` // "+ profile", "~ profile", "- profile"
	wanted Wanted
}

func (c Change) String() string {
	s := c.Do + " " + string(c.Name)
	if len(c.Detail) > 0 {
		s += " (" + strings.Join(c.Detail, ", ") + ")"
	}
	return s
}

// Mend completes or undoes operations of killed nsmgr processes. Where this process
// cannot see all tasks, it keeps what may be in use.
func (v *View) Mend(ctx context.Context) error {
	found, err := v.FindGarbage(math.MaxInt64)
	if errors.Is(err, ErrTasksHidden) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, g := range found {
		if err := v.Collect(ctx, g, math.MaxInt64); err != nil {
			return err
		}
	}
	return nil
}

// Diff returns the changes after which the namespaces are as wanted; none if they
// are.
func (v *View) Diff(wanted []Wanted, prune Prune) ([]Change, error) {
	var changes []Change
	declared := map[Name]bool{}
	for _, w := range wanted {
		if declared[w.Name] {
			return nil, exit.BadInputf("namespace %q is declared twice", w.Name)
		}
		declared[w.Name] = true
		units, _, err := w.Policy.units()
		if err != nil {
			return nil, exit.BadInputf("read the policy declared for namespace %q: %w", w.Name, err)
		}
		if !v.Exists(w.Name) {
			changes = append(changes, Change{"create", w.Name, differences(nil, units), w})
			continue
		}
		had, err := v.snapshot(w.Name)
		if errors.Is(err, ErrNotKept) {
			had, err = v.namesOnly(w.Name)
		}
		if err != nil {
			return nil, err
		}
		if d := differences(had, units); len(d) > 0 {
			changes = append(changes, Change{"load", w.Name, d, w})
		}
	}
	// Outer namespaces are created before inner ones, and deleted after them.
	slices.SortStableFunc(changes, func(a, b Change) int { return len(a.Name.Parts()) - len(b.Name.Parts()) })
	if prune == (Prune{}) {
		return changes, nil
	}
	notes, err := v.notes()
	if err != nil {
		return nil, err
	}
	slices.SortFunc(notes, func(a, b note) int { return strings.Compare(string(b.Name), string(a.Name)) })
	for _, n := range notes {
		if _, same := v.read(n.Name); same && prune.covers(n) && !declared[n.Name] && v.Exists(n.Name) {
			changes = append(changes, Change{Do: "delete", Name: n.Name})
		}
	}
	return changes, nil
}

// namesOnly returns a snapshot without policy, for a kernel that does not keep it:
// whether a profile is as wanted is unknown, so each is loaded again.
func (v *View) namesOnly(ns Name) (Policy, error) {
	profiles, err := v.loaded(ns)
	if err != nil {
		return nil, err
	}
	p := make(Policy, len(profiles))
	for i, pr := range profiles {
		p[i].Origin = pr.Name
	}
	return p, nil
}

// differences lists what profiles a load would add, change and remove.
func differences(had Policy, wanted []Unit) []string {
	var d []string
	for _, u := range wanted {
		i := slices.IndexFunc(had, func(b Blob) bool { return b.Origin == u.Name })
		switch {
		case i < 0:
			d = append(d, "+ "+u.Name)
		case !bytes.Equal(had[i].Data, u.Data):
			d = append(d, "~ "+u.Name)
		}
	}
	for _, b := range had {
		if !slices.ContainsFunc(wanted, func(u Unit) bool { return u.Name == b.Origin }) {
			d = append(d, "- "+b.Origin)
		}
	}
	return d
}

// Apply makes one change. r says what it may do to tasks that profiles confine.
func (v *View) Apply(ctx context.Context, c Change, r Removal) error {
	switch c.Do {
	case "create":
		return v.Create(ctx, c.Name, Making{Policy: c.wanted.Policy, Container: c.wanted.Container, Declared: true, Source: c.wanted.Source})
	case "load":
		return v.Load(ctx, c.Name, c.wanted.Policy, LoadOptions{ReplaceAll: true, Removal: r})
	case "delete":
		return v.Delete(ctx, c.Name, Deletion{})
	}
	return fmt.Errorf("unknown change %q", c.Do)
}
