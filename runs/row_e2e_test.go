// SPDX-License-Identifier: Apache-2.0

package runs

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"testing"

	"proofhouse/isolation"
	"proofhouse/reports"
)

// rowOf is the row of that id.
func rowOf(t *testing.T, id string) isolation.Row {
	t.Helper()
	rows := isolation.Rows()
	i := slices.IndexFunc(rows, func(r isolation.Row) bool { return r.ID() == "isolation/"+id })
	if i < 0 {
		t.Fatalf("the matrix has no row %s", id)
	}
	return rows[i]
}

// tryRow tries a row on the lab's only kernel.
func (l *Bench) tryRow(t *testing.T, id string) reports.Spec {
	t.Helper()
	spec := l.Isolation(context.Background(), l.Plan.Builds[0], rowOf(t, id))
	t.Logf("%s: %.1f s, %d results", spec.ID, spec.Seconds, len(spec.Results))
	return spec
}

// wantFail demands of the results whose id has one of the parts that they FAIL,
// and of the others that they PASS. A false PASS is the worst there is.
func wantFail(t *testing.T, spec reports.Spec, must func(cell string) bool) {
	t.Helper()
	wantStatus(t, spec, must, reports.Fail)
}

// wantStatus demands the status of all cells that must have it, and a PASS of the
// others.
func wantStatus(t *testing.T, spec reports.Spec, must func(cell string) bool, status reports.Status) {
	t.Helper()
	failed := 0
	for _, r := range spec.Results {
		cell := strings.TrimPrefix(r.ID, spec.ID+"/")
		switch {
		case must(cell) && r.Status != status:
			t.Errorf("%s is %s, and the world is broken: %s", r.ID, r.Status, r.Reason)
		case must(cell):
			failed++
		case r.Status != reports.Pass:
			t.Errorf("%s is %s, and nothing that it is about is broken: %s", r.ID, r.Status, r.Reason)
		}
	}
	if failed == 0 {
		t.Errorf("%s: nothing failed", spec.ID)
	}
}

func anyOf(parts ...string) func(string) bool {
	return func(cell string) bool {
		return slices.ContainsFunc(parts, func(p string) bool { return strings.Contains(cell, p) })
	}
}

// relabel changes the labels that tasks ask for.
func relabel(from, to string) func(*isolation.Plan) {
	return func(p *isolation.Plan) {
		for i := range p.Cells {
			for j := range p.Cells[i].Tasks {
				l := &p.Cells[i].Tasks[j].Label
				*l = strings.ReplaceAll(*l, from, to)
			}
		}
	}
}

// rewrite changes the text of the policy of a namespace.
func rewrite(ns, from, to string) func(*isolation.Plan) {
	return func(p *isolation.Plan) {
		for i := range p.Policy {
			if p.Policy[i].Namespace == ns {
				p.Policy[i].Text = strings.ReplaceAll(p.Policy[i].Text, from, to)
			}
		}
	}
}

// breakages are ways in which a world can be broken that rows must find. They
// change what the probe is told to do, not what is expected.
var breakages = []struct {
	name   string
	change func(*isolation.Plan)
	must   func(cell string) bool // fail
	status reports.Status         // in place of FAIL
}{
	{
		"tasks without the stack: the namespace's part alone",
		func(p *isolation.Plan) {
			for i := range p.Cells {
				l := &p.Cells[i].Tasks[0].Label
				if _, ns, ok := strings.Cut(*l, "//&"); ok {
					*l = ns
				}
			}
		},
		anyOf("/stacked"),
		"",
	},
	{
		"tasks without the stack: the host's part alone",
		func(p *isolation.Plan) {
			for i := range p.Cells {
				l := &p.Cells[i].Tasks[0].Label
				*l, _, _ = strings.Cut(*l, "//&")
			}
		},
		anyOf("/stacked"),
		"",
	},
	{
		"the host's profile is not loaded",
		func(p *isolation.Plan) {
			p.Policy = slices.DeleteFunc(p.Policy, func(x isolation.Policy) bool {
				return x.Namespace == "" && strings.Contains(x.Text, "profile host-deny ")
			})
		},
		// Wherever the label would have the host's profile that denies.
		func(cell string) bool {
			return (strings.Contains(cell, "/host/") || strings.Contains(cell, "/stacked")) && anyOf("/deny-host", "/deny-both")(cell)
		},
		"",
	},
	{
		"the namespace's profile is in complain mode",
		// A deny rule is one in complain mode too, so what denies is that no
		// rule allows.
		func(p *isolation.Plan) {
			rewrite(isolation.Namespace, "audit deny /iso/f r,", "")(p)
			rewrite(isolation.Namespace, "profile ct-deny flags=(", "profile ct-deny flags=(complain,")(p)
		},
		func(cell string) bool {
			return (strings.Contains(cell, "/namespace/") || strings.Contains(cell, "/stacked/")) && anyOf("/deny-namespace", "/deny-both")(cell)
		},
		"",
	},
	{
		"a deny rule of the host is missing",
		rewrite("", "audit deny /iso/f r,", ""),
		func(cell string) bool {
			return (strings.Contains(cell, "/host/") || strings.Contains(cell, "/stacked")) && anyOf("/deny-host", "/deny-both")(cell)
		},
		"",
	},
	{
		"a deny rule of the namespace is missing",
		rewrite(isolation.Namespace, "audit deny /iso/f r,", ""),
		func(cell string) bool {
			return (strings.Contains(cell, "/namespace/") || strings.Contains(cell, "/stacked/")) && anyOf("/deny-namespace", "/deny-both")(cell)
		},
		"",
	},
	{
		"a deny rule that does not log",
		rewrite(isolation.Namespace, "audit deny", "deny"),
		func(cell string) bool {
			return (strings.Contains(cell, "/namespace/") || strings.Contains(cell, "/stacked/")) && anyOf("/deny-namespace", "/deny-both")(cell)
		},
		"",
	},
	{
		"the two sides' policy is swapped",
		func(p *isolation.Plan) {
			relabel("host-deny", "host-other")(p)
			relabel("host-allow", "host-deny")(p)
			relabel("host-other", "host-allow")(p)
		},
		anyOf("/host/", "/stacked"),
		"",
	},
	{
		"two namespaces are swapped",
		func(p *isolation.Plan) {
			p.Namespaces = append(p.Namespaces, "other")
			for _, pol := range p.Policy {
				if pol.Namespace == isolation.Namespace {
					pol.Namespace = "other"
					p.Policy = append(p.Policy, pol)
				}
			}
			relabel(":"+isolation.Namespace+":", ":other:")(p)
		},
		anyOf("/namespace/", "/stacked"),
		"",
	},
	{
		"all that the tasks do goes to another file",
		func(p *isolation.Plan) {
			for i := range p.Cells {
				for j := range p.Cells[i].Do {
					p.Cells[i].Do[j] = strings.ReplaceAll(p.Cells[i].Do[j], "/iso/f", "/iso")
				}
			}
		},
		func(string) bool { return true },
		// The probe reports other steps than were planned: no verdict.
		reports.Error,
	},
}

