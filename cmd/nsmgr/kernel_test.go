// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"proofhouse/machines"
	"proofhouse/runs"
)

// step is a command on the kernel, and what must come of it.
type step struct {
	sh     string
	status int
	want   []string // in what it wrote
	not    []string
}

// session is what a user does, from nothing to a running container and back.
var session = []step{
	{sh: "nsmgr list"},
	{sh: "nsmgr doctor", want: []string{"ok       stacked namespaces", "ok       policy compiler"}, not: []string{"MISSING"}},
	{sh: "nsmgr features", want: []string{"domain/stack: yes"}},
	{sh: "nsmgr create container-ns", want: []string{"created namespace container-ns with 1 profile", "lxc.apparmor.profile = host-ct//&:container-ns:container", "nsmgr delete container-ns"}},
	{sh: "nsmgr create container-ns", status: 2, want: []string{"already exists"}},
	{sh: "nsmgr create container-ns --if-not-exists"},
	{sh: "nsmgr exec container-ns --stack-on host-ct -- cat /proc/self/attr/current", want: []string{"container (enforce)"}},
	{sh: "nsmgr exec container-ns -p nope -- true", status: 2, want: []string{`no such profile "nope"`, "it has container"}},
	{sh: "nsmgr exec container-ns --stack-on nope -- true", status: 2, want: []string{`no such profile "nope" to stack on`}},
	{sh: "nsmgr exec container-ns -- sh -c 'exit 7'", status: 7},
	{sh: "nsmgr verify container-ns", want: []string{"ok   what the profile denies is refused (permission denied)"}},
	{sh: "(nsmgr exec container-ns --stack-on host-ct -- sleep 600 & until nsmgr tasks container-ns | grep -qw sleep; do sleep 0.1; done; nsmgr tasks container-ns; nsmgr delete container-ns)", status: 1,
		want: []string{"host-ct//&:container-ns:container (enforce)", "is in use", "leave 1 task on policy that can no longer be updated"}},
	{sh: "nsmgr delete container-ns --kill", want: []string{"removed"}},
	{sh: `printf 'profile a { /** r, }\nprofile b {\n oops\n}\n' > bad.aa; nsmgr create web --profiles bad.aa`, status: 2, want: []string{"bad.aa:4: syntax error"}},
	{sh: "nsmgr show web", status: 2, want: []string{`no such namespace "web"`}},
	{sh: `printf 'profile a { /** r, }\nprofile b { /** r, }\n' > web.aa; nsmgr create web --profiles web.aa && nsmgr save web web.tar`},
	{sh: "nsmgr unload web a && nsmgr restore web web.tar && nsmgr show web", want: []string{"a  ", "b  "}},
	{sh: "printf changed | dd of=web.tar bs=1 seek=2000 conv=notrunc 2>/dev/null; nsmgr restore web web.tar", status: 2, want: []string{"not an intact archive"}},
	{sh: `printf 'namespaces:\n- name: web\n  profiles: [web.aa]\n- name: new\n  kind: unprivileged\n' > n.yaml; nsmgr apply -f n.yaml --dry-run`, want: []string{"create new (+ container)"}, not: []string{"web"}},
	{sh: "nsmgr apply -f n.yaml && nsmgr apply -f n.yaml", want: []string{"create new", "nothing to do"}},
	{sh: "echo 'namespaces: []' > n.yaml; nsmgr apply -f n.yaml --prune", want: []string{"delete new"}, not: []string{"delete web"}},
	{sh: "nsmgr create inner --parent web && nsmgr list --tree", want: []string{"\n  inner"}},
	{sh: "nsmgr list --json", want: []string{`"name": "web//inner"`, `"level": 2`, `"made_by_nsmgr": true`}},
	{sh: "nsmgr gc --idle 0 && nsmgr gc --idle 0", want: []string{"removed web//inner", "removed web: "}},
	// Within a namespace it manages what is below that, if policy lets it.
	{sh: "nsmgr create n1 --kind nested && nsmgr exec n1 -p container --stack-on host-ct-nested -- nsmgr create own --empty && nsmgr list", want: []string{"n1//own"}},
	{sh: "nsmgr exec n1 -p container --stack-on host-ct-nested -- nsmgr list", want: []string{"own  "}, not: []string{"n1"}},
	{sh: "nsmgr exec n1 -p container --stack-on host-ct-nested -- nsmgr delete n1", status: 2, want: []string{`no such namespace "n1"`}},
	{sh: "nsmgr exec n1 -p container --stack-on host-ct -- nsmgr create other --empty", status: 2, want: []string{"not policy admin"}},
	{sh: "nsmgr exec n1 -p container --stack-on host-ct -- mkdir /sys/kernel/security/apparmor/policy/namespaces/other", status: 1, want: []string{"Permission denied"}},
	{sh: "nsmgr exec n1 -p container --stack-on host-ct-nested -- nsmgr delete own && nsmgr delete n1"},
	// An ordinary user reads what may be read.
	{sh: `su nobody -s /bin/sh -c "nsmgr list"`},
	{sh: `su nobody -s /bin/sh -c "nsmgr create x"`, status: 2, want: []string{"root or CAP_MAC_ADMIN is required"}},
	{sh: "umount /sys/kernel/security; nsmgr list; e=$?; mount -t securityfs x /sys/kernel/security; exit $e", status: 2, want: []string{"mount -t securityfs"}},
	// Two lines of configuration give a container its namespace.
	{sh: `lxc-create -n c1 -t busybox >/dev/null && cat >> /var/lib/lxc/c1/config <<X
lxc.net.0.type = empty
lxc.apparmor.profile = host-ct//&:c1:container
lxc.hook.pre-start = nsmgr hook pre-start
lxc.hook.post-stop = nsmgr hook post-stop
X
lxc-start -n c1`},
	{sh: "nsmgr show c1", want: []string{"created for container c1", "host-ct//&:c1:container (enforce)"}},
	{sh: "lxc-attach -n c1 -- cat /proc/1/attr/current", want: []string{"container (enforce)"}},
	{sh: "nsmgr delete c1", status: 1, want: []string{"(init)"}},
	// The hook may be at work for a moment more.
	{sh: "lxc-stop -n c1 -k && while ls /run/nsmgr/namespaces | grep -q note; do sleep 0.1; done; nsmgr list", not: []string{"c1"}},
	{sh: "ls /run/nsmgr/namespaces", not: []string{"note"}},

	// LXC reads its configuration, not nsmgr: quotes, includes, and the last value
	// is in force. The hook refuses a label that is not in force.
	{sh: `cp /var/lib/lxc/c1/config base && mkdir -p /etc/lxc/site && echo 'lxc.apparmor.profile = "host-ct//&:c1:container"' > /etc/lxc/site/a.conf && grep -v apparmor.profile base > /var/lib/lxc/c1/config && echo 'lxc.include = /etc/lxc/site/' >> /var/lib/lxc/c1/config && lxc-start -n c1 && nsmgr tasks c1 && lxc-stop -k -n c1`,
		want: []string{"host-ct//&:c1:container (enforce)"}},
	{sh: "while ls /run/nsmgr/namespaces | grep -q note; do sleep 0.1; done; echo 'lxc.apparmor.profile = unconfined' > /etc/lxc/late.conf; (cat base; echo 'lxc.include = /etc/lxc/late.conf') > /var/lib/lxc/c1/config; lxc-start -n c1", status: 1},
	{sh: "LXC_NAME=c1 LXC_CONFIG_FILE=/var/lib/lxc/c1/config nsmgr hook pre-start", status: 2, want: []string{`lxc.apparmor.profile is "unconfined"`}},
	// A copied container names the namespace of the original.
	{sh: "cp base /var/lib/lxc/c1/config; cp -a /var/lib/lxc/c1 /var/lib/lxc/c2 && sed -i s,/lxc/c1/,/lxc/c2/,g /var/lib/lxc/c2/config && lxc-start -n c1 && nsmgr list", want: []string{"nsmgr       c1"}},
	{sh: "lxc-start -n c2", status: 1},
	{sh: "LXC_NAME=c2 LXC_CONFIG_FILE=/var/lib/lxc/c2/config nsmgr hook pre-start", status: 2, want: []string{`namespace "c1" belongs to container "c1"`, "host-ct//&:c2:container"}},
	{sh: "lxc-stop -k -n c1; while ls /run/nsmgr/namespaces | grep -q note; do sleep 0.1; done; LXC_NAME=c2 LXC_CONFIG_FILE=/var/lib/lxc/c2/config nsmgr hook pre-start", status: 2, want: []string{"belongs to container"}},

	// lxc-start as distributions confine it: it may change to lxc-* only.
	{sh: "apparmor_parser -r /etc/apparmor.d/usr.bin.lxc-start; nsmgr doctor", want: []string{"missing  LXC's own confinement", "lxc-host-ct//&:"}},
	{sh: "lxc-start -n c1", status: 1},
	{sh: "LXC_NAME=c1 LXC_CONFIG_FILE=/var/lib/lxc/c1/config aa-exec -p /usr/bin/lxc-start -- nsmgr hook pre-start", status: 2, want: []string{"change from label /usr/bin/lxc-start (enforce)", "lxc-host-ct//&:c1:container"}},
	{sh: "nsmgr list", not: []string{"c1"}},
	{sh: "nsmgr create z && nsmgr delete z", want: []string{"lxc.apparmor.profile = lxc-host-ct//&:z:container"}},
	{sh: "sed -i 's/= host-ct/= lxc-host-ct/' /var/lib/lxc/c1/config; lxc-start -n c1 && nsmgr tasks c1", want: []string{"lxc-host-ct//&:c1:container (enforce)"}},
	{sh: "lxc-attach -n c1 -- cat /proc/self/attr/current && lxc-stop -n c1 -t 20; lxc-info -n c1 -sH", want: []string{"container (enforce)", "STOPPED"}},
	{sh: "dmesg | grep 'DENIED.*lxc-host-ct' | grep 'signal\\|ptrace'", status: 1},
	{sh: "sed -i 's/= lxc-host-ct/= host-ct/' /var/lib/lxc/c1/config; echo '  change_profile -> host-ct//&**,' >> /etc/apparmor.d/abstractions/lxc/start-container; apparmor_parser -r --skip-cache /etc/apparmor.d/usr.bin.lxc-start; while ls /run/nsmgr/namespaces | grep -q note; do sleep 0.1; done; lxc-start -n c1 && nsmgr tasks c1",
		want: []string{"host-ct//&:c1:container (enforce)"}},
	{sh: "nsmgr doctor | grep 'own confinement'", want: []string{"ok "}},
	{sh: "lxc-stop -n c1 -t 20; lxc-info -n c1 -sH; apparmor_parser -R /etc/apparmor.d/usr.bin.lxc-start", want: []string{"STOPPED"}},

	// adopt writes those lines, and takes them back.
	{sh: "grep -v 'apparmor.profile\\|lxc.hook' base > /var/lib/lxc/c1/config; cp /var/lib/lxc/c1/config plain; nsmgr adopt c1 --dry-run && cmp plain /var/lib/lxc/c1/config", want: []string{"would add lxc.apparmor.profile = "}},
	{sh: "nsmgr adopt c1 && lxc-start -n c1 && nsmgr tasks c1", want: []string{"undo   nsmgr adopt c1 --undo", "//&:c1:container (enforce)"}},
	{sh: "nsmgr adopt c1 --undo", status: 2, want: []string{"stop it first"}},
	{sh: "lxc-stop -k -n c1; nsmgr adopt c1", status: 2, want: []string{"already confines it"}},
	{sh: "nsmgr adopt c1 --undo && cmp plain /var/lib/lxc/c1/config"},
	{sh: "nsmgr adopt c1 --undo", status: 2, want: []string{"has no lines of it"}},

	// Namespaces of containers that no longer exist.
	{sh: "cd /sys/kernel/security/apparmor/policy/namespaces && mkdir 'lxc-gone_<-var-lib-lxc>' 'lxc-c1_<-var-lib-lxc>' && nsmgr list", want: []string{"lxc:gone (missing)", "others      lxc:c1"}},
	{sh: "nsmgr exec 'lxc-gone_<-var-lib-lxc>' -p unconfined --stack-on host-ct -- sleep 600 & until nsmgr tasks 'lxc-gone_<-var-lib-lxc>' | grep -qw sleep; do sleep 0.1; done; nsmgr gc --foreign", status: 1, want: []string{"is in use"}},
	{sh: "pkill sleep; until nsmgr gc --foreign; do sleep 0.1; done; nsmgr list", want: []string{"removed lxc-gone_<-var-lib-lxc>: lxc:gone (missing)", "lxc:c1"}},

	// Several YAML documents are one declaration; a list without a value is none.
	{sh: `printf -- '---\nnamespaces:\n- name: web\n  kind: unprivileged\n---\nnamespaces:\n- name: db\n  kind: unprivileged\n' > two.yaml; nsmgr apply -f two.yaml && nsmgr apply -f two.yaml --prune`, want: []string{"create web", "create db", "nothing to do"}},
	{sh: "printf 'namespaces:\\n' | nsmgr apply -f - --prune", status: 2, want: []string{"has no value"}},
	{sh: "mkdir d && cp two.yaml d && nsmgr apply -f d --prune", want: []string{"nothing to do"}},

	// apply --watch: what is declared in a directory that others write. A namespace
	// is deleted by the rule of delete, and only if this declaration created it.
	{sh: "nsmgr apply -f two.yaml --watch --force", status: 2, want: []string{"without it"}},
	{sh: `mkdir -p w/..1 && ln -s ..1 w/..data && ln -s ..data/site.yaml w/site.yaml && printf 'namespaces:\n- name: wa\n  kind: unprivileged\n' > w/..1/site.yaml && (setsid nsmgr apply --watch -f w > w.log 2>&1 &); ` + until("nsmgr list | grep -qw wa") + `; cat w.log`, want: []string{"create wa (+ container)"}},
	{sh: `mkdir w/..2 && printf 'namespaces:\n- name: wa\n  kind: unprivileged\n- name: wb\n  kind: unprivileged\n' > w/..2/site.yaml && ln -s ..2 w/tmp && mv -T w/tmp w/..data; ` + until("nsmgr list | grep -qw wb") + `; cat w.log`, want: []string{"create wb (+ container)"}},
	{sh: `printf 'namespaces:\n- nome: wa\n' > w/bad.yaml; ` + until("grep -q 'in force is unchanged' w.log") + `; rm w/bad.yaml; ` + until("grep -q 'applied w' w.log") + `; nsmgr list`, want: []string{"wa", "wb"}},
	{sh: `setsid nsmgr exec wb -p container -- sleep 600 >/dev/null 2>&1 & ` + until("nsmgr tasks wb | grep -qw sleep") + `; mkdir w/..3; printf 'namespaces: []\n' > w/..3/site.yaml; ln -s ..3 w/tmp && mv -T w/tmp w/..data; ` + until("grep -q 'wb.*in use.*tried again' w.log") + `; cat /proc/$(pidof sleep)/attr/apparmor/current; nsmgr list; cat w.log`,
		want: []string{":wb:container (enforce)", "delete wa", "web", "db"}},
	{sh: "pkill -x sleep; " + until("grep -q 'delete wb' w.log") + "; nsmgr list", want: []string{"web", "db"}, not: []string{"wb", "wa"}},
	{sh: `(printf 'namespaces:\n- name: wc\n  kind: unprivileged\n'; sleep 3; printf -- '- name: wd\n  kind: unprivileged\n') > w/slow.yaml; ` + until("nsmgr list | grep -qw wd") + `; rm w/slow.yaml; ` + until("grep -q 'delete wd' w.log") + `; cat w.log`, want: []string{"create wc (+ container)\ncreate wd (+ container)\n"}},
	{sh: "pkill -TERM -x nsmgr; " + until("! pgrep -x nsmgr") + "; tail -1 w.log", want: []string{"delete w"}},

	// A container chooses the names of its processes.
	{sh: `setsid nsmgr exec web -p container --stack-on host-ct -- bash -c 'printf "a\n7 7 - ok\033[2J" >/proc/$$/comm; sleep 600; :' >/dev/null 2>&1 & until nsmgr tasks web | grep -q 'x1b'; do sleep 0.2; done; nsmgr tasks web; nsmgr show web; nsmgr delete web; nsmgr delete web --kill`,
		want: []string{`7 7 - ok\x1b[2J`}, not: []string{"\x1b"}},

	// no_new_privs: the reason that is given.
	{sh: "printf 'abi <kernel>,\\nprofile svc flags=(attach_disconnected) { file, capability, signal, ptrace, unix, change_profile -> **, }\\n' | apparmor_parser -r && aa-exec -p svc -- setpriv --no-new-privs nsmgr exec db --stack-on host-ct -- true", status: 2, want: []string{"no_new_privs"}},
	{sh: "aa-exec -p svc -- setpriv --no-new-privs nsmgr exec db -- cat /proc/self/attr/current", want: []string{"container (enforce)"}},
}

