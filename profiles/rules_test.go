// SPDX-License-Identifier: Apache-2.0

package profiles

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"proofhouse/internal/printable"
	"proofhouse/nsmgr"
)

func recordsOf(t *testing.T, lines ...string) (all []nsmgr.Record) {
	t.Helper()
	for _, l := range lines {
		r, ok := nsmgr.ParseRecord("audit(1795400718.740:6): " + l)
		if !ok {
			t.Fatalf("no record in %q", l)
		}
		all = append(all, r)
	}
	return all
}

const web = `namespace="root//web" profile="p" `

// Each denial becomes the rule that allows it and no more.
func TestRulesFor(t *testing.T) {
	for line, want := range map[string]string{
		`operation="open" class="file" ` + web + `name="/srv/x" pid=5 comm="cat" requested_mask="r" denied_mask="r" fsuid=1000 ouid=0`:                                            `"/srv/x" r,`,
		`operation="open" class="file" ` + web + `name="/srv/x" pid=5 requested_mask="wr" denied_mask="w" fsuid=7 ouid=7`:                                                         `owner "/srv/x" w,`,
		`operation="mknod" class="file" ` + web + `name=2F7372762F61205B785D2A pid=5 requested_mask="c" denied_mask="c" fsuid=0 ouid=0`:                                           `owner "/srv/a \[x\]\*" w,`,
		`operation="exec" class="file" ` + web + `name="/bin/x" pid=5 requested_mask="x" denied_mask="x" fsuid=1 ouid=0`:                                                          `"/bin/x" ix,`,
		`operation="open" class="file" ` + web + `name="/x/@{y}" pid=5 requested_mask="ac" denied_mask="ac" fsuid=1 ouid=0`:                                                       `"/x/@\{y\}" w,`,
		`operation="link" class="file" ` + web + `name="/a" pid=5 requested_mask="l" denied_mask="l" fsuid=1 ouid=0 target="/b"`:                                                  `link "/a" -> "/b",`,
		`operation="capable" class="cap" ` + web + `pid=5 capability=21 capname="sys_admin"`:                                                                                      `capability sys_admin,`,
		`operation="create" class="net" ` + web + `pid=5 family="inet" sock_type="raw" protocol=1 requested="create" denied="create"`:                                             `network inet raw,`,
		`operation="bind" class="net" ` + web + `pid=5 family="unix" sock_type="stream" denied="bind" addr="@6D7920736F636B"`:                                                     `unix (bind) type=stream addr="@my sock",`,
		`operation="connect" class="net" ` + web + `pid=5 family="unix" sock_type="stream" denied="connect" addr=none peer_addr=2F72756E2F6D792061702F736F636B peer="unconfined"`: `"/run/my ap/sock" rw,`,
		`operation="signal" class="signal" ` + web + `pid=5 requested_mask="send" denied_mask="send" signal=kill peer=":web:q"`:                                                   `signal (send) set=(kill) peer="q",`,
		`operation="ptrace" class="ptrace" ` + web + `pid=5 requested_mask="trace" denied_mask="trace" peer="h//&:web:q//hat"`:                                                    `ptrace (trace) peer="q//hat",`,
		`operation="mount" class="mount" info="failed flags match" error=-13 ` + web + `name="/proc/" pid=2 fstype="proc" srcname="proc" flags="rw, nosuid"`:                      `mount options=(rw, nosuid) fstype="proc" "proc" -> "/proc/",`,
		`operation="umount" class="mount" ` + web + `name="/mnt/" pid=2`:                                                                                                          `umount "/mnt/",`,
		`operation="pivotroot" class="mount" ` + web + `name="/run/root/" pid=2 srcname="/run/root/.old/"`:                                                                        `pivot_root oldroot="/run/root/.old/" "/run/root/",`,
		`operation="userns_create" class="namespace" ` + web + `pid=2 denied="userns_create"`:                                                                                     `userns create,`,
		`operation="uring_sqpoll" class="io_uring" ` + web + `pid=2 denied="sqpoll"`:                                                                                              `io_uring (sqpoll),`,
		`operation="setrlimit" class="rlimits" ` + web + `pid=2 rlimit=nofile value=1048576`:                                                                                      `set rlimit nofile <= 1048576,`,
		`operation="setrlimit" class="rlimits" ` + web + `pid=2 rlimit=nice value=15`:                                                                                             `set rlimit nice <= 5,`,
		`operation="setrlimit" class="rlimits" ` + web + `pid=2 rlimit=as value=18446744073709551615`:                                                                             `set rlimit as <= infinity,`,
		`operation="change_profile" class="file" ` + web + `pid=2 name="x y"`:                                                                                                     `change_profile -> "x y",`,
	} {
		sets := RulesFor(recordsOf(t, `apparmor="DENIED" `+line))
		if len(sets) != 1 || sets[0].Namespace != "web" || sets[0].Profile != "p" || len(sets[0].Rules) != 1 || sets[0].Rules[0].Text != want {
			t.Errorf("%s\n got %+v\nwant %s", line, sets, want)
		}
	}
}