// Whatever is broken on purpose, the rows that are about it FAIL, each cell of
// them, and the others pass.
func TestE2EIsolationBroken(t *testing.T) {
	l := onKernel(t, DefaultKernel)
	l.faults.plan = nil
	for _, id := range []string{"file/read", "exec/ix", "file/passed", "signal/host-to-container"} {
		spec := l.tryRow(t, id)
		want(t, spec, reports.Pass)
	}
	for _, b := range breakages {
		t.Run(b.name, func(t *testing.T) {
			l.faults.plan = b.change
			wantStatus(t, l.tryRow(t, "file/read"), b.must, cmp.Or(b.status, reports.Fail))
		})
	}
	// The same machine is sound again.
	l.faults.plan = nil
	want(t, l.tryRow(t, "file/read"), reports.Pass)
}

// A container that is started otherwise than asked fails every cell that is
// in it.
func TestE2EIsolationContainer(t *testing.T) {
	for _, c := range []struct{ name, label string }{
		{"started without the stack", ":iso:ct-allow"},
		{"started with the host's profile only", "host-allow"},
		{"started unconfined", "unconfined"},
		{"which shares the host's namespace", "host-allow//&ct-allow"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := onKernel(t, DefaultKernel)
			l.faults.world = func(world *isolation.Plan, label *string) {
				*label = c.label
				for _, p := range world.Policy {
					if p.Namespace == isolation.Namespace {
						p.Namespace = ""
						world.Policy = append(world.Policy, p)
					}
				}
			}
			wantFail(t, l.tryRow(t, "file/read"), anyOf("container/"))
		})
	}
}

// A kernel that only complains denies nothing, and every cell in which
// something is to be denied fails.
func TestE2EIsolationComplains(t *testing.T) {
	l := onKernel(t, DefaultKernel+",append=apparmor.mode=complain")
	spec := l.tryRow(t, "file/read-default")
	for _, r := range spec.Results {
		if denies := r.Expected == "EACCES"; denies && r.Status != reports.Fail || r.Status == reports.Error {
			t.Errorf("%s is %s on a kernel that only complains: %s", r.ID, r.Status, r.Reason)
		}
	}
	if counts := statusesOf(spec); counts[reports.Fail] != 18 {
		t.Errorf("%v", counts)
	}
}

func statusesOf(spec reports.Spec) reports.Counts {
	counts := reports.Counts{}
	for _, r := range spec.Results {
		counts[r.Status]++
	}
	return counts
}

// A row whose machine dies is an ERROR with what was found by then, and the
// next one runs on another machine and another container.
func TestE2EIsolationSurvives(t *testing.T) {
	l := onKernel(t, DefaultKernel)
	m, err := l.Machine(context.Background(), l.Plan.Builds[0])
	if err != nil {
		t.Fatal(err)
	}
	l.faults.plan = func(p *isolation.Plan) {
		p.Cells[len(p.Cells)-1].Do = []string{"@: run echo c > /proc/sysrq-trigger; sleep 60"}
	}
	spec := l.tryRow(t, "file/read")
	if counts := statusesOf(spec); counts[reports.Error] == 0 || spec.Crash == "" {
		t.Errorf("%v, crash %q", counts, spec.Crash)
	}
	l.faults.plan = nil
	want(t, l.tryRow(t, "file/read"), reports.Pass)
	if again, err := l.Machine(context.Background(), l.Plan.Builds[0]); err != nil || again == m {
		t.Errorf("the machine is the same, %v", err)
	}
}

// A row that needs no container is tried on a machine on which nothing was
// done before: each runs alone.
func TestE2EIsolationAlone(t *testing.T) {
	for _, row := range isolation.Rows() {
		plan := row.Plan(isolation.Kernel{})
		writes := slices.ContainsFunc(plan.Cells, func(c isolation.Cell) bool {
			return slices.ContainsFunc(c.Prepare, func(step string) bool { return strings.Contains(step, isolation.Directory+"/") })
		})
		if plan.Container != "" || !writes {
			continue
		}
		spec := onKernel(t, DefaultKernel).tryRow(t, strings.TrimPrefix(row.ID(), "isolation/"))
		if statusesOf(spec)[reports.Error] > 0 {
			t.Errorf("%s: %v", spec.ID, spec.Results)
		}
	}
}
