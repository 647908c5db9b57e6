package isolation

const (
	signalWhy = "both ends are asked, each profile of each label: ipc.c, aa_may_signal, xcheck_labels; the record is the sender's. A profile sees of the other's label only the parts in its own namespace or below: label.c, label_compound_match; what it does not see it does not mediate"
	ptraceWhy = "both ends are asked, each profile of each label: ipc.c, aa_may_ptrace, xcheck_labels; a profile does not mediate what it does not see: label.c, label_compound_match"
)

func signalRecord(m string) []Record {
	return []Record{{Operation: "signal", Fields: map[string]string{"requested_mask": m, "denied_mask": m, "signal": "urg"}}}
}

func ptraceRecord(m string) []Record {
	return []Record{{Operation: "ptrace", Fields: denied(m)}}
}

// sibling is a container's namespace beside the one at hand, with a profile.
var sibling = []Policy{{Namespace: "sibling", Text: "profile other flags=(attach_disconnected) {\n  …\n}\n"}}

const siblingLabel = "host-allow//&:sibling:other"

var taskRows = []Row{
	{
		Group: "signal", Name: "host-to-container", About: "a host's task signals one in the container", Why: signalWhy, Smoke: true,
		Where: []string{OnHost}, Peers: []Task{{Name: "target", Where: InContainer, Label: InitLabel}},
		Deny: "audit deny signal (send) set=(urg),", Do: []string{"kill target urg"}, Records: signalRecord("send"),
	},
	{
		Group: "signal", Name: "within-container", About: "a container's task signals another there", Why: signalWhy,
		Where: []string{InContainer}, Peers: []Task{{Name: "target", Label: InitLabel}},
		Deny: "audit deny signal (send) set=(urg),", Do: []string{"kill target urg"}, Records: signalRecord("send"),
	},
	{
		Group: "signal", Name: "container-to-host", About: "a container's task signals an unconfined one of the host",
		Why:   signalWhy + ". So the namespace's policy does not speak: it takes the host's part to keep a container from the host's tasks",
		Where: []string{InMounts}, Peers: []Task{{Name: "target", Where: OnHost}}, Blind: []string{"namespace"},
		Deny: "audit deny signal (send) set=(urg),", Do: []string{"kill target urg"}, Records: signalRecord("send"),
	},
	{
		Group: "signal", Name: "container-to-sibling", About: "a container's task signals one of another container", Namespaces: []string{"sibling"}, Extra: sibling,
		Why:   signalWhy + ". The sibling's label holds the host's part, which the host's part of the sender sees",
		Where: []string{InMounts}, Peers: []Task{{Name: "target", Where: OnHost, Label: siblingLabel}}, Blind: []string{"namespace"},
		Deny: "audit deny signal (send) set=(urg),", Do: []string{"kill target urg"}, Records: signalRecord("send"),
	},
	{
		Group: "signal", Name: "receive", About: "a task receives a signal of an unconfined one of the host",
		Why:   signalWhy + ". The receiver's namespace does not see the host's sender",
		Where: []string{OnHost}, Peers: []Task{{Name: "sender", Where: OnHost}}, Blind: []string{"namespace"},
		Deny: "audit deny signal (receive) set=(urg),", Do: []string{"sender: kill t urg"}, Records: signalRecord("receive"),
	},
	{
		Group: "signal", Name: "receive-in-container", About: "a task receives a signal of another in its container", Why: signalWhy,
		Where: []string{InContainer}, Peers: []Task{{Name: "sender", Where: InContainer, Label: InitLabel}},
		Deny: "audit deny signal (receive) set=(urg),", Do: []string{"sender: kill t urg"}, Records: signalRecord("receive"),
	},
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
		Group: "signal", Name: "disjoint", About: "labels that share no namespace", Why: signalWhy + ". A flat label and a host's label see nothing of each other: isolation needs the stack",
		Policy: []Policy{
			{Text: "profile closed flags=(attach_disconnected) {\n  file,\n  capability,\n  signal (receive) peer=unconfined,\n}\n"},
			{Namespace: Namespace, Text: "profile closed flags=(attach_disconnected) {\n  file,\n  capability,\n  signal (receive) peer=unconfined,\n}\n"},
		},
		Cases: []Case{
			{
				Name: "flat-to-host", Tasks: []Task{{Name: "t", Where: OnHost, Label: ":iso:closed"}, {Name: "target", Where: OnHost, Label: "closed"}},
				Do: []string{"kill target urg", "seize target"}, Recorded: "the kernel does not mediate between labels that share no namespace",
			},
			{
				Name: "host-to-flat", Tasks: []Task{{Name: "t", Where: OnHost, Label: "closed"}, {Name: "target", Where: OnHost, Label: ":iso:closed"}},
				Do: []string{"kill target urg", "seize target"}, Recorded: "the kernel does not mediate between labels that share no namespace",
			},
		},
	},
}

const viewWhy = "a task sees its own namespace and what is below: policy_ns.c, aa_ns_visible; apparmorfs.c"

const fs = "/sys/kernel/security/apparmor/"

// withFS are the steps that give a task in the container a securityfs to look
// at, and to write to: LXC's is read-only.
var withFS = []string{"unshare mnt", "mount none / none rec,private", "mount none /sys/kernel/security none remount,bind"}

func inside(label string) []Task { return []Task{{Name: "t", Where: InContainer, Label: label}} }

