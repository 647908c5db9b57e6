// SPDX-License-Identifier: Apache-2.0

package isolation

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
		Group: "modes", Name: "kill", About: "a part in kill mode kills the task when it denies", Why: modeWhy,
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
		Group: "modes", Name: "unconfined", About: "a part in unconfined mode allows everything", Why: modeWhy,
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
		Group: "modes", Name: "audit-and-quiet", About: "rules that log what they allow, and rules that deny without a record", Why: "audit.c; policy_unpack.c: quiet comes with deny, audit takes it back",
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
