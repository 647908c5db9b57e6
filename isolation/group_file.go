// SPDX-License-Identifier: Apache-2.0

package isolation

import "slices"

const filePerm = "each profile of the label decides and audits by itself, the worst counts: file.c, aa_path_perm, fn_for_each_confined"

const (
	ownerWhy = "an owner rule is of files whose owner, as the mount shows it, is the task's fsuid: file.c, aa_lookup_condperms; "
	// ownerBare are the rules of rows about owner rules beside theirs: nothing
	// else allows the files that they are about.
	ownerBare = "capability,\n  network,\n  unix,\n  signal,\n  /iso/own/ r,"
)

// ownerRow is a row about an owner rule for files below /iso/own: on what the
// task owns (mine*) it must allow the operation in every cell, and on what
// another owns (theirs*) it must not.
func ownerRow(name, about, why string, prepare, do []string, rules string, record Record) Row {
	return Row{
		Group: "file", Name: name, About: about, Why: ownerWhy + why,
		Bare: ownerBare, More: "owner /iso/own/mine* " + rules + ",", Allow: "/iso/own/theirs* " + rules + ",", Missing: "owner /iso/own/theirs* " + rules + ",",
		Prepare: append([]string{"try mkdir /iso/own"}, prepare...), Do: do, Records: []Record{record},
	}
}

// ownedBy are the steps that create a file for the task, and one for another.
func ownedBy(more ...string) []string {
	return append([]string{"clear /iso/own/mine /iso/own/theirs", "put /iso/own/mine", "put /iso/own/theirs", "chown /iso/own/theirs"}, more...)
}

// ownerRows are about rules that hold for the owner of a file alone.
var ownerRows = []Row{
	ownerRow("owner", "open a file that an owner rule allows, and one whose owner is another", "lsm.c, apparmor_file_open",
		ownedBy(), []string{"m = open /iso/own/mine rw", "t = open /iso/own/theirs rw"}, "rw",
		Record{Operation: "open", Name: "/iso/own/theirs", Fields: denied("wr")}),
	ownerRow("owner-link", "link a file that an owner rule allows, and one whose owner is another", "file.c, aa_path_link: it takes the owner as the mount shows it since a fix of 2025",
		ownedBy("clear /iso/own/mine-l /iso/own/theirs-l"), []string{"link /iso/own/mine /iso/own/mine-l", "link /iso/own/theirs /iso/own/theirs-l"}, "rwl",
		Record{Operation: "link", Name: "/iso/own/theirs-l", Fields: map[string]string{"target": "/iso/own/theirs"}}),
	ownerRow("owner-rename", "rename a file that an owner rule allows, and one whose owner is another", "lsm.c, apparmor_path_rename",
		ownedBy("clear /iso/own/mine-n /iso/own/theirs-n"), []string{"rename /iso/own/mine /iso/own/mine-n", "rename /iso/own/theirs /iso/own/theirs-n"}, "rw",
		Record{Operation: "rename_src", Name: "/iso/own/theirs"}),
	// The exchange moves theirs to the name of mine, too: who allows it allows that.
	withAllow("/iso/own/mine* rw,", ownerRow("rename-exchange", "exchange two files that an owner rule allows, and one of them for another's (RENAME_EXCHANGE)",
		"lsm.c, apparmor_path_rename: both files are moved, each is asked about with its own owner, since a fix of 2026; before, the second with that of the first",
		ownedBy("put /iso/own/mine-2"), []string{"rename /iso/own/mine /iso/own/mine-2 exchange", "rename /iso/own/mine /iso/own/theirs exchange"}, "rw",
		Record{Operation: "rename_src", Name: "/iso/own/theirs"})),
	withNeeds("network_v9/af_unix", ownerRow("owner-unix", "connect to a UNIX socket whose owner an owner rule allows, and to another's", "af_unix.c, unix_fs_perm: it takes the owner as the mount shows it since a fix of 2025",
		[]string{
			"clear /iso/own/mine-s /iso/own/theirs-s", "m = socket unix stream", "bind m /iso/own/mine-s", "listen m",
			"t = socket unix stream", "bind t /iso/own/theirs-s", "listen t", "chown /iso/own/theirs-s", "c = socket unix stream", "d = socket unix stream",
		},
		[]string{"connect c /iso/own/mine-s", "connect d /iso/own/theirs-s"}, "rw",
		Record{Operation: "connect", Name: "/iso/own/theirs-s"})),
}

