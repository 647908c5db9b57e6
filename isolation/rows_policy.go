package isolation

const adminWhy = "policy_ns and capability of the caller: policy.c, aa_policy_view_capable, aa_policy_admin_capable"

// inner is policy that a task in the namespace loads itself.
var inner = Policy{Name: "inner", Namespace: Namespace, Text: "profile inner flags=(attach_disconnected) {\n  …\n  audit deny /iso/f r,\n}\n"}

var inner2 = Policy{Name: "inner2", Namespace: Namespace, Text: "profile inner flags=(attach_disconnected) {\n  …\n}\n"}

// userns is a case of policy administration from within user namespaces.
func userns(name, sysctl, label string, level int, want string) Case {
	prepare := []string{"@: sysctl kernel/unprivileged_userns_apparmor_policy " + sysctl}
	do := []string{"@: keep"}
	for range level {
		do = append(do, "userns")
	}
	do = append(do, "loadpolicy inner "+fs+".replace => "+want, `@: unchanged => "unchanged"`)
	return Case{
		Name: name, Tasks: []Task{{Name: "t", Where: OnHost, Label: label}}, Prepare: prepare, Do: do,
		Clean: []string{"@: remove iso inner", "@: sysctl kernel/unprivileged_userns_apparmor_policy 1"},
	}
}

var adminRows = []Row{
	{
		Group: "administration", Name: "own-namespace", About: "load, replace and remove policy in the own namespace; the host's stays as it was", Why: adminWhy, Smoke: true,
		Policy: []Policy{inner, inner2},
		Cases: []Case{
			{
				Name: "stacked", Tasks: inside(InitLabel), Prepare: append([]string{"put /iso/f"}, withFS...),
				Do: []string{
					"@: keep", "loadpolicy inner " + fs + ".load", "changeprofile inner", "cat /iso/f => EACCES", `@: unchanged => "unchanged"`,
					"loadpolicy inner2 " + fs + ".replace", "cat /iso/f", `@: unchanged => "unchanged"`,
					"changeprofile ct-allow", "say " + fs + ".remove inner", "changeprofile inner => ENOENT", `@: unchanged => "unchanged"`,
				},
				Clean:  []string{"@: remove iso inner"},
				Labels: map[string]string{"t": InitLabel + " (enforce)"},
				Records: []Record{
					{Operation: "open", Namespace: "iso", Profile: "inner", Name: "/iso/f"},
					{Operation: "change_profile", Namespace: "iso", Profile: "ct-allow", Name: "inner"},
				},
			},
			{
				Name: "flat", Tasks: inside(":iso:ct-allow"), Prepare: withFS,
				Do:    []string{"@: keep", "loadpolicy inner " + fs + ".load", "say " + fs + ".remove inner", `@: unchanged => "unchanged"`},
				Clean: []string{"@: remove iso inner"},
			},
			{
				Name: "host-profile-by-name", Tasks: inside(InitLabel), Prepare: withFS,
				Do: []string{"@: keep", "say " + fs + ".remove host-allow => ENOENT", "say " + fs + ".remove :root:host-allow => ENOENT", `@: unchanged => "unchanged"`},
			},
			{
				Name: "child-namespace", Tasks: inside(InitLabel), Prepare: withFS,
				Do: []string{"@: keep", "mkdir " + fs + "policy/namespaces/below", `@: unchanged => "unchanged"`, "rmdir " + fs + "policy/namespaces/below"},
			},
		},
	},
	{
		Group: "administration", Name: "capability", About: "policy administration that either side's policy denies", Why: adminWhy + ": CAP_MAC_ADMIN is asked of every part of the label",
		Second: Maybe, Deny: "audit deny capability mac_admin,", Extra: []Policy{inner, {Text: "profile flush flags=(attach_disconnected) {\n  …\n  audit deny capability mac_admin,\n}\n"}},
		Where: []string{OnHost}, Peers: []Task{{Name: "flush", Label: "flush"}},
		Do: []string{"flush: try say " + fs + ".remove none", "loadpolicy inner " + fs + ".replace"}, Clean: []string{"@: remove iso inner", "@: remove - inner"},
		Records: []Record{{Operation: "capable", Fields: map[string]string{"capname": "mac_admin"}}}, Errno: "EACCES",
	},
	{
		Group: "administration", Name: "user-namespaces", About: "policy administration from user namespaces",
		Why: "the user namespace's level must be the policy namespace's, and the sysctl must allow it: policy.c, aa_policy_view_capable", Policy: []Policy{inner},
		Cases: []Case{
			userns("level-0", "1", InitLabel, 0, "ok"),
			userns("level-1", "1", InitLabel, 1, "ok"),
			userns("level-2", "1", InitLabel, 2, "EACCES"),
			userns("level-0-sysctl-0", "0", InitLabel, 0, "ok"),
			userns("level-1-sysctl-0", "0", InitLabel, 1, "EACCES"),
			userns("level-1-of-host", "1", "host-allow", 1, "EACCES"),
		},
	},
	{
		Group: "administration", Name: "foreign-descriptor", About: "policy through a descriptor that another user namespace opened",
		Why: "who may write is asked at the write, of the writer, and where the kernel has the fix of 2026 of the opener too", Policy: []Policy{inner},
		Cases: []Case{
			{
				Name: "opened-by-root-written-by-nobody", Tasks: []Task{{Name: "t", Where: OnHost, Label: InitLabel}},
				Do: []string{"f = open " + fs + "policy/namespaces/none r => ENOENT", "f = open " + fs + ".replace w", "setuid 65534", "writepolicy f inner => EACCES"}, Clean: []string{"@: remove iso inner"},
			},
			{
				Name: "opened-outside-written-inside", Tasks: []Task{{Name: "t", Where: OnHost, Label: InitLabel}},
				Do: []string{"f = open " + fs + ".replace w", "userns", "userns", "writepolicy f inner => EACCES"}, Clean: []string{"@: remove iso inner"},
			},
			{
				Name: "opened-unconfined-written-in-namespace", Tasks: []Task{{Name: "t", Where: OnHost, Label: InitLabel}},
				Prepare:  []string{"f = open " + fs + ".replace w"},
				Do:       []string{"@: keep", "writepolicy f inner", "@: unchanged"},
				Clean:    []string{"@: remove iso inner", "@: remove - inner"},
				Recorded: "kernels differ in whose namespace a descriptor of the root-only file stands for",
			},
		},
	},
}

