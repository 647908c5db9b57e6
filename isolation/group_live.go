// SPDX-License-Identifier: Apache-2.0

package isolation

// live is a profile that is replaced while tasks run under it.
func live(name, ns, rule string) Policy {
	return Policy{Name: name, Namespace: ns, Text: "profile live flags=(attach_disconnected) {\n  …\n  " + rule + "\n}\n"}
}

const liveDeny = "audit deny /iso/f r,"

// doomed is a namespace that a case removes under its tasks.
const doomed = "doomed"

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
		Prepare: []string{"put /iso/h", "put /iso/live", "@: try mkns doomed", "@: load doomed-held"},
		Do:      []string{"cat /iso/h => EACCES"},
		Clean:   append(clean, "@: try mkns doomed", "@: load doomed-held"),
		Records: []Record{hostDenies, hostDenies},
	}
	c.Do = append(append(c.Do, what...), "cat /iso/h => EACCES")
	return c
}

// hatted is a profile with a hat.
func hatted(name, ns, rule string) Policy {
	return Policy{Name: name, Namespace: ns, Text: "profile hatted flags=(attach_disconnected) {\n  …\n  " + rule + "\n  ^hat flags=(attach_disconnected) {\n  …\n  }\n}\n"}
}

// hats is a case in which a task changes to a hat and back while two texts of
// its profile replace each other.
func hats(name, label, one, two string) Case {
	return Case{
		Name: name, Tasks: []Task{{Name: "t", Where: OnHost, Label: label}},
		Do:     []string{"@: churn " + one + " " + two, `hats hat 2000 => "0 failed"`, "@: settle"},
		Clean:  []string{"@: settle"},
		Labels: map[string]string{"t": label + " (enforce)"},
	}
}

// twoSpaces is a case with a task in a namespace to which something happens,
// and one in another, for which all stays.
func twoSpaces(name string, what ...string) Case {
	return Case{
		Name:    name,
		Tasks:   []Task{{Name: "t", Where: InContainer, Label: "held//&:doomed:held"}, {Name: "other", Where: InContainer, Label: "held//&:sibling:held"}},
		Prepare: []string{"put /iso/live", "@: try mkns doomed", "@: load doomed-held"},
		Do:      append(append([]string{"@: hold doomed"}, what...), "other: cat /iso/live", `other: label => "held (enforce)"`, `@: held => "unchanged"`),
		Labels:  map[string]string{"other": "held//&:sibling:held (enforce)"},
		Clean:   []string{"@: try mkns doomed", "@: load doomed-held"},
	}
}