var viewRows = []Row{
	{
		Group: "view", Name: "own-namespace", About: "what a task in the namespace sees of itself", Why: viewWhy, Smoke: true,
		Cases: []Case{
			{
				Name: "stacked", Tasks: inside(InitLabel), Prepare: withFS,
				Do: []string{
					`label => "ct-allow (enforce)"`, "cat " + fs + `profiles => "ct-allow (enforce)"`, "cat " + fs + `.ns_name => "iso"`, "cat " + fs + `.ns_level => "1"`,
					"cat " + fs + `.stacked => "yes"`, "cat " + fs + `.ns_stacked => "yes"`, "list " + fs + `policy/namespaces => ""`,
				},
				Labels: map[string]string{"t": InitLabel + " (enforce)"},
			},
			{
				Name: "flat", Tasks: inside(":iso:ct-allow"), Prepare: withFS,
				Do: []string{
					`label => "ct-allow (enforce)"`, "cat " + fs + `profiles => "ct-allow (enforce)"`, "cat " + fs + `.ns_name => "iso"`, "cat " + fs + `.ns_level => "1"`,
					"cat " + fs + `.stacked => "no"`, "cat " + fs + `.ns_stacked => "no"`, "list " + fs + `policy/namespaces => ""`,
				},
				Labels: map[string]string{"t": ":iso:ct-allow (enforce)"},
			},
			{
				Name: "stacked-unconfined", Tasks: inside("host-allow//&:iso:unconfined"), Prepare: withFS,
				Do: []string{
					`label => "unconfined"`, "cat " + fs + `profiles => "ct-allow (enforce)"`, "cat " + fs + `.ns_name => "iso"`, "cat " + fs + `.ns_level => "1"`, "cat " + fs + `.ns_stacked => "yes"`,
				},
				Labels: map[string]string{"t": "host-allow//&:iso:unconfined (enforce)"},
			},
			{
				Name: "host", Tasks: []Task{{Name: "t", Where: OnHost, Label: "host-allow"}},
				Do: []string{`label => "host-allow (enforce)"`, "cat " + fs + `.ns_name => "root"`, "cat " + fs + `.ns_level => "0"`, "cat " + fs + `.stacked => "no"`, "cat " + fs + `.ns_stacked => "no"`},
			},
		},
	},
	{
		Group: "view", Name: "host-labels", About: "what a task in the namespace reads of the labels of others", Why: viewWhy + "; procattr.c, aa_getprocattr: a label of which nothing is visible is EACCES",
		Namespaces: []string{"sibling"}, Policy: sibling,
		Cases: []Case{
			{
				Name: "of-host", Tasks: []Task{{Name: "t", Where: OnHost, Label: InitLabel}, {Name: "other", Where: OnHost, Label: "host-allow"}},
				Do: []string{"proc other attr/apparmor/current => EACCES"},
			},
			{
				Name: "of-unconfined", Tasks: []Task{{Name: "t", Where: OnHost, Label: InitLabel}, {Name: "other", Where: OnHost}},
				Do: []string{"proc other attr/apparmor/current => EACCES"},
			},
			{
				Name: "of-sibling", Tasks: []Task{{Name: "t", Where: OnHost, Label: InitLabel}, {Name: "other", Where: OnHost, Label: siblingLabel}},
				Do: []string{"proc other attr/apparmor/current => EACCES"},
			},
			{
				Name: "of-own", Tasks: []Task{{Name: "t", Where: OnHost, Label: InitLabel}, {Name: "other", Where: OnHost, Label: InitLabel}},
				Do: []string{`proc other attr/apparmor/current => "ct-allow (enforce)"`},
			},
		},
	},
	{
		Group: "view", Name: "siblings", About: "another container's namespace is not to be seen", Why: viewWhy, Namespaces: []string{"sibling"}, Policy: sibling,
		Cases: []Case{
			{
				Name: "namespaces", Tasks: inside(InitLabel), Prepare: withFS,
				Do: []string{"list " + fs + `policy/namespaces => ""`, "open " + fs + "policy/namespaces/sibling r => ENOENT", "open " + fs + "policy/namespaces/iso r => ENOENT"},
			},
			{
				Name: "host", Tasks: []Task{{Name: "t", Where: OnHost}},
				Do: []string{"list " + fs + `policy/namespaces => "iso sibling"`},
			},
		},
	},
	{
		Group: "view", Name: "change-profile-out", About: "change_profile to what lies outside is refused", Smoke: true,
		Why:        "labels are looked up in the task's own namespace: label.c, aa_label_parse; domain.c, aa_change_profile",
		Namespaces: []string{"sibling"}, Policy: sibling,
		Cases: []Case{
			out("host-profile", "host-allow"), out("sibling", ":sibling:other"), out("root", ":root:unconfined"), out("root-by-slashes", "://unconfined"),
			out("own-outer-name", ":iso:ct-allow"), out("own-outer-stack", InitLabel), out("own-outer-path", ":root//iso:ct-allow"),
		},
	},
}

// out is a case in which a task asks for a label that it cannot name.
func out(name, label string) Case {
	return Case{
		Name: name, Tasks: inside(InitLabel), Do: []string{"changeprofile " + label + " => ENOENT"}, Labels: map[string]string{"t": InitLabel + " (enforce)"},
		Records: []Record{{Operation: "change_profile", Namespace: "iso", Profile: "ct-allow", Fields: map[string]string{"info": "label not found"}}},
	}
}
