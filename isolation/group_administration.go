// SPDX-License-Identifier: Apache-2.0

package isolation

import "fmt"

const adminWhy = "policy_ns and capability of the caller: policy.c, aa_policy_view_capable, aa_policy_admin_capable"

// own is policy that a task loads itself, and ownAgain what it replaces it by.
var (
	own      = Policy{Name: "own", Text: "profile own flags=(attach_disconnected) {\n  …\n  audit deny /iso/f r,\n}\n"}
	ownAgain = Policy{Name: "own-again", Text: "profile own flags=(attach_disconnected) {\n  …\n}\n"}
)

// userns is a case of policy administration from within user namespaces.
func userns(name, sysctl, label string, level int, want string) Case {
	prepare := []string{"@: sysctl kernel/unprivileged_userns_apparmor_policy " + sysctl}
	do := []string{"@: hold " + Namespace}
	for range level {
		do = append(do, "userns")
	}
	do = append(do, "loadpolicy own "+fs+".replace => "+want, `@: held => "unchanged"`)
	return Case{
		Name: name, Tasks: []Task{{Name: "t", Where: OnHost, Label: label}}, Prepare: prepare, Do: do,
		Clean: []string{"@: remove iso own", "@: sysctl kernel/unprivileged_userns_apparmor_policy 1"},
	}
}

// level is the case of a task in a policy namespace of one level and a user
// namespace of another that loads, replaces and removes policy of its own.
func level(policy, user int, sysctl string) Case {
	label := []string{"host-allow", "host-allow//&:outer:p", "host-allow//&:outer//within:q"}[policy]
	want := "EACCES"
	if user == 0 || user == policy && sysctl == "1" {
		want = "ok"
	}
	c := Case{
		Name: fmt.Sprintf("policy-%d-user-%d-sysctl-%s", policy, user, sysctl), Tasks: []Task{{Name: "t", Where: OnHost, Label: label}},
		Prepare: []string{"@: sysctl kernel/unprivileged_userns_apparmor_policy " + sysctl},
		Clean: []string{
			"@: sysctl kernel/unprivileged_userns_apparmor_policy 1",
			"@: remove - own", "@: remove outer own", "@: remove outer//within own",
		},
		Labels: map[string]string{"t": label + " (enforce)"},
	}
	for range user {
		c.Prepare = append(c.Prepare, "userns")
	}
	home := []string{"-", outer, within}[policy]
	c.Do = []string{
		"@: hold " + home, "loadpolicy own " + fs + ".load => " + want,
		"loadpolicy own-again " + fs + ".replace => " + want, `@: held => "unchanged"`,
		"say " + fs + ".remove own => " + want, `@: held => "unchanged"`,
	}
	return c
}

// levels are all cases but those of the host's own policy from the host's own
// user namespace.
func levels() (list []Case) {
	for _, sysctl := range []string{"1", "0"} {
		for policy := range 3 {
			for user := range 3 {
				if policy > 0 || user > 0 {
					list = append(list, level(policy, user, sysctl))
				}
			}
		}
	}
	return list
}

// statusRecord is the kind of the records of policy administration.
const statusRecord = "STATUS"

// refusal are fields of the record of a refused administration.
var refusal = map[string]string{"info": "not policy admin"}