const modeWhy = "each profile of the label has its own mode: policy.h, COMPLAIN_MODE, KILL_MODE; audit.c, aa_audit"

// modal is a pair of profiles that do not allow /iso/f, on the side and in the
// mode that is wanted.
func modal(ns, name, flags, rules string) Policy {
	return Policy{Namespace: ns, Text: "profile " + name + " flags=(attach_disconnected" + flags + ") {\n  capability,\n  network,\n  unix,\n  signal,\n  /{,**} w,\n  /iso/ok rw,\n  " + rules + "\n}\n"}
}

var modeRows = []Row{
	{
		Group: "modes", Name: "complain", About: "complain in one part and enforce in the other", Why: modeWhy, Smoke: true,
		Policy: []Policy{
			modal("", "complaining", ",complain", ""), modal(Namespace, "complaining", ",complain", ""),
			modal("", "enforcing", "", ""), modal(Namespace, "enforcing", "", ""),
		},
		Cases: []Case{
			{
				Name: "host", Tasks: inside("complaining//&:iso:ct-allow"), Prepare: []string{"put /iso/f"}, Do: []string{"cat /iso/f"},
				Labels:  map[string]string{"t": "complaining//&:iso:ct-allow (mixed)"},
				Records: []Record{{Kind: "ALLOWED", Operation: "open", Profile: "complaining", Name: "/iso/f"}},
			},
			{
				Name: "host-and-namespace-enforces", Tasks: inside("complaining//&:iso:enforcing"), Prepare: []string{"put /iso/f"}, Do: []string{"cat /iso/f => EACCES"},
				Labels: map[string]string{"t": "complaining//&:iso:enforcing (mixed)"},
				Records: []Record{
					{Kind: "ALLOWED", Operation: "open", Profile: "complaining", Name: "/iso/f"},
					{Operation: "open", Namespace: "iso", Profile: "enforcing", Name: "/iso/f"},
				},
			},
			{
				Name: "namespace", Tasks: inside("host-allow//&:iso:complaining"), Prepare: []string{"put /iso/f"}, Do: []string{"cat /iso/f"},
				Labels:  map[string]string{"t": "host-allow//&:iso:complaining (mixed)"},
				Records: []Record{{Kind: "ALLOWED", Operation: "open", Namespace: "iso", Profile: "complaining", Name: "/iso/f"}},
			},
			{
				Name: "namespace-and-host-enforces", Tasks: inside("enforcing//&:iso:complaining"), Prepare: []string{"put /iso/f"}, Do: []string{"cat /iso/f => EACCES"},
				Labels: map[string]string{"t": "enforcing//&:iso:complaining (mixed)"},
				Records: []Record{
					{Operation: "open", Profile: "enforcing", Name: "/iso/f"},
					{Kind: "ALLOWED", Operation: "open", Namespace: "iso", Profile: "complaining", Name: "/iso/f"},
				},
			},
			{
				Name: "both", Tasks: inside("complaining//&:iso:complaining"), Prepare: []string{"put /iso/f"}, Do: []string{"cat /iso/f"},
				Labels: map[string]string{"t": "complaining//&:iso:complaining (complain)"},
				Records: []Record{
					{Kind: "ALLOWED", Operation: "open", Profile: "complaining", Name: "/iso/f"},
					{Kind: "ALLOWED", Operation: "open", Namespace: "iso", Profile: "complaining", Name: "/iso/f"},
				},
			},
		},
	},
	{
		Group: "modes", Name: "kill", About: "a part in kill mode ends the task when it denies", Why: modeWhy,
		Policy: []Policy{modal("", "killing", ",kill", ""), modal(Namespace, "killing", ",kill", "")},
		Cases: []Case{
			{
				Name: "host", Tasks: inside("killing//&:iso:ct-allow"), Prepare: []string{"put /iso/f"}, Do: []string{"cat /iso/f => dead"},
				Labels:  map[string]string{"t": "dead: SIGKILL"},
				Records: []Record{{Kind: "KILLED", Operation: "open", Profile: "killing", Name: "/iso/f"}},
			},
			{
				Name: "namespace", Tasks: inside("host-allow//&:iso:killing"), Prepare: []string{"put /iso/f"}, Do: []string{"cat /iso/f => dead"},
				Labels:  map[string]string{"t": "dead: SIGKILL"},
				Records: []Record{{Kind: "KILLED", Operation: "open", Namespace: "iso", Profile: "killing", Name: "/iso/f"}},
			},
			{
				Name: "allowed", Tasks: inside("host-allow//&:iso:killing"), Prepare: []string{"put /iso/ok"}, Do: []string{"cat /iso/ok"},
				Labels: map[string]string{"t": "host-allow//&:iso:killing (mixed)"},
			},
		},
	},
	{
		Group: "modes", Name: "unconfined", About: "a part in unconfined mode allows all", Why: modeWhy,
		Policy: []Policy{modal("", "free", ",unconfined", ""), modal(Namespace, "free", ",unconfined", ""), modal("", "enforcing", "", ""), modal(Namespace, "enforcing", "", "")},
		Cases: []Case{
			{
				Name: "host", Tasks: inside("free//&:iso:ct-allow"), Prepare: []string{"put /iso/f"}, Do: []string{"cat /iso/f"},
				Labels: map[string]string{"t": "free//&:iso:ct-allow (mixed)"},
			},
			{
				Name: "host-and-namespace-enforces", Tasks: inside("free//&:iso:enforcing"), Prepare: []string{"put /iso/f"}, Do: []string{"cat /iso/f => EACCES"},
				Labels:  map[string]string{"t": "free//&:iso:enforcing (mixed)"},
				Records: []Record{{Operation: "open", Namespace: "iso", Profile: "enforcing", Name: "/iso/f"}},
			},
			{
				Name: "namespace-and-host-enforces", Tasks: inside("enforcing//&:iso:free"), Prepare: []string{"put /iso/f"}, Do: []string{"cat /iso/f => EACCES"},
				Labels:  map[string]string{"t": "enforcing//&:iso:free (mixed)"},
				Records: []Record{{Operation: "open", Profile: "enforcing", Name: "/iso/f"}},
			},
		},
	},
	{
		Group: "modes", Name: "audit-and-quiet", About: "rules that log what they allow, and such that do not log what they deny", Why: "audit.c; policy_unpack.c: quiet comes with deny, audit takes it back",
		Policy: []Policy{
			{Text: "profile loud flags=(attach_disconnected) {\n  …\n  audit /iso/f r,\n}\n"}, {Namespace: Namespace, Text: "profile loud flags=(attach_disconnected) {\n  …\n  audit /iso/f r,\n}\n"},
			{Text: "profile quiet flags=(attach_disconnected) {\n  …\n  deny /iso/f r,\n}\n"}, {Namespace: Namespace, Text: "profile quiet flags=(attach_disconnected) {\n  …\n  deny /iso/f r,\n}\n"},
		},
		Cases: []Case{
			{
				Name: "audit-host", Tasks: inside("loud//&:iso:ct-allow"), Prepare: []string{"put /iso/f"}, Do: []string{"cat /iso/f"},
				Records: []Record{{Kind: "AUDIT", Operation: "open", Profile: "loud", Name: "/iso/f"}},
			},
			{
				Name: "audit-namespace", Tasks: inside("host-allow//&:iso:loud"), Prepare: []string{"put /iso/f"}, Do: []string{"cat /iso/f"},
				Records: []Record{{Kind: "AUDIT", Operation: "open", Namespace: "iso", Profile: "loud", Name: "/iso/f"}},
			},
			{Name: "quiet-host", Tasks: inside("quiet//&:iso:ct-allow"), Prepare: []string{"put /iso/f"}, Do: []string{"cat /iso/f => EACCES"}},
			{Name: "quiet-namespace", Tasks: inside("host-allow//&:iso:quiet"), Prepare: []string{"put /iso/f"}, Do: []string{"cat /iso/f => EACCES"}},
			{
				Name: "audit-host-quiet-namespace", Tasks: inside("loud//&:iso:quiet"), Prepare: []string{"put /iso/f"}, Do: []string{"cat /iso/f => EACCES"},
				Records: []Record{{Kind: "AUDIT", Operation: "open", Profile: "loud", Name: "/iso/f"}},
			},
		},
	},
}

