// SPDX-License-Identifier: Apache-2.0

package isolation

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"proofhouse/reports"
)

var tested = Kernel{Features: map[string]string{"namespaces/mask": "userns_create"}, Parser: "5.0.2"}

// sound is what a kernel that does all as it should would have the probe
// report of a row of the matrix, and log.
func sound(r Row) (found []Found, audit string) {
	for i, s := range r.squares() {
		pid := 1000 + i
		f := Found{Key: s.key, PIDs: map[string]int{"t": pid}, Init: InitLabel + " (enforce)", Labels: map[string]string{"t": seen(s.host, s.ns)}}
		for _, step := range r.Do {
			d := Done{Step: step}
			if s.byHost || s.byNS {
				d.Errno = "EACCES"
			}
			f.Done = append(f.Done, d)
		}
		found = append(found, f)
		record := `type=1400 audit(1795559335.519:8): apparmor="DENIED" operation="open" class="file" %sprofile="%s" name="/iso/f" pid=%d comm="probe" requested_mask="r" denied_mask="r"` + "\n"
		if s.byHost {
			audit += fmt.Sprintf(record, "", s.host, pid)
		}
		if s.byNS {
			audit += fmt.Sprintf(record, `namespace="root//iso" `, s.ns, pid)
		}
	}
	return found, audit
}

func row(t *testing.T, id string) Row {
	t.Helper()
	rows := Rows()
	i := slices.IndexFunc(rows, func(r Row) bool { return r.ID() == id })
	if i < 0 {
		t.Fatalf("no row %s", id)
	}
	return rows[i]
}

func statuses(results []reports.Result) map[reports.Status]int {
	n := map[reports.Status]int{}
	for _, r := range results {
		n[r.Status]++
	}
	return n
}

func TestJudgeSound(t *testing.T) {
	r := row(t, "isolation/file/read")
	found, audit := sound(r)
	results := r.Judge(tested, found, audit)
	if n := statuses(results); n[reports.Pass] != len(results) || len(results) != 40 {
		t.Errorf("%v of %d: %+v", n, len(results), results)
	}
}

