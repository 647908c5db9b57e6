// SPDX-License-Identifier: Apache-2.0

package isolation

var limitRows = []Row{
	{
		Group: "limits", CrashFails: true, Name: "depth", About: "32 levels of namespaces", Why: "MAX_NS_DEPTH is 32 and is compared with the level of the parent, so that 33 levels work (policy_ns.c, __aa_create_ns)",
		Cases: []Case{{Name: "32", Tasks: host, Do: []string{`@: nest 32 => "32"`}}},
	},
	{
		Group: "limits", CrashFails: true, Name: "depth-beyond", About: "more than 32 levels of namespaces", Why: "deeper is ENOSPC; the kernel must not warn",
		Cases: []Case{
			{Name: "33", Tasks: host, Do: []string{"@: nest 33"}, Recorded: "kernels may allow 32 or 33 levels; those seen allow 33"},
			{Name: "34", Tasks: host, Do: []string{"@: nest 34"}, Recorded: "kernels may allow 32 or 33 levels; those seen allow 33"},
			{Name: "35", Tasks: host, Do: []string{"@: nest 35 => ENOSPC"}},
		},
	},
	{
		Group: "limits", CrashFails: true, Name: "names", About: "how long a namespace's name may be", Why: "NAME_MAX of securityfs: 255 bytes",
		Cases: []Case{
			{Name: "255", Tasks: host, Do: []string{"@: longname 255"}},
			{Name: "256", Tasks: host, Do: []string{"@: longname 256 => ENAMETOOLONG"}},
			{Name: "twice", Tasks: host, Do: []string{"@: mkns iso => EEXIST"}},
			{Name: "nothing", Tasks: host, Do: []string{"@: rmns none => ENOENT"}},
		},
	},
	{
		Group: "limits", CrashFails: true, Name: "many", About: "500 namespaces with a profile each", Why: "nothing limits their number; the kernel must not warn", Policy: []Policy{{Name: "many", Text: "profile many {\n  file,\n}\n"}},
		Cases: []Case{{Name: "500", Tasks: host, Do: []string{`@: many 500 many => "500"`}}},
	},
	{
		Group: "limits", CrashFails: true, Name: "races", About: "parallel creation, load and removal, with readers of raw_data", Why: "apparmorfs.c, policy.c: locking of namespaces and their raw data; the kernel must not warn", Policy: []Policy{{Name: "many", Text: "profile many {\n  file,\n}\n"}},
		Cases: []Case{{Name: "parallel", Tasks: host, Do: []string{`@: race 200 many => "done"`}}},
	},
	{
		Group: "limits", CrashFails: true, Name: "memory", About: "memory after 1,000 rounds of creation, load and removal", Why: "removed policy is freed: less than 4 KiB a round may remain", Policy: []Policy{{Name: "many", Text: "profile many {\n  file,\n}\n"}},
		Cases: []Case{{Name: "1000-rounds", Tasks: host, Do: []string{`@: leak 1000 many => "freed"`}}},
	},
	{
		Group: "limits", CrashFails: true, Name: "memory-in-use", About: "memory after 200 rounds of a profile that a task uses and that is removed", Why: "references to labels are given back: lsm.c, apparmor_capable; domain.c, aa_change_hat. Less than 4 KiB a round may remain",
		Policy: []Policy{{Name: "used", Text: "profile used flags=(attach_disconnected) {\n  …\n  ^hat flags=(attach_disconnected) {\n  …\n  }\n}\n"}},
		Cases:  []Case{{Name: "200-rounds", Tasks: host, Do: []string{`@: leakinuse 200 used used hat => "freed"`}}},
	},
}