// live is a profile that is replaced while tasks run under it.
func live(name, ns, rule string) Policy {
	return Policy{Name: name, Namespace: ns, Text: "profile live flags=(attach_disconnected) {\n  …\n  " + rule + "\n}\n"}
}

const liveDeny = "audit deny /iso/f r,"

// doomed is a namespace that a case removes under its tasks.
const doomed = "doomed"

var liveRows = []Row{
	{
		Group: "live", Name: "replace", About: "replace policy under a running task: in force at once, on that side only", Smoke: true,
		Why:    "policy.c, aa_replace_profiles, __replace_profile: labels are redirected to the new profile; a file that was opened before is looked at again when its label is stale",
		Policy: []Policy{live("", "", ""), live("", Namespace, ""), live("host-deny", "", liveDeny), live("ct-deny", Namespace, liveDeny), live("host-ok", "", ""), live("ct-ok", Namespace, ""), live("ct-third", Namespace, "audit deny /iso/g r,")},
		Cases: []Case{
			{
				Name: "host", Tasks: []Task{{Name: "t", Where: InContainer, Label: "live//&:iso:live"}, {Name: "flat", Where: InContainer, Label: ":iso:live"}}, Prepare: []string{"@: load host-ok", "@: load ct-ok", "put /iso/f"},
				Do:      []string{"cat /iso/f", "@: load host-deny", "cat /iso/f => EACCES", "flat: cat /iso/f", "@: load host-ok", "cat /iso/f"},
				Labels:  map[string]string{"t": "live//&:iso:live (enforce)"},
				Records: []Record{{Operation: "open", Profile: "live", Name: "/iso/f"}},
			},
			{
				Name: "namespace", Tasks: []Task{{Name: "t", Where: InContainer, Label: "live//&:iso:live"}, {Name: "host", Where: InContainer, Label: "live"}}, Prepare: []string{"@: load host-ok", "@: load ct-ok", "put /iso/f"},
				Do:      []string{"cat /iso/f", "@: load ct-deny", "cat /iso/f => EACCES", "host: cat /iso/f", "@: load ct-ok", "cat /iso/f"},
				Labels:  map[string]string{"t": "live//&:iso:live (enforce)"},
				Records: []Record{{Operation: "open", Namespace: "iso", Profile: "live", Name: "/iso/f"}},
			},
			{
				Name: "host-alone", Tasks: []Task{{Name: "t", Where: OnHost, Label: "live"}}, Prepare: []string{"@: load host-ok", "put /iso/f"},
				Do:      []string{"cat /iso/f", "@: load host-deny", "cat /iso/f => EACCES", "@: load host-ok", "cat /iso/f", "@: load host-deny", "cat /iso/f => EACCES", "@: load host-ok", "cat /iso/f"},
				Labels:  map[string]string{"t": "live (enforce)"},
				Records: []Record{{Operation: "open", Profile: "live", Name: "/iso/f"}, {Operation: "open", Profile: "live", Name: "/iso/f"}},
			},
			{
				Name: "flat", Tasks: []Task{{Name: "t", Where: OnHost, Label: ":iso:live"}}, Prepare: []string{"@: load ct-ok", "put /iso/f"},
				Do:      []string{"cat /iso/f", "@: load ct-deny", "cat /iso/f => EACCES", "@: load ct-ok", "cat /iso/f", "@: load ct-deny", "cat /iso/f => EACCES", "@: load ct-ok", "cat /iso/f"},
				Labels:  map[string]string{"t": ":iso:live (enforce)"},
				Records: []Record{{Operation: "open", Namespace: "iso", Profile: "live", Name: "/iso/f"}, {Operation: "open", Namespace: "iso", Profile: "live", Name: "/iso/f"}},
			},
			{
				Name: "stacked-twice-to-deny", Tasks: []Task{{Name: "t", Where: OnHost, Label: "live//&:iso:live"}}, Prepare: []string{"@: load host-ok", "@: load ct-deny", "put /iso/f"},
				Do:      []string{"cat /iso/f => EACCES", "@: load ct-ok", "cat /iso/f", "@: load ct-deny", "cat /iso/f => EACCES"},
				Labels:  map[string]string{"t": "live//&:iso:live (enforce)"},
				Clean:   []string{"@: load ct-ok"},
				Records: []Record{{Operation: "open", Namespace: "iso", Profile: "live", Name: "/iso/f"}, {Operation: "open", Namespace: "iso", Profile: "live", Name: "/iso/f"}},
			},
			{
				Name: "stacked-twice-label-read", Tasks: []Task{{Name: "t", Where: OnHost, Label: "live//&:iso:live"}}, Prepare: []string{"@: load host-ok", "@: load ct-deny", "put /iso/f"},
				Do:      []string{"cat /iso/f => EACCES", "@: load ct-ok", "cat /iso/f", "@: labelof t", "label", "@: load ct-deny", "@: labelof t", "label", "cat /iso/f => EACCES"},
				Labels:  map[string]string{"t": "live//&:iso:live (enforce)"},
				Clean:   []string{"@: load ct-ok"},
				Records: []Record{{Operation: "open", Namespace: "iso", Profile: "live", Name: "/iso/f"}, {Operation: "open", Namespace: "iso", Profile: "live", Name: "/iso/f"}},
			},
			{
				Name: "newcomer-into-the-stack", Tasks: []Task{{Name: "t", Where: OnHost, Label: "live//&:iso:live"}, {Name: "late", Where: OnHost}}, Prepare: []string{"@: load host-ok", "@: load ct-deny", "put /iso/f"},
				Do:      []string{"cat /iso/f => EACCES", "@: load ct-ok", "cat /iso/f", "@: load ct-deny", "late: changeprofile live//&:iso:live", "late: cat /iso/f => EACCES"},
				Labels:  map[string]string{"late": "live//&:iso:live (enforce)"},
				Clean:   []string{"@: load ct-ok"},
				Records: []Record{{Operation: "open", Namespace: "iso", Profile: "live", Name: "/iso/f"}, {Operation: "open", Namespace: "iso", Profile: "live", Name: "/iso/f"}},
			},
			{
				Name: "third-text", Tasks: []Task{{Name: "t", Where: OnHost, Label: "live//&:iso:live"}}, Prepare: []string{"@: load host-ok", "@: load ct-ok", "put /iso/f", "put /iso/g"},
				Do:      []string{"cat /iso/f", "@: load ct-deny", "cat /iso/f => EACCES", "@: load ct-third", "cat /iso/g => EACCES", "cat /iso/f"},
				Clean:   []string{"@: load ct-ok"},
				Records: []Record{{Operation: "open", Namespace: "iso", Profile: "live", Name: "/iso/f"}, {Operation: "open", Namespace: "iso", Profile: "live", Name: "/iso/g"}},
			},
			{
				Name: "open-descriptor", Tasks: inside("live//&:iso:live"), Prepare: []string{"@: load host-ok", "@: load ct-ok", "put /iso/f"},
				Do:       []string{"f = open /iso/f r", "read f", "@: load ct-deny", "read f", "@: load ct-ok"},
				Recorded: "whether a descriptor that is open is looked at again after a replacement",
			},
		},
	},
	{
		Group: "live", Name: "remove", About: "remove a profile under a running task, and load it again",
		Why:    "policy.c, aa_remove_profiles: measured on 6.1, 6.12 and 7.3: a stacked task goes on enforcing what was removed, and loading it again does not re-attach it",
		Policy: []Policy{live("", "", ""), live("", Namespace, liveDeny), live("ct-deny", Namespace, liveDeny), live("host-deny", "", liveDeny), live("ct-ok", Namespace, ""), live("host-ok", "", "")},
		Cases: []Case{
			{
				Name: "stacked", Tasks: inside("live//&:iso:live"), Prepare: []string{"@: load host-ok", "@: load ct-deny", "put /iso/f"},
				Do:       []string{"cat /iso/f => EACCES", "@: remove iso live", "cat /iso/f", "label", "@: load ct-ok", "cat /iso/f", "label"},
				Recorded: "no right answer: what a task is confined by when its profile is removed",
			},
			{
				Name: "flat", Tasks: inside(":iso:live"), Prepare: []string{"@: load ct-deny", "put /iso/f"},
				Do:       []string{"cat /iso/f => EACCES", "@: remove iso live", "cat /iso/f", "label", "@: load ct-ok", "cat /iso/f", "label"},
				Recorded: "no right answer: what a task is confined by when its profile is removed",
			},
			{
				Name: "host", Tasks: []Task{{Name: "t", Where: OnHost, Label: "live"}}, Prepare: []string{"@: load host-deny", "put /iso/f"},
				Do:       []string{"cat /iso/f => EACCES", "@: remove - live", "cat /iso/f", "label", "@: load host-ok", "cat /iso/f", "label"},
				Recorded: "no right answer: what a task is confined by when its profile is removed",
			},
		},
	},
	{
		Group: "live", Name: "rmdir", About: "remove a namespace under its tasks, and make it again", Namespaces: []string{doomed},
		Why:    "policy_ns.c, __aa_remove_ns; measured: a flat task becomes unconfined in the root namespace, a stacked one keeps its confinement on an orphan; a new namespace adopts neither",
		Policy: []Policy{live("doomed", doomed, liveDeny)},
		Cases: []Case{
			{
				Name: "flat", Tasks: []Task{{Name: "t", Where: OnHost}}, Prepare: []string{"@: trymkns doomed", "@: load doomed", "put /iso/f"},
				Do:       []string{"changeprofile :doomed:live", "cat /iso/f => EACCES", "@: rmns doomed", "cat /iso/f", "@: labelof t", "@: mkns doomed", "@: load doomed", "cat /iso/f", "@: labelof t"},
				Recorded: "no right answer: the kernel lets a namespace be removed under its tasks",
			},
			{
				Name: "stacked", Tasks: []Task{{Name: "t", Where: OnHost}}, Prepare: []string{"@: trymkns doomed", "@: load doomed", "put /iso/f"},
				Do:       []string{"changeprofile host-allow//&:doomed:live", "cat /iso/f => EACCES", "@: rmns doomed", "cat /iso/f", "@: labelof t", "@: mkns doomed", "@: load doomed", "cat /iso/f", "@: labelof t"},
				Recorded: "no right answer: the kernel lets a namespace be removed under its tasks",
			},
		},
	},
}

