// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"proofhouse/kernels"
	"proofhouse/machines"
)

// beforeReboot is what an administrator sets up once: declared namespaces, a
// service in one, and a container in another that LXC starts at boot.
var beforeReboot = []step{
	{sh: "cat /proc/1/comm", want: []string{"systemd"}},
	// The guest has a systemctl of its own for the upstream tests, and its nsmgr is
	// a link to one that is gone after the boot.
	{sh: "rm -f /usr/local/bin/systemctl /usr/local/bin/nsmgr /usr/sbin/policy-rc.d && dpkg -i $(command -v nsmgr_1.deb)"},
	{sh: "/usr/bin/systemctl is-enabled nsmgr-apply", want: []string{"enabled"}},
	{sh: `cat > /etc/nsmgr/site.yaml <<X
namespaces:
  - name: web
    kind: privileged
  - name: c1
    kind: privileged
    container: c1
X
printf 'COMMAND=/usr/bin/sleep infinity\nPROFILE=container\nHOST_PROFILE=host-ct\n' > /etc/nsmgr/services/web.conf
systemctl enable nsmgr@web 2>&1`, want: []string{"nsmgr@web.service"}},
	// LXC would wait half a minute for its bridge.
	{sh: `echo USE_LXC_BRIDGE=false > /etc/default/lxc-net; lxc-create -n c1 -t busybox >/dev/null && cat >> /var/lib/lxc/c1/config <<X
lxc.net.0.type = empty
lxc.start.auto = 1
lxc.apparmor.profile = lxc-host-ct//&:c1:container
X
systemctl enable lxc.service`},
	{sh: "ls /sys/kernel/security/apparmor/policy/namespaces", not: []string{"web", "c1"}},
	{sh: "cat /proc/sys/kernel/random/boot_id > /root/boot; ! pidof sleep"},
}