func withAllow(rule string, r Row) Row {
	r.Allow += "\n  " + rule
	return r
}

func withNeeds(feature string, r Row) Row {
	r.Needs = append(r.Needs, feature)
	return r
}

// disconnected is what the kernel logs for a path that leads to no root.
const disconnected = "Failed name lookup - disconnected path"

// changed are cases of a step with the descriptor f, which was opened for reading
// and writing under another profile.
func changed(name, profile, step string, r Record) []Case {
	r.Profile, r.Name = profile, "/iso/f"
	return bothSides("opening", Case{
		Name: name, Prepare: []string{"put /iso/f"}, Do: []string{"f = open /iso/f rw", "changeprofile " + profile, step + " => EACCES"},
		Labels: map[string]string{"t": profile}, Records: []Record{r},
	})
}

var fileRows = append(ownerRows, []Row{
	{
		Group: "file", Name: "read", About: "open a file for reading", Why: filePerm, Smoke: true,
		Deny:    "audit deny /iso/f r,",
		Prepare: []string{"put /iso/f"}, Do: []string{"f = open /iso/f r", "read f"},
		Records: []Record{{Operation: "open", Name: "/iso/f", Fields: denied("r")}},
	},
	{
		Group: "file", Name: "read-default", About: "open a file that no rule allows", Why: filePerm + "; what no rule allows is denied, and logged",
		Bare: "capability,\n  network,\n  unix,\n  signal,\n  /{,**} w,", Allow: "/iso/f r,",
		Prepare: []string{"put /iso/f"}, Do: []string{"f = open /iso/f r", "read f"},
		Records: []Record{{Operation: "open", Name: "/iso/f", Fields: denied("r")}},
	},
	{
		Group: "file", Name: "write", About: "open a file for writing", Why: filePerm,
		Deny:    "audit deny /iso/f w,",
		Prepare: []string{"put /iso/f"}, Do: []string{"f = open /iso/f w", "write f"},
		Records: []Record{{Operation: "open", Name: "/iso/f", Fields: denied("w")}},
	},
	{
		Group: "file", Name: "append", About: "open a file for appending", Why: filePerm + "; O_APPEND asks for the right to append alone: include/file.h, aa_map_file_to_perms",
		Deny:    "audit deny /iso/f a,",
		Prepare: []string{"put /iso/f"}, Do: []string{"f = open /iso/f a", "write f"},
		Records: []Record{{Operation: "open", Name: "/iso/f", Fields: denied("a")}},
	},
	{
		Group: "file", Name: "create", About: "create a file", Why: filePerm,
		Deny:    "audit deny /iso/new w,",
		Prepare: []string{"clear /iso/new"}, Do: []string{"f = open /iso/new c"},
		Records: []Record{{Operation: "mknod", Name: "/iso/new", Fields: denied("c")}},
	},
	{
		Group: "file", Name: "unlink", About: "remove a file", Why: filePerm,
		Deny:    "audit deny /iso/f w,",
		Prepare: []string{"put /iso/f"}, Do: []string{"unlink /iso/f"},
		Records: []Record{{Operation: "unlink", Name: "/iso/f", Fields: denied("d")}},
	},
	{
		Group: "file", Name: "link", About: "link a file", Why: "file.c, profile_path_link",
		Deny:    "audit deny /iso/l l,",
		Prepare: []string{"clear /iso/l", "put /iso/f"}, Do: []string{"link /iso/f /iso/l"},
		Records: []Record{{Operation: "link", Name: "/iso/l", Fields: map[string]string{"denied_mask": "l", "target": "/iso/f"}}},
	},
	{
		Group: "file", Name: "symlink", About: "create a symbolic link", Why: filePerm,
		Deny:    "audit deny /iso/l w,",
		Prepare: []string{"clear /iso/l"}, Do: []string{"symlink /iso/f /iso/l"},
		Records: []Record{{Operation: "symlink", Name: "/iso/l", Fields: denied("c")}},
	},
	{
		Group: "file", Name: "rename-from", About: "rename a file that is denied", Why: filePerm + "; the old name is looked at first: lsm.c, apparmor_path_rename",
		Deny:    "audit deny /iso/f w,",
		Prepare: []string{"clear /iso/new", "put /iso/f"}, Do: []string{"rename /iso/f /iso/new"},
		Records: []Record{{Operation: "rename_src", Name: "/iso/f", Fields: denied("wd")}},
	},
	{
		Group: "file", Name: "rename-to", About: "rename a file to a name that is denied", Why: filePerm,
		Deny:    "audit deny /iso/new w,",
		Prepare: []string{"clear /iso/new", "put /iso/f"}, Do: []string{"rename /iso/f /iso/new"},
		Records: []Record{{Operation: "rename_dest", Name: "/iso/new", Fields: denied("wc")}},
	},
	{
		Group: "file", Name: "exchange", About: "exchange a file for one that must not be changed (RENAME_EXCHANGE)", Why: filePerm + "; the second file is asked about as the first: lsm.c, apparmor_path_rename",
		Deny:    "audit deny /iso/f w,",
		Prepare: []string{"put /iso/new", "put /iso/f"}, Do: []string{"rename /iso/new /iso/f exchange"},
		Records: []Record{{Operation: "rename_src", Name: "/iso/f", Fields: denied("wd")}},
	},
	{
		Group: "file", Name: "mkdir", About: "create a directory", Why: filePerm,
		Deny:    "audit deny /iso/d/ w,",
		Prepare: []string{"clear /iso/d"}, Do: []string{"mkdir /iso/d"},
		Records: []Record{{Operation: "mkdir", Name: "/iso/d/", Fields: denied("c")}},
	},
	{
		Group: "file", Name: "rmdir", About: "remove a directory", Why: filePerm,
		Deny:    "audit deny /iso/d/ w,",
		Prepare: []string{"clear /iso/d", "mkdir /iso/d"}, Do: []string{"rmdir /iso/d"},
		Records: []Record{{Operation: "rmdir", Name: "/iso/d/", Fields: denied("d")}},
	},
	{
		Group: "file", Name: "list", About: "list a directory", Why: filePerm,
		Deny:    "audit deny /iso/d/ r,",
		Prepare: []string{"try mkdir /iso/d"}, Do: []string{"list /iso/d"},
		Records: []Record{{Operation: "open", Name: "/iso/d/", Fields: denied("r")}},
	},
	{
		Group: "file", Name: "fifo", About: "create a named pipe", Why: filePerm,
		Deny:    "audit deny /iso/p w,",
		Prepare: []string{"clear /iso/p"}, Do: []string{"mkfifo /iso/p"},
		Records: []Record{{Operation: "mknod", Name: "/iso/p", Fields: denied("c")}},
	},
	{
		Group: "file", Name: "truncate", About: "truncate a file by its name", Why: filePerm,
		Deny:    "audit deny /iso/f w,",
		Prepare: []string{"put /iso/f"}, Do: []string{"trunc /iso/f"},
		Records: []Record{{Operation: "truncate", Name: "/iso/f", Fields: denied("w")}},
	},
	{
		Group: "file", Name: "chmod", About: "change a file's mode", Why: filePerm,
		Deny:    "audit deny /iso/f w,",
		Prepare: []string{"put /iso/f"}, Do: []string{"chmod /iso/f"},
		Records: []Record{{Operation: "chmod", Name: "/iso/f", Fields: denied("w")}},
	},
	{
		Group: "file", Name: "chown", About: "change a file's owner", Why: filePerm,
		Deny:    "audit deny /iso/f w,",
		Prepare: []string{"put /iso/f"}, Do: []string{"chown /iso/f"},
		Records: []Record{{Operation: "chown", Name: "/iso/f", Fields: denied("w")}},
	},
	{
		Group: "file", Name: "stat", About: "read a file's attributes",
		Why:  "always allowed: policy_compat.c, compute_fperms, AA_MAY_GETATTR",
		Deny: "audit deny /iso/f r,", Blind: []string{"host", "namespace"},
		Prepare: []string{"put /iso/f"}, Do: []string{"stat /iso/f"},
	},
	{
		Group: "file", Name: "lock", About: "lock a file", Why: "lsm.c, apparmor_file_lock",
		Deny:    "audit deny /iso/f k,",
		Prepare: []string{"put /iso/f"}, Do: []string{"f = open /iso/f rw", "lock f"},
		Records: []Record{{Operation: "file_lock", Name: "/iso/f", Fields: denied("k")}},
	},
	{
		Group: "file", Name: "mmap-exec", About: "map a file as executable", Why: "lsm.c, apparmor_mmap_file",
		Deny:    "audit deny /iso/f m,",
		Prepare: []string{"put /iso/f"}, Do: []string{"f = open /iso/f r", "mmap f rx"},
		Records: []Record{{Operation: "file_mmap", Name: "/iso/f", Fields: denied("m")}},
	},
	{
		Group: "file", Name: "inherited", About: "read through a descriptor that was opened unconfined",
		Why:  "what an unconfined task opened is delegated to who receives it: file.c, aa_file_perm, unconfined(flabel)",
		Deny: "audit deny /iso/f r,", Blind: []string{"host", "namespace"},
		Prepare: []string{"put /iso/f", "f = open /iso/f r"}, Do: []string{"read f"},
	},
	{
		Group: "file", Name: "passed", About: "receive a descriptor that a confined task opened",
		Why:  "the receiver's label is checked again: lsm.c, apparmor_file_receive; file.c, aa_file_perm. The message arrives without the descriptor",
		Deny: "audit deny /iso/f r,", Peers: []Task{{Name: "sender", Label: InitLabel}},
		Prepare: []string{
			"put /iso/f", "s = socket unix stream", "bind s @iso-passed", "listen s",
			"sender: c = socket unix stream", "sender: connect c @iso-passed", "a = accept s",
		},
		Do:      []string{"sender: f = open /iso/f r", "sender: sendfd c f", "f = recvfd a", "read f"},
		Records: []Record{{Operation: "file_receive", Name: "/iso/f", Fields: denied("r")}},
	},
	{
		Group: "file", Name: "passed-unconfined", About: "receive a descriptor that an unconfined task opened",
		Why:  "as for an inherited descriptor: file.c, aa_file_perm, unconfined(flabel)",
		Deny: "audit deny /iso/f r,", Blind: []string{"host", "namespace"}, Peers: []Task{{Name: "sender"}},
		Prepare: []string{
			"put /iso/f", "s = socket unix stream", "bind s @iso-passed", "listen s",
			"sender: c = socket unix stream", "sender: connect c @iso-passed", "a = accept s",
		},
		Do: []string{"sender: f = open /iso/f r", "sender: sendfd c f", "f = recvfd a", "read f"},
	},
	{
		Group: "file", Name: "same-name", About: "a profile of one name on the host and in the namespace, with different rules",
		Why: "profiles are looked up in their own namespace: policy.c, aa_lookup_profile; a stack holds both",
		Policy: []Policy{
			{Text: "profile same flags=(attach_disconnected) {\n  …\n  audit deny /iso/host r,\n}\n"},
			{Namespace: Namespace, Text: "profile same flags=(attach_disconnected) {\n  …\n  audit deny /iso/ct r,\n}\n"},
		},
		Cases: []Case{
			{
				Name: "host", Tasks: []Task{{Name: "t", Where: OnHost, Label: "same"}},
				Prepare: []string{"put /iso/host", "put /iso/ct"},
				Do:      []string{"cat /iso/host => EACCES", "cat /iso/ct"},
				Labels:  map[string]string{"t": "same (enforce)"},
				Records: []Record{{Operation: "open", Profile: "same", Name: "/iso/host"}},
			},
			{
				Name: "namespace", Tasks: []Task{{Name: "t", Where: InContainer, Label: ":iso:same"}},
				Prepare: []string{"put /iso/host", "put /iso/ct"},
				Do:      []string{"cat /iso/host", "cat /iso/ct => EACCES"},
				Labels:  map[string]string{"t": ":iso:same (enforce)"},
				Records: []Record{{Operation: "open", Namespace: "iso", Profile: "same", Name: "/iso/ct"}},
			},
			{
				Name: "stacked", Tasks: []Task{{Name: "t", Where: InContainer, Label: "same//&:iso:same"}},
				Prepare: []string{"put /iso/host", "put /iso/ct", "put /iso/f"},
				Do:      []string{"cat /iso/host => EACCES", "cat /iso/ct => EACCES", "cat /iso/f"},
				Labels:  map[string]string{"t": "same//&:iso:same (enforce)"},
				Records: []Record{
					{Operation: "open", Profile: "same", Name: "/iso/host"},
					{Operation: "open", Namespace: "iso", Profile: "same", Name: "/iso/ct"},
				},
			},
		},
	},
	{
		Group: "file", Name: "changed", About: "use a descriptor after a change_profile to a profile that denies what it was opened for",
		Why:    "access is checked again for another label: lsm.c, apparmor_file_permission, common_mmap, apparmor_file_lock; file.c, aa_file_perm",
		Policy: both("profile opening flags=(attach_disconnected) {\n  …\n}\nprofile unread flags=(attach_disconnected) {\n  …\n  audit deny /iso/f r,\n}\nprofile unwritten flags=(attach_disconnected) {\n  …\n  audit deny /iso/f w,\n}\nprofile unlocked flags=(attach_disconnected) {\n  …\n  audit deny /iso/f k,\n}\n"),
		Cases: slices.Concat(
			changed("read", "unread", "read f", Record{Operation: "file_perm", Fields: denied("r")}),
			changed("write", "unwritten", "write f", Record{Operation: "file_perm", Fields: denied("w")}),
			changed("map-read", "unread", "mmap f r", Record{Operation: "file_mmap", Fields: denied("r")}),
			changed("map-write", "unwritten", "mmap f rws", Record{Operation: "file_mmap", Fields: denied("w")}),
			changed("lock", "unlocked", "lock f", Record{Operation: "file_lock", Fields: denied("k")}),
		),
	},
	{
		Group: "file", Name: "checked-once", About: "a descriptor of a confined task is checked when it is received, and not again at each use",
		Why:    "file.c, update_file_ctx: the labels that were checked are remembered with the descriptor",
		Policy: both("profile counting flags=(attach_disconnected) {\n  …\n  audit /iso/f r,\n}\n"),
		Cases: bothSides("counting", Case{
			Tasks: []Task{{Name: "sender", Label: InitLabel}},
			Prepare: []string{
				"put /iso/f", "s = socket unix stream", "bind s @iso-once", "listen s", "sender: c = socket unix stream", "sender: connect c @iso-once", "a = accept s",
			},
			Do:      []string{"sender: f = open /iso/f r", "sender: sendfd c f", "f = recvfd a", "read f", "read f"},
			Records: []Record{{Kind: "AUDIT", Operation: "file_receive", Name: "/iso/f"}},
		}),
	},
	{
		Group: "file", Name: "disconnected", About: "a file of a mount that is attached nowhere, for a profile that does not say attach_disconnected",
		Why:    "path.c, d_namespace_path: such a file has no name that a rule could allow; file.c, path_name",
		Policy: []Policy{{Text: "profile connected {\n  …\n}\n"}},
		Cases: []Case{{
			Name: "host", Tasks: []Task{{Name: "t", Where: OnHost, Label: "connected"}},
			Prepare: inMounts("mount none /iso/m tmpfs nosuid", "put /iso/m/f", "d = opentree /iso/m", "umount /iso/m"),
			Do:      []string{"openat d f => EACCES", "openat d f w => EACCES", "mkdirat d d => EACCES", "linkat d f l => EACCES"},
			Labels:  map[string]string{"t": "connected (enforce)"},
			Records: []Record{
				{Operation: "open", Profile: "connected", Fields: map[string]string{"info": disconnected, "requested_mask": "r"}},
				{Operation: "open", Profile: "connected", Fields: map[string]string{"info": disconnected, "requested_mask": "w"}},
				{Operation: "mkdir", Profile: "connected", Fields: map[string]string{"info": disconnected, "requested_mask": "c"}},
				{Operation: "link", Profile: "connected", Fields: map[string]string{"info": disconnected, "requested_mask": "l"}},
				{Operation: "link", Profile: "connected", Fields: map[string]string{"requested_mask": "l"}, Maybe: true}, // by profile_path_link, too
			},
		}},
	},
	{
		Group: "file", Name: "record", About: "what the record of a denial says about the task and the file", Why: "file.c, file_audit_cb: the task's fsuid and the file's owner",
		Policy: both("profile noting flags=(attach_disconnected) {\n  …\n  audit deny /iso/theirs r,\n}\n"),
		Cases: bothSides("noting", Case{
			Prepare: []string{"put /iso/theirs", "chown /iso/theirs"}, Do: []string{"cat /iso/theirs => EACCES"},
			Records: []Record{{Operation: "open", Name: "/iso/theirs", Fields: map[string]string{"requested_mask": "r", "denied_mask": "r", "fsuid": "0", "ouid": "1234"}}},
		}),
	},
	{
		Group: "file", Name: "exchange-to", About: "exchange a file that must not be changed for another (RENAME_EXCHANGE)", Why: filePerm + "; both files get the name of the other: lsm.c, apparmor_path_rename",
		Deny:    "audit deny /iso/new w,",
		Prepare: []string{"put /iso/new", "put /iso/f"}, Do: []string{"rename /iso/new /iso/f exchange"},
		Records: []Record{{Operation: "rename_dest", Name: "/iso/new", Fields: denied("wc")}},
	},
	{
		Group: "file", Name: "link-unnamed", About: "link a file that was created without a name (O_TMPFILE), by a profile that does not say mediate_deleted",
		Why:    "file.c, profile_path_link: the target has no name that a rule could allow",
		Policy: []Policy{{Text: "profile named flags=(attach_disconnected) {\n  …\n}\n"}},
		Cases: []Case{{
			Name: "host", Tasks: []Task{{Name: "t", Where: OnHost, Label: "named"}}, Prepare: []string{"clear /iso/l"},
			Do:      []string{"f = tmpfile /iso", "linkfd f /iso/l => ENOENT"},
			Labels:  map[string]string{"t": "named (enforce)"},
			Records: []Record{{Operation: "link", Profile: "named", Fields: map[string]string{"info": "Failed name lookup - deleted entry"}}, {Operation: "link", Profile: "named", Name: "/iso/l", Maybe: true}},
		}},
	},
}...)