var liveRows = []Row{
	{
		Group: "live", Name: "replace", About: "replace policy under a running task: enforced at once, on that side only", Smoke: true,
		Why:    "policy.c, aa_replace_profiles, __replace_profile: labels are redirected to the new profile; a file that was opened before is looked at again when its label is stale",
		Policy: []Policy{live("", "", ""), live("", Namespace, ""), live("host-deny", "", liveDeny), live("ct-deny", Namespace, liveDeny), live("host-ok", "", ""), live("ct-ok", Namespace, ""), live("ct-third", Namespace, "audit deny /iso/g r,")},
		Cases: []Case{
			{
				Name: "host", Tasks: []Task{{Name: "t", Where: InContainer, Label: "live//&:iso:live"}, {Name: "flat", Where: InContainer, Label: ":iso:live"}}, Prepare: []string{"@: load host-ok", "@: load ct-ok", "put /iso/f"},
				Do:      []string{"cat /iso/f", "@: load host-deny", "cat /iso/f => EACCES", "flat: cat /iso/f", "@: load host-ok", "cat /iso/f"},
				Labels:  map[string]string{"t": "live//&:iso:live (enforce)"},
				Records: []Record{{Operation: "open", Profile: "live", Name: "/iso/f"}},
			},
			{
				Name: "namespace", Tasks: []Task{{Name: "t", Where: InContainer, Label: "live//&:iso:live"}, {Name: "host", Where: InContainer, Label: "live"}}, Prepare: []string{"@: load host-ok", "@: load ct-ok", "put /iso/f"},
				Do:      []string{"cat /iso/f", "@: load ct-deny", "cat /iso/f => EACCES", "host: cat /iso/f", "@: load ct-ok", "cat /iso/f"},
				Labels:  map[string]string{"t": "live//&:iso:live (enforce)"},
				Records: []Record{{Operation: "open", Namespace: "iso", Profile: "live", Name: "/iso/f"}},
			},
			{
				Name: "host-alone", Tasks: []Task{{Name: "t", Where: OnHost, Label: "live"}}, Prepare: []string{"@: load host-ok", "put /iso/f"},
				Do:      []string{"cat /iso/f", "@: load host-deny", "cat /iso/f => EACCES", "@: load host-ok", "cat /iso/f", "@: load host-deny", "cat /iso/f => EACCES", "@: load host-ok", "cat /iso/f"},
				Labels:  map[string]string{"t": "live (enforce)"},
				Records: []Record{{Operation: "open", Profile: "live", Name: "/iso/f"}, {Operation: "open", Profile: "live", Name: "/iso/f"}},
			},
			{
				Name: "flat", Tasks: []Task{{Name: "t", Where: OnHost, Label: ":iso:live"}}, Prepare: []string{"@: load ct-ok", "put /iso/f"},
				Do:      []string{"cat /iso/f", "@: load ct-deny", "cat /iso/f => EACCES", "@: load ct-ok", "cat /iso/f", "@: load ct-deny", "cat /iso/f => EACCES", "@: load ct-ok", "cat /iso/f"},
				Labels:  map[string]string{"t": ":iso:live (enforce)"},
				Records: []Record{{Operation: "open", Namespace: "iso", Profile: "live", Name: "/iso/f"}, {Operation: "open", Namespace: "iso", Profile: "live", Name: "/iso/f"}},
			},
			{
				Name: "stacked-twice-to-deny", Tasks: []Task{{Name: "t", Where: OnHost, Label: "live//&:iso:live"}}, Prepare: []string{"@: load host-ok", "@: load ct-deny", "put /iso/f"},
				Do:      []string{"cat /iso/f => EACCES", "@: load ct-ok", "cat /iso/f", "@: load ct-deny", "cat /iso/f => EACCES"},
				Labels:  map[string]string{"t": "live//&:iso:live (enforce)"},
				Clean:   []string{"@: load ct-ok"},
				Records: []Record{{Operation: "open", Namespace: "iso", Profile: "live", Name: "/iso/f"}, {Operation: "open", Namespace: "iso", Profile: "live", Name: "/iso/f"}},
			},
			{
				Name: "stacked-twice-label-read", Tasks: []Task{{Name: "t", Where: OnHost, Label: "live//&:iso:live"}}, Prepare: []string{"@: load host-ok", "@: load ct-deny", "put /iso/f"},
				Do:      []string{"cat /iso/f => EACCES", "@: load ct-ok", "cat /iso/f", "@: labelof t", "label", "@: load ct-deny", "@: labelof t", "label", "cat /iso/f => EACCES"},
				Labels:  map[string]string{"t": "live//&:iso:live (enforce)"},
				Clean:   []string{"@: load ct-ok"},
				Records: []Record{{Operation: "open", Namespace: "iso", Profile: "live", Name: "/iso/f"}, {Operation: "open", Namespace: "iso", Profile: "live", Name: "/iso/f"}},
			},
			{
				Name: "newcomer-into-the-stack", Tasks: []Task{{Name: "t", Where: OnHost, Label: "live//&:iso:live"}, {Name: "late", Where: OnHost}}, Prepare: []string{"@: load host-ok", "@: load ct-deny", "put /iso/f"},
				Do:      []string{"cat /iso/f => EACCES", "@: load ct-ok", "cat /iso/f", "@: load ct-deny", "late: changeprofile live//&:iso:live", "late: cat /iso/f => EACCES"},
				Labels:  map[string]string{"late": "live//&:iso:live (enforce)"},
				Clean:   []string{"@: load ct-ok"},
				Records: []Record{{Operation: "open", Namespace: "iso", Profile: "live", Name: "/iso/f"}, {Operation: "open", Namespace: "iso", Profile: "live", Name: "/iso/f"}},
			},
			{
				Name: "third-text", Tasks: []Task{{Name: "t", Where: OnHost, Label: "live//&:iso:live"}}, Prepare: []string{"@: load host-ok", "@: load ct-ok", "put /iso/f", "put /iso/g"},
				Do:      []string{"cat /iso/f", "@: load ct-deny", "cat /iso/f => EACCES", "@: load ct-third", "cat /iso/g => EACCES", "cat /iso/f"},
				Clean:   []string{"@: load ct-ok"},
				Records: []Record{{Operation: "open", Namespace: "iso", Profile: "live", Name: "/iso/f"}, {Operation: "open", Namespace: "iso", Profile: "live", Name: "/iso/g"}},
			},
			{
				Name: "open-descriptor", Tasks: inside("live//&:iso:live"), Prepare: []string{"@: load host-ok", "@: load ct-ok", "put /iso/f"},
				Do:       []string{"f = open /iso/f r", "read f", "@: load ct-deny", "read f", "@: load ct-ok"},
				Recorded: "whether a descriptor that is open is looked at again after a replacement",
			},
		},
	},
	{
		Group: "live", Name: "remove", About: "remove a profile under a running task, and load it again",
		Why:    "policy.c, aa_remove_profiles: measured on 6.1, 6.12 and 7.3: a stacked task keeps enforcing the removed profile, and loading it again does not re-attach it",
		Policy: []Policy{live("", "", ""), live("", Namespace, liveDeny), live("ct-deny", Namespace, liveDeny), live("host-deny", "", liveDeny), live("ct-ok", Namespace, ""), live("host-ok", "", "")},
		Cases: []Case{
			{
				Name: "stacked", Tasks: inside("live//&:iso:live"), Prepare: []string{"@: load host-ok", "@: load ct-deny", "put /iso/f"},
				Do:       []string{"cat /iso/f => EACCES", "@: remove iso live", "cat /iso/f", "label", "@: load ct-ok", "cat /iso/f", "label"},
				Recorded: "no right answer: what a task is confined by when its profile is removed",
			},
			{
				Name: "flat", Tasks: inside(":iso:live"), Prepare: []string{"@: load ct-deny", "put /iso/f"},
				Do:       []string{"cat /iso/f => EACCES", "@: remove iso live", "cat /iso/f", "label", "@: load ct-ok", "cat /iso/f", "label"},
				Recorded: "no right answer: what a task is confined by when its profile is removed",
			},
			{
				Name: "host", Tasks: []Task{{Name: "t", Where: OnHost, Label: "live"}}, Prepare: []string{"@: load host-deny", "put /iso/f"},
				Do:       []string{"cat /iso/f => EACCES", "@: remove - live", "cat /iso/f", "label", "@: load host-ok", "cat /iso/f", "label"},
				Recorded: "no right answer: what a task is confined by when its profile is removed",
			},
		},
	},
	{
		Group: "live", Name: "rmdir", About: "remove a namespace under its tasks, and create it again", Namespaces: []string{doomed},
		Why:    "policy_ns.c, __aa_remove_ns; measured: a flat task becomes unconfined in the root namespace, a stacked one keeps its confinement on an orphan; a new namespace adopts neither",
		Policy: []Policy{live("doomed", doomed, liveDeny)},
		Cases: []Case{
			{
				Name: "flat", Tasks: []Task{{Name: "t", Where: OnHost}}, Prepare: []string{"@: try mkns doomed", "@: load doomed", "put /iso/f"},
				Do:       []string{"changeprofile :doomed:live", "cat /iso/f => EACCES", "@: rmns doomed", "cat /iso/f", "@: labelof t", "@: mkns doomed", "@: load doomed", "cat /iso/f", "@: labelof t"},
				Recorded: "no right answer: the kernel lets a namespace be removed under its tasks",
			},
			{
				Name: "stacked", Tasks: []Task{{Name: "t", Where: OnHost}}, Prepare: []string{"@: try mkns doomed", "@: load doomed", "put /iso/f"},
				Do:       []string{"changeprofile host-allow//&:doomed:live", "cat /iso/f => EACCES", "@: rmns doomed", "cat /iso/f", "@: labelof t", "@: mkns doomed", "@: load doomed", "cat /iso/f", "@: labelof t"},
				Recorded: "no right answer: the kernel lets a namespace be removed under its tasks",
			},
		},
	},
	{
		Group: "live", Name: "host-part-stays", About: "whatever happens to the namespace's part, the host's part is enforced", Smoke: true,
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
		Group: "live", Name: "hats", About: "change_hat while the profile is replaced again and again: no change fails",
		Why:        "domain.c, change_hat: since a fix of 2026 it holds the namespace's lock from the newest label to the hat; before, a replacement in between left a profile without hats (Launchpad 2139664). A kernel without the fix need not fail: it takes the right moment",
		Namespaces: []string{doomed},
		Policy:     []Policy{hatted("", "", ""), hatted("", doomed, ""), hatted("host-one", "", "deny /iso/one r,"), hatted("host-two", "", "deny /iso/two r,"), hatted("doomed-one", doomed, "deny /iso/one r,"), hatted("doomed-two", doomed, "deny /iso/two r,")},
		Cases: []Case{
			hats("host", "hatted", "host-one", "host-two"),
			hats("namespace", ":doomed:hatted", "doomed-one", "doomed-two"),
			hats("stacked", "host-allow//&:doomed:hatted", "doomed-one", "doomed-two"),
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
		Group: "live", Name: "other-namespace", About: "a profile of one name in two namespaces: a change of one does not affect the other", Why: "policy.c, aa_lookup_profile",
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
	{
		Group: "live", Name: "rmdir-nested", About: "remove a namespace above that of a task", Namespaces: []string{doomed, doomed + "//inner"}, Policy: []Policy{heldPolicy("", ""), {Namespace: doomed + "//inner", Text: "profile q flags=(attach_disconnected) {\n  …\n  audit deny /iso/f r,\n}\n"}},
		Why: "policy_ns.c, destroy_ns, __ns_list_release: namespaces below are removed with it, so that their tasks no longer have a part there (which label they then show depends on the kernel)",
		Cases: []Case{{
			Name: "flat", Tasks: []Task{{Name: "t", Where: OnHost, Label: ":doomed//inner:q"}}, Prepare: []string{"put /iso/f"},
			Do:      []string{"cat /iso/f => EACCES", "@: rmns doomed", "cat /iso/f"},
			Records: []Record{{Operation: "open", Namespace: "doomed//inner", Profile: "q", Name: "/iso/f"}},
		}},
	},
}
