// SPDX-License-Identifier: Apache-2.0

package defects

import "proofhouse/isolation"

// fs is where AppArmor's files are.
const fs = "/sys/kernel/security/apparmor/"

// plain is a profile that allows everything.
func plain(name string) isolation.Policy {
	return isolation.Policy{Name: name, Text: "profile " + name + " flags=(attach_disconnected) {\n  …\n}\n"}
}

// owning is a loaded profile with an owner rule for what is below /iso/own, and
// no other rule for that.
func owning(ns string) isolation.Policy {
	return isolation.Policy{Namespace: ns, Text: "profile owning flags=(attach_disconnected) {\n  capability,\n  network,\n  unix,\n  signal,\n  /iso/own/ r,\n  owner /iso/own/* rwl,\n}\n"}
}

// twoNamespaces are a load that names one namespace, and one that names two.
var twoNamespaces = []isolation.Policy{
	{Name: "one", Text: "profile :iso-one:p flags=(attach_disconnected) {\n  …\n}\n"},
	{Name: "two", Text: "profile :iso-one:p flags=(attach_disconnected) {\n  …\n}\nprofile :iso-two:q flags=(attach_disconnected) {\n  …\n}\n"},
}

var onHost = []isolation.Task{{Name: "t", Where: isolation.OnHost}}

// owner is a task on the host under the owner rule.
var owner = []isolation.Task{{Name: "t", Where: isolation.OnHost, Label: "owning"}}

// ownerInUserns is a task under the owner rule in the unprivileged container.
var ownerInUserns = []isolation.Task{{Name: "t", Where: isolation.InContainer, Label: ":" + isolation.Namespace + ":owning"}}

// All are the known defects: first those whose checks are harmless, then those
// that may crash a kernel without the fix.
func All() []Defect { return append(harmless(), crashing()...) }

func harmless() []Defect {
	return []Defect{
		{
			Name: "policy-descriptor", CVE: "CVE-2026-23268", Commit: "6601e13e8284", Fixed: "2026-03",
			About:  "an unprivileged user opens a policy file of AppArmor and has a privileged program write policy to it",
			Why:    "policy.c, aa_may_manage_policy: with the fix it also asks about the task that opened the file (is_subset_of_obj_privilege), info=\"not privileged for target profile\"",
			Policy: []isolation.Policy{plain("own")},
			Tasks:  []isolation.Task{{Name: "t", Where: isolation.OnHost}, {Name: "root", Where: isolation.OnHost}},
			Prepare: []string{
				"root: s = socket unix stream", "root: bind s @iso-policy", "root: listen s", "c = socket unix stream", "connect c @iso-policy", "root: a = accept s",
			},
			Controls: []string{
				"root: loadpolicy own " + fs + ".replace", "root: say " + fs + ".remove own",
				"setuid 65534", "loadpolicy own " + fs + ".replace => EACCES",
				"f = open " + fs + ".replace w", "sendfd c f", "root: f = recvfd a",
			},
			Check: "root: writepolicy f own", Present: []string{"EACCES"}, Absent: []string{"ok"},
			Clean: []string{"@: try remove - own"},
		},
		{
			Name: "two-namespaces-in-a-load", CVE: "CVE-2026-23403", Commit: "e38c55d9f834", Fixed: "2026-03",
			About:    "a load that names two namespaces goes to the last one, and the name of the first is leaked",
			Why:      "policy_unpack.c, verify_header: without the fix it forgets the namespace of the profile before. With it the load goes to the first namespace (6.12.117), or is refused (see namespace-change)",
			Policy:   twoNamespaces,
			Tasks:    onHost,
			Controls: []string{"@: load one", "@: rmns iso-one", "@: try load two"},
			Check:    "list " + fs + "policy/namespaces", Present: []string{`"iso"`, `"iso iso-one"`}, Absent: []string{`"iso iso-two"`},
			Clean: []string{"@: try rmns iso-one", "@: try rmns iso-two"},
		},
		{
			Name: "namespace-change", Fixed: "2026",
			About:    "a load that names two namespaces is accepted: policy goes to another namespace than its own text says",
			Why:      "policy_unpack.c, verify_header: \"invalid ns change\" is logged, and returned as an error in 7.2.7 and 7.3.4 but not in 6.12.117",
			Policy:   twoNamespaces,
			Tasks:    onHost,
			Controls: []string{"@: load one"},
			Check:    "@: load two", Present: []string{"EPROTONOSUPPORT"}, Absent: []string{"ok"},
			Clean: []string{"@: try rmns iso-one", "@: try rmns iso-two"},
		},
		{
			Name: "rename-exchange-owner", Fixed: "2026-04",
			About:  "RENAME_EXCHANGE asks about the second file with the owner of the first, so that an owner rule lets a task exchange another user's file",
			Why:    "lsm.c, apparmor_path_rename: cond_exchange has the owner of new_dentry with the fix, and of old_dentry without",
			Policy: []isolation.Policy{owning("")}, Tasks: owner,
			Prepare: []string{"try mkdir /iso/own", "clear /iso/own/mine /iso/own/mine-2 /iso/own/theirs", "put /iso/own/mine", "put /iso/own/mine-2", "put /iso/own/theirs", "chown /iso/own/theirs"},
			Controls: []string{
				"rename /iso/own/mine /iso/own/mine-2 exchange", "open /iso/own/theirs r => EACCES",
			},
			Check: "rename /iso/own/mine /iso/own/theirs exchange", Present: []string{"EACCES"}, Absent: []string{"ok"},
		},
		{
			Name: "link-owner-in-userns", Fixed: "2025-04",
			About:        "link(2) asks about the owner as the file system has it, not as an idmapped mount shows it: in an unprivileged container owner rules deny the owner and allow another",
			Why:          "file.c, aa_path_link: with the fix the owner goes through the mount's idmap",
			Unprivileged: true, Policy: []isolation.Policy{owning(isolation.Namespace)}, Tasks: ownerInUserns,
			Prepare:  []string{"try mkdir /iso/own", "clear /iso/own/mine /iso/own/mine-l", "put /iso/own/mine"},
			Controls: []string{"open /iso/own/mine rw"},
			Check:    "link /iso/own/mine /iso/own/mine-l", Present: []string{"ok"}, Absent: []string{"EACCES"},
		},
		{
			Name: "unix-owner-in-userns", Fixed: "2025-04", Needs: []string{"network_v9/af_unix"},
			About:        "connect(2) to a UNIX socket in the file system asks about the owner as the file system has it, not as an idmapped mount shows it",
			Why:          "af_unix.c, unix_fs_perm: with the fix the owner goes through the mount's idmap",
			Unprivileged: true, Policy: []isolation.Policy{owning(isolation.Namespace)}, Tasks: ownerInUserns,
			Prepare:  []string{"try mkdir /iso/own", "clear /iso/own/mine /iso/own/mine-s", "put /iso/own/mine", "s = socket unix stream", "bind s /iso/own/mine-s", "listen s", "c = socket unix stream"},
			Controls: []string{"open /iso/own/mine rw"},
			Check:    "connect c /iso/own/mine-s", Present: []string{"ok"}, Absent: []string{"EACCES"},
		},
		{
			Name: "tcp-fast-open", Fixed: "2026-06", Needs: []string{"network_v8/af_mask inet"},
			About: "sendmsg(2) with MSG_FASTOPEN connects without the permission to connect",
			Why:   "lsm.c, apparmor_socket_sendmsg: with the fix it also asks for AA_MAY_CONNECT",
			Policy: []isolation.Policy{{Text: "profile unconnected flags=(attach_disconnected) {\n  file,\n  capability,\n  signal,\n  unix,\n" +
				"  network (create, bind, listen, accept, send, receive, getattr, setattr, getopt, setopt, shutdown) inet stream,\n}\n"}},
			Tasks:    []isolation.Task{{Name: "t", Where: isolation.OnHost, Label: "unconnected"}, {Name: "server", Where: isolation.OnHost}},
			Prepare:  []string{"@: run ip link set lo up", "server: s = socket inet stream", "server: bind s 47110", "server: listen s"},
			Controls: []string{"c = socket inet stream", "connect c 47110 => EACCES", "d = socket inet stream"},
			Check:    "fastopen d 47110", Present: []string{"EACCES"}, Absent: []string{"ok"},
		},
		{
			Name: "unprivileged-unconfined", Fixed: "2023-10", Needs: []string{"policy/unconfined_restrictions/change_profile"},
			About:    "an unprivileged task that is unconfined changes to another profile and leaves what the system attached to it, although kernel.apparmor_restrict_unprivileged_unconfined is 1",
			Why:      "domain.c, priv_restricted_transition: the change becomes a stack, so that both are in force",
			Policy:   []isolation.Policy{{Text: "profile next flags=(attach_disconnected) {\n  …\n}\n"}},
			Tasks:    onHost,
			Prepare:  []string{"@: sysctl kernel/apparmor_restrict_unprivileged_unconfined 1"},
			Controls: []string{"setuid 65534", "changeprofile next"},
			Check:    "@: labelof t", Present: []string{`"next//&unconfined (mixed)"`, `"unconfined//&next (mixed)"`, `"next//&unconfined (enforce)"`, `"unconfined//&next (enforce)"`}, Absent: []string{`"next (enforce)"`},
			Clean: []string{"@: sysctl kernel/apparmor_restrict_unprivileged_unconfined 0"},
		},
	}
}