// Whatever is not as it should be is no PASS, and what is lost is an ERROR.
func TestJudgeFails(t *testing.T) {
	const key = "container/stacked/deny-both"
	at := func(found []Found) *Found {
		return &found[slices.IndexFunc(found, func(f Found) bool { return f.Key == key })]
	}
	pid := func(found []Found) string { return fmt.Sprintf("pid=%d ", at(found).PIDs["t"]) }
	// without leaves out the n-th record of the cell.
	without := func(audit, pid string, n int) string {
		var kept strings.Builder
		for line := range strings.Lines(audit) {
			if strings.Contains(line, pid) {
				if n--; n == -1 {
					continue
				}
			}
			kept.WriteString(line)
		}
		return kept.String()
	}
	for _, c := range []struct {
		name  string
		spoil func(found []Found, audit string) ([]Found, string)
		want  reports.Status
		say   string
	}{
		{"it was allowed", func(f []Found, a string) ([]Found, string) {
			for i := range at(f).Done {
				at(f).Done[i].Errno = ""
			}
			return f, a
		}, reports.Fail, "ok, not EACCES"},
		{"another errno", func(f []Found, a string) ([]Found, string) { at(f).Done[0].Errno = "EPERM"; return f, a }, reports.Fail, "EPERM, not EACCES"},
		{"another label", func(f []Found, a string) ([]Found, string) {
			at(f).Labels["t"] = ":iso:ct-deny (enforce)"
			return f, a
		}, reports.Fail, "the host sees the label"},
		{"no record of the host", func(f []Found, a string) ([]Found, string) { return f, without(a, pid(f), 0) }, reports.Fail, "no record of DENIED open by profile host-deny of the host"},
		{"no record of the namespace", func(f []Found, a string) ([]Found, string) { return f, without(a, pid(f), 1) }, reports.Fail, "by profile ct-deny of namespace iso"},
		{"an unexpected record", func(f []Found, a string) ([]Found, string) {
			return f, a + `audit(1.1:1): apparmor="DENIED" operation="open" profile="host-deny" name="/iso/f" ` + pid(f) + `denied_mask="r"` + "\n"
		}, reports.Fail, "unexpected record"},
		{"complained only", func(f []Found, a string) ([]Found, string) {
			return f, strings.ReplaceAll(a, "DENIED", "ALLOWED")
		}, reports.Fail, "ALLOWED"},
		{"another namespace", func(f []Found, a string) ([]Found, string) {
			return f, strings.ReplaceAll(a, "root//iso", "root//other")
		}, reports.Fail, "namespace other"},
		{"the label was refused", func(f []Found, a string) ([]Found, string) {
			at(f).Refused = map[string]string{"t": "ENOENT"}
			return f, a
		}, reports.Fail, "refuses task t the label host-deny//&:iso:ct-deny: ENOENT"},
		{"the container has no stack", func(f []Found, a string) ([]Found, string) { at(f).Init = "unconfined"; return f, a }, reports.Fail, `init has the label "unconfined"`},
		{"the probe had trouble", func(f []Found, a string) ([]Found, string) { at(f).Trouble = "fork: ENOMEM"; return f, a }, reports.Error, "fork"},
		{"it was not prepared", func(f []Found, a string) ([]Found, string) {
			at(f).Prepared = &Done{Step: "put /iso/f", Errno: "ENOSPC"}
			return f, a
		}, reports.Error, "ENOSPC"},
		{"nothing was found", func(f []Found, a string) ([]Found, string) {
			return slices.DeleteFunc(f, func(x Found) bool { return x.Key == key }), a
		}, reports.Error, "stopped before this cell"},
		{"a system call hangs", func(f []Found, a string) ([]Found, string) { at(f).Done[0].Errno = "hangs"; return f, a }, reports.Error, "did not return in time"},
		{"reported twice", func(f []Found, a string) ([]Found, string) { return append(f, *at(f)), a }, reports.Error, "2 times"},
		{"another step", func(f []Found, a string) ([]Found, string) { at(f).Done[0].Step = "stat /iso/f"; return f, a }, reports.Error, "was planned"},
		{"too many steps", func(f []Found, a string) ([]Found, string) {
			at(f).Done = append(at(f).Done, Done{Step: "read f"})
			return f, a
		}, reports.Error, "3 steps"},
		{"no process id", func(f []Found, a string) ([]Found, string) { at(f).PIDs = nil; return f, a }, reports.Error, "process id of task t"},
		{"the process id of another cell", func(f []Found, a string) ([]Found, string) {
			at(f).PIDs["t"] = f[0].PIDs["t"]
			return f, a
		}, reports.Error, "same process id"},
		{"records were lost", func(f []Found, a string) ([]Found, string) { return f, a + LostRecords("ENOBUFS") }, reports.Error, "audit log is incomplete"},
		{"records were lost, and one is missing", func(f []Found, a string) ([]Found, string) {
			return f, without(a, pid(f), 0) + LostRecords("ENOBUFS")
		}, reports.Error, "audit log is incomplete"},
		{"records were lost, and it was allowed", func(f []Found, a string) ([]Found, string) {
			for i := range at(f).Done {
				at(f).Done[i].Errno = ""
			}
			return f, a + LostRecords("ENOBUFS")
		}, reports.Fail, "ok, not EACCES"},
		{"a damaged record", func(f []Found, a string) ([]Found, string) {
			return f, a + `type=1400 audit(1795559335.519:8): apparmor=DENI` + "\n"
		}, reports.Error, "audit log is incomplete"},
		{"nothing was done", func(f []Found, a string) ([]Found, string) { at(f).Done = nil; return f, a }, reports.Error, "did not report all steps"},
	} {
		r := row(t, "isolation/file/read")
		found, audit := c.spoil(sound(r))
		results := r.Judge(tested, found, audit)
		i := slices.IndexFunc(results, func(x reports.Result) bool { return x.ID == r.ID()+"/"+key })
		if i < 0 || results[i].Status != c.want || !strings.Contains(results[i].Reason, c.say) {
			t.Errorf("%s: %+v", c.name, results[i])
		}
	}
}