// What differs in one set becomes one rule, and both parts of a stack have
// their own.
func TestRulesMerge(t *testing.T) {
	file := func(part, path, mask string) string {
		return `apparmor="DENIED" operation="open" class="file" ` + part + `name="` + path + `" pid=5 requested_mask="` + mask + `" denied_mask="` + mask + `" fsuid=1 ouid=0`
	}
	sets := RulesFor(recordsOf(t,
		file(`profile="h" `, "/x", "r"), file(web, "/x", "r"), file(web, "/x", "a"), file(web, "/x", "w"), file(web, "/x", "r"), file(web, "/a", "r"),
		`apparmor="DENIED" operation="signal" `+web+`pid=5 denied_mask="send" signal=kill peer="q"`,
		`apparmor="DENIED" operation="signal" `+web+`pid=5 denied_mask="send" signal=term peer="q"`,
		`apparmor="STATUS" operation="profile_load" profile="unconfined" name="p" pid=1`,
		`apparmor="DENIED" operation="open" info="Failed name lookup - disconnected path" error=-13 `+web+`name="x/y" pid=5 requested_mask="r" denied_mask="r" fsuid=1 ouid=0`,
	))
	if len(sets) != 2 || sets[0].Part() != "host" || sets[1].Part() != "namespace" || len(sets[1].Left) != 1 {
		t.Fatalf("%+v", sets)
	}
	want := []Rule{{`"/a" r,`, 1}, {`"/x" rw,`, 4}, {`signal (send) set=(kill, term) peer="q",`, 2}}
	if !slices.Equal(sets[1].Rules, want) {
		t.Errorf("%+v, want %+v", sets[1].Rules, want)
	}
	if !slices.Equal(sets[0].Rules, []Rule{{`"/x" r,`, 1}}) {
		t.Errorf("%+v", sets[0].Rules)
	}
	// A bus does not say which part of the label denied.
	sets = RulesFor(recordsOf(t, `apparmor="DENIED" operation="dbus_method_call" bus="system" path="/o" interface="a.b" member="C" mask="send" name="n" pid=4 label="host-ct//&:n1:container" peer_label="unconfined"`))
	if len(sets) != 2 || sets[0].Profile != "host-ct" || sets[1].Namespace != "n1" || sets[1].Rules[0].Text != `dbus (send) bus="system" path="/o" interface="a.b" member="C" peer=(label="unconfined"),` {
		t.Errorf("%+v", sets)
	}
}

// Denials for which a rule would be wider than what was denied, or would not help.
func TestRulesLeft(t *testing.T) {
	for line, why := range map[string]string{
		`operation="exec" class="file" info="profile transition not found" error=-13 ` + web + `name="/bin/x" pid=5 requested_mask="x" denied_mask="x" fsuid=1 ouid=0 target="y"`: "not loaded",
		`operation="change_profile" class="file" info="label not found" error=-2 ` + web + `pid=2 name="y"`:                                                                       "not loaded",
		`operation="open" class="file" ` + web + `name="/x" pid=5 requested_mask="r" denied_mask="r"`:                                                                             "truncated",
		`operation="open" class="file" ` + web + `name="/x" pid=5 requested_mask="r" denied_mask="r" fsuid=1`:                                                                     "truncated",
		`operation="listen" class="net" ` + web + `pid=5 family="unix" sock_type="stream" denied="listen" addr="/run/x"`:                                                          "has a path",
		`operation="setrlimit" class="rlimits" ` + web + `pid=2 rlimit=nice value=41`:                                                                                             "no name or value",
	} {
		sets := RulesFor(recordsOf(t, `apparmor="DENIED" `+line))
		if len(sets) != 1 || len(sets[0].Rules) != 0 || len(sets[0].Left) != 1 || !strings.Contains(sets[0].Left[0].Reason, why) {
			t.Errorf("%s\n got %+v, want no rule: %s", line, sets, why)
		}
	}
}

