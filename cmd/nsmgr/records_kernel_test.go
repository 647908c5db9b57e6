// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"proofhouse/machines"
	"proofhouse/machines/wire"
	"proofhouse/profiles"
)

// recordsSetup makes a namespace "rul" whose profile allows little, and two host
// profiles to stack it on: one that allows everything, and one that does not.
const recordsSetup = `set -e
mkdir -p /etc/apparmor.d/containers /srv/rul
cat > /etc/apparmor.d/containers/rul <<'X'
abi <kernel>,
# The profile under test.
profile p {
  /{usr/,}lib{,32,64}/** mr,
  /{usr/,}bin/{bash,cat,chown,chroot,sleep} mrix,
  /etc/ld.so.* r,
  /etc/{passwd,group,nsswitch.conf} r,
  / r,
  /root/ r,
  /dev/{null,tty} rw,
  /proc/** r,
  unix,
}
X
cat > /etc/apparmor.d/rul-host <<'X'
abi <kernel>,
profile rul-host { file, capability, network, signal, ptrace, unix, change_profile, }
profile rul-narrow {
  /{usr/,}{bin,lib}/** mrix,
  /{etc,dev,proc}/** rw,
  / r,
  /root/ r,
  capability, network, ptrace, unix, change_profile, }
X
apparmor_parser -r -K /etc/apparmor.d/rul-host
cd /srv/rul; for f in a b 'we*rd [x] {y}' 'weXrd [x] {y}'; do echo text > "$f"; done
nsmgr create rul --profiles /etc/apparmor.d/containers/rul
mkdir /srv/both; echo text | tee /srv/both/a > /srv/both/b
`

// ruleCases are accesses that the namespace's profile denies. The rules that audit
// prints for the first make it pass, and none of the others.
var ruleCases = []struct {
	name   string
	denied string
	near   []string
}{
	{"a file", "cat /srv/rul/a", []string{"cat /srv/rul/b", "echo x > /srv/rul/a"}},
	{"a name of special characters", "cat '/srv/rul/we*rd [x] {y}'", []string{"cat '/srv/rul/weXrd [x] {y}'"}},
	{"a new file", "echo x > /srv/rul/new", []string{"echo x > /srv/rul/new2", "cat /srv/rul/new"}},
	{"a program", "/usr/bin/head -0 /dev/null", []string{"/usr/bin/tail -0 /dev/null"}},
	{"a capability", "chown 7 /srv/rul/b", []string{"chroot /"}},
	{"a socket", "exec 3<>/dev/udp/127.0.0.1/9", []string{"exec 3<>/dev/tcp/127.0.0.1/9"}},
	{"a signal", "kill -CONT $$", []string{"kill -HUP $$"}},
}

// guest runs a script on the machine, and returns its exit status and output.
func guestShell(ctx context.Context, t *testing.T, m machines.Machine, script string) (int, string) {
	t.Helper()
	var out bytes.Buffer
	res, err := m.Run(ctx, machines.Command{Args: []string{"bash", "-c", script}, Stdout: &out, Stderr: &out, Deadline: stepTimeout, Detach: true})
	if err != nil || res.Deadline || res.Signal != "" {
		t.Fatalf("%s: %v, %v\n%s", script, res, err, out.String())
	}
	return res.Status, out.String()
}

func TestE2ERecords(t *testing.T) {
	ctx, plan := prepared(t)
	for _, b := range plan.Builds {
		t.Run(b.Release, func(t *testing.T) {
			m, err := machines.Open(ctx, plan.Options(b))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = m.Close() }()
			status, out := guestShell(ctx, t, m, recordsSetup)
			if status != 0 {
				t.Fatalf("set up: exit status %d\n%s", status, out)
			}
			for _, c := range ruleCases {
				t.Run(c.name, func(t *testing.T) { checkRules(ctx, t, m, c.denied, c.near) })
			}
			t.Run("both parts", func(t *testing.T) { checkBothParts(ctx, t, m) })
			t.Run("top", func(t *testing.T) { checkTop(ctx, t, m) })
			t.Run("five minutes", func(t *testing.T) {
				// The guest has no bridge.
				guestShell(ctx, t, m, "echo 'lxc.net.0.type = empty' > /etc/lxc/default.conf")
				playPage(ctx, t, m, "../../docs/five-minutes-lxc.md")
			})
			if err := m.Sane(ctx); err != nil {
				t.Error(err)
			}
		})
	}
}

// attempt runs a script in the namespace, and returns whether it was permitted.
func attempt(ctx context.Context, t *testing.T, m machines.Machine, host, script string) (permitted bool, out string) {
	t.Helper()
	words := []string{"nsmgr", "exec", "rul", "-p", "p", "--stack-on", host, "--", "/usr/bin/bash", "-c", script}
	status, out := guestShell(ctx, t, m, wire.Quote(words))
	denied := strings.Contains(out, "Permission denied") || strings.Contains(out, "Operation not permitted")
	if (status == 0) == denied {
		t.Fatalf("%s: exit status %d\n%s", script, status, out)
	}
	return status == 0, out
}

// now is the time in the guest, after what was logged before.
func now(ctx context.Context, t *testing.T, m machines.Machine) string {
	t.Helper()
	_, out := guestShell(ctx, t, m, "sleep 1.2; date '+%F %T'")
	return strings.TrimSpace(out)
}

