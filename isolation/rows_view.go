package isolation

const outWhy = "labels are looked up in the task's own namespace and below, never above: label.c, aa_label_strn_parse; policy_ns.c, aa_lookupn_ns"

// The namespaces that these rows look into: one within the other.
const (
	outer  = "outer"
	within = "outer//within"
)

var nestedPolicy = []Policy{
	{Namespace: outer, Text: "profile p flags=(attach_disconnected) {\n  …\n}\n"},
	{Namespace: within, Text: "profile q flags=(attach_disconnected) {\n  …\n}\n"},
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

var insideRows = []Row{
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
		Group: "view", Name: "nested", About: "a namespace sees those below it, and none above", Why: "policy_ns.c, aa_ns_visible", Namespaces: []string{outer, within}, Policy: nestedPolicy,
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
		Group: "view", Name: "out-by-any-way", About: "what lies outside is refused by every way to change a label, from stacked and flat labels", Why: outWhy,
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
		Group: "view", Name: "peer-labels", About: "the label of who is at the other end of a socket", Why: "lsm.c, apparmor_socket_getpeersec_stream: what is not to be seen is named unconfined", Needs: []string{"network_v9/af_unix"},
		Cases: []Case{
			peer("of-host", "host-allow", "unconfined"), peer("of-own", InitLabel, "ct-allow (enforce)"), peer("of-unconfined", "", "unconfined"),
		},
	},
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
