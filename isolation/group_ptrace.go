// SPDX-License-Identifier: Apache-2.0

package isolation

const ptraceWhy = "both ends are asked, each profile of each label: ipc.c, aa_may_ptrace, xcheck_labels; a profile does not mediate what it does not see: label.c, label_compound_match"

func ptraceRecord(m string) []Record {
	return []Record{{Operation: "ptrace", Fields: denied(m)}}
}

var ptraceRows = []Row{
	{
		Group: "ptrace", Name: "host-to-container", About: "a host's task traces one in the container", Why: ptraceWhy,
		Where: []string{OnHost}, Peers: []Task{{Name: "target", Where: InContainer, Label: InitLabel}},
		Deny: "audit deny ptrace (trace),", Do: []string{"seize target"}, Records: ptraceRecord("trace"),
	},
	{
		Group: "ptrace", Name: "within-container", About: "a container's task traces another there", Why: ptraceWhy,
		Where: []string{InContainer}, Peers: []Task{{Name: "target", Label: InitLabel}},
		Deny: "audit deny ptrace (trace),", Do: []string{"seize target"}, Records: ptraceRecord("trace"),
	},
	{
		Group: "ptrace", Name: "container-to-host", About: "a container's task traces an unconfined one of the host", Why: ptraceWhy,
		Where: []string{InMounts}, Peers: []Task{{Name: "target", Where: OnHost}}, Blind: []string{"namespace"},
		Deny: "audit deny ptrace (trace),", Do: []string{"seize target"}, Records: ptraceRecord("trace"),
	},
	{
		Group: "ptrace", Name: "container-to-sibling", About: "a container's task traces one of another container", Why: ptraceWhy, Namespaces: []string{"sibling"}, Extra: sibling,
		Where: []string{InMounts}, Peers: []Task{{Name: "target", Where: OnHost, Label: siblingLabel}}, Blind: []string{"namespace"},
		Deny: "audit deny ptrace (trace),", Do: []string{"seize target"}, Records: ptraceRecord("trace"),
	},
	{
		Group: "ptrace", Name: "memory", About: "a host's task reads the memory of one in the container", Why: ptraceWhy + ". process_vm_readv(2) makes EPERM of it",
		Where: []string{OnHost}, Peers: []Task{{Name: "target", Where: InContainer, Label: InitLabel}},
		Deny: "audit deny ptrace (trace),", Do: []string{"vmread target"}, Errno: "EPERM", Records: ptraceRecord("trace"),
	},
	{
		Group: "ptrace", Name: "proc-exe", About: "a task reads the link /proc/PID/exe of another in its container", Why: ptraceWhy,
		Where: []string{InContainer}, Peers: []Task{{Name: "target", Label: InitLabel}},
		Deny: "audit deny ptrace (read),", Do: []string{"exelink target"}, Records: ptraceRecord("read"),
	},
	{
		Group: "ptrace", Name: "proc-exe-of-container", About: "a host's task reads the link /proc/PID/exe of one in the container", Why: ptraceWhy,
		Where: []string{OnHost}, Peers: []Task{{Name: "target", Where: InContainer, Label: InitLabel}},
		Deny: "audit deny ptrace (read),", Do: []string{"exelink target"}, Records: ptraceRecord("read"),
	},
	{
		Group: "ptrace", Name: "proc-environ", About: "a task reads /proc/PID/environ of another in its container, which policy denies",
		Why: "measured on 7.2: the denial is logged, and CAP_PERFMON opens the file all the same: kernel/fork.c, may_access_mm asks perfmon_capable() when ptrace_may_access() has refused. See docs/findings/ptrace-read-perfmon",
		Policy: []Policy{
			{Text: "profile noread flags=(attach_disconnected) {\n  …\n  audit deny ptrace (read),\n}\n"},
			{Namespace: Namespace, Text: "profile noread flags=(attach_disconnected) {\n  …\n  audit deny ptrace (read),\n}\n"},
		},
		Cases: []Case{
			{
				Name: "denied-by-host", Tasks: []Task{{Name: "t", Where: InContainer, Label: "noread//&:iso:ct-allow"}, {Name: "target", Where: InContainer, Label: InitLabel}},
				Do: []string{"tryproc target environ", "tryproc target maps", "tryproc target auxv"}, Recorded: "kernels differ: a logged denial that does not deny",
			},
			{
				Name: "denied-by-namespace", Tasks: []Task{{Name: "t", Where: InContainer, Label: "host-allow//&:iso:noread"}, {Name: "target", Where: InContainer, Label: InitLabel}},
				Do: []string{"tryproc target environ", "tryproc target maps", "tryproc target auxv"}, Recorded: "kernels differ: a logged denial that does not deny",
			},
		},
	},
	{
		Group: "ptrace", Name: "tracedby", About: "a task is traced by another in its container", Why: ptraceWhy,
		Where: []string{InContainer}, Peers: []Task{{Name: "tracer", Label: InitLabel}},
		Deny: "audit deny ptrace (tracedby),", Do: []string{"tracer: seize t"}, Records: ptraceRecord("tracedby"),
	},
	{
		Group: "ptrace", Name: "record", About: "what the record of a denial says about the other end", Why: "task.c, audit_ptrace_cb; ipc.c, audit_signal_cb: its label as the profile that denies sees it",
		Policy: both("profile blind flags=(attach_disconnected) {\n  …\n  audit deny ptrace (trace),\n  audit deny signal (send) set=(urg),\n}\n"),
		Cases: []Case{
			{
				Name: "host", Tasks: []Task{{Name: "t", Where: OnHost, Label: "blind"}, {Name: "target", Where: OnHost, Label: hostAllow}}, Do: []string{"seize target => EACCES", "kill target urg => EACCES"},
				Records: []Record{
					{Operation: "ptrace", Profile: "blind", Fields: map[string]string{"requested_mask": "trace", "denied_mask": "trace", "peer": hostAllow}},
					{Operation: "signal", Profile: "blind", Fields: map[string]string{"requested_mask": "send", "denied_mask": "send", "signal": "urg", "peer": hostAllow}},
				},
			},
			{
				Name: "namespace", Tasks: []Task{{Name: "t", Where: InContainer, Label: "host-allow//&:iso:blind"}, {Name: "target", Where: InContainer, Label: InitLabel}},
				Do: []string{"seize target => EACCES", "kill target urg => EACCES"},
				Records: []Record{
					{Operation: "ptrace", Namespace: Namespace, Profile: "blind", Fields: map[string]string{"requested_mask": "trace", "denied_mask": "trace"}},
					{Operation: "signal", Namespace: Namespace, Profile: "blind", Fields: map[string]string{"requested_mask": "send", "denied_mask": "send", "signal": "urg"}},
				},
			},
		},
	},
	{
		Group: "ptrace", Name: "of-unconfined-mode", About: "a confined task traces one whose profile is in unconfined mode and has no rule for that", Why: "task.c, profile_tracee_perm: a profile in unconfined mode allows all, whatever its rules say",
		Policy: both("profile free flags=(attach_disconnected,unconfined) {\n  file,\n  capability,\n}\n"),
		Cases: []Case{
			{Name: "host", Tasks: []Task{{Name: "t", Where: OnHost, Label: hostAllow}, {Name: "target", Where: OnHost, Label: "free"}}, Do: []string{"seize target"}},
			{Name: "namespace", Tasks: []Task{{Name: "t", Where: InContainer, Label: InitLabel}, {Name: "target", Where: InContainer, Label: "host-allow//&:iso:free"}}, Do: []string{"seize target"}},
		},
	},
}