var administrationRows = []Row{
	{
		Group: "administration", Name: "own-namespace", About: "load, replace and remove policy in the own namespace; the host's policy stays unchanged", Why: adminWhy, Smoke: true,
		Policy: []Policy{own, ownAgain},
		Cases: []Case{
			{
				Name: "stacked", Tasks: inside(InitLabel), Prepare: append([]string{"put /iso/f"}, withFS...),
				Do: []string{
					"@: hold iso", "loadpolicy own " + fs + ".load", "changeprofile own", "cat /iso/f => EACCES", `@: held => "unchanged"`,
					"loadpolicy own-again " + fs + ".replace", "cat /iso/f", `@: held => "unchanged"`,
					"changeprofile ct-allow", "say " + fs + ".remove own", "changeprofile own => ENOENT", `@: held => "unchanged"`,
				},
				Clean:  []string{"@: remove iso own"},
				Labels: map[string]string{"t": InitLabel + " (enforce)"},
				Records: []Record{
					{Operation: "open", Namespace: "iso", Profile: "own", Name: "/iso/f"},
					{Operation: "change_profile", Namespace: "iso", Profile: "ct-allow", Name: "own"},
				},
			},
			{
				Name: "flat", Tasks: inside(":iso:ct-allow"), Prepare: withFS,
				Do:    []string{"@: hold iso", "loadpolicy own " + fs + ".load", "say " + fs + ".remove own", `@: held => "unchanged"`},
				Clean: []string{"@: remove iso own"},
			},
			{
				Name: "host-profile-by-name", Tasks: inside(InitLabel), Prepare: withFS,
				Do: []string{"@: hold iso", "say " + fs + ".remove host-allow => ENOENT", "say " + fs + ".remove :root:host-allow => ENOENT", `@: held => "unchanged"`},
			},
			{
				Name: "child-namespace", Tasks: inside(InitLabel), Prepare: withFS,
				Do: []string{"@: hold iso", "mkdir " + fs + "policy/namespaces/below", `@: held => "unchanged"`, "rmdir " + fs + "policy/namespaces/below"},
			},
		},
	},
	{
		Group: "administration", Name: "capability", About: "policy administration that either side's policy denies", Why: adminWhy + ": CAP_MAC_ADMIN is asked of every part of the label",
		Second: Maybe, Deny: "audit deny capability mac_admin,", Extra: []Policy{own, {Text: "profile flush flags=(attach_disconnected) {\n  …\n  audit deny capability mac_admin,\n}\n"}},
		Where: []string{OnHost}, Peers: []Task{{Name: "flush", Label: "flush"}},
		Do: []string{"flush: try say " + fs + ".remove none", "loadpolicy own " + fs + ".replace"}, Clean: []string{"@: remove iso own", "@: remove - own"},
		Records: []Record{{Operation: "capable", Fields: map[string]string{"capname": "mac_admin"}}}, Errno: "EACCES",
	},
	{
		Group: "administration", Name: "user-namespaces", About: "policy administration from user namespaces",
		Why: "the user namespace's level must be the policy namespace's, and the sysctl must allow it: policy.c, aa_policy_view_capable", Policy: []Policy{own},
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
		Why: "permission is checked at the write, for the writer, and with the fix of 2026 for the opener too", Policy: []Policy{own},
		Cases: []Case{
			{
				Name: "opened-by-root-written-by-nobody", Tasks: []Task{{Name: "t", Where: OnHost, Label: InitLabel}},
				Do: []string{"f = open " + fs + "policy/namespaces/none r => ENOENT", "f = open " + fs + ".replace w", "setuid 65534", "writepolicy f own => EACCES"}, Clean: []string{"@: remove iso own"},
			},
			{
				Name: "opened-outside-written-inside", Tasks: []Task{{Name: "t", Where: OnHost, Label: InitLabel}},
				Do: []string{"f = open " + fs + ".replace w", "userns", "userns", "writepolicy f own => EACCES"}, Clean: []string{"@: remove iso own"},
			},
			{
				Name: "opened-unconfined-written-in-namespace", Tasks: []Task{{Name: "t", Where: OnHost, Label: InitLabel}},
				Prepare:  []string{"f = open " + fs + ".replace w"},
				Do:       []string{"@: hold iso", "writepolicy f own", "@: held"},
				Clean:    []string{"@: remove iso own", "@: remove - own"},
				Recorded: "kernels differ in whose namespace a descriptor of the root-only file stands for",
			},
		},
	},
	{
		Group: "administration", Name: "levels", About: "load, replace and remove from policy namespaces and user namespaces of all levels, by the sysctl; all policy outside stays unchanged",
		Why:        "policy.c, aa_policy_view_capable: from a user namespace only where its level is the policy namespace's, and where kernel.unprivileged_userns_apparmor_policy is 1",
		Namespaces: []string{outer, within}, Policy: append([]Policy{own, ownAgain}, nestedPolicy...),
		Cases: levels(),
	},
	{
		Group: "administration", Name: "out-of-the-namespace", About: "policy that names a namespace outside: it goes below the own namespace, or is refused", Why: "policy.c, aa_replace_profiles and aa_remove_profiles look names up from the task's own namespace",
		Namespaces: []string{outer, within, "sibling"}, Policy: append([]Policy{{Name: "for-sibling", Text: "profile :sibling:other flags=(attach_disconnected) {\n  …\n}\n"}}, append(nestedPolicy, sibling...)...),
		Cases: []Case{
			{
				Name: "load-into-sibling", Tasks: inside("host-allow//&:outer:p"), Prepare: withFS,
				Do: []string{
					"@: hold outer", "loadpolicy for-sibling " + fs + ".replace", `@: held => "unchanged"`,
					"list " + fs + `policy/namespaces => "sibling within"`, "say " + fs + ".remove :sibling:", `@: held => "unchanged"`,
				},
				Clean: []string{"@: rmns outer//sibling"},
			},
			{
				Name: "load-into-sibling-flat", Tasks: inside(":outer:p"), Prepare: withFS,
				Do: []string{
					"@: hold outer", "loadpolicy for-sibling " + fs + ".replace", `@: held => "unchanged"`,
					"list " + fs + `policy/namespaces => "sibling within"`, "say " + fs + ".remove :sibling:", `@: held => "unchanged"`,
				},
				Clean: []string{"@: rmns outer//sibling"},
			},
			{
				Name: "remove", Tasks: inside("host-allow//&:outer:p"), Prepare: withFS,
				Do: []string{
					"@: hold none", "say " + fs + ".remove host-allow => ENOENT", "say " + fs + ".remove :sibling:other => ENOENT", "say " + fs + ".remove :sibling: => ENOENT",
					"say " + fs + ".remove :outer: => ENOENT", "say " + fs + ".remove :outer:p => ENOENT", "say " + fs + ".remove :root:host-allow => ENOENT",
					"rmdir " + fs + "policy/namespaces/sibling => ENOENT", "rmdir " + fs + "policy/namespaces/outer => ENOENT", `@: held => "unchanged"`,
				},
			},
			{
				Name: "remove-from-below", Tasks: inside("host-allow//&:outer//within:q"), Prepare: withFS,
				Do: []string{
					"@: hold none", "say " + fs + ".remove p => ENOENT", "say " + fs + ".remove :outer:p => ENOENT", "say " + fs + ".remove :within: => ENOENT", `@: held => "unchanged"`,
				},
			},
		},
	},
	{
		Group: "administration", Name: "without-root", About: "a user without CAP_MAC_ADMIN in the namespace", Why: "policy.c, aa_policy_admin_capable: CAP_MAC_ADMIN, and root's id",
		Namespaces: []string{outer, within}, Policy: append([]Policy{own}, nestedPolicy...),
		Cases: []Case{
			{
				Name: "stacked", Tasks: inside("host-allow//&:outer:p"), Prepare: withFS,
				Do: []string{"@: hold none", "setuid 1000", "loadpolicy own " + fs + ".replace => EACCES", "say " + fs + ".remove p => EACCES", `@: held => "unchanged"`},
			},
		},
	},
	{
		Group: "administration", Name: "descriptors", About: "policy through a descriptor that another task opened", Namespaces: []string{outer, within}, Policy: append([]Policy{own}, nestedPolicy...),
		Why: "policy.c, aa_may_manage_policy asks the writer, and since a fix of 2026 the opener too (is_subset_of_obj_privilege: no more rights, the same user namespace)",
		Cases: []Case{
			{
				Name: "of-another-user-namespace", Tasks: []Task{{Name: "t", Where: OnHost, Label: "host-allow//&:outer:p"}},
				Prepare: []string{"f = open " + fs + ".replace w", "userns"},
				Do:      []string{"@: hold outer", "writepolicy f own", "@: held"}, Clean: []string{"@: remove outer own", "@: remove - own"},
				Recorded: "refused by kernels with the fix of 2026, for which there is no feature",
			},
			{
				Name: "of-a-user-namespace-too-deep", Tasks: []Task{{Name: "t", Where: OnHost, Label: "host-allow//&:outer:p"}},
				Prepare: []string{"f = open " + fs + ".replace w", "userns", "userns"},
				Do:      []string{"@: hold none", "writepolicy f own => EACCES", `@: held => "unchanged"`},
			},
			{
				Name: "privileged-writes-for-another", Tasks: []Task{{Name: "t", Where: OnHost, Label: "host-allow//&:outer:p"}, {Name: "root", Where: OnHost}},
				Prepare: []string{
					"root: s = socket unix stream", "root: bind s @iso-policy", "root: listen s", "c = socket unix stream", "connect c @iso-policy", "root: a = accept s",
					"userns",
				},
				Do: []string{"@: hold outer", "f = open " + fs + ".replace w", "sendfd c f", "root: f = recvfd a", "root: writepolicy f own", "@: held"}, Clean: []string{"@: remove outer own", "@: remove - own"},
				Recorded: "refused by kernels with the fix of 2026, for which there is no feature; the others load it into the host's policy, as the writer may",
			},
			{
				Name: "folder-of-the-host", Tasks: []Task{{Name: "t", Where: OnHost, Label: "host-allow//&:outer:p"}},
				Prepare:  []string{"d = open " + fs + "policy/namespaces rd"},
				Do:       []string{"@: hold outer", "mkdirat d planted", "@: held", "rmdirat d planted", "@: held"},
				Clean:    []string{"@: rmns planted"},
				Recorded: "the kernel asks whether the task may manage its own namespace, not the one of the directory: apparmorfs.c, ns_mkdir_op, ns_rmdir_op (\"TODO: improve permission check\"). See docs/findings/namespace-folder",
			},
			{
				Name: "file-of-the-host", Tasks: []Task{{Name: "t", Where: OnHost, Label: "host-allow//&:outer:p"}},
				Prepare: []string{"@: try mkns sibling", "d = open " + fs + "policy/namespaces rd"},
				Do:      []string{"@: hold none", "f = openat d sibling/.load w", "writepolicy f own => EACCES", `@: held => "unchanged"`}, Clean: []string{"@: rmns sibling"},
			},
		},
	},
	{
		Group: "administration", Name: "records", About: "each load, replacement and removal of policy is logged, and each that is refused", Why: "policy.c, audit_policy, aa_may_manage_policy: the operation is what was tried",
		Policy: []Policy{own, ownAgain},
		Cases: []Case{
			{
				Name: "own-namespace", Tasks: inside(InitLabel), Prepare: withFS,
				Do:    []string{"loadpolicy own " + fs + ".load", "loadpolicy own-again " + fs + ".replace", "say " + fs + ".remove own"},
				Clean: []string{"@: try remove iso own"},
				Records: []Record{
					{Kind: statusRecord, Operation: "profile_load", Namespace: Namespace, Profile: ctAllow, Name: "own"}, {Kind: statusRecord, Operation: "profile_replace", Namespace: Namespace, Profile: ctAllow, Name: "own"},
					{Kind: statusRecord, Operation: "profile_remove", Namespace: Namespace, Profile: ctAllow, Name: "own"},
				},
			},
			{
				Name: "refused", Tasks: inside(InitLabel), Prepare: withFS,
				Do: []string{"setuid 1000", "loadpolicy own " + fs + ".load => EACCES", "loadpolicy own " + fs + ".replace => EACCES", "say " + fs + ".remove ct-allow => EACCES"},
				Records: []Record{
					{Kind: statusRecord, Operation: "profile_load", Namespace: Namespace, Profile: ctAllow, Fields: refusal}, {Kind: statusRecord, Operation: "profile_replace", Namespace: Namespace, Profile: ctAllow, Fields: refusal},
					{Kind: statusRecord, Operation: "profile_remove", Namespace: Namespace, Profile: ctAllow, Fields: refusal},
				},
			},
		},
	},
	{
		Group: "administration", Name: "view-from-user-namespaces", About: "who may read the list of profiles, by user namespaces", Why: "policy.c, aa_policy_view_capable; apparmorfs.c, profiles_open",
		Cases: []Case{
			{Name: "level-1", Tasks: []Task{{Name: "t", Where: OnHost, Label: InitLabel}}, Do: []string{"userns", "open " + fs + "profiles r"}},
			{Name: "level-2", Tasks: []Task{{Name: "t", Where: OnHost, Label: InitLabel}}, Do: []string{"userns", "userns", "open " + fs + "profiles r => EACCES"}},
		},
	},
	{
		Group: "administration", Name: "child-without-parent", About: "load a child profile whose parent is not loaded",
		Why:    "policy.c, __create_missing_ancestors means to make an empty parent for it; 7.3.4 refuses the load, as it cannot create the child's directory below that parent: \"failed to create\", ENOENT",
		Policy: []Policy{{Name: "lone", Text: "profile lone//child flags=(attach_disconnected) {\n  …\n}\n"}},
		Cases: []Case{{
			Name: "host", Tasks: host, Do: []string{"@: load lone", "changeprofile lone//child"}, Clean: []string{"@: try remove - lone//child", "@: try remove - lone"},
			Recorded: "what the kernel means to do and what it does differ",
		}},
	},
}