var afterReboot = []step{
	{sh: "cat /proc/1/comm; cmp /proc/sys/kernel/random/boot_id /root/boot", status: 1, want: []string{"systemd", "differ"}},
	{sh: "systemctl is-system-running --wait; systemctl --failed --no-legend", not: []string{"nsmgr", "lxc.service"}},
	{sh: "systemctl is-active nsmgr-apply nsmgr@web lxc", want: []string{"active\nactive\nactive"}},
	{sh: "nsmgr list && systemctl status nsmgr-apply --no-pager --full", want: []string{"web", "c1", "create web (+ container)"}},
	{sh: "cat /proc/$(systemctl show -P MainPID nsmgr@web)/attr/apparmor/current", want: []string{"host-ct//&:web:container (enforce)"}},
	{sh: "cat /proc/$(systemctl show -P MainPID nsmgr@web)/cmdline | tr '\\0' ' '", want: []string{"sleep infinity"}},
	{sh: "lxc-info -n c1 -sH && cat /proc/$(lxc-info -n c1 -pH)/attr/apparmor/current", want: []string{"RUNNING", "lxc-host-ct//&:c1:container (enforce)"}},
	// In this order, by the monotonic clock.
	{sh: "a=$(systemctl show -P ActiveEnterTimestampMonotonic nsmgr-apply) b=$(systemctl show -P ExecMainStartTimestampMonotonic lxc) c=$(systemctl show -P ExecMainStartTimestampMonotonic nsmgr@web); echo $a $b $c; test $a -gt 0 && test $a -le $b && test $a -le $c"},
	{sh: "systemctl show -P AppArmorProfile nsmgr-apply; grep '^nsmgr ' /sys/kernel/security/apparmor/profiles", want: []string{"nsmgr (enforce)"}},
	{sh: "dmesg | grep 'DENIED.*profile=\"nsmgr'", status: 1},

	// Stopping and restarting the unit changes nothing that runs.
	{sh: "systemctl restart nsmgr-apply && systemctl stop nsmgr-apply && systemctl start nsmgr-apply; cat /proc/$(lxc-info -n c1 -pH)/attr/apparmor/current; cat /proc/$(systemctl show -P MainPID nsmgr@web)/attr/apparmor/current", want: []string{"lxc-host-ct//&:c1:container (enforce)", "\nhost-ct//&:web:container (enforce)"}},

	// The watching unit, under nsmgr's profile.
	{sh: "systemctl enable --now nsmgr-watch 2>&1 && printf 'namespaces:\\n- name: later\\n  kind: unprivileged\\n' > /etc/nsmgr/later.yaml; " + until("nsmgr list | grep -qw later")},
	{sh: "rm /etc/nsmgr/later.yaml; " + until("! nsmgr list | grep -qw later") + "; nsmgr list", want: []string{"web", "c1"}, not: []string{"later"}},
	{sh: "cat /proc/$(systemctl show -P MainPID nsmgr-watch)/attr/apparmor/current; dmesg | grep 'DENIED.*profile=\"nsmgr'", status: 1, want: []string{"nsmgr (enforce)"}},

	// An upgrade and a removal change what confines nothing that runs, and leave no
	// process of the package.
	{sh: labels + " > /root/labels; cat /root/labels; systemctl show -P MainPID nsmgr-watch > /root/watch", want: []string{"lxc-host-ct//&:c1:container (enforce)", "\nhost-ct//&:web:container (enforce)"}},
	{sh: "dpkg -i $(command -v nsmgr_2.deb); " + labels + " | diff /root/labels - && systemctl is-active nsmgr-watch nsmgr-apply; systemctl show -P MainPID nsmgr-watch | cmp -s /root/watch - && exit 9; exit 0", want: []string{"active\n"}},
	{sh: "dpkg -r nsmgr; " + labels + " | diff /root/labels - && pgrep -x nsmgr", status: 1},
	{sh: "dpkg -P nsmgr; " + labels + " | diff /root/labels - && ls /sys/kernel/security/apparmor/policy/namespaces && ls /etc/nsmgr", want: []string{"web", "c1", "site.yaml"}},
}

// labels prints what confines the container and the service.
const labels = "cat /proc/$(lxc-info -n c1 -pH)/attr/apparmor/current /proc/$(pidof sleep)/attr/apparmor/current"

// TestE2EReboot boots a guest with systemd as its init, sets up nsmgr, and boots it
// again from the same disk.
func TestE2EReboot(t *testing.T) {
	ctx, plan := prepared(t)
	debs := makePackages(ctx, t, plan.Guest(plan.Builds[0]).Root, "0.1.0", "0.1.1")
	for _, b := range plan.Builds {
		if b.Kind != kernels.UML {
			continue // only its disks keep what is written
		}
		t.Run(b.Release, func(t *testing.T) {
			o := plan.Options(b)
			o.Systemd, o.State = true, t.TempDir()
			o.BootTimeout = 10 * time.Minute
			for name, path := range debs {
				o.Tools[name] = path
			}
			for _, steps := range [][]step{beforeReboot, afterReboot} {
				if err := bootAndPlay(ctx, t, o, steps); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// bootAndPlay boots a machine, does the steps, and powers it off. It returns whether
// the kernel was still sane then.
func bootAndPlay(ctx context.Context, t *testing.T, o machines.Options, steps []step) error {
	t.Helper()
	m, err := machines.Open(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = m.Close() }()
	play(ctx, t, m, steps)
	sane := m.Sane(ctx)
	off, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	if err := machines.PowerOff(off, m, machines.Command{Args: []string{"/usr/bin/systemctl", "poweroff"}}); err != nil {
		t.Fatalf("%v\n%s", err, m.Console().Since(0))
	}
	if text := m.Console().Since(0); !strings.Contains(text, "reboot: Power down") {
		t.Errorf("the console does not end with a power-off:\n%s", text)
	}
	return sane
}
