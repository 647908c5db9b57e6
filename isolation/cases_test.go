// SPDX-License-Identifier: Apache-2.0

package isolation

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"proofhouse/reports"
)

// everything is a kernel with all features that the rows ask for.
func everything() Kernel {
	k := Kernel{Features: map[string]string{}, Slowness: 1}
	for _, r := range Rows() {
		needs := slices.Clone(r.Needs)
		for _, c := range r.Cases {
			needs = append(needs, c.Needs...)
		}
		for _, n := range needs {
			file, word, _ := strings.Cut(n, " ")
			k.Features[file] += " " + word + " yes"
		}
	}
	return k
}

// asWanted is what the probe would find, and the kernel log, if all came as
// the case demands.
func asWanted(c Case) (f Found, audit []string) {
	f = Found{Key: c.Name, PIDs: map[string]int{}, Labels: maps.Clone(c.Labels), Init: InitLabel + " (enforce)"}
	for i, t := range c.Tasks {
		f.PIDs[t.Name] = 100 + i
	}
	for _, step := range c.Do {
		what, want := splitStep(step)
		d := Done{Step: what}
		if value, quoted := strings.CutPrefix(want, `"`); quoted {
			d.Value = strings.TrimSuffix(value, `"`)
		} else if want != "ok" {
			d.Errno = want
		}
		f.Done = append(f.Done, d)
	}
	for _, r := range c.Records {
		if r.Maybe {
			continue
		}
		kind := r.Kind
		if kind == "" {
			kind = "DENIED"
		}
		line := fmt.Sprintf("audit: type=1400 audit(1.000:1): apparmor=%q operation=%q profile=%q pid=100", kind, r.Operation, r.Profile)
		if r.Namespace != "" {
			line += fmt.Sprintf(" namespace=%q", "root//"+r.Namespace)
		}
		if r.Name != "" {
			line += fmt.Sprintf(" name=%q", r.Name)
		}
		for _, key := range slices.Sorted(maps.Keys(r.Fields)) {
			line += fmt.Sprintf(" %s=%q", key, r.Fields[key])
		}
		audit = append(audit, line+"\n")
	}
	return f, audit
}

// only is a row with one of its cases.
func only(r Row, c Case) Row {
	r.Cases = []Case{c}
	return r
}

func status(t *testing.T, k Kernel, r Row, f Found, audit []string) reports.Status {
	t.Helper()
	results := r.Judge(k, []Found{f}, strings.Join(audit, ""))
	if len(results) != 1 {
		t.Fatalf("%d results", len(results))
	}
	return results[0].Status
}

// TestCases demands of every case of every row that it passes when all comes as
// it says, and fails when any one thing does not.
func TestCases(t *testing.T) {
	k := everything()
	for _, r := range Rows() {
		for _, c := range r.Cases {
			t.Run(r.Group+"/"+r.Name+"/"+c.Name, func(t *testing.T) {
				one := only(r, c)
				f, audit := asWanted(c)
				got := status(t, k, one, f, audit)
				if c.Recorded != "" {
					if got != reports.Recorded {
						t.Errorf("as it should be: %s", got)
					}
					return
				}
				if got != reports.Pass {
					t.Fatalf("as it should be: %s", got)
				}
				wrong := func(what string, f Found, audit []string) {
					t.Helper()
					if got := status(t, k, one, f, audit); got != reports.Fail {
						t.Errorf("%s: %s", what, got)
					}
				}
				for i, d := range f.Done {
					bad := f
					bad.Done = slices.Clone(f.Done)
					_, want := splitStep(c.Do[i])
					switch {
					case strings.HasPrefix(want, `"`):
						bad.Done[i].Value += "x"
					case d.Errno != "":
						bad.Done[i].Errno = ""
					default:
						bad.Done[i].Errno = "EPERM"
					}
					wrong("step "+c.Do[i], bad, audit)
				}
				for i := range audit {
					wrong("without a record", f, slices.Delete(slices.Clone(audit), i, i+1))
				}
				if len(f.PIDs) > 0 {
					wrong("with another record", f, append(slices.Clone(audit), `audit: type=1400 audit(1.000:1): apparmor="DENIED" operation="open" profile="x" name="/x" pid=100`+"\n"))
				}
				for name := range c.Labels {
					bad := f
					bad.Labels = maps.Clone(f.Labels)
					bad.Labels[name] = "unconfined"
					if c.Labels[name] != "unconfined" {
						wrong("with another label", bad, audit)
					}
				}
				if inContainer(c.Tasks) {
					bad := f
					bad.Init = "unconfined"
					wrong("in a container that is not confined", bad, audit)
				}
			})
		}
	}
}

// TestCaseNames demands names that are one of a kind: histories go by them.
func TestCaseNames(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range Rows() {
		if seen[r.ID()] {
			t.Errorf("two rows %s", r.ID())
		}
		seen[r.ID()] = true
		if r.Why == "" || r.About == "" {
			t.Errorf("%s does not say what it is about, or why", r.ID())
		}
		for _, c := range r.Cases {
			id := r.ID() + "/" + c.Name
			if seen[id] || c.Name == "" {
				t.Errorf("two cases %q", id)
			}
			seen[id] = true
		}
	}
}
