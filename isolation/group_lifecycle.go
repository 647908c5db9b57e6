// SPDX-License-Identifier: Apache-2.0

package isolation

import (
	"slices"
	"strings"
)

// deleted removes a namespace. Where nsmgr will not, as it sees that something
// still refers to a profile and not what (6.1, after a replacement), the
// kernel is asked: no task is in it.
func deleted(ns string) string {
	return "@: run nsmgr delete " + ns + " --recursive || rmdir /sys/kernel/security/apparmor/policy/namespaces/" + ns
}

// lifeClean takes away whatever a case left.
var lifeClean = []string{
	"@: run for c in life life2; do lxc-stop -k -n $c; lxc-destroy -f -n $c; rm -r /var/lib/lxc/$c; done 2>/dev/null; for n in life life2; do nsmgr delete $n --kill --recursive || rmdir /sys/kernel/security/apparmor/policy/namespaces/$n; done 2>/dev/null; true",
}

// shippedLabel is the label of a container's init with the profiles that nsmgr
// ships, in a namespace.
func shippedLabel(ns string) string { return `"host-ct//&:` + ns + `:container (enforce)"` }

// shipped is a case about the container "life" with the profiles that nsmgr
// ships, in a namespace of the same name that nsmgr creates.
func shipped(name string, do ...string) Case {
	return Case{
		Name: name, Tasks: inside(InitLabel),
		Prepare: []string{"@: run nsmgr create life", created("life", "life", "")},
		Do:      slices.Concat(steps("container start life", "init life => "+shippedLabel("life")), steps(do...), ended),
		Clean:   lifeClean,
	}
}

// ended are the steps after which nothing of the container "life" is left.
var ended = []string{"@: run nsmgr container destroy life", deleted("life"), `@: left life => "nothing"`}

// initLabel is InitLabel, as an expectation of a step.
const initLabel = `"` + InitLabel + ` (enforce)"`

const bornWhy = "nsmgr asks LXC for the label HOST//&:NAMESPACE:PROFILE, which LXC hands to the kernel as it is, and reads back what init got; what a container had goes with it"

// lifeA is the namespace of the containers that live and die in these rows.
const lifeA = "life-a"

// ctPolicy is the profile ct of a namespace; rule is one more.
func ctPolicy(name, ns, rule string) Policy {
	return Policy{Name: name, Namespace: ns, Text: "profile ct flags=(attach_disconnected,mediate_deleted) {\n  …\n  " + rule + "\n}\n"}
}

// created is the step that creates a container for a namespace.
func created(name, ns, options string) string {
	return strings.TrimSpace("@: run nsmgr container create " + name + " --rootfs " + containerRoot + " --namespace " + ns + " " + options)
}

// steps are the manager's; "container start a" is short for a command of nsmgr.
func steps(list ...string) []string {
	var all []string
	for _, s := range list {
		if strings.HasPrefix(s, "container ") {
			s = "run nsmgr " + s
		}
		all = append(all, "@: "+s)
	}
	return all
}

// bornIn is the label of an init in such a namespace.
func bornIn(ns string) string { return `"` + hostAllow + "//&:" + ns + `:ct (enforce)"` }

const ownLabel = ` -- cat /proc/self/attr/apparmor/current => "ct (enforce)"`

// living makes containers, does the steps and demands that nothing is left.
func living(name string, containers [][2]string, do ...string) Case {
	c := Case{Name: name, Tasks: inside(InitLabel), Do: []string{"@: survey"}}
	for _, ct := range containers {
		c.Do = append(c.Do, created(ct[0], ct[1], "--profile ct --host-profile "+hostAllow))
		c.Clean = append(c.Clean, "@: try run nsmgr container destroy "+ct[0])
	}
	c.Do = append(c.Do, steps(do...)...)
	for _, ct := range containers {
		c.Do = append(c.Do, steps("container destroy "+ct[0])...)
	}
	c.Do = append(c.Do, `@: left => "nothing"`)
	return c
}

// startPolicy is the file with the profile that distributions confine lxc-start
// with.
const startPolicy = "/etc/apparmor.d/usr.bin.lxc-start"

var onlyA = [][2]string{{"life-a", lifeA}}

