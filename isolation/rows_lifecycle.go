package isolation

// Steps of the manager that drive containers by nsmgr, as a user would.
const (
	lifeLabel  = `@: sh cat /proc/$(lxc-info -n life -p -H)/attr/apparmor/current => "host-ct//&:life:container (enforce)"`
	initOfLife = `@: sh cat /proc/$(lxc-info -n life -p -H)/attr/apparmor/current => "` + InitLabel + ` (enforce)"`
	lifeWait   = `@: sh lxc-wait -n life -s STOPPED -t 60`
	// nothingLeft lists what has the name in it: namespaces, cgroups, mounts,
	// processes of the monitor.
	nothingLeft = `@: sh ls /sys/kernel/security/apparmor/policy/namespaces | grep life; find /sys/fs/cgroup -name '*life*' | grep -v ns_; grep life /proc/mounts; ls /var/lib/lxc | grep life; true => ""`
)

// deleted removes a namespace. Where nsmgr will not, as it sees that something
// still refers to a profile and not what (6.1, after a replacement), the
// kernel is asked: no task is in it.
func deleted(ns string) string {
	return "@: sh nsmgr delete " + ns + " --recursive || rmdir /sys/kernel/security/apparmor/policy/namespaces/" + ns
}

// lifeClean takes away whatever a case left.
var lifeClean = []string{
	"@: sh for c in life life2; do lxc-stop -k -n $c; lxc-destroy -f -n $c; rm -r /var/lib/lxc/$c; done 2>/dev/null; for n in life life2; do nsmgr delete $n --kill --recursive || rmdir /sys/kernel/security/apparmor/policy/namespaces/$n; done 2>/dev/null; true",
}

// lifeRoot is the root of the matrix's own container, which these have too: the
// template takes seconds to make another.
const lifeRoot = "/var/lib/lxc/" + Container + "/rootfs"

func lifeMade(name, ns string) string {
	return "@: sh nsmgr container create " + name + " --rootfs " + lifeRoot + " --namespace " + ns
}

// life is a case about one container, in the namespace of the same name.
func life(name string, do ...string) Case {
	return Case{
		Name: name, Tasks: inside(InitLabel),
		Prepare: []string{"@: sh nsmgr create life", lifeMade("life", "life")},
		Do:      append([]string{"@: sh nsmgr container start life", lifeLabel}, do...), Clean: lifeClean,
	}
}

var gone = []string{"@: sh nsmgr container destroy life", deleted("life"), nothingLeft}

func then(steps ...string) []string { return append(steps, gone...) }

