// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"

	"proofhouse/images"
	"proofhouse/machines"
	"proofhouse/runs/programs"
)

// packageSession is what an administrator does with the packages: install, use,
// upgrade, remove, purge. A task that a namespace confines runs through all of
// it, and its label must not change.
var packageSession = []step{
	{sh: "mkdir -p /run/debs && for v in 1 2; do cp $(command -v nsmgr_$v.deb) $(command -v nsmgr-lxc_$v.deb) /run/debs; done; rm -f /usr/bin/nsmgr; ls /run/debs"},
	{sh: "dpkg -i /run/debs/nsmgr_1.deb /run/debs/nsmgr-lxc_1.deb"},
	// The guest's dpkg leaves documentation out; the package has it.
	{sh: "/usr/bin/nsmgr version; dpkg-deb -c /run/debs/nsmgr_1.deb", want: []string{"man1/nsmgr.1.gz", "examples/web.yaml", "completions/nsmgr", "doc/nsmgr/copyright"}},
	{sh: "systemd-analyze --man=no verify /usr/lib/systemd/system/nsmgr-apply.service nsmgr@web.service 2>&1 | grep -v \"Can't show\" | grep nsmgr", status: 1},
	{sh: "grep -w '^nsmgr' /sys/kernel/security/apparmor/profiles", want: []string{"nsmgr (enforce)"}},
	{sh: "dpkg-deb --fsys-tarfile /run/debs/nsmgr_1.deb | tar -xO ./usr/share/doc/nsmgr/examples/web.yaml | sed '/name: db/,$d' > /etc/nsmgr/web.yaml && dmesg -C"},

	// As the unit runs it, under nsmgr's own profile.
	{sh: "PROOFHOUSE_CACHE=/var/cache/nsmgr aa-exec -p nsmgr -- /usr/bin/nsmgr apply -f /etc/nsmgr", want: []string{"create web (+ container)"}},
	{sh: "PROOFHOUSE_CACHE=/var/cache/nsmgr aa-exec -p nsmgr -- /usr/bin/nsmgr apply -f /etc/nsmgr", want: []string{"nothing to do"}},
	// What else an administrator may run under it.
	{sh: "printf 'profile q { /** r, }\\n' > /etc/nsmgr/q.aa; for c in 'create t --profiles /etc/nsmgr/q.aa' 'load t /etc/nsmgr/q.aa' list 'tasks t' 'show t' 'unload t q' 'delete t' 'gc --idle 0' doctor metrics; do PROOFHOUSE_CACHE=/var/cache/nsmgr aa-exec -p nsmgr -- /usr/bin/nsmgr $c >out 2>&1 || { echo $c; cat out; exit 9; }; done; rm /etc/nsmgr/q.aa"},
	{sh: "dmesg | grep 'DENIED.*profile=\"nsmgr\"'", status: 1},

	// As the template unit runs a service.
	{sh: "setsid /usr/bin/nsmgr exec web --profile container --stack-on host-ct -- sleep 9999 >/dev/null 2>&1 & for i in $(seq 300); do /usr/bin/nsmgr tasks web | grep -qw sleep && exit; sleep 0.2; done; exit 1"},
	{sh: "cat /proc/$(pidof sleep)/attr/apparmor/current", want: []string{"host-ct//&:web:container (enforce)"}},
	{sh: "/usr/bin/nsmgr container list"},

	{sh: "dpkg -i /run/debs/nsmgr_2.deb /run/debs/nsmgr-lxc_2.deb", want: []string{"Unpacking nsmgr"}},
	{sh: "cat /proc/$(pidof sleep)/attr/apparmor/current", want: []string{"host-ct//&:web:container (enforce)"}},
	{sh: "dpkg -r nsmgr-lxc nsmgr"},
	{sh: "cat /proc/$(pidof sleep)/attr/apparmor/current; ls /sys/kernel/security/apparmor/policy/namespaces", want: []string{"host-ct//&:web:container (enforce)", "web"}},
	{sh: "ls /usr/bin/nsmgr", status: 2},
	{sh: "ls /etc/apparmor.d/nsmgr /etc/nsmgr/web.yaml"},
	{sh: "dpkg -P nsmgr nsmgr-lxc && cat /etc/nsmgr/web.yaml", want: []string{"name: web"}},
	{sh: "ls /etc/apparmor.d/nsmgr /var/cache/nsmgr /etc/nsmgr/services", status: 2},
	{sh: "cat /proc/$(pidof sleep)/attr/apparmor/current", want: []string{"host-ct//&:web:container (enforce)"}},
	{sh: "nsmgr delete web --kill"},
}

// TestE2EPackages makes the packages, and installs, upgrades and removes them
// in a guest.
func TestE2EPackages(t *testing.T) {
	ctx, plan := prepared(t)
	debs := makePackages(ctx, t, plan.Guest(plan.Builds[0]).Root, "0.1.0", "0.1.1")
	lint(ctx, t, debs)
	for _, b := range plan.Builds {
		t.Run(b.Release, func(t *testing.T) {
			o := plan.Options(b)
			for name, path := range debs {
				o.Tools[name] = path
			}
			m, err := machines.Open(ctx, o)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = m.Close() }()
			play(ctx, t, m, packageSession)
			if err := m.Sane(ctx); err != nil {
				t.Error(err)
			}
		})
	}
}

// lint has lintian examine the packages, on a host that has it. Whoever makes packages
// gives the maintainer: the default has no address. The nsmgr-lxc of a test is the
// guest's, which is no PIE; that of "make nsmgr-lxc" is.
func lint(ctx context.Context, t *testing.T, debs map[string]string) {
	t.Helper()
	if _, err := exec.LookPath("lintian"); err != nil {
		t.Log("lintian not found: apt-get install lintian")
		return
	}
	args := []string{"--fail-on", "error,warning", "--suppress-tags", "bogus-mail-host,bogus-mail-host-in-debian-changelog,hardening-no-pie"}
	for _, path := range debs {
		args = append(args, path)
	}
	if out, err := exec.CommandContext(ctx, "lintian", args...).CombinedOutput(); err != nil {
		t.Errorf("lintian: %v\n%s", err, out)
	}
}

// makePackages makes the packages of nsmgr in these versions, and returns the path
// of each by its name in the guest: nsmgr_1.deb is the first version.
func makePackages(ctx context.Context, t *testing.T, root *images.Root, versions ...string) map[string]string {
	t.Helper()
	withLXC, err := programs.Guest(ctx, root, "nsmgr")
	if err != nil {
		t.Fatal(err)
	}
	debs := map[string]string{}
	for i, version := range versions {
		dir := filepath.Join(t.TempDir(), "deb")
		mk := exec.CommandContext(ctx, "make", "deb", "DEB="+dir, "VERSION="+version, "LXCBIN="+withLXC, "PACKAGES=nsmgr nsmgr-lxc")
		mk.Dir = "../.."
		if out, err := mk.CombinedOutput(); err != nil {
			t.Fatalf("make deb: %v\n%s", err, out)
		}
		for _, name := range []string{"nsmgr", "nsmgr-lxc"} {
			found, err := filepath.Glob(filepath.Join(dir, name+"_"+version+"_*.deb"))
			if err != nil || len(found) != 1 {
				t.Fatalf("make deb made %q, %v", found, err)
			}
			debs[fmt.Sprintf("%s_%d.deb", name, i+1)] = found[0]
		}
	}
	return debs
}
