// SPDX-License-Identifier: Apache-2.0

package isolation

import "slices"

const unprivilegedWhy = ". The same in a container whose root is no root of the host's: AppArmor asks for capabilities after the user namespace has granted them (commoncap.c, cap_capable; lsm.c, apparmor_capable), and for policy by the level of namespaces (policy.c, aa_policy_view_capable)"

// unprivilegedRows are rows of the other groups, tried in a container with a
// user namespace of its own, and what is different there.
func unprivilegedRows() []Row {
	var list []Row
	all := slices.Concat(fileRows, execRows, capabilityRows, networkRows, mountRows, signalRows, ptraceRows, ipcRows)
	for _, of := range []string{
		"file/read", "file/create", "file/chown", "file/owner", "file/owner-link", "file/owner-rename", "file/rename-exchange", "file/owner-unix", "exec/ix", "exec/px", "capability/chown", "capability/sys_admin", "network/raw",
		"mount/mount", "mount/bind", "signal/within-container", "ptrace/within-container", "ipc/userns",
	} {
		i := slices.IndexFunc(all, func(r Row) bool { return r.Group+"/"+r.Name == of })
		r := all[i]
		r.Group, r.Name, r.Smoke = "unprivileged", r.Group+"-"+r.Name, false
		r.About += ", in a user namespace"
		r.Why += unprivilegedWhy
		r.Where, r.Unprivileged = []string{InContainer}, true
		list = append(list, r)
	}
	return append(list,
		Row{
			Group: "unprivileged", Name: "view", About: "what a task in the namespace and in a user namespace sees", Why: viewWhy, Unprivileged: true, Smoke: true,
			Cases: []Case{
				{
					Name: "stacked", Tasks: inside(InitLabel),
					Do: []string{
						`label => "ct-allow (enforce)"`, "cat " + fs + `profiles => "ct-allow (enforce)"`, "cat " + fs + `.ns_name => "iso"`, "cat " + fs + `.ns_level => "1"`,
						"cat " + fs + `.ns_stacked => "yes"`, "list " + fs + `policy/namespaces => ""`,
					},
					Labels: map[string]string{"t": InitLabel + " (enforce)"},
				},
				out("host-profile", "host-allow"), out("root", ":root:unconfined"), out("own-outer-stack", InitLabel),
			},
		},
		Row{
			Group: "unprivileged", Name: "administration", About: "load, replace and remove policy in the own namespace, as root of a user namespace; by the sysctl that governs it", Unprivileged: true,
			Why:    "policy.c, aa_policy_view_capable: the user namespace's level is the policy namespace's, and kernel.unprivileged_userns_apparmor_policy is 1",
			Policy: []Policy{own, ownAgain},
			Cases: []Case{
				{
					Name: "own-namespace", Tasks: inside(InitLabel), Prepare: []string{"put /iso/f"},
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
					Name: "sysctl-0", Tasks: inside(InitLabel), Prepare: []string{"@: sysctl kernel/unprivileged_userns_apparmor_policy 0"},
					Do:     []string{"@: hold iso", "loadpolicy own " + fs + ".replace => EACCES", "say " + fs + ".remove ct-allow => EACCES", `@: held => "unchanged"`},
					Clean:  []string{"@: remove iso own", "@: sysctl kernel/unprivileged_userns_apparmor_policy 1"},
					Labels: map[string]string{"t": InitLabel + " (enforce)"},
				},
				{
					Name: "host-profile-by-name", Tasks: inside(InitLabel),
					Do: []string{"@: hold iso", "say " + fs + ".remove host-allow => ENOENT", "say " + fs + ".remove :root:host-allow => ENOENT", `@: held => "unchanged"`},
				},
			},
		},
	)
}