// rulesSince are the rules that audit prints for what was denied since then.
func rulesSince(ctx context.Context, t *testing.T, m machines.Machine, since string) []profiles.RuleSet {
	t.Helper()
	status, out := guestShell(ctx, t, m, wire.Quote([]string{"nsmgr", "audit", "rul", "--rules", "--json", "--since", since}))
	var sets []profiles.RuleSet
	if err := json.Unmarshal([]byte(out), &sets); err != nil || status != 0 {
		t.Fatalf("audit --rules: exit status %d, %v\n%s", status, err, out)
	}
	return sets
}

// add adds the rules of a set to the file, at the place that audit names.
func add(ctx context.Context, t *testing.T, m machines.Machine, s profiles.RuleSet) {
	t.Helper()
	var rules strings.Builder
	for _, r := range s.Rules {
		rules.WriteString(r.Text + "\n")
	}
	load := "nsmgr load rul " + s.File
	if s.Namespace == "" {
		load = "apparmor_parser -r -K " + s.File
	}
	script := fmt.Sprintf("printf %%s %s > rules && sed -i '%dr rules' %s && %s", wire.Quote([]string{rules.String()}), s.Line, s.File, load)
	if status, out := guestShell(ctx, t, m, script); status != 0 {
		t.Fatalf("add the rules\n%s%s", rules.String(), out)
	}
}

// allow adds rules until the script passes: behind one access that is denied there
// may be another.
func allow(ctx context.Context, t *testing.T, m machines.Machine, host, script string, want ...profiles.RuleSet) {
	t.Helper()
	added := map[string]bool{}
	for range 4 {
		since := now(ctx, t, m)
		if permitted, _ := attempt(ctx, t, m, host, script); permitted {
			for _, w := range want {
				if !added[w.File] {
					t.Errorf("%s: no rule for %s was needed", script, w.File)
				}
			}
			return
		}
		sets := rulesSince(ctx, t, m, since)
		if len(sets) == 0 {
			t.Fatalf("%s: denied, and audit --rules has no rule", script)
		}
		for _, s := range sets {
			t.Logf("%s: %s line %d: %v %v", script, s.File, s.Line, s.Rules, s.Left)
			if len(s.Rules) == 0 || len(s.Left) > 0 {
				t.Fatalf("%s: no rule: %+v", script, s)
			}
			added[s.File] = true
			add(ctx, t, m, s)
		}
	}
	t.Fatalf("%s: still denied after four rounds", script)
}

const (
	namespaceFile = "/etc/apparmor.d/containers/rul"
	hostFile      = "/etc/apparmor.d/rul-host"
)

func checkRules(ctx context.Context, t *testing.T, m machines.Machine, denied string, near []string) {
	allow(ctx, t, m, "rul-host", denied, profiles.RuleSet{File: namespaceFile})
	for _, n := range near {
		if permitted, _ := attempt(ctx, t, m, "rul-host", n); permitted {
			t.Errorf("the rules for %q are wider than that: %q passes", denied, n)
		}
	}
}

// Both parts must allow an access, so both get a rule.
func checkBothParts(ctx context.Context, t *testing.T, m machines.Machine) {
	allow(ctx, t, m, "rul-narrow", "cat /srv/both/a", profiles.RuleSet{File: namespaceFile}, profiles.RuleSet{File: hostFile})
	if permitted, _ := attempt(ctx, t, m, "rul-narrow", "cat /srv/both/b"); permitted {
		t.Error("the rules for one file allow another")
	}
	if status, out := guestShell(ctx, t, m, "aa-exec -p rul-narrow -- cat /srv/both/b"); status == 0 {
		t.Errorf("the host part allows another file\n%s", out)
	}
}

func checkTop(ctx context.Context, t *testing.T, m machines.Machine) {
	// Without auditd the kernel writes ten records in five seconds, and drops what is
	// beyond: the file is asked for until its record is there.
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Second) {
		if permitted, _ := attempt(ctx, t, m, "rul-host", "cat '/srv/rul/weXrd [x] {y}'"); permitted {
			t.Fatal("not denied")
		}
		status, out := guestShell(ctx, t, m, "nsmgr top")
		seen := strings.Contains(out, "weXrd")
		if status != 0 || !strings.Contains(out, "rul") || strings.Contains(out, "\x1b") || !seen && time.Now().After(deadline) {
			t.Errorf("exit status %d\n%s", status, out)
		}
		if seen || t.Failed() {
			break
		}
	}
	// On a terminal, two screens, and the screen is restored.
	var screen bytes.Buffer
	res, err := m.Run(ctx, machines.Command{
		Args: []string{"nsmgr", "top", "--rounds", "2", "--interval", "200ms"}, Stdout: &screen, Stderr: &screen,
		Deadline: stepTimeout, TTY: &machines.TTY{Term: "xterm", Rows: 10, Columns: 60},
	})
	if err != nil || res.Status != 0 || strings.Count(screen.String(), "\x1b[H") != 2 || !strings.Contains(screen.String(), "rul") {
		t.Errorf("%v, %v\n%q", res, err, screen.String())
	}
}