var limitRows = []Row{
	{
		Group: "limits", Name: "depth", About: "32 levels of namespaces", Why: "MAX_NS_DEPTH: 32 since a fix of 2026, 33 before (policy_ns.c, __aa_create_ns)",
		Cases: []Case{{Name: "32", Tasks: host, Do: []string{`@: nest 32 => "32"`}}},
	},
	{
		Group: "limits", Name: "depth-beyond", About: "how deep namespaces nest beyond that", Why: "deeper is ENOSPC; the kernel must not warn",
		Cases: []Case{
			{Name: "33", Tasks: host, Do: []string{"@: nest 33"}, Recorded: "32 or 33 levels, by whether the kernel has the fix of 2026"},
			{Name: "34", Tasks: host, Do: []string{"@: nest 34"}, Recorded: "32 or 33 levels, by whether the kernel has the fix of 2026"},
			{Name: "35", Tasks: host, Do: []string{"@: nestfails 35 => ENOSPC"}},
		},
	},
	{
		Group: "limits", Name: "names", About: "how long a namespace's name may be", Why: "NAME_MAX of securityfs: 255 bytes",
		Cases: []Case{
			{Name: "255", Tasks: host, Do: []string{"@: longname 255"}},
			{Name: "256", Tasks: host, Do: []string{"@: longname 256 => ENAMETOOLONG"}},
			{Name: "twice", Tasks: host, Do: []string{"@: mkns iso => EEXIST"}},
			{Name: "nothing", Tasks: host, Do: []string{"@: rmns none => ENOENT"}},
		},
	},
	{
		Group: "limits", Name: "many", About: "500 namespaces with a profile each", Why: "nothing limits their number; the kernel must not warn", Policy: []Policy{{Name: "many", Text: "profile many {\n  file,\n}\n"}},
		Cases: []Case{{Name: "500", Tasks: host, Do: []string{`@: many 500 many => "500"`}}},
	},
	{
		Group: "limits", Name: "races", About: "parallel making, loading and removing, with readers of raw_data", Why: "apparmorfs.c, policy.c: locking of namespaces and their raw data; the kernel must not warn", Policy: []Policy{{Name: "many", Text: "profile many {\n  file,\n}\n"}},
		Cases: []Case{{Name: "parallel", Tasks: host, Do: []string{`@: race 200 many => "done"`}}},
	},
	{
		Group: "limits", Name: "memory", About: "memory after 1,000 rounds of making, loading and removing", Why: "what is removed is freed: less than 4 KiB a round may stay", Policy: []Policy{{Name: "many", Text: "profile many {\n  file,\n}\n"}},
		Cases: []Case{{Name: "1000-rounds", Tasks: host, Do: []string{`@: leak 1000 many => "freed"`}}},
	},
}

var host = []Task{{Name: "t", Where: OnHost}}
