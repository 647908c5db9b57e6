// SPDX-License-Identifier: Apache-2.0

package runs

import (
	"slices"
	"strings"
	"testing"
	"time"

	"proofhouse/isolation"
	"proofhouse/machines/crash"
	"proofhouse/nsmgr"
	"proofhouse/reports"
	"proofhouse/reports/expect"
)

// TestExpectedReplace judges cells of isolation/live/replace as the built-in
// expectations know them, and as worse defects would have them: the second
// replacement of a profile in a stack is not in force, and nothing else.
func TestExpectedReplace(t *testing.T) {
	list, err := expect.Load()
	if err != nil {
		t.Fatal(err)
	}
	rows := isolation.Rows()
	i := slices.IndexFunc(rows, func(r isolation.Row) bool { return r.ID() == "isolation/live/replace" })
	row := rows[i]
	kernel := &reports.Kernel{Release: "7.2.7", Features: map[string]string{"domain/stack": "yes", "namespaces/profile": "yes"}, Properties: map[string]string{"machine": "qemu"}}
	features := isolation.Kernel{Features: kernel.Features}
	// judge is what comes of one case when its steps end with these errnos, the
	// labels are as given or as they should be, and these records are there.
	judge := func(name string, errnos, label string, audit string) reports.Result {
		i := slices.IndexFunc(row.Cases, func(c isolation.Case) bool { return c.Name == name })
		c := row.Cases[i]
		f := isolation.Found{Key: name, PIDs: map[string]int{"t": 100}, Labels: map[string]string{}, Init: isolation.InitLabel + " (enforce)"}
		for n, task := range c.Tasks {
			if task.Name != "t" {
				f.PIDs[task.Name] = 101 + n
			}
		}
		for n, errno := range strings.Fields(errnos) {
			step, _, _ := strings.Cut(c.Do[n], " => ")
			f.Done = append(f.Done, isolation.Done{Step: step, Errno: strings.TrimPrefix(errno, "ok")})
		}
		for task, want := range c.Labels {
			f.Labels[task] = want
			if label != "" {
				f.Labels[task] = label
			}
		}
		results := row.Judge(features, []isolation.Found{f}, audit)
		for _, r := range list.Judge(kernel, results, time.Now()) {
			if r.ID == row.ID()+"/"+name {
				return r
			}
		}
		t.Fatalf("no result for %s", name)
		return reports.Result{}
	}
	record := func(namespace, profile, file string) string {
		ns := ""
		if namespace != "" {
			ns = ` namespace="root//` + namespace + `"`
		}
		return `audit: type=1400 audit(1.1:1): apparmor="DENIED" operation="open" class="file"` + ns + ` profile="` + profile + `" name="/iso/` + file + `" pid=100 comm="probe" requested_mask="r" denied_mask="r" fsuid=0 ouid=0` + "\n"
	}
	if r, ok := nsmgr.ParseRecord(strings.TrimSpace(record("iso", "live", "f"))); !ok || r.PID != 100 {
		t.Fatalf("%+v", r)
	}
	ns, host, g := record("iso", "live", "f"), record("", "live", "f"), record("iso", "live", "g")
	for _, c := range []struct{ name, errnos, audit string }{
		{"host", "ok ok EACCES ok ok EACCES", host + host},
		{"namespace", "ok ok EACCES ok ok EACCES", ns + ns},
		{"stacked-twice-to-deny", "EACCES ok ok ok ok", ns},
		{"stacked-twice-label-read", "EACCES ok ok ok ok ok ok ok ok", ns},
		{"third-text", "ok ok EACCES ok ok EACCES", ns + ns},
	} {
		if r := judge(c.name, c.errnos, "", c.audit); r.Status != reports.XFail {
			t.Errorf("%s as it is known: %s %s\n%s", c.name, r.Status, r.Reason, r.Got)
		}
		if r := judge(c.name, c.errnos, "unconfined", c.audit); r.Status == reports.XFail && c.name != "third-text" { // which looks at no label
			t.Errorf("%s, and the task is unconfined: %s %s", c.name, r.Status, r.Known.Reason)
		}
		if r := judge(c.name, strings.ReplaceAll(c.errnos, "EACCES", "ok"), "", ""); r.Status == reports.XFail {
			t.Errorf("%s, and nothing is enforced: %s %s", c.name, r.Status, r.Known.Reason)
		}
		if r := judge(c.name, strings.ReplaceAll(c.errnos, "EACCES", "ok"), "unconfined", ""); r.Status == reports.XFail {
			t.Errorf("%s, and nothing is enforced, unconfined: %s %s", c.name, r.Status, r.Known.Reason)
		}
		if r := judge(c.name, c.errnos, "", c.audit+g+g); r.Status == reports.XFail {
			t.Errorf("%s, with other records: %s %s", c.name, r.Status, r.Known.Reason)
		}
	}
}

