// SPDX-License-Identifier: Apache-2.0

package isolation

const viewWhy = "a task sees its own namespace and what is below: policy_ns.c, aa_ns_visible; apparmorfs.c"

const outWhy = "labels are looked up in the task's own namespace and below, never above: label.c, aa_label_strn_parse; policy_ns.c, aa_lookupn_ns"

// out is a case in which a task asks for a label that it cannot name.
func out(name, label string) Case {
	return Case{
		Name: name, Tasks: inside(InitLabel), Do: []string{"changeprofile " + label + " => ENOENT"}, Labels: map[string]string{"t": InitLabel + " (enforce)"},
		Records: []Record{{Operation: "change_profile", Namespace: "iso", Profile: "ct-allow", Fields: map[string]string{"info": "label not found"}}},
	}
}

// asks is a case in which a task asks, by a step such as "stack", for what it
// cannot name, and keeps its label.
func asks(name, from, operation, step string) Case {
	c := Case{
		Name: name, Tasks: inside(from), Do: []string{step + " => ENOENT"}, Labels: map[string]string{"t": from + " (enforce)"},
		Records: []Record{{Operation: operation, Namespace: Namespace, Profile: ctAllow, Fields: map[string]string{"info": "label not found"}}},
	}
	return c
}

// flags is a case that reads both flags.
func flags(name, label, stacked, over string) Case {
	return Case{
		Name: name, Tasks: inside(label), Prepare: withFS,
		Do: []string{"cat " + fs + `.stacked => "` + stacked + `"`, "cat " + fs + `.ns_stacked => "` + over + `"`},
	}
}