// A cell in which nothing was done, and nothing was to be denied, is no PASS.
func TestJudgeNothingDone(t *testing.T) {
	r := row(t, "isolation/file/read")
	found, audit := sound(r)
	found[0].Done = nil
	if res := r.Judge(tested, found, audit)[0]; res.Status == reports.Pass {
		t.Errorf("%+v", res)
	}
}

func TestJudgeStray(t *testing.T) {
	r := row(t, "isolation/file/read")
	found, audit := sound(r)
	audit += `audit(1.1:1): apparmor="DENIED" operation="open" profile="host-allow" name="/x" pid=1 comm="init" denied_mask="r"` + "\n"
	if n := statuses(r.Judge(tested, found, audit)); n[reports.Fail] != 1 {
		t.Errorf("%v", n)
	}
}

func TestJudgeSkips(t *testing.T) {
	r := row(t, "isolation/ipc/posix-mqueue")
	results := r.Judge(tested, nil, "")
	if len(results) != 1 || results[0].Status != reports.Skip || results[0].Lacks != "kernel: ipc/posix_mqueue" {
		t.Errorf("%+v", results)
	}
	// features/io_uring is there without io_uring, and its config says so.
	k := Kernel{Features: map[string]string{"io_uring/mask": "sqpoll override_creds"}, Off: func(o string) bool { return o == "CONFIG_IO_URING" }}
	results = row(t, "isolation/ipc/io-uring").Judge(k, nil, "")
	if len(results) != 1 || results[0].Status != reports.Skip || results[0].Lacks != "kernel: CONFIG_IO_URING" {
		t.Errorf("%+v", results)
	}
	k.Off = nil
	if results = row(t, "isolation/ipc/io-uring").Judge(k, nil, ""); len(results) < 2 || results[0].Status != reports.Error {
		t.Errorf("a kernel of unknown config: %+v", results)
	}
}

// Records that the kernel lost leave no cell with a PASS: an unexpected record may
// be among them. Marks of the harness and records of others are none of them.
func TestJudgeLostRecords(t *testing.T) {
	r := row(t, "isolation/file/read")
	found, audit := sound(r)
	for _, line := range []string{
		"records were lost: the kernel logged faster than they could be read\n", "audit_lost=3 audit_rate_limit=0 audit_backlog_limit=64\n",
		"… 4096 bytes left out …\n", "apparmor=\"DEN",
		"audit: type=1400 audit(1795559335.519:8): appar\n", "type=AVC msg=audit(1795559335.519:8): \n", "audit(1795559335.519:8): a\n",
	} {
		if n := statuses(r.Judge(tested, found, audit+line)); n[reports.Error] != 40 {
			t.Errorf("%q: %v", line, n)
		}
	}
	for _, line := range []string{
		"sync-12.\n", "\n", "audit(1795559335.519:8): avc: denied { read } for pid=7\n",
		"type=1400 audit(1795559335.519:8): lsm=SMACK fn=smack_inode_permission action=denied\n", "type=1334 audit(1795559335.519:8): prog-id=7 op=LOAD\n",
	} {
		if n := statuses(r.Judge(tested, found, audit+line)); n[reports.Pass] != 40 {
			t.Errorf("%q: %v", line, n)
		}
	}
	recorded := row(t, "isolation/signal/disjoint")
	f, _ := asWanted(recorded.Cases[0])
	if res := recorded.Judge(tested, []Found{f}, LostRecords("x"))[0]; res.Status != reports.Error {
		t.Errorf("recorded: %+v", res)
	}
}

// A denial of a process that no cell has may belong to a cell that the probe did
// not report; a cell that was not planned is no result of the row.
func TestJudgeUnplanned(t *testing.T) {
	r := row(t, "isolation/file/read")
	found, audit := sound(r)
	stray := `audit(1.1:1): apparmor="DENIED" operation="open" profile="host-allow" name="/x" pid=1 comm="init" denied_mask="r"` + "\n"
	if n := statuses(r.Judge(tested, found[:39], audit+stray)); n[reports.Fail] != 0 || n[reports.Error] != 2 {
		t.Errorf("a cell is missing: %v", n)
	}
	found = append(found, Found{Key: "host/other", PIDs: map[string]int{"t": 9}})
	if n := statuses(r.Judge(tested, found, audit)); n[reports.Error] != 1 {
		t.Errorf("a cell that was not planned: %v", n)
	}
}