// TestExpectedCrashes: a complaint of the kernel is known by the functions that
// it is about, and not by its title.
func TestExpectedCrashes(t *testing.T) {
	list, err := expect.Load()
	if err != nil {
		t.Fatal(err)
	}
	const underflow = "refcount_t: underflow; use-after-free.\nWARNING: lib/refcount.c:28 at refcount_warn_saturate+0x59/0x90, CPU#0: ksoftirqd/0/15\n "
	const bug = "kernel BUG at fs/dcache.c:2192!\nRIP: 0010:d_instantiate+0x52/0x60\n "
	const aafs = "WARNING: security/apparmor/apparmorfs.c:428 at aafs_remove+0x9f/0x118, CPU#0: rmdir/1521\n"
	for _, c := range []struct {
		row     string
		crashes []crash.Crash
		release string
		want    []reports.Status
	}{
		{"many", []crash.Crash{{Title: "refcount_t: underflow", Text: underflow + "aa_free_profile+0x39b/0x3e0\n rcu_do_batch+0x1bf/0x500\n"}}, "7.3.4", []reports.Status{reports.XFail}},
		{"many", []crash.Crash{{Title: "refcount_t: underflow", Text: underflow + "aa_free_profile+0x39b/0x3e0\n"}}, "6.12.1", []reports.Status{reports.Fail}},
		{"many", []crash.Crash{{Title: "refcount_t: underflow", Text: underflow + "put_cred_rcu+0x39b/0x3e0\n"}}, "7.3.4", []reports.Status{reports.Fail}},
		{"many", []crash.Crash{{Title: "refcount_t: underflow"}}, "7.3.4", []reports.Status{reports.Fail}},
		{"many", []crash.Crash{{Title: "refcount_t: underflow", Text: underflow + "aa_free_profile+0x1/0x2\n"}, {Title: "refcount_t: underflow", Text: underflow + "aa_put_label+0x1/0x2\n"}}, "7.3.4", []reports.Status{reports.XFail, reports.Fail}},
		{"races", []crash.Crash{{Title: "kernel BUG at fs/dcache.c:2192", Text: bug + "__aafs_setup_d_inode.constprop.0+0xa6/0x120\n ns_mkdir_op+0x10f/0x220\n"}}, "6.1.176", []reports.Status{reports.XFail}},
		{"races", []crash.Crash{{Title: "kernel BUG at fs/dcache.c:9999", Text: "kernel BUG at fs/dcache.c:9999!\nRIP: 0010:dput+0x52/0x60\n"}}, "8.0.0", []reports.Status{reports.Fail}},
		{"depth-beyond", []crash.Crash{{Title: "WARNING in aafs_remove", Text: aafs}}, "7.2.7", []reports.Status{reports.XFail}},
	} {
		k := &reports.Kernel{Release: c.release, Features: map[string]string{"domain/stack": "yes", "namespaces/profile": "yes"}}
		var got []reports.Status
		for _, r := range list.Judge(k, crashResults("isolation/limits/"+c.row, c.crashes, true, nil), time.Now()) {
			got = append(got, r.Status)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s on %s, %v: %v, want %v", c.row, c.release, c.crashes, got, c.want)
		}
	}
}