// What is printed is what the parser has accepted: nothing is left to escape.
func TestQuoteIsPrintable(t *testing.T) {
	for _, name := range []string{"/a\u202eb", "/a\u200bb", "/a\u009bb", "/a\x9bb", "/a\xff", "/a\x1b[2J\nb", "/ü/日本"} {
		if q := quote(name); printable.Text(q) != q {
			t.Errorf("%q becomes %q", name, q)
		}
	}
	if got, want := quote("/a\u202eb\xffü"), `"/a\342\200\256b\377ü"`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// Profiles of two namespaces have the same name: a rule for one must not be added to
// the other's.
func TestLocateInNamespaces(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a", "profile container {\n}\n")
	write(t, dir, "b.aa", "\nprofile container {\n}\n")
	sets := []RuleSet{{Namespace: "b", Profile: "container"}, {Namespace: "out//a", Profile: "container"}, {Namespace: "c", Profile: "container"}}
	Locate(sets, []string{dir, dir})
	if sets[0].File != filepath.Join(dir, "b.aa") || sets[0].Line != 2 || sets[1].File != filepath.Join(dir, "a") {
		t.Errorf("%+v", sets)
	}
	if sets[2].File != "" || len(sets[2].Candidates) != 2 {
		t.Errorf("%+v", sets[2])
	}
}

// What a container chose is never more than a text within a rule.
func FuzzRulesFor(f *testing.F) {
	f.Add("/srv/x\" rwx,\n  capability,\n", "r", "a b", "stream")
	f.Fuzz(func(t *testing.T, name, mask, peer, kind string) {
		r := nsmgr.Record{Kind: "DENIED", Profile: "p", Name: name, Operation: "x", Fields: map[string]string{"denied_mask": mask, "peer": peer, "sock_type": kind, "signal": peer}}
		for _, op := range []string{"open", "signal", "ptrace", "mount", "dbus_signal", "capable", "setrlimit"} {
			r.Operation = op
			for _, family := range []string{"", kind} {
				r.Fields["family"] = family
				for _, s := range RulesFor([]nsmgr.Record{r}) {
					for _, rule := range s.Rules {
						if bare := unquoted(rule.Text); strings.ContainsAny(bare, "\n\x00{}#\"") || strings.Count(bare, ",") > 0 && !strings.HasSuffix(bare, ",") {
							t.Errorf("%q", rule.Text)
						}
					}
				}
			}
		}
	})
}

// unquoted is a rule without what is in quotes.
func unquoted(rule string) string {
	var b strings.Builder
	in := false
	for i := 0; i < len(rule); i++ {
		switch {
		case in && rule[i] == '\\':
			i++
		case rule[i] == '"':
			in = !in
		case !in:
			b.WriteByte(rule[i])
		}
	}
	if in {
		b.WriteByte('"')
	}
	return b.String()
}

// The parser takes each kind of rule, and what it rejects is named.
func TestCheckRules(t *testing.T) {
	if _, err := exec.LookPath("apparmor_parser"); err != nil {
		t.Skip("apparmor_parser is not installed")
	}
	t.Setenv("PROOFHOUSE_CACHE", t.TempDir())
	c, err := NewCompiler(nsmgr.Features{})
	if err != nil {
		t.Skip(err)
	}
	rules := func(all ...string) (r []Rule) {
		for _, text := range all {
			r = append(r, Rule{text, 1})
		}
		return r
	}
	sets := []RuleSet{{Profile: "p", Rules: rules(
		`owner "/srv/a b\[x\]\*\012" rw,`, `"/bin/x" ixmr,`, `link "/a" -> "/b",`, `capability sys_admin,`, `nonsense,`, `network inet raw,`,
		`mount options=(rw, nosuid) fstype="proc" "proc" -> "/x/",`, `umount "/x/",`, `pivot_root oldroot="/a/" "/b/",`, `set rlimit nofile <= 100,`,
		`signal (send) set=(kill, term) peer="x",`, `ptrace (trace) peer="a//hat",`, `change_profile -> "x y",`, `unix (bind) type=stream addr="@my sock",`)}}
	if err := c.CheckRules(t.Context(), sets); err != nil {
		t.Fatal(err)
	}
	if len(sets[0].Rules) != 13 || len(sets[0].Left) != 1 || !strings.Contains(sets[0].Left[0].Record, "nonsense") {
		t.Errorf("%+v", sets[0])
	}
}

func TestLocate(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "usr.bin.web", "abi <kernel>,\n# profile p { }\nprofile p /usr/bin/web flags=(attach_disconnected) {\n  file,\n}\n")
	write(t, dir, "other", "profile \"a b\" {\n}\n/usr/bin/x {\n}\n")
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	sets := []RuleSet{{Profile: "p"}, {Profile: "p//hat"}, {Profile: "a b"}, {Profile: "/usr/bin/x"}, {Profile: "none"}}
	Locate(sets, []string{"/nowhere", dir})
	for i, want := range []int{3, 3, 1, 3, 0} {
		if sets[i].Line != want || (sets[i].File == "") != (want == 0) {
			t.Errorf("%s: %s:%d, want line %d", sets[i].Profile, sets[i].File, sets[i].Line, want)
		}
	}
}