var lifecycleRows = []Row{
	{
		Group: "lifecycle", Name: "stop", About: "start a container, run a command in it, stop it", Why: "a container's label is its init's, from the first instruction to the last; nothing stays behind",
		Cases: []Case{
			life("kill", then(
				`@: sh nsmgr container run life -- cat /proc/self/attr/current => "container (enforce)"`,
				"@: sh nsmgr container stop life --kill", lifeWait)...),
			life("restart", then(
				"@: sh nsmgr container stop life --kill", lifeWait, "@: sh nsmgr container start life", lifeLabel, "@: sh nsmgr container stop life --kill", lifeWait)...),
		},
	},
	{
		Group: "lifecycle", Name: "killed", About: "kill -9 of a container's init, and of its monitor", Why: "the namespace is not the monitor's: it stays, and the next start has the same label",
		Cases: []Case{
			life("init", then("@: sh kill -9 $(lxc-info -n life -p -H)", lifeWait, "@: sh nsmgr container start life", lifeLabel, "@: sh nsmgr container stop life --kill")...),
			life("monitor", then("@: sh kill -9 $(awk '{print $4}' /proc/$(lxc-info -n life -p -H)/stat)", "@: sh sleep 1; nsmgr container start life", lifeLabel, "@: sh nsmgr container stop life --kill")...),
		},
	},
	{
		Group: "lifecycle", Name: "reboot", About: "a container reboots itself", Why: "LXC starts its init anew, with the label of the configuration. The shipped host-ct denies CAP_SYS_BOOT, so this one has the profiles that allow",
		Cases: []Case{{
			Name: "inside", Tasks: inside(InitLabel),
			Prepare: []string{
				// With a root of its own: lxc-destroy leaves the whole folder of a
				// container whose root is not LXC's to remove.
				"@: sh lxc-create -n life -t none", "@: sh cp -a " + lifeRoot + " /var/lib/lxc/life/rootfs",
				"@: sh sed s,/lxc/" + Container + "/,/lxc/life/, /var/lib/lxc/" + Container + "/config > /var/lib/lxc/life/config",
			},
			Do: []string{
				"@: sh lxc-start -n life && lxc-wait -n life -s RUNNING -t 60", initOfLife,
				`@: sh p=$(lxc-info -n life -p -H); lxc-attach -n life -- reboot; for i in $(seq 40); do q=$(lxc-info -n life -p -H); [ -n "$q" ] && [ "$q" != "$p" ] && exit 0; sleep .5; done; echo "init is still $q"; exit 1`,
				initOfLife, "@: sh lxc-stop -k -n life", lifeWait, "@: sh lxc-destroy -n life", nothingLeft,
			}, Clean: lifeClean,
		}},
	},
	{
		Group: "lifecycle", Name: "two", About: "two containers: each in a namespace of its own, and both in one", Why: "the policy of one namespace is none of the other's; of one that two share, it is both's",
		Cases: []Case{
			{
				Name: "two-namespaces", Tasks: inside(InitLabel),
				Prepare: []string{
					"@: sh nsmgr create life", "@: sh nsmgr create life2", lifeMade("life", "life"), lifeMade("life2", "life2"),
				},
				Do: []string{
					"@: sh nsmgr container start life", "@: sh nsmgr container start life2", lifeLabel,
					`@: sh cat /proc/$(lxc-info -n life2 -p -H)/attr/apparmor/current => "host-ct//&:life2:container (enforce)"`,
					`@: sh printf 'abi <kernel>,\nprofile container flags=(attach_disconnected) {\n file,\n capability,\n network,\n unix,\n signal,\n ptrace,\n mount,\n umount,\n deny /etc/passwd r,\n}\n' > /tmp/life.aa; nsmgr load life2 /tmp/life.aa`,
					"@: sh nsmgr container run life -- cat /etc/passwd >/dev/null", "@: sh nsmgr container run life2 -- cat /etc/passwd >/dev/null => EPERM",
					"@: sh nsmgr container stop life2 --kill", lifeLabel, "@: sh nsmgr container destroy life2", deleted("life2"),
					"@: sh nsmgr container stop life --kill", "@: sh nsmgr container destroy life", deleted("life"), nothingLeft,
				}, Clean: lifeClean,
			},
			{
				Name: "one-namespace", Tasks: inside(InitLabel),
				Prepare: []string{"@: sh nsmgr create life", lifeMade("life", "life"), lifeMade("life2", "life")},
				Do: []string{
					"@: sh nsmgr container start life", "@: sh nsmgr container start life2", lifeLabel,
					`@: sh cat /proc/$(lxc-info -n life2 -p -H)/attr/apparmor/current => "host-ct//&:life:container (enforce)"`,
					"@: sh nsmgr container stop life --kill", `@: sh cat /proc/$(lxc-info -n life2 -p -H)/attr/apparmor/current => "host-ct//&:life:container (enforce)"`,
					"@: sh nsmgr container stop life2 --kill", "@: sh nsmgr container destroy life2", "@: sh nsmgr container destroy life", deleted("life"), nothingLeft,
				}, Clean: lifeClean,
			},
		},
	},
	{
		Group: "lifecycle", Name: "nested", About: "a container in a namespace below another", Why: "each level's policy holds what is below it",
		Cases: []Case{{
			Name: "two-levels", Tasks: inside(InitLabel),
			Prepare: []string{"@: sh nsmgr create life", "@: sh nsmgr create inner --parent life", lifeMade("life", "life//inner")},
			Do: []string{
				"@: sh nsmgr container start life", `@: sh cat /proc/$(lxc-info -n life -p -H)/attr/apparmor/current => "host-ct//&:life//inner:container (enforce)"`,
				`@: sh nsmgr container run life -- cat /proc/self/attr/current => "container (enforce)"`,
				"@: sh nsmgr container stop life --kill", "@: sh nsmgr container destroy life", deleted("life"), nothingLeft,
			}, Clean: lifeClean,
		}},
	},
}
