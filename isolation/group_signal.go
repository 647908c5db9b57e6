// SPDX-License-Identifier: Apache-2.0

package isolation

const signalWhy = "both ends are asked, each profile of each label: ipc.c, aa_may_signal, xcheck_labels; the record is the sender's. A profile sees of the other's label only the parts in its own namespace or below: label.c, label_compound_match; what it does not see it does not mediate"

func signalRecord(m string) []Record {
	return []Record{{Operation: "signal", Fields: map[string]string{"requested_mask": m, "denied_mask": m, "signal": "urg"}}}
}

var signalRows = []Row{
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
	{
		Group: "signal", Name: "old-policy", About: "send a signal, by policy of an ABI without signals", Why: "ipc.c, profile_signal_perm, RULE_MEDIATES: such policy did not mediate them, and must not begin to by a newer kernel",
		Cases: []Case{{
			Name: "host", Tasks: []Task{{Name: "t", Where: OnHost}, {Name: "target", Where: OnHost}},
			Do: []string{
				`@: run sed '/^signal {/,+2d' /etc/apparmor.d/abi/3.0 >/run/iso-abi && printf 'abi "/run/iso-abi",\nprofile iso-unsignalled { file, capability, }\n' | apparmor_parser -r`,
				"changeprofile iso-unsignalled", "kill target urg", "target: kill t urg",
			},
			Clean:  []string{"@: try remove - iso-unsignalled"},
			Labels: map[string]string{"t": "iso-unsignalled (enforce)"},
		}},
	},
}
