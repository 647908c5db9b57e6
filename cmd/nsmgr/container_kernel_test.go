// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"

	"proofhouse/machines"
)

// containerSession is what a user does with containers, from nothing and back.
var containerSession = []step{
	{sh: "nsmgr container list"},
	{sh: "nsmgr container list --json", want: []string{"[]"}},
	{sh: "nsmgr container create web --namespace container-ns", status: 2, want: []string{`no such namespace "container-ns"`}},
	{sh: "nsmgr create container-ns"},
	{sh: "nsmgr container start web", status: 2, want: []string{`no such container "web"`}},
	{sh: "nsmgr container create web --namespace container-ns", want: []string{"created container web", "label  host-ct//&:container-ns:container", "nsmgr container destroy web"}},
	{sh: "cp -a /var/lib/lxc/web/rootfs /srv/root"}, // a template takes seconds
	{sh: "nsmgr container list", want: []string{"web", "STOPPED", "container-ns", "host-ct//&:container-ns:container"}},
	{sh: "nsmgr container run web -- true", status: 2, want: []string{"is not running"}},
	{sh: "nsmgr container start web", want: []string{"started container web", "host-ct//&:container-ns:container (enforce)"}},
	{sh: "nsmgr container start web", status: 2, want: []string{"is already running"}},
	{sh: "nsmgr container run web -- cat /proc/self/attr/current", want: []string{"container (enforce)\n"}, not: []string{"host-ct"}},
	{sh: "nsmgr tasks container-ns", want: []string{"host-ct//&:container-ns:container (enforce)"}, not: []string{"not stacked"}},
	{sh: "nsmgr verify container-ns"},
	{sh: "nsmgr container status web --json", want: []string{`"as_asked": true`, `"state": "RUNNING"`, `"namespace": "container-ns"`, `"host_profile": "host-ct"`}},

	// How a command ended, as a shell sees it.
	{sh: "nsmgr container run web -- sh -c 'exit 7'", status: 7},
	{sh: "nsmgr container run web -- sh -c 'exit 255'", status: 255},
	{sh: "nsmgr container run web -- sh -c 'exit 137'", status: 137, not: []string{"SIGKILL"}},
	{sh: "nsmgr container run web -- sh -c 'kill -9 $$'; exit $?", status: 137, want: []string{"killed by SIGKILL"}},
	{sh: "nsmgr container run web -- sh -c 'kill -SEGV $$'; exit $?", status: 139, want: []string{"killed by SIGSEGV"}},
	{sh: "nsmgr container run web -- nosuch", status: 2, want: []string{"could not be executed"}},
	{sh: "echo in | nsmgr container run web --env A=b --cwd /tmp -- sh -c 'cat; echo $A; pwd; echo err >&2'", want: []string{"in\nb\n/tmp\nerr\n"}},
	{sh: "SECRET=host nsmgr container run web -- env", want: []string{"HOME=/root"}, not: []string{"SECRET"}},
	{sh: "nsmgr container run web --env A -- true", status: 2, want: []string{"NAME=VALUE"}},

	// What the container's namespace is needed for.
	{sh: "nsmgr delete container-ns", status: 1, want: []string{"is in use"}},
	{sh: "nsmgr container stop web", want: []string{"stopped"}},
	{sh: "nsmgr container stop web", status: 2, want: []string{"is not running"}},
	{sh: "nsmgr delete container-ns"},
	{sh: "nsmgr container start web", status: 2, want: []string{`no such namespace "container-ns"`}},
	{sh: "nsmgr create container-ns --empty && nsmgr container start web", status: 2, want: []string{`no such profile "container" in namespace "container-ns"`}},
	{sh: "nsmgr delete container-ns && nsmgr create container-ns && nsmgr container start web"},
	{sh: "nsmgr container destroy web", want: []string{"removed"}},
	{sh: "ls /var/lib/lxc; find /sys/fs/cgroup -name 'lxc.*'; nsmgr tasks container-ns", want: []string{"no task is in container-ns"}, not: []string{"web"}},

	// The host's side: the shipped one is loaded, another is not made up.
	{sh: "apparmor_parser -R <<X\nprofile host-ct {}\nX\nnsmgr container create web -n container-ns --rootfs /srv/root && nsmgr container start web && nsmgr container destroy web && ls /srv/root/bin/busybox"},
	{sh: "nsmgr container create web -n container-ns --host-profile mine", status: 2, want: []string{`no such profile "mine" on the host`}},
	{sh: "nsmgr container create web -n container-ns --profile nope", status: 2, want: []string{`no such profile "nope"`}},
	{sh: "nsmgr container create web -n container-ns --template nope", status: 2, want: []string{`template "nope"`}},
	{sh: "nsmgr container create web -n container-ns --rootfs /nope", status: 2, want: []string{"/nope"}},
	{sh: "nsmgr container create web -n container-ns -- x", status: 2, want: []string{"without --template"}},
	{sh: "nsmgr container create we:b -n container-ns", status: 2, want: []string{"':'"}},

	// Nested namespaces, and unprivileged containers.
	{sh: "nsmgr create inner --parent container-ns --kind unprivileged && nsmgr container create deep -n container-ns//inner --unprivileged && nsmgr container start deep",
		want: []string{"host-ct//&:container-ns//inner:container (enforce)"}},
	{sh: "nsmgr container run deep -- cat /proc/self/attr/current /proc/self/uid_map /sys/kernel/security/apparmor/.ns_name", want: []string{"container (enforce)", " 100000 "}},
	{sh: "nsmgr container create other -n container-ns --unprivileged --rootfs /srv/root && nsmgr container start other && nsmgr container run other -- cat /proc/self/uid_map", want: []string{" 165536 "}},
	{sh: "nsmgr container list", want: []string{"container-ns//inner  host-ct//&:container-ns//inner:container (enforce)", "other"}},
	// On 6.1 something still refers to the profiles, for ever, once the host's side
	// of the label was removed and loaded again as above: hence --force, without a
	// task that it could hurt.
	{sh: "nsmgr container destroy deep && nsmgr container destroy other && nsmgr tasks container-ns && nsmgr delete container-ns -r --force --yes",
		want: []string{"no task is in container-ns", "removed namespace"}, not: []string{"unconfined:", "stays on policy"}},

	// A container that loads policy of its own, into its own namespace.
	{sh: "nsmgr create lxc-n --kind nested && nsmgr container create n -n lxc-n --nesting --rootfs /srv/root && nsmgr container start n", want: []string{"host-ct-nested//&:lxc-n:container (enforce)"}},
	{sh: "nsmgr container destroy n && nsmgr delete lxc-n"},

	// an existing one.
	{sh: "nsmgr create mine && lxc-create -n old -t busybox >/dev/null && nsmgr container list", want: []string{"old", "STOPPED"}},
	{sh: "nsmgr container start old", status: 2, want: []string{"names no namespace"}},
	{sh: "echo lxc.net.0.type = empty >> /var/lib/lxc/old/config; nsmgr container create old -n mine && nsmgr container start old", want: []string{"host-ct//&:mine:container (enforce)"}},
	{sh: "nsmgr container destroy old && nsmgr delete mine"},
	{sh: `su nobody -s /bin/sh -c "nsmgr container list; nsmgr container start x"`, status: 2},
}

// TestE2EContainerSession boots a kernel and does on it what a user does with
// containers.
func TestE2EContainerSession(t *testing.T) {
	ctx, plan := prepared(t)
	for _, b := range plan.Builds {
		t.Run(b.Release, func(t *testing.T) {
			m, err := machines.Open(ctx, plan.Options(b))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = m.Close() }()
			play(ctx, t, m, containerSession)
			if err := m.Sane(ctx); err != nil {
				t.Error(err)
			}
		})
	}
}