// peer is a case in which a task of the namespace asks who it talks to.
func peer(name, label, want string) Case {
	return Case{
		Name: name, Tasks: []Task{{Name: "t", Where: OnHost, Label: InitLabel}, {Name: "other", Where: OnHost, Label: label}},
		Do: []string{
			"other: s = socket unix stream", "other: bind s @iso-peer", "other: listen s",
			"c = socket unix stream", "connect c @iso-peer", `peersec c => "` + want + `"`,
		},
	}
}

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
		Group: "view", Name: "siblings", About: "another container's namespace is invisible", Why: viewWhy, Namespaces: []string{"sibling"}, Policy: sibling,
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
		Group: "view", Name: "change-profile-out", About: "change_profile to a label outside the namespace is refused", Smoke: true,
		Why:        "labels are looked up in the task's own namespace: label.c, aa_label_parse; domain.c, aa_change_profile",
		Namespaces: []string{"sibling"}, Policy: sibling,
		Cases: []Case{
			out("host-profile", "host-allow"), out("sibling", ":sibling:other"), out("root", ":root:unconfined"), out("root-by-slashes", "://unconfined"),
			out("own-outer-name", ":iso:ct-allow"), out("own-outer-stack", InitLabel), out("own-outer-path", ":root//iso:ct-allow"),
		},
	},
	{
		Group: "view", Name: "flags", About: "whether a label is stacked, and over namespaces, as its task reads it", Why: "apparmorfs.c, seq_ns_stacked_show, seq_ns_nsstacked_show: a label of more than one part, and of parts in more than one namespace",
		Policy: []Policy{
			{Namespace: Namespace, Text: "profile two flags=(attach_disconnected) {\n  …\n}\n"},
			{Text: "profile two flags=(attach_disconnected) {\n  …\n}\n"},
		},
		Cases: []Case{
			flags("unconfined", "", "no", "no"), flags("host", "host-allow", "no", "no"), flags("two-of-host", "host-allow//&two", "yes", "no"),
			flags("flat", ":iso:ct-allow", "no", "no"), flags("two-of-namespace", ":iso:ct-allow//&:iso:two", "yes", "no"),
			flags("stacked", InitLabel, "yes", "yes"), flags("stacked-unconfined", "host-allow//&:iso:unconfined", "yes", "yes"),
		},
	},
	{
		Group: "view", Name: "nested", About: "a namespace sees the namespaces below it, not those above", Why: "policy_ns.c, aa_ns_visible", Namespaces: []string{outer, within}, Policy: nestedPolicy,
		Cases: []Case{
			{
				Name: "outer", Tasks: inside("host-allow//&:outer:p"), Prepare: withFS,
				Do: []string{
					"cat " + fs + `.ns_name => "outer"`, "cat " + fs + `.ns_level => "1"`, "list " + fs + `policy/namespaces => "within"`,
					"cat " + fs + "profiles => \"p (enforce)\n:within:q (enforce)\"",
					"changeprofile :within:q", `label => "q (enforce)"`,
				},
				Labels: map[string]string{"t": "host-allow//&:outer//within:q (enforce)"},
			},
			{
				Name: "inner", Tasks: inside("host-allow//&:outer//within:q"), Prepare: withFS,
				Do: []string{
					`label => "q (enforce)"`, "cat " + fs + `.ns_name => "within"`, "cat " + fs + `.ns_level => "2"`, "list " + fs + `policy/namespaces => ""`,
					"cat " + fs + `profiles => "q (enforce)"`, "changeprofile p => ENOENT", "changeprofile :outer:p => ENOENT",
				},
				Labels: map[string]string{"t": "host-allow//&:outer//within:q (enforce)"},
				Records: []Record{
					{Operation: "change_profile", Namespace: within, Profile: "q", Fields: map[string]string{"info": "label not found"}},
					{Operation: "change_profile", Namespace: within, Profile: "q", Fields: map[string]string{"info": "label not found"}},
				},
			},
		},
	},
	{
		Group: "view", Name: "out-by-any-way", About: "labels outside the namespace are refused by every way to change a label, from stacked and flat labels", Why: outWhy,
		Namespaces: []string{"sibling"}, Policy: sibling,
		Cases: []Case{
			asks("stack-host", InitLabel, "stack", "stack host-allow"), asks("stack-sibling", InitLabel, "stack", "stack :sibling:other"), asks("stack-own-outer-name", InitLabel, "stack", "stack :iso:ct-allow"),
			asks("onexec-host", InitLabel, "change_onexec", "onexec host-allow"), asks("onexec-sibling", InitLabel, "change_onexec", "onexec :sibling:other"),
			asks("stackonexec-host", InitLabel, "stack_onexec", "stackonexec host-allow"),
			asks("flat-host", ":iso:ct-allow", "change_profile", "changeprofile host-allow"), asks("flat-sibling", ":iso:ct-allow", "change_profile", "changeprofile :sibling:other"),
			asks("flat-root", ":iso:ct-allow", "change_profile", "changeprofile :root:unconfined"), asks("flat-own-outer-name", ":iso:ct-allow", "change_profile", "changeprofile :iso:ct-allow"),
			asks("flat-stack-host", ":iso:ct-allow", "stack", "stack host-allow"),
		},
	},
	{
		Group: "view", Name: "peer-labels", About: "the label of the other end of a socket", Why: "lsm.c, apparmor_socket_getpeersec_stream: an invisible label is named unconfined", Needs: []string{"network_v9/af_unix"},
		Cases: []Case{
			peer("of-host", "host-allow", "unconfined"), peer("of-own", InitLabel, "ct-allow (enforce)"), peer("of-unconfined", "", "unconfined"),
		},
	},
	{
		Group: "view", Name: "queries", About: "questions about permissions by the file .access", Why: "apparmorfs.c, query_label, profile_query_cb, query_data: what unconfined may do is all, and a question that ends too early is EINVAL",
		Policy: []Policy{{Text: "profile asked flags=(attach_disconnected) {\n  …\n  deny /iso/f r,\n}\n"}},
		Cases: []Case{{
			Name: "host", Tasks: host,
			Do: []string{
				`query label\x00asked\x00\x02/iso/f => "denied"`, `query label\x00asked\x00\x02/iso/g => "allowed"`, `query label\x00unconfined\x00\x02/iso/f => "allowed"`,
				`query label\x00nobody\x00\x02/iso/f => ENOENT`, `query label\x00asked => EINVAL`, `query data\x00asked\x00key => EINVAL`,
			},
		}},
	},
	{
		Group: "view", Name: "revision", About: "wait for a change of policy by the file revision", Why: "apparmorfs.c, ns_revision_read: a second read waits until policy changed, or is EAGAIN",
		Policy: []Policy{{Name: "more", Text: "profile more flags=(attach_disconnected) {\n  …\n}\n"}},
		Cases: []Case{
			{
				Name: "no-wait", Tasks: host, Do: []string{"r = open " + fs + "revision rn", "read r", "read r => EAGAIN", "@: load more", "read r", "read r => EAGAIN"}, Clean: []string{"@: try remove - more"},
			},
			{
				Name: "wait", Tasks: host,
				Do: []string{
					"@: run exec 3<" + fs + "revision; dd bs=64 count=1 <&3 >/dev/null 2>&1 || exit 9; (sleep 0.3; echo 'profile iso-revision { }' | apparmor_parser -r) & timeout 60 dd bs=64 count=1 <&3 2>/dev/null | grep -q .; r=$?; wait; exit $r",
				},
				Clean: []string{"@: try remove - iso-revision"},
			},
		},
	},
}
