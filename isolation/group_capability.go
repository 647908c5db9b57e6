// SPDX-License-Identifier: Apache-2.0

package isolation

// capRow is a row about one capability.
func capRow(capability, do string, prepare ...string) Row {
	return Row{
		Group: "capability", Name: capability, About: "an operation that takes CAP_" + capability,
		Why:  "each profile of the label decides by itself: capability.c, aa_capable. A kernel does not log the same denial again at once, of the same profile or of the same task, so another task has it denied in between; where it goes by the task, the second part's denial is lost: see capability/double-denial",
		Deny: "audit deny capability " + capability + ",", Errno: "EPERM", Second: Maybe,
		Peers:   []Task{{Name: "flush", Label: "flush"}},
		Extra:   []Policy{{Text: "profile flush flags=(attach_disconnected) {\n  …\n  audit deny capability " + capability + ",\n}\n"}},
		Prepare: prepare, Do: []string{"flush: try " + do, do},
		Records: []Record{{Operation: "capable", Fields: map[string]string{"capname": capability}}},
	}
}

var capabilityRows = []Row{
	capRow("chown", "chown /iso/f", "put /iso/f"),
	capRow("setuid", "seteuid 1234"),
	capRow("setgid", "setgid 1234"),
	withErrno("EACCES", capRow("sys_nice", "nice")), // sys.c, set_one_prio
	capRow("sys_chroot", "chroot /iso"),
	capRow("sys_admin", "sethostname"),
	capRow("mknod", "mknod /iso/dev", "clear /iso/dev"),
	{
		Group: "capability", Name: "double-denial", About: "what is logged where both sides deny a capability",
		Why: "capability.c, audit_caps: where a kernel remembers what it has logged by credentials (ad->subj_cred) in place of profile, the second profile's denial counts as logged. See docs/findings/capability-double-denial",
		Policy: []Policy{
			{Text: "profile nochown flags=(attach_disconnected) {\n  …\n  audit deny capability chown,\n}\n"},
			{Namespace: Namespace, Text: "profile nochown flags=(attach_disconnected) {\n  …\n  audit deny capability chown,\n}\n"},
		},
		Cases: []Case{{
			Name: "stacked", Tasks: []Task{{Name: "t", Where: InContainer, Label: "nochown//&:iso:nochown"}}, Prepare: []string{"put /iso/f"},
			Do: []string{"chown /iso/f => EPERM"}, Recorded: "one record or two",
		}},
	},
	{
		Group: "capability", Name: "denied-quietly", About: "a capability that a rule denies without a record", Why: "capability.c, audit_caps: a rule that is not audited is not logged, and denies all the same",
		Deny: "deny capability chown,", Errno: "EPERM", Prepare: []string{"put /iso/f"}, Do: []string{"chown /iso/f"},
	},
}

func withErrno(errno string, r Row) Row {
	r.Errno = errno
	return r
}