// crashing are defects whose checks may crash or corrupt a kernel without the
// fix.
func crashing() []Defect {
	return []Defect{
		{
			Name: "namespace-depth", CVE: "CVE-2026-23405", Commit: "306039414932", Fixed: "2026-03", Crashes: true,
			About: "nothing limits how deep namespaces nest, and the kernel walks them by recursion",
			Why:   "policy_ns.c, __aa_create_ns: with the fix a parent deeper than MAX_NS_DEPTH (32) is refused, so that 33 levels work (measured on 7.2.7)",
			Tasks: onHost, Controls: []string{`@: nest 32 => "32"`},
			Check: "@: nest 40", Present: []string{"ENOSPC"}, Absent: []string{`"40"`},
		},
		{
			Name: "raw-data-link", Fixed: "2026-01", Crashes: true, Needs: []string{"CONFIG_SECURITY_APPARMOR_EXPORT_BINARY"},
			About:    "with the parameter export_binary off, the link raw_data of a profile that was replaced is a NULL dereference",
			Why:      "policy.c, aa_replace_profiles, removes the link with the fix; apparmorfs.c, rawdata_get_link_base, returns ENOENT where the profile has no raw data",
			Policy:   []isolation.Policy{plain("own"), {Name: "own-again", Text: "profile own flags=(attach_disconnected) {\n  …\n  deny /iso/f r,\n}\n"}},
			Tasks:    onHost,
			Controls: []string{"@: load own", "@: run readlink " + fs + "policy/profiles/own.*/raw_data >/dev/null", "@: run echo N >/sys/module/apparmor/parameters/export_binary", "@: load own-again"},
			Check:    "@: run readlink " + fs + "policy/profiles/own.*/raw_data", Present: []string{"exit 1"}, Absent: []string{"dead", "exit 139", "exit 137"},
			Clean: []string{"@: run echo Y >/sys/module/apparmor/parameters/export_binary", "@: try remove - own"},
		},
	}
}
