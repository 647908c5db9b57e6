package isolation

// kept is the host's profile of these rows: its part of a stack is to be in
// force whatever becomes of the namespace's.
func heldPolicy(ns, rule string) Policy {
	return Policy{Namespace: ns, Text: "profile held flags=(attach_disconnected) {\n  …\n  " + rule + "\n}\n"}
}

// named gives policy a name, for steps to load it.
func named(name string, p Policy) Policy {
	p.Name = name
	return p
}

// held is a case in which something befalls the namespace's part of a stack;
// the host's part denies /iso/h before and after.
func held(name string, clean []string, what ...string) Case {
	hostDenies := Record{Operation: "open", Profile: "held", Name: "/iso/h"}
	c := Case{
		Name: name, Tasks: []Task{{Name: "t", Where: InContainer, Label: "held//&:doomed:held"}},
		Prepare: []string{"put /iso/h", "put /iso/live", "@: trymkns doomed", "@: load doomed-held"},
		Do:      []string{"cat /iso/h => EACCES"},
		Clean:   append(clean, "@: trymkns doomed", "@: load doomed-held"),
		Records: []Record{hostDenies, hostDenies},
	}
	c.Do = append(append(c.Do, what...), "cat /iso/h => EACCES")
	return c
}

var changeRows = []Row{
	{
		Group: "live", Name: "host-part-stays", About: "whatever becomes of the namespace's part, the host's part is in force", Smoke: true,
		Why:        "each part of a label is redirected by itself: label.c, __label_update, aa_label_remove; policy_ns.c, destroy_ns",
		Namespaces: []string{doomed},
		Policy: []Policy{
			heldPolicy("", "audit deny /iso/h r,"), heldPolicy(doomed, ""), named("doomed-held", heldPolicy(doomed, "")),
			named("doomed-other", heldPolicy(doomed, "deny /iso/live r,")),
			{Name: "doomed-free", Namespace: doomed, Text: "profile held flags=(attach_disconnected,unconfined) {\n  file,\n}\n"},
			{Name: "doomed-complains", Namespace: doomed, Text: "profile held flags=(attach_disconnected,complain) {\n  …\n}\n"},
		},
		Cases: []Case{
			held("replaced", nil, "cat /iso/live", "@: load doomed-other", "cat /iso/live => EACCES"),
			held("unconfined", nil, "@: load doomed-free"),
			held("complain", nil, "@: load doomed-complains"),
			held("removed", nil, "@: remove doomed held"),
			held("removed-and-loaded", nil, "@: remove doomed held", "@: load doomed-held"),
			held("namespace-removed", nil, "@: rmns doomed"),
			held("namespace-made-again", nil, "@: rmns doomed", "@: mkns doomed", "@: load doomed-held"),
			held("changed-from-inside", nil, "changeprofile unconfined"),
		},
	},
	{
		Group: "live", Name: "reload", About: "load the same policy again under a running task", Why: "policy.c, aa_replace_profiles: \"same as current profile, skipping\"",
		Namespaces: []string{doomed}, Policy: []Policy{heldPolicy("", "audit deny /iso/h r,"), heldPolicy(doomed, "deny /iso/live r,"), named("same", heldPolicy(doomed, "deny /iso/live r,"))},
		Cases: []Case{{
			Name: "same", Tasks: []Task{{Name: "t", Where: InContainer, Label: "held//&:doomed:held"}}, Prepare: []string{"put /iso/h", "put /iso/live"},
			Do:      []string{"cat /iso/live => EACCES", "@: load same", "@: load same", "cat /iso/live => EACCES", "cat /iso/h => EACCES"},
			Labels:  map[string]string{"t": "held//&:doomed:held (enforce)"},
			Records: []Record{{Operation: "open", Profile: "held", Name: "/iso/h"}},
		}},
	},
	{
		Group: "live", Name: "other-namespace", About: "a profile of one name in two namespaces: what becomes of one is not the other's", Why: "policy.c, aa_lookup_profile",
		Namespaces: []string{doomed, "sibling"},
		Policy: []Policy{
			heldPolicy("", ""), heldPolicy(doomed, ""), heldPolicy("sibling", ""),
			named("doomed-held", heldPolicy(doomed, "")), named("doomed-denies", heldPolicy(doomed, "deny /iso/live r,")),
		},
		Cases: []Case{
			twoSpaces("replaced", "cat /iso/live", "@: load doomed-denies", "cat /iso/live => EACCES"),
			twoSpaces("removed", "@: remove doomed held"),
			twoSpaces("namespace-removed", "@: rmns doomed"),
		},
	},
}

// twoSpaces is a case with a task in a namespace to which something happens,
// and one in another, for which all stays.
func twoSpaces(name string, what ...string) Case {
	return Case{
		Name:    name,
		Tasks:   []Task{{Name: "t", Where: InContainer, Label: "held//&:doomed:held"}, {Name: "other", Where: InContainer, Label: "held//&:sibling:held"}},
		Prepare: []string{"put /iso/live", "@: trymkns doomed", "@: load doomed-held"},
		Do:      append(append([]string{"@: hold doomed"}, what...), "other: cat /iso/live", `other: label => "held (enforce)"`, `@: held => "unchanged"`),
		Labels:  map[string]string{"other": "held//&:sibling:held (enforce)"},
		Clean:   []string{"@: trymkns doomed", "@: load doomed-held"},
	}
}
