// SPDX-License-Identifier: Apache-2.0

package runs

import (
	"slices"
	"strings"
	"testing"

	"proofhouse/isolation"
	"proofhouse/reports"
)

// restep changes what the steps of all cells say.
func restep(from, to string) func(*isolation.Plan) {
	return func(p *isolation.Plan) {
		for i := range p.Cells {
			c := &p.Cells[i]
			for _, steps := range []*[]string{&c.Prepare, &c.Do} {
				*steps = slices.Clone(*steps) // they are the table's
				for j := range *steps {
					(*steps)[j] = strings.ReplaceAll((*steps)[j], from, to)
				}
			}
		}
	}
}

func all(string) bool { return true }

// deniedByHost are the cells in which the host's profile denies.
func deniedByHost(cell string) bool {
	return anyOf("/host/", "/stacked")(cell) && anyOf("/deny-host", "/deny-both")(cell)
}

// livesBroken are ways to break what the rows of views, administration, live
// changes and lifecycles are about.
var livesBroken = []struct {
	name, row string
	change    func(*isolation.Plan)
	must      func(cell string) bool
}{
	{
		"the host's part does not deny", "live/host-part-stays",
		rewrite("", "audit deny /iso/h r,", ""), all,
	},
	{
		"the task has no part of the host's", "live/host-part-stays",
		relabel("held//&:doomed:held", ":doomed:held"), all,
	},
	{
		"the tasks of two namespaces are in one", "live/other-namespace",
		relabel(":sibling:held", ":doomed:held"), all,
	},
	{
		"a profile of the host's name is in the namespace", "view/out-by-any-way",
		func(p *isolation.Plan) {
			p.Policy = append(p.Policy, isolation.Policy{Namespace: isolation.Namespace, Text: "abi <kernel>,\nprofile host-allow {\n  file,\n}\n"})
		},
		anyOf("-host"),
	},
	{
		"the sysctl does not govern", "administration/levels",
		restep("unprivileged_userns_apparmor_policy 0", "unprivileged_userns_apparmor_policy 1"),
		anyOf("policy-1-user-1-sysctl-0", "policy-2-user-2-sysctl-0"),
	},
	{
		"the task is not in a namespace, and its policy is the host's", "administration/out-of-the-namespace",
		relabel("host-allow//&:outer:p", "host-allow"), func(cell string) bool { return cell == "load-into-sibling" || cell == "remove" },
	},
	{
		"the container's part is unconfined", "lifecycle/leaves-nothing",
		restep("--profile ct", "--profile unconfined"), all,
	},
	{
		"a deny rule of the host is missing, for credentials taken on", "ipc/io-uring-credentials",
		rewrite("", "audit deny io_uring override_creds,", ""), deniedByHost,
	},
	{
		"a deny rule of the host is missing, for an unprivileged container", "unprivileged/file-read",
		rewrite("", "audit deny /iso/f r,", ""), deniedByHost,
	},
	{
		"tasks of an unprivileged container without the stack", "unprivileged/capability-sys_admin",
		relabel("//&:iso:", "//&"), anyOf("/stacked"),
	},
	{
		"the sysctl does not govern an unprivileged container", "unprivileged/administration",
		restep("unprivileged_userns_apparmor_policy 0", "unprivileged_userns_apparmor_policy 1"), anyOf("sysctl-0"),
	},
}

// Whatever is broken on purpose, the cells that are about it FAIL.
func TestE2EIsolationLivesBroken(t *testing.T) {
	l := onKernel(t, DefaultKernel)
	for _, b := range livesBroken {
		t.Run(b.name, func(t *testing.T) {
			l.faults.plan = b.change
			spec := l.tryRow(t, b.row)
			failed := 0
			for _, r := range spec.Results {
				cell := strings.TrimPrefix(r.ID, spec.ID+"/")
				if !b.must(cell) {
					continue
				}
				if failed++; r.Status != reports.Fail {
					t.Errorf("%s is %s, and the world is broken: %s", r.ID, r.Status, r.Reason)
				}
			}
			if failed == 0 {
				t.Errorf("%s: nothing of it is to fail", spec.ID)
			}
		})
	}
}

// A container that is left is found. The row itself is broken, not the plan: a
// report of other steps than the row's is no verdict.
func TestE2EIsolationContainerLeft(t *testing.T) {
	l := onKernel(t, DefaultKernel)
	row := rowOf(t, "lifecycle/leaves-nothing")
	row.Cases = slices.Clone(row.Cases)
	for i, c := range row.Cases {
		row.Cases[i].Do = slices.Clone(c.Do)
		for j, step := range c.Do {
			row.Cases[i].Do[j] = strings.ReplaceAll(step, "run nsmgr container destroy", "run true")
		}
	}
	wantFail(t, l.Isolation(t.Context(), l.Plan.Builds[0], row), all)
}

// Nothing passes in an unprivileged container that is privileged, or whose init
// is not confined as asked.
func TestE2EIsolationUnprivileged(t *testing.T) {
	for _, c := range []struct {
		name, from, to string
		want           reports.Status
	}{
		{"without a user namespace", "--unprivileged", "", reports.Error},
		{"whose part is unconfined", "ct-allow", "unconfined", reports.Fail},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := onKernel(t, DefaultKernel)
			l.faults.unprivileged = func(commands [][]string) {
				for i, args := range commands {
					for j := range args {
						args[j] = strings.ReplaceAll(args[j], c.from, c.to)
					}
					commands[i] = slices.DeleteFunc(args, func(s string) bool { return s == "" })
				}
			}
			for _, row := range []string{"unprivileged/file-read", "unprivileged/view"} {
				for _, r := range l.tryRow(t, row).Results {
					if r.Status != c.want {
						t.Errorf("%s is %s, not %s: %s", r.ID, r.Status, c.want, r.Reason)
					}
				}
			}
		})
	}
}