// until returns a command that waits until another succeeds, three minutes at most.
func until(command string) string {
	return "for i in $(seq 900); do " + command + " && break; sleep 0.2; done"
}

// stepTimeout is how long a step may take: a template is hundreds of processes.
const stepTimeout = 5 * time.Minute

// prepared returns the kernels that the tests of this package boot, and a context
// that ends after an hour. Without PROOFHOUSE_E2E it skips the test.
func prepared(t *testing.T) (context.Context, *runs.Plan) {
	t.Helper()
	if os.Getenv("PROOFHOUSE_E2E") == "" {
		t.Skip("boots kernels: make test-e2e")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	t.Cleanup(cancel)
	plan, err := runs.Prepare(ctx, runs.FromEnvironment(), func(s string) { t.Log(s) })
	if err != nil {
		t.Fatal(err)
	}
	return ctx, plan
}

// TestE2ESession boots a kernel and does on it what a user does.
func TestE2ESession(t *testing.T) {
	ctx, plan := prepared(t)
	for _, b := range plan.Builds {
		t.Run(b.Release, func(t *testing.T) {
			m, err := machines.Open(ctx, plan.Options(b))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = m.Close() }()
			play(ctx, t, m, session)
			if err := m.Sane(ctx); err != nil {
				t.Error(err)
			}
		})
	}
}

// play does the steps, one after another, on the machine.
func play(ctx context.Context, t *testing.T, m machines.Machine, steps []step) {
	t.Helper()
	for _, s := range steps {
		var out bytes.Buffer
		res, err := m.Run(ctx, machines.Command{Args: []string{"sh", "-c", s.sh}, Stdout: &out, Stderr: &out, Deadline: stepTimeout, Detach: true})
		if err != nil {
			t.Fatalf("%s: %v", s.sh, err)
		}
		if res.Status != s.status || res.Signal != "" || res.Deadline {
			t.Errorf("%s: %v, want exit status %d\n%s", s.sh, res, s.status, out.String())
		}
		for _, w := range s.want {
			if !strings.Contains(out.String(), w) {
				t.Errorf("%s: no %q in\n%s", s.sh, w, out.String())
			}
		}
		for _, w := range s.not {
			if strings.Contains(out.String(), w) {
				t.Errorf("%s: %q in\n%s", s.sh, w, out.String())
			}
		}
	}
}
