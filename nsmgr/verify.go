package nsmgr

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Finding is one thing that was looked at.
type Finding struct {
	What string `json:"what"`
	OK   bool   `json:"ok"`
}

// Examine says what the kernel shows of how the namespace's confinement is in
// force: modes, and tasks that it does not hold as it seems to.
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
	found = append(found, Finding{fmt.Sprintf("the namespace has policy (%d profiles)", len(profiles)), len(profiles) > 0})
	for _, p := range profiles {
		found = append(found, Finding{fmt.Sprintf("profile %s is enforced (mode is %s)", p.Name, p.Mode), p.Mode == "enforce" || p.Mode == "kill"})
	}
	for _, t := range tasks {
		for _, why := range v.doubts(ns, profiles, t) {
			found = append(found, Finding{fmt.Sprintf("task %s %s", t, why), false})
		}
	}
	if len(tasks) > 0 {
		found = append(found, Finding{fmt.Sprintf("looked at %d tasks", len(tasks)), true})
	}
	return found, nil
}

// doubts are the ways in which a task is held by less than it seems.
func (v *View) doubts(ns Name, profiles []Profile, t Task) []string {
	var why []string
	if !t.Label.Held(ns) {
		why = append(why, "is stacked on no host profile: it is not kept apart from the host's tasks")
	}
	for _, p := range t.Label.Parts {
		if p.Namespace != ns {
			continue
		}
		switch {
		case p.Profile == Unconfined:
			why = append(why, "is unconfined within the namespace")
		case strings.Contains(p.Profile, "//null-"):
			why = append(why, "runs on a learning profile, which enforces nothing")
		case !slices.ContainsFunc(profiles, func(q Profile) bool { return q.Name == p.Profile }):
			why = append(why, fmt.Sprintf("runs on profile %q, which is no longer loaded: it keeps enforcing what it was", p.Profile))
		}
	}
	return why
}
