// SPDX-License-Identifier: Apache-2.0

package nsmgr

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"proofhouse/internal/printable"
)

// Finding is the result of one check.
type Finding struct {
	What string `json:"what"`
	OK   bool   `json:"ok"`
}

// Examine checks how the namespace confines: the modes of its profiles, and tasks
// that are confined by less than it seems.
func (v *View) Examine(ns Name) ([]Finding, error) {
	profiles, err := v.Profiles(ns)
	if err != nil {
		return nil, err
	}
	tasks, err := v.Tasks(ns)
	if err != nil {
		return nil, err
	}
	var found []Finding
	if b, err := os.ReadFile(filepath.Join(v.parameters, "mode")); err == nil {
		mode := strings.TrimSpace(string(b))
		found = append(found, Finding{"the kernel enforces AppArmor policy (mode is " + mode + ")", mode == "enforce"})
	}
	found = append(found, Finding{fmt.Sprintf("the namespace has policy (%s)", printable.Count(len(profiles), "profile")), len(profiles) > 0})
	for _, p := range profiles {
		found = append(found, Finding{fmt.Sprintf("profile %s is enforced (mode is %s)", p.Name, p.Mode), p.Mode == "enforce" || p.Mode == "kill"})
	}
	lost, err := v.notLoaded(tasks)
	if err != nil {
		return nil, err
	}
	for _, name := range lost {
		found = append(found, Finding{fmt.Sprintf("host profile %q is no longer loaded: tasks keep its old policy, and new tasks cannot have it", name), false})
	}
	for _, t := range tasks {
		for _, why := range v.doubts(ns, profiles, t) {
			found = append(found, Finding{fmt.Sprintf("task %s %s", t, why), false})
		}
	}
	if len(tasks) > 0 {
		found = append(found, Finding{"checked " + printable.Count(len(tasks), "task"), true})
	}
	return found, nil
}

// notLoaded returns the profiles of the view's own namespace that tasks are
// stacked on and that are no longer loaded: aa-remove-unknown removes those that
// no file in /etc/apparmor.d has.
func (v *View) notLoaded(tasks []Task) (lost []string, err error) {
	checked := map[string]bool{Unconfined: true, Hidden: true}
	for _, t := range tasks {
		for _, p := range t.Label.Parts {
			if p.Namespace != "" || checked[p.Profile] || strings.Contains(p.Profile, learning) {
				continue
			}
			checked[p.Profile] = true
			loaded, err := v.IsLoaded(p)
			if err != nil {
				return nil, err
			}
			if !loaded {
				lost = append(lost, p.Profile)
			}
		}
	}
	return lost, nil
}

// IsLoaded reports whether the part's profile, or the one that it is a child of,
// is loaded in its namespace. A task keeps the policy of one that is not.
func (v *View) IsLoaded(p Part) (bool, error) {
	if p.Profile == Unconfined || p.Profile == "" {
		return v.Exists(p.Namespace), nil
	}
	return v.HasProfile(p.Namespace, top(p.Profile))
}

// doubts returns why a task is confined by less than it seems.
func (v *View) doubts(ns Name, profiles []Profile, t Task) []string {
	var why []string
	if !t.Label.Held(ns) {
		why = append(why, "is not stacked on a host profile: it is not isolated from tasks of the host")
	}
	for _, p := range t.Label.Parts {
		if p.Namespace != ns {
			continue
		}
		switch {
		case p.Profile == Unconfined:
			why = append(why, "is unconfined within the namespace")
		case strings.Contains(p.Profile, "//null-"):
			why = append(why, "has a learning profile, which enforces nothing")
		case !slices.ContainsFunc(profiles, func(q Profile) bool { return q.Name == p.Profile }):
			why = append(why, fmt.Sprintf("has profile %q, which is no longer loaded: its old policy stays in force", p.Profile))
		}
	}
	return why
}