func TestReadFoundRefuses(t *testing.T) {
	for _, text := range []string{`{"key":"a"}` + "\n" + `{"key":`, `{"key":"a"}` + "\n" + `{"key":"b","verdict":"PASS"}`} {
		if found, err := ReadFound(strings.NewReader(text)); err == nil || len(found) != 1 {
			t.Errorf("%q: %v, %v", text, found, err)
		}
	}
}

// The table itself: names that are stable and can be labels of Ginkgo, a
// reason for each row, and an expectation in each.
func TestTable(t *testing.T) {
	seenID := map[string]bool{}
	groups := map[string]bool{}
	for _, r := range Rows() {
		groups[r.Group] = true
		if seenID[r.ID()] || strings.ContainsAny(r.Group+r.Name, "&|!,()/. ") {
			t.Errorf("row %s: twice, or no name", r.ID())
		}
		seenID[r.ID()] = true
		if r.About == "" || r.Why == "" {
			t.Errorf("row %s does not say what and why", r.ID())
		}
		if (r.Cases == nil) == (r.Do == nil) {
			t.Errorf("row %s has both or neither of Do and Cases", r.ID())
		}
		if r.Cases == nil && r.Deny == "" && r.Bare == "" {
			t.Errorf("row %s: nothing denies", r.ID())
		}
		deny := r.Deny
		if len(r.Records) == 0 || strings.HasPrefix(deny, "set rlimit ") { // it is to be quiet, or no rule
			deny = ""
		}
		for _, rule := range badDeny(deny) {
			t.Errorf("row %s: Deny: %q: want \"audit deny …,\": other rules deny nothing, or log nothing", r.ID(), rule)
		}
		names := map[string]bool{}
		for _, c := range r.Cases {
			if names[c.Name] || len(c.Do) == 0 || len(c.Tasks) == 0 {
				t.Errorf("row %s, case %s: twice, or it does nothing", r.ID(), c.Name)
			}
			names[c.Name] = true
		}
	}
	for _, g := range []string{"file", "exec", "capability", "network", "mount", "signal", "ptrace", "ipc", "resource", "view", "administration", "modes", "live", "lifecycle", "limits"} {
		if !groups[g] {
			t.Errorf("no row in group %s", g)
		}
	}
}

// badDeny returns the lines of a Deny that do not deny and log, or that the
// parser would reject for want of a comma.
func badDeny(deny string) (bad []string) {
	for rule := range strings.Lines(deny) {
		rule = strings.TrimSpace(rule)
		if rule != "" && (!strings.HasPrefix(rule, "audit ") || !strings.Contains(rule, "deny ") || !strings.HasSuffix(rule, ",")) {
			bad = append(bad, rule)
		}
	}
	return bad
}

func TestBadDeny(t *testing.T) {
	for deny, want := range map[string]int{
		"": 0, "audit deny /iso/f r,": 0, "audit deny /a r,\n  audit deny /b w,": 0, "audit owner deny /a r,": 0,
		"deny /iso/f r,": 1, "audit /iso/f r,": 1, "audit deny /iso/f r": 1, "audit deny /a r,\n  deny /b w,": 1,
	} {
		if got := badDeny(deny); len(got) != want {
			t.Errorf("%q: %q, want %d", deny, got, want)
		}
	}
}

func FuzzReadFound(f *testing.F) {
	f.Add(`{"key":"host/stacked/allow","pids":{"t":1}}` + "\n" + `{"key":`)
	f.Fuzz(func(_ *testing.T, text string) {
		found, _ := ReadFound(strings.NewReader(text))
		r := Row{Group: "file", Name: "x", Cases: []Case{{Name: "c", Do: []string{"read"}}}, Why: "x"}
		_ = r.Judge(tested, found, text)
		_ = fileRows[0].Judge(tested, found, text)
	})
}
