package isolation

import "strings"

const bornWhy = "nsmgr asks LXC for the label HOST//&:NAMESPACE:PROFILE, which LXC hands to the kernel as it is, and reads back what init got; what a container had goes with it"

// lifeA is the namespace of the containers that live and die in these rows.
const lifeA = "life-a"

// ctPolicy is the profile ct of a namespace; rule is one more.
func ctPolicy(name, ns, rule string) Policy {
	return Policy{Name: name, Namespace: ns, Text: "profile ct flags=(attach_disconnected,mediate_deleted) {\n  …\n  " + rule + "\n}\n"}
}

// made is the step that makes a container for a namespace.
func made(name, ns string) string {
	return "@: run nsmgr container create " + name + " --rootfs " + lifeRoot + " --namespace " + ns + " --profile ct --host-profile " + hostAllow
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
		c.Do = append(c.Do, made(ct[0], ct[1]))
		c.Clean = append(c.Clean, "@: attempt nsmgr container destroy "+ct[0])
	}
	c.Do = append(c.Do, steps(do...)...)
	for _, ct := range containers {
		c.Do = append(c.Do, steps("container destroy "+ct[0])...)
	}
	c.Do = append(c.Do, `@: left => "nothing"`)
	return c
}

var onlyA = [][2]string{{"life-a", lifeA}}

var lifeRows = []Row{
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
				"attempt timeout -s KILL 0.1 nsmgr container start life-a", "attempt nsmgr container start life-a",
				"init life-a => "+bornIn(lifeA)),
			living("monitor-then-destroyed", onlyA, "container start life-a", "killmonitor life-a"),
		},
	},
	{
		Group: "lifecycle", Name: "ends-itself", About: "a reboot from inside, and a power-off: the new init has the label of the old, or there is none", Why: "LXC's monitor starts the container again by its configuration; kernel/pid_namespace.c, reboot_pid_ns",
		Namespaces: []string{lifeA}, Policy: []Policy{ctPolicy("", lifeA, "")},
		Cases: []Case{
			living("from-inside", onlyA,
				"container start life-a", "mark life-a", "attempt nsmgr container run life-a -- reboot -f",
				"reborn life-a => "+bornIn(lifeA), "container run life-a"+ownLabel),
			living("power-off-from-inside", onlyA,
				"container start life-a", "attempt nsmgr container run life-a -- poweroff -f", "stopped life-a", "init life-a => ESRCH"),
		},
	},
	{
		Group: "lifecycle", Name: "policy-of-one", About: "two containers in one namespace: one policy, and the end of one is not the other's", Why: "a namespace is policy, not a container",
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