var lifecycleRows = []Row{
	{
		Group: "lifecycle", Name: "stop", About: "start a container, run a command in it, stop it", Why: "a container's label is its init's, from the first instruction to the last; nothing is left",
		Cases: []Case{
			shipped("kill",
				`container run life -- cat /proc/self/attr/current => "container (enforce)"`,
				"container stop life --kill", "stopped life"),
			shipped("restart",
				"container stop life --kill", "stopped life", "container start life", "init life => "+shippedLabel("life"), "container stop life --kill", "stopped life"),
		},
	},
	{
		Group: "lifecycle", Name: "killed", About: "kill -9 of a container's init, and of its monitor", Why: "the namespace does not belong to the monitor: it stays, and the next start has the same label",
		Cases: []Case{
			shipped("init", "killinit life", "stopped life", "container start life", "init life => "+shippedLabel("life"), "container stop life --kill"),
			shipped("monitor", "killmonitor life", "container start life", "init life => "+shippedLabel("life"), "container stop life --kill"),
		},
	},
	{
		Group: "lifecycle", Name: "reboot", About: "a container reboots itself", Why: "LXC starts its init anew, with the label of the configuration. The shipped host-ct denies CAP_SYS_BOOT, so this one has the profiles that allow",
		Cases: []Case{{
			Name: "inside", Tasks: inside(InitLabel),
			Prepare: []string{
				// With a root of its own: lxc-destroy leaves the whole directory of a
				// container whose root is not LXC's to remove.
				"@: run lxc-create -n life -t none", "@: run cp -a " + containerRoot + " /var/lib/lxc/life/rootfs",
				"@: run sed s,/lxc/" + Container + "/,/lxc/life/, /var/lib/lxc/" + Container + "/config > /var/lib/lxc/life/config",
			},
			Do: []string{
				"@: run lxc-start -n life && lxc-wait -n life -s RUNNING -t 60", "@: init life => " + initLabel,
				`@: run p=$(lxc-info -n life -p -H); lxc-attach -n life -- reboot; for i in $(seq 40); do q=$(lxc-info -n life -p -H); [ -n "$q" ] && [ "$q" != "$p" ] && exit 0; sleep .5; done; echo "init is still $q"; exit 1`,
				"@: init life => " + initLabel, "@: run lxc-stop -k -n life", "@: stopped life", "@: run lxc-destroy -n life", `@: left life => "nothing"`,
			}, Clean: lifeClean,
		}},
	},
	{
		Group: "lifecycle", Name: "confined-manager", About: "lxc-start under the profile that distributions confine it with: it starts and ends a container whose label begins with lxc-",
		Why: "its profile allows changes to lxc-*, and the shipped host profile takes its signals: a container that its own manager cannot end is out of control",
		Cases: []Case{
			{
				Name: "started-and-ended", Tasks: inside(InitLabel),
				Prepare: []string{
					"@: run test -f " + startPolicy, "@: run lxc-create -n life -t none", "@: run cp -a " + containerRoot + " /var/lib/lxc/life/rootfs",
					"@: run { grep -v '^lxc.apparmor' /var/lib/lxc/" + Container + "/config | sed s,/lxc/" + Container + "/,/lxc/life/,; echo 'lxc.apparmor.profile = lxc-host-ct//&:life:container';" +
						` for h in pre-start post-stop; do echo "lxc.hook.$h = $(command -v nsmgr) hook $h"; done; } > /var/lib/lxc/life/config`,
					"@: run apparmor_parser -r " + startPolicy,
				},
				Do: steps(
					"run lxc-start -n life && lxc-wait -n life -s RUNNING -t 60", `init life => "lxc-host-ct//&:life:container (enforce)"`,
					`run p=$(lxc-info -n life -p -H); m=$(awk '/^PPid:/ {print $2}' /proc/$p/status); grep -qx '/usr/bin/lxc-start (enforce)' /proc/$m/attr/apparmor/current`,
					"run lxc-stop -k -n life", "stopped life", "run lxc-destroy -n life", `left life => "nothing"`),
				Clean: slices.Concat(lifeClean, []string{"@: run apparmor_parser -R " + startPolicy}),
			},
		},
	},
	{
		Group: "lifecycle", Name: "two", About: "two containers: each in its own namespace, and both in one", Why: "the policy of a namespace applies to its containers and to no other",
		Cases: []Case{
			{
				Name: "two-namespaces", Tasks: inside(InitLabel),
				Prepare: []string{
					"@: run nsmgr create life", "@: run nsmgr create life2", created("life", "life", ""), created("life2", "life2", ""),
				},
				Do: []string{
					"@: run nsmgr container start life", "@: run nsmgr container start life2", "@: init life => " + shippedLabel("life"),
					"@: init life2 => " + shippedLabel("life2"),
					`@: run printf 'abi <kernel>,\nprofile container flags=(attach_disconnected) {\n file,\n capability,\n network,\n unix,\n signal,\n ptrace,\n mount,\n umount,\n deny /etc/passwd r,\n}\n' > /tmp/life.aa; nsmgr load life2 /tmp/life.aa`,
					"@: run nsmgr container run life -- cat /etc/passwd >/dev/null", "@: run nsmgr container run life2 -- cat /etc/passwd >/dev/null => exit 1",
					"@: run nsmgr container stop life2 --kill", "@: init life => " + shippedLabel("life"), "@: run nsmgr container destroy life2", deleted("life2"),
					"@: run nsmgr container stop life --kill", "@: run nsmgr container destroy life", deleted("life"), `@: left life => "nothing"`,
				}, Clean: lifeClean,
			},
			{
				Name: "one-namespace", Tasks: inside(InitLabel),
				Prepare: []string{"@: run nsmgr create life", created("life", "life", ""), created("life2", "life", "")},
				Do: []string{
					"@: run nsmgr container start life", "@: run nsmgr container start life2", "@: init life => " + shippedLabel("life"),
					"@: init life2 => " + shippedLabel("life"),
					"@: run nsmgr container stop life --kill", "@: init life2 => " + shippedLabel("life"),
					"@: run nsmgr container stop life2 --kill", "@: run nsmgr container destroy life2", "@: run nsmgr container destroy life", deleted("life"), `@: left life => "nothing"`,
				}, Clean: lifeClean,
			},
		},
	},
	{
		Group: "lifecycle", Name: "nested", About: "a container in a namespace below another", Why: "each level's policy holds what is below it",
		Cases: []Case{{
			Name: "two-levels", Tasks: inside(InitLabel),
			Prepare: []string{"@: run nsmgr create life", "@: run nsmgr create inner --parent life", created("life", "life//inner", "")},
			Do: []string{
				"@: run nsmgr container start life", "@: init life => " + shippedLabel("life//inner"),
				`@: run nsmgr container run life -- cat /proc/self/attr/current => "container (enforce)"`,
				"@: run nsmgr container stop life --kill", "@: run nsmgr container destroy life", deleted("life"), `@: left life => "nothing"`,
			}, Clean: lifeClean,
		}},
	},
	{
		Group: "lifecycle", Name: "leaves-nothing", About: "start a container, run a command in it, stop it, and start it again; nothing is left", Why: bornWhy, Smoke: true,
		Namespaces: []string{lifeA}, Policy: []Policy{ctPolicy("", lifeA, "")},
		Cases: []Case{
			living("restart", onlyA,
				"init life-a => ESRCH",
				"container start life-a", "init life-a => "+bornIn(lifeA), "container run life-a"+ownLabel,
				"container status life-a", "container stop life-a", "init life-a => ESRCH",
				"container start life-a", "init life-a => "+bornIn(lifeA), "container run life-a"+ownLabel,
				"container stop life-a --kill", "init life-a => ESRCH",
			),
			living("destroyed-while-it-runs", onlyA, "container start life-a", "init life-a => "+bornIn(lifeA)),
		},
	},
	{
		Group: "lifecycle", Name: "refused", About: "a container whose profile is not loaded does not start", Why: "without the profile the label does not exist, and a container in another would not be confined as asked",
		Namespaces: []string{lifeA}, Policy: []Policy{ctPolicy("", lifeA, ""), ctPolicy("again", lifeA, "")},
		Cases: []Case{
			living("no-profile", onlyA, "remove life-a ct", "container start life-a => exit 2", "init life-a => ESRCH", "load again"),
		},
	},
	{
		Group: "lifecycle", Name: "crashes", About: "kill -9 of a container's init, of its monitor and of nsmgr as it starts one; the next start has the label again, and nothing is left",
		Why:        bornWhy + "; a monitor that is killed leaves its container running: the next start ends what is left of it first",
		Namespaces: []string{lifeA}, Policy: []Policy{ctPolicy("", lifeA, "")},
		Cases: []Case{
			living("init", onlyA, "container start life-a", "killinit life-a", "stopped life-a"),
			living("monitor", onlyA,
				"container start life-a", "killmonitor life-a",
				"container start life-a", "init life-a => "+bornIn(lifeA), "container run life-a"+ownLabel),
			living("start", onlyA,
				// It may have been quick enough to have started it.
				"try run timeout -s KILL 0.1 nsmgr container start life-a", "try run nsmgr container start life-a",
				"init life-a => "+bornIn(lifeA)),
			living("monitor-then-destroyed", onlyA, "container start life-a", "killmonitor life-a"),
		},
	},
	{
		Group: "lifecycle", Name: "ends-itself", About: "reboot and power-off from inside: the new init has the label of the old one, or none exists", Why: "LXC's monitor starts the container again by its configuration; kernel/pid_namespace.c, reboot_pid_ns",
		Namespaces: []string{lifeA}, Policy: []Policy{ctPolicy("", lifeA, "")},
		Cases: []Case{
			living("from-inside", onlyA,
				"container start life-a", "mark life-a", "try run nsmgr container run life-a -- reboot -f",
				"reborn life-a => "+bornIn(lifeA), "container run life-a"+ownLabel),
			living("power-off-from-inside", onlyA,
				"container start life-a", "try run nsmgr container run life-a -- poweroff -f", "stopped life-a", "init life-a => ESRCH"),
		},
	},
	{
		Group: "lifecycle", Name: "policy-of-one", About: "two containers in one namespace: one policy, and the end of one does not affect the other", Why: "a namespace is policy, not a container",
		Namespaces: []string{lifeA},
		Policy:     []Policy{ctPolicy("", lifeA, ""), ctPolicy("a-denies", lifeA, "deny /etc/group r,"), ctPolicy("a-allows", lifeA, "")},
		Cases: []Case{
			living("shared", [][2]string{{"life-a", lifeA}, {"life-b", lifeA}},
				"container start life-a", "container start life-b",
				"init life-a => "+bornIn(lifeA), "init life-b => "+bornIn(lifeA),
				"load a-denies",
				"run nsmgr container run life-a -- grep -q root /etc/group => exit 2",
				"run nsmgr container run life-b -- grep -q root /etc/group => exit 2",
				"load a-allows",
				"container stop life-b --kill", "init life-a => "+bornIn(lifeA), "container run life-a"+ownLabel,
			),
		},
	},
}
