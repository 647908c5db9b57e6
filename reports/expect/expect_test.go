// SPDX-License-Identifier: Apache-2.0

package expect

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"proofhouse/internal/exit"
	"proofhouse/reports"
)

var now = time.Date(2026, 11, 24, 23, 59, 0, 0, time.UTC)

// ours are the entries that are built in.
func ours(t *testing.T) List {
	t.Helper()
	list, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// kernel is one with a name and a value of each property after the other.
func kernel(release string, properties ...string) *reports.Kernel {
	k := &reports.Kernel{Release: release, Properties: map[string]string{}, Features: map[string]string{"domain/stack": "yes", "caps/mask": "chown kill"}}
	for i := 0; i < len(properties); i += 2 {
		k.Properties[properties[i]] = properties[i+1]
	}
	return k
}

func TestShipped(t *testing.T) {
	const (
		self     = "regression/introspect/introspect self confined"
		e2e      = "regression/e2e/E2E load profile and read from kernel"
		complain = "regression/complain/Complain mode profile (file exec cx permission entry)"
	)
	sid := func(release string) *reports.Kernel {
		return kernel(release, "libapparmor", "5.0.2-5", "parser", "5.0.2-5", "suite", "4.1.8")
	}
	const move = "regression/mount/MOVE_MOUNT (confined fsmount deny att_dis: mount,) #2"
	unmediated, mediated := sid("6.1.176"), sid("6.12.107")
	mediated.Features["mount/move_mount"] = "detached"
	compressing := sid("7.3.4")
	compressing.Features["policy/compressed_load"] = "yes"
	for _, c := range []struct {
		id     string
		status reports.Status
		k      *reports.Kernel
		want   reports.Status
	}{
		{self, reports.Fail, sid("7.3.4"), reports.XFail},
		{self, reports.Pass, sid("7.3.4"), reports.XPass},
		{self, reports.Fail, kernel("7.3.4", "libapparmor", "4.1.8-3", "suite", "4.1.8"), reports.Fail},
		{self, reports.Fail, kernel("7.3.4", "libapparmor", "5.0.2-5", "suite", "5.0.2"), reports.Fail},
		{self, reports.Fail, kernel("7.3.4"), reports.Fail},
		{self, reports.Pass, sid("6.1.176"), reports.Pass},
		{self, reports.Fail, sid("6.1.176"), reports.Fail},
		{self, reports.Error, sid("7.3.4"), reports.Error},
		{"regression/introspect/introspect other confined", reports.Fail, sid("7.3.4"), reports.Fail},
		{e2e, reports.Fail, compressing, reports.XFail},
		{e2e, reports.Fail, sid("7.3.4"), reports.Fail},
		{move, reports.Fail, unmediated, reports.XFail},
		{move, reports.Fail, mediated, reports.Fail},
		{"regression/mount/MOVE_MOUNT (confined fsmount att_dis: mount,)", reports.Fail, unmediated, reports.Fail},
		{complain, reports.Fail, sid("6.12.107+deb13-cloud-amd64"), reports.XFail},
		{complain, reports.Pass, sid("6.12.107+deb13-cloud-amd64"), reports.XPass},
		{complain, reports.Fail, sid("6.13.0"), reports.Fail},
		{complain, reports.Fail, sid("7.3.4+deb13-cloud-amd64"), reports.Fail},
		{complain, reports.Fail, sid(""), reports.Fail},
	} {
		in := []reports.Result{{ID: c.id, Status: c.status, Got: map[string]string{complain: "fail", e2e: "fail"}[c.id], Reason: "as found"}}
		if c.id == e2e {
			in[0].Reason = "raw_data profile doesn't match the generated cached one"
		}
		if in[0].Got == "" {
			in[0].Got = "pass"
		}
		got := ours(t).Judge(c.k, in, now)[0]
		if got.Status != c.want {
			t.Errorf("%s %s on %s %v: %s, want %s", c.status, c.id, c.k.Release, c.k.Properties, got.Status, c.want)
		}
		if in[0].Status != c.status || in[0].Known != nil {
			t.Error("the results given were changed")
		}
		if (got.Known != nil) != (got.Status != c.status) {
			t.Errorf("%s: known %+v", c.id, got.Known)
		}
	}
}

// A list that is edited after the run gives what it would have given at once.
func TestJudgeAgain(t *testing.T) {
	k := kernel("6.12.107")
	found := []reports.Result{
		{ID: "regression/a/one", Status: reports.Fail, Reason: "exec: Permission denied"},
		{ID: "regression/a/two", Status: reports.Pass},
		{ID: "regression/a/three", Status: reports.XFail, Reason: "marked as a known problem upstream"},
	}
	list := parsed(t, "- {subtest: regression/a/*, reason: why, expires: 2026-11-24}\n")
	first := list.Judge(k, found, now)
	if first[0].Status != reports.XFail || first[0].Reason != "why" || first[1].Status != reports.XPass {
		t.Errorf("%+v", first)
	}
	if k := first[0].Known; k == nil || k.Found != reports.Fail || k.Reason != "exec: Permission denied" || k.By != "mine.yaml:1" {
		t.Errorf("known %+v", k)
	}
	if r := first[2]; r.Status != reports.XFail || r.Reason != "why" || r.Known.Reason != found[2].Reason {
		t.Errorf("upstream's own: %+v", r)
	}
	back := List{}.Judge(k, first, now)
	for i := range back {
		if back[i] != found[i] {
			t.Errorf("without the list: %+v, found %+v", back[i], found[i])
		}
	}
	// The day after, it is a failure again, and says that it was known.
	late := list.Judge(k, first, now.Add(2*time.Minute))
	if late[0].Status != reports.Fail || !strings.Contains(late[0].Reason, "expired on 2026-11-24: why") {
		t.Errorf("expired: %+v", late[0])
	}
	if late[1] != found[1] || late[2] != found[2] {
		t.Errorf("expired, and passed or known upstream: %+v", late[1:])
	}
	if again := (List{}).Judge(k, late, now); again[0] != found[0] {
		t.Errorf("expired, and judged again: %+v", again[0])
	}
}

func parsed(t *testing.T, text string) List {
	t.Helper()
	list, err := Parse("mine.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, id string
		want        bool
	}{
		{"regression/open/OPEN RW", "regression/open/OPEN RW", true},
		{"regression/open/OPEN RW", "regression/open/OPEN RW #2", false},
		{"regression/open/OPEN RW*", "regression/open/OPEN RW #2", true},
		{"regression/open/*", "regression/openat/x", false},
		{"regression/open/*RW*no*", "regression/open/OPEN RW (no confine)", true},
		{"regression/open/*RW*no", "regression/open/OPEN RW (no confine)", false},
		{"regression/dbus_*/*eavesdrop*", "regression/dbus_message/message (eavesdrop)", true},
		{"a/b/x*xy", "a/b/xy", false}, // no letter counts twice
		{"a/b/x*y*y", "a/b/xy", false},
		{"a/b/(ro|.+)", "a/b/(ro|.+)", true}, // no regular expression
	} {
		if got := Match(c.pattern, c.id); got != c.want {
			t.Errorf("%q on %q: %v", c.pattern, c.id, got)
		}
	}
}

func TestRange(t *testing.T) {
	for _, c := range []struct {
		r, version string
		want       bool
	}{
		{"< 6.13", "6.12.107+deb13-cloud-amd64", true},
		{"< 6.13", "6.13.0", false},
		{"< 6.13", "6.13-rc1", false},
		{"<= 6.12", "6.12.107", true},
		{"> 6.12", "6.12.107", false},
		{"> 6.12", "6.13", true},
		{"= 6.12", "6.12.107", true},
		{"= 6.1", "6.12.107", false},
		{">= 6.12.94", "6.12.107", true},
		{">= 6.12.94", "6.12", false},
		{">=6.1,<6.13", "6.1.176", true},
		{">= 6.2, < 6.13", "6.1.176", false},
		{">= 5.0", "5.0.2-5", true},
		{"< 5.0", "4.1.8 (built here)", true},
		{"< 6.0", "1:6.0.4-4+b3", false}, // with an epoch
		{">= 6.0", "1:6.0.4-4+b3", true},
		{"< 5.0", "", false},
		{"< 5.0", "master", false},
		{">= 0", "v5", false},
	} {
		r, err := parseRange(c.r)
		if err != nil {
			t.Fatal(err)
		}
		if got := r.has(c.version); got != c.want {
			t.Errorf("%q in %q: %v", c.version, c.r, got)
		}
		if again, err := parseRange(r.String()); err != nil || again.String() != r.String() {
			t.Errorf("%q written as %q: %v", c.r, r, err)
		}
	}
}

func TestConditions(t *testing.T) {
	k := kernel("6.12.107", "guest", "sid", "machine", "qemu", "accelerator", "tcg", "lxc", "6.0.4")
	for when, want := range map[string]bool{
		"guest: sid":                     true,
		"guest: [forky, trixie]":         false,
		"machine: qemu":                  true,
		"machine: qemu/tcg":              true,
		"machine: [uml, qemu/kvm]":       false,
		"lxc: '>= 6'":                    true,
		"arch: x86_64":                   true, // a run that does not say
		"arch: [aarch64]":                false,
		"feature: domain/stack":          true,
		"feature: caps/mask/kill":        true,
		"feature: [domain/stack, dbus]":  false,
		"lacks: dbus":                    true,
		"lacks: [dbus, domain/stack]":    false,
		"{lacks: dbus, guest: bookworm}": false,
		"{lacks: dbus, release: = 6.12}": true,
	} {
		list := parsed(t, "- subtest: a/b/c\n  reason: x\n  when:\n    "+when+"\n")
		if got := list[0].When.holds(k); got != want {
			t.Errorf("%s: %v", when, got)
		}
	}
	k = kernel("6.12.107", "machine", "qemu", "accelerator", "tcg", "arch", "aarch64")
	for when, want := range map[string]bool{
		"machine: qemu":             true,
		"machine: qemu/tcg":         true,
		"machine: qemu/tc":          false,
		"machine: qemu/tcg/aarch64": true,
		"arch: aarch64":             true,
		"arch: x86_64":              false,
	} {
		list := parsed(t, "- subtest: a/b/c\n  reason: x\n  when:\n    "+when+"\n")
		if got := list[0].When.holds(k); got != want {
			t.Errorf("on arm64, %s: %v", when, got)
		}
		if strings.Contains(when, "lacks") && list[0].When.holds(&reports.Kernel{Release: "6.12.107"}) {
			t.Errorf("%s holds on a kernel of which no feature is known", when)
		}
	}
}

// Each bad list is refused with the line that is bad.
func TestBad(t *testing.T) {
	const entry = "- subtest: regression/open/OPEN RW\n  reason: why\n"
	for _, c := range []struct{ text, want string }{
		{"subtest: x", "mine.yaml:1: not a list"},
		{entry + "  because: why", `mine.yaml:3: unknown key "because" in an expectation`},
		{entry + "  reason: again", `mine.yaml:3: key "reason" given twice`},
		{entry + "- subtest: regression/open/x", "mine.yaml:3: an expectation without a reason"},
		{"- reason: why", "mine.yaml:1: an expectation without a subtest"},
		{entry + "  when:\n    kernel: 6.1", `mine.yaml:4: unknown key "kernel" in when`},
		{entry + "  when:\n    release: 6.1", `mine.yaml:4: release: "6.1" is not a range of versions`},
		{entry + "  when:\n    release: '>= six'", `mine.yaml:4: release: ">= six"`},
		{entry + "  when:\n    release: '< 6.1,'", "mine.yaml:4: release"},
		{entry + "  when: trixie", "mine.yaml:3: when is not a mapping"},
		{entry + "  when: {}", "mine.yaml:3: when: no condition"},
		{entry + "  when: {guest: []}", "mine.yaml:3: guest: an empty list"},
		{entry + "  when: {guest: ''}", "mine.yaml:3: guest: empty"},
		{entry + "  expires: soon", `mine.yaml:3: expires: "soon" is not a date`},
		{entry + "  expires: 2027-02-30", "mine.yaml:3: expires"},
		{entry + "  reference:", "mine.yaml:3: reference: not a text"},
		{"- subtest: '*'\n  reason: x", `mine.yaml:1: subtest: "*" is not an ID`},
		{"- subtest: '*/*/*'\n  reason: x", "mine.yaml:1: subtest"},
		{"- subtest: regression/*/OPEN\n  reason: x", `mine.yaml:1: subtest: "regression/*/OPEN" names no script`},
		{"- subtest: regression/open/\n  reason: x", "mine.yaml:1: subtest"},
		{"- subtest: [a]\n  reason: x", "mine.yaml:1: subtest: not a text"},
		{entry + "- *x\n", "mine.yaml:3:"},
		{entry + "  reason: [", "mine.yaml:"},
		{entry + "\t- x", "mine.yaml:"},
		{entry + "---\n" + entry, "mine.yaml:3: second YAML document"},
		{"- &a {subtest: a/b/c, reason: x}\n- *a", "mine.yaml:2: an expectation is not a mapping"},
		{"- {<<: {subtest: a/b/c}, reason: x}", `mine.yaml:1: unknown key "<<"`},
	} {
		_, err := Parse("mine.yaml", []byte(c.text))
		if err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%q: %v, want %q", c.text, err, c.want)
		}
		if exit.Status(err) != exit.Usage {
			t.Errorf("%q: exit status %d", c.text, exit.Status(err))
		}
	}
	for _, text := range []string{"", "# none yet\n", "[]", "---\n"} {
		if list, err := Parse("mine.yaml", []byte(text)); err != nil || len(list) != 0 {
			t.Errorf("%q: %v, %v", text, list, err)
		}
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	mine := filepath.Join(dir, "mine.yaml")
	text := "- subtest: regression/introspect/introspect self confined\n  reason: mine\n"
	if err := os.WriteFile(mine, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	list, err := Load(mine)
	if err != nil {
		t.Fatal(err)
	}
	if e := list.entry(&reports.Result{ID: "regression/introspect/introspect self confined", Status: reports.Fail, Got: "pass"}); e.Reason != "mine" || e.At != "mine.yaml:1" {
		t.Errorf("the user's own comes first: %+v", e)
	}
	if len(list) != 1+len(ours(t)) {
		t.Errorf("%d entries", len(list))
	}
	// A plan carries the list to the processes of a run.
	b, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	var again List
	if err := json.Unmarshal(b, &again); err != nil {
		t.Fatal(err)
	}
	if c, err := json.Marshal(again); err != nil || string(c) != string(b) {
		t.Errorf("%s\n%s\n%v", b, c, err)
	}
	if i := slices.IndexFunc(again, func(e Entry) bool { return strings.HasPrefix(e.Subtest, "regression/e2e/") }); i < 0 || again[i].When.Parser.String() != ">= 5.0" {
		t.Errorf("%+v", again)
	}
	if _, err := Load(filepath.Join(dir, "none.yaml")); exit.Status(err) != exit.Usage {
		t.Errorf("no such file: %v", err)
	}
	if err := os.WriteFile(mine, []byte("- x: y\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(mine); err == nil || !strings.HasPrefix(err.Error(), mine+":1: ") {
		t.Errorf("%v", err)
	}
}

func TestReview(t *testing.T) {
	list := parsed(t, `
- {subtest: regression/open/GONE, reason: x}
- {subtest: regression/open/OPEN RW, reason: x}
- {subtest: regression/swap/x, reason: x}
- {subtest: regression/nfs/x, reason: x}
- {subtest: regression/e2e/x, reason: x}
- {subtest: regression/open/OTHER, reason: x, when: {release: '> 6.12'}}
`)
	k := kernel("6.12.107")
	result := func(id string, s reports.Status) reports.Spec {
		spec, _, _ := strings.Cut(strings.TrimPrefix(id, "regression/"), "/")
		return reports.Spec{ID: "regression/" + spec, Results: []reports.Result{{ID: id, Status: s}}}
	}
	k.Specs = []reports.Spec{
		result("regression/nfs/(skipped: guest: nfs server)", reports.Skip),
		result("regression/open/OPEN RW", reports.Pass),
		result("regression/swap/(script)", reports.Error),
	}
	run := &reports.Run{Kernels: []reports.Kernel{*k}}
	list.Again(now)(run)
	want := `mine.yaml:2: the expectation for "regression/open/GONE" matches no subtest on 6.12.107`
	if len(run.Remarks) != 1 || run.Remarks[0] != want {
		t.Errorf("%q", run.Remarks)
	}
	if s := run.Kernels[0].Specs[1].Results[0].Status; s != reports.XPass {
		t.Errorf("not judged again: %s", s)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(shipped)
	f.Add([]byte("- {subtest: a/b/*, reason: x, when: {release: '>= 6.1, < 7', guest: [sid], lacks: dbus}, expires: 2027-01-01}"))
	f.Add([]byte("- &a [*a]\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		list, err := Parse("f", text)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "f:") || exit.Status(err) != exit.Usage {
				t.Errorf("%v", err)
			}
			return
		}
		k := kernel("6.12.107", "guest", "sid")
		for _, e := range list {
			if e.Reason == "" || e.Subtest == "" || Match(e.Subtest, "") {
				t.Errorf("%+v", e)
			}
			id := strings.ReplaceAll(e.Subtest, "*", "")
			if !Match(e.Subtest, id) {
				t.Errorf("%q does not match %q", e.Subtest, id)
			}
			list.Judge(k, []reports.Result{{ID: id, Status: reports.Fail}}, now)
		}
		if b, err := json.Marshal(list); err != nil {
			t.Errorf("%v: %s", err, b)
		} else if err := json.Unmarshal(b, &List{}); err != nil {
			t.Errorf("%s: %v", b, err)
		}
	})
}

// TestShippedIsExact: each entry that is built in has conditions on the kernel
// and on what was found, and excuses nothing that is worse.
func TestShippedIsExact(t *testing.T) {
	example := func(patterns []string) string { // that the first pattern matches
		if len(patterns) == 0 {
			return ""
		}
		return strings.ReplaceAll(patterns[0], "*", " x ")
	}
	for _, e := range ours(t) {
		if len(e.When.Release) == 0 && len(e.When.Feature) == 0 && len(e.When.Lacks) == 0 {
			t.Errorf("%s: no condition on the kernel", e.At)
		}
		if len(e.Found.Got) == 0 {
			t.Errorf("%s: no condition on what was got", e.At)
		}
		for _, p := range slices.Concat(e.Found.Got, e.Found.Reason) {
			if strings.HasSuffix(p, "*") && !strings.Contains(e.Subtest, "(kernel-log)") {
				t.Errorf("%s: what follows %q is not looked at", e.At, p)
			}
		}
		// As it is known, it is excused; alone, whatever the other entries say.
		known := reports.Result{
			ID: strings.ReplaceAll(e.Subtest, "*", "x"), Status: reports.Fail,
			Got: example(e.Found.Got), Reason: example(e.Found.Reason), Output: example(e.Found.Output),
		}
		e.When = When{}
		judge := func(r reports.Result) reports.Status {
			return List{e}.Judge(kernel("1"), []reports.Result{r}, now)[0].Status
		}
		if got := judge(known); got != reports.XFail {
			t.Errorf("%s: %s: %+v", e.At, got, known)
		}
		for name, worse := range map[string]func(r *reports.Result){
			"killed by a signal": func(r *reports.Result) { r.Got = "signal11" },
			"nothing was got":    func(r *reports.Result) { r.Got = "" },
			"more happened":      func(r *reports.Result) { r.Got = "cat /iso/secret = ok; " + r.Got },
			"the task is confined by nothing": func(r *reports.Result) {
				r.Reason += `; the host sees the label "unconfined" of task t, not "live//&:iso:live (enforce)"`
				if len(e.Found.Reason) == 0 { // then what was got, or the stack, tells
					r.Got += "; unconfined"
				}
			},
			"in another function": func(r *reports.Result) {
				if len(e.Found.Output) == 0 {
					r.Got = "another"
				}
				r.Output = "refcount_t: underflow; use-after-free.\n refcount_warn_saturate+0x1\n put_cred_rcu+0x1\n"
			},
			"ERROR": func(r *reports.Result) { r.Status = reports.Error },
		} {
			r := known
			worse(&r)
			if got := judge(r); got == reports.XFail || got == reports.Pass {
				// What a title of the kernel's log goes by is the stack.
				if strings.Contains(e.Subtest, "dcache.c") && name == "the task is confined by nothing" {
					continue
				}
				t.Errorf("%s: excuses %q: %+v", e.At, name, r)
			}
		}
	}
}

// TestFound: another failure of the same subtest is another defect.
func TestFound(t *testing.T) {
	list := parsed(t, "- {subtest: regression/a/one, reason: why, found: {got: [fail, signal9], reason: 'exec: *'}}\n- {subtest: regression/a/one, reason: other, found: {output: '*x*'}}\n")
	for _, c := range []struct {
		r    reports.Result
		want string
	}{
		{reports.Result{Status: reports.Fail, Got: "signal9", Reason: "exec: EACCES"}, "XFAIL why"},
		{reports.Result{Status: reports.Fail, Got: "signal11", Reason: "exec: EACCES"}, "FAIL exec: EACCES"},
		{reports.Result{Status: reports.Fail, Got: "fail", Reason: "open"}, "FAIL open"},
		{reports.Result{Status: reports.Fail, Got: "fail", Reason: "open", Output: "axb"}, "XFAIL other"},
		{reports.Result{Status: reports.Pass}, "XPASS was expected to fail: why"},
	} {
		c.r.ID = "regression/a/one"
		got := list.Judge(kernel("1"), []reports.Result{c.r}, now)[0]
		if s := string(got.Status) + " " + got.Reason; s != c.want {
			t.Errorf("%+v: %s, want %s", c.r, s, c.want)
		}
	}
	for _, text := range []string{"found: {}", "found: {got: '*'}", "found: {got: []}", "found: {id: x}", "found: 7"} {
		if _, err := Parse("x", []byte("- {subtest: regression/a/one, reason: why, "+text+"}")); exit.Status(err) != exit.Usage {
			t.Errorf("%s: %v", text, err)
		}
	}
}
