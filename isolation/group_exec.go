// SPDX-License-Identifier: Apache-2.0

package isolation

import "slices"

const execWhy = "each profile of the label finds its own transition, and the new label is their stack; the first that denies ends it, and alone logs: domain.c, apparmor_bprm_creds_for_exec, fn_label_build"

// sameLabels are those of tasks whose parts have the usual names.
func sameLabels(host, ns string) map[string]string {
	return map[string]string{
		"host":               host + " (enforce)",
		"namespace":          ":iso:" + ns + " (enforce)",
		"stacked":            host + "//&:iso:" + ns + " (enforce)",
		"stacked-unconfined": host + "//&:iso:unconfined (enforce)",
	}
}

// next are the profiles that transitions lead to, one on each side.
var next = []Policy{
	{Text: "profile next flags=(attach_disconnected) {\n  …\n}\n"},
	{Namespace: Namespace, Text: "profile next flags=(attach_disconnected) {\n  …\n}\n"},
}

// executing are profiles, one on each side, with a rule for /iso/bin.
func executing(name, how string) []Policy {
	text := "profile " + name + " flags=(attach_disconnected) {\n  …\n  /iso/bin " + how + ",\n}\n"
	return []Policy{{Text: text}, {Namespace: Namespace, Text: text}}
}

// secure is a case of whether AT_SECURE is set, and of the label that follows.
func secure(name, label, set, after string) Case {
	return Case{
		Name: name, Tasks: inside(label), Prepare: []string{"elf /iso/bin"},
		Do: []string{"exec /iso/bin", `@: secure t => "` + set + `"`}, Labels: map[string]string{"t": after},
	}
}

var execRows = []Row{
	{
		Group: "exec", Name: "ix", Second: Never, About: "execute under the same profile", Why: execWhy, Smoke: true,
		Deny: "audit deny /iso/bin x,", Prepare: []string{"elf /iso/bin"}, Do: []string{"exec /iso/bin"},
		Records: []Record{{Operation: "exec", Name: "/iso/bin", Fields: denied("x")}},
	},
	{
		Group: "exec", Name: "px", Second: Never, About: "execute under another profile", Why: execWhy,
		More: "/iso/bin px -> next,", Deny: "audit deny /iso/bin x,", Extra: next,
		Prepare: []string{"elf /iso/bin"}, Do: []string{"exec /iso/bin"}, After: sameLabels("next", "next"),
		Records: []Record{{Operation: "exec", Name: "/iso/bin", Fields: denied("x")}},
	},
	{
		Group: "exec", Name: "px-missing", Second: Never, About: "execute under a profile that is not loaded", Why: execWhy + "; a transition to a missing profile is denied",
		Bare: "file,\n  capability,\n  network,\n  unix,\n  signal,", Allow: "/iso/bin ix,", More: "audit deny /iso/none r,", Missing: "/iso/bin px -> nowhere,",
		Prepare: []string{"elf /iso/bin"}, Do: []string{"exec /iso/bin"},
		Records: []Record{{Operation: "exec", Name: "/iso/bin", Fields: map[string]string{"info": "profile transition not found"}}},
	},
	{
		Group: "exec", Name: "cx", Second: Never, About: "execute under a child profile", Why: execWhy,
		More: "/iso/bin cx -> child,\n  profile child flags=(attach_disconnected) {\n  …\n  }", Deny: "audit deny /iso/bin x,",
		Prepare: []string{"elf /iso/bin"}, Do: []string{"exec /iso/bin"}, After: sameLabels("host-row//child", "ct-row//child"),
		Records: []Record{{Operation: "exec", Name: "/iso/bin", Fields: denied("x")}},
	},
	{
		Group: "exec", Name: "ux", Second: Never, About: "execute unconfined: each part leaves its own profile only", Why: execWhy,
		More: "/iso/bin ux,", Deny: "audit deny /iso/bin x,",
		Prepare: []string{"elf /iso/bin"}, Do: []string{"exec /iso/bin"},
		After: map[string]string{
			"host": "unconfined", "namespace": ":iso:unconfined",
			"stacked": "unconfined//&:iso:unconfined", "stacked-unconfined": "unconfined//&:iso:unconfined",
		},
		Records: []Record{{Operation: "exec", Name: "/iso/bin", Fields: denied("x")}},
	},
	{
		Group: "exec", Name: "secure", About: "whether AT_SECURE is set for the program: by Px and Ux, not by px and ux",
		Why:    "domain.c, profile_transition: a transition without AA_X_UNSAFE asks for it, and apparmor_bprm_creds_for_exec sets bprm->secureexec where one part of the label does",
		Policy: slices.Concat(next, executing("trusting", "px -> next"), executing("distrusting", "Px -> next"), executing("freeing", "ux"), executing("scrubbing", "Ux")),
		Cases: []Case{
			secure("px", "trusting", "0", "next (enforce)"), secure("Px", "distrusting", "1", "next (enforce)"),
			secure("ux", "freeing", "0", "unconfined"), secure("Ux", "scrubbing", "1", "unconfined"),
			secure("stacked-neither", "trusting//&:iso:trusting", "0", "next//&:iso:next (enforce)"),
			secure("stacked-by-host", "distrusting//&:iso:trusting", "1", "next//&:iso:next (enforce)"),
			secure("stacked-by-namespace", "trusting//&:iso:distrusting", "1", "next//&:iso:next (enforce)"),
		},
	},
	{
		Group: "exec", Name: "attachment", About: "the host's profile for an executable, and tasks in a namespace",
		Why: "only a profile that is unconfined attaches, and looks in its own namespace: domain.c, profile_transition, find_attach",
		Policy: []Policy{
			{Text: "profile attached /iso/attached flags=(attach_disconnected) {\n  …\n}\n"},
			{Name: "inner", Namespace: Namespace, Text: "profile inner /iso/attached flags=(attach_disconnected) {\n  …\n}\n"},
		},
		Cases: []Case{
			{
				Name: "unconfined", Tasks: []Task{{Name: "t", Where: OnHost}},
				Prepare: []string{"elf /iso/attached"}, Do: []string{"exec /iso/attached"},
				Labels: map[string]string{"t": "attached (enforce)"},
			},
			{
				Name: "unconfined-in-container", Tasks: []Task{{Name: "t", Where: InContainer}},
				Prepare: []string{"elf /iso/attached"}, Do: []string{"exec /iso/attached"},
				Labels: map[string]string{"t": "attached (enforce)"},
			},
			{
				Name: "flat", Tasks: []Task{{Name: "t", Where: InContainer, Label: ":iso:ct-allow"}},
				Prepare: []string{"elf /iso/attached"}, Do: []string{"exec /iso/attached"},
				Labels: map[string]string{"t": ":iso:ct-allow (enforce)"},
			},
			{
				Name: "flat-unconfined", Tasks: []Task{{Name: "t", Where: InContainer, Label: ":iso:unconfined"}},
				Prepare: []string{"elf /iso/attached"}, Do: []string{"exec /iso/attached"},
				Labels: map[string]string{"t": ":iso:unconfined"},
			},
			{
				Name: "stacked", Tasks: []Task{{Name: "t", Where: InContainer, Label: InitLabel}},
				Prepare: []string{"elf /iso/attached"}, Do: []string{"exec /iso/attached"},
				Labels: map[string]string{"t": InitLabel + " (enforce)"},
			},
			{
				Name: "stacked-unconfined", Tasks: []Task{{Name: "t", Where: InContainer, Label: "host-allow//&:iso:unconfined"}},
				Prepare: []string{"elf /iso/attached"}, Do: []string{"exec /iso/attached"},
				Labels: map[string]string{"t": "host-allow//&:iso:unconfined (enforce)"},
			},
			{
				Name: "namespace-attachment", Tasks: []Task{{Name: "t", Where: InContainer, Label: "host-allow//&:iso:unconfined"}},
				Prepare: []string{"@: load inner", "elf /iso/attached"}, Do: []string{"exec /iso/attached"},
				Clean:  []string{"@: remove iso inner"},
				Labels: map[string]string{"t": "host-allow//&:iso:inner (enforce)"},
			},
		},
	},
	{
		Group: "exec", Name: "no-new-privs", About: "transitions under no_new_privs",
		Why:   "only a label that confines at least as much: domain.c, aa_label_is_unconfined_subset and the check of no_new_privs in apparmor_bprm_creds_for_exec and aa_change_profile. A change_profile that fails so is not logged, as no policy denies it",
		Needs: []string{"domain/post_nnp_subset"}, Policy: append([]Policy{
			{Text: "profile nnp-px flags=(attach_disconnected) {\n  …\n  /iso/bin px -> next,\n}\n"},
			{Text: "profile nnp-stack flags=(attach_disconnected) {\n  …\n  /iso/bin pix -> &next,\n}\n"},
		}, next...),
		Cases: []Case{
			{
				Name: "stack-in-namespace", Tasks: []Task{{Name: "t", Where: InContainer, Label: InitLabel}},
				Do:     []string{"nnp", "stack next"},
				Labels: map[string]string{"t": "host-allow//&:iso:ct-allow//&next (enforce)"},
			},
			{
				Name: "change-in-namespace", Tasks: []Task{{Name: "t", Where: InContainer, Label: InitLabel}},
				Do:     []string{"nnp", "changeprofile next => EPERM"},
				Labels: map[string]string{"t": InitLabel + " (enforce)"},
			},
			{
				Name: "change-on-host", Tasks: []Task{{Name: "t", Where: OnHost, Label: "host-allow"}},
				Do:     []string{"nnp", "changeprofile next => EPERM"},
				Labels: map[string]string{"t": "host-allow (enforce)"},
			},
			{
				Name: "px", Tasks: []Task{{Name: "t", Where: OnHost, Label: "nnp-px"}}, Prepare: []string{"elf /iso/bin"},
				Do:      []string{"nnp", "exec /iso/bin => EPERM"},
				Labels:  map[string]string{"t": "nnp-px (enforce)"},
				Records: []Record{{Operation: "exec", Profile: "nnp-px", Name: "/iso/bin"}},
			},
			{
				Name: "px-stack", Tasks: []Task{{Name: "t", Where: OnHost, Label: "nnp-stack"}}, Prepare: []string{"elf /iso/bin"},
				Do:     []string{"nnp", "exec /iso/bin"},
				Labels: map[string]string{"t": "next//&nnp-stack (enforce)"},
			},
			{
				Name: "into-namespace-from-unconfined", Tasks: []Task{{Name: "t", Where: OnHost}},
				Do:     []string{"nnp", "changeprofile " + InitLabel},
				Labels: map[string]string{"t": InitLabel + " (enforce)"},
			},
		},
	},
	{
		Group: "exec", Name: "change-profile", About: "change_profile inside the stack: only its own part changes", Smoke: true,
		Why:    "the new label is built in the task's own namespace, the other parts stay unchanged: domain.c, aa_change_profile, fn_label_build_in_ns",
		Policy: next,
		Cases: []Case{
			{
				Name: "stacked", Tasks: []Task{{Name: "t", Where: InContainer, Label: InitLabel}},
				Do: []string{`label => "ct-allow (enforce)"`, "changeprofile next", `label => "next (enforce)"`}, Labels: map[string]string{"t": "host-allow//&:iso:next (enforce)"},
			},
			{
				Name: "stacked-unconfined", Tasks: []Task{{Name: "t", Where: InContainer, Label: "host-allow//&:iso:unconfined"}},
				Do: []string{`label => "unconfined"`, "changeprofile next", `label => "next (enforce)"`}, Labels: map[string]string{"t": "host-allow//&:iso:next (enforce)"},
			},
			{
				Name: "to-unconfined", Tasks: []Task{{Name: "t", Where: InContainer, Label: InitLabel}},
				Do: []string{"changeprofile unconfined", `label => "unconfined"`}, Labels: map[string]string{"t": "host-allow//&:iso:unconfined (enforce)"},
			},
			{
				Name: "flat", Tasks: []Task{{Name: "t", Where: InContainer, Label: ":iso:ct-allow"}},
				Do: []string{"changeprofile next"}, Labels: map[string]string{"t": ":iso:next (enforce)"},
			},
			{
				Name: "missing", Tasks: []Task{{Name: "t", Where: InContainer, Label: InitLabel}},
				Do: []string{"changeprofile nowhere => ENOENT"}, Labels: map[string]string{"t": InitLabel + " (enforce)"},
				Records: []Record{{Operation: "change_profile", Namespace: "iso", Profile: "ct-allow", Name: "nowhere", Fields: map[string]string{"info": "label not found"}}},
			},
			{
				Name: "stack", Tasks: []Task{{Name: "t", Where: InContainer, Label: InitLabel}},
				Do: []string{"stack next", `label => "ct-allow//&next (enforce)"`}, Labels: map[string]string{"t": "host-allow//&:iso:ct-allow//&next (enforce)"},
			},
		},
	},
	{
		Group: "exec", Name: "change-profile-denied", About: "change_profile that policy denies",
		Why:    "the rule of the part that would change: domain.c, change_profile_perms",
		Policy: append([]Policy{{Namespace: Namespace, Text: "profile held flags=(attach_disconnected) {\n  …\n  audit deny change_profile -> next,\n}\n"}, {Text: "profile held flags=(attach_disconnected) {\n  …\n  audit deny change_profile -> next,\n}\n"}}, next...),
		Cases: []Case{
			{
				Name: "by-namespace", Tasks: []Task{{Name: "t", Where: InContainer, Label: "host-allow//&:iso:held"}},
				Do: []string{"changeprofile next => EACCES"}, Labels: map[string]string{"t": "host-allow//&:iso:held (enforce)"},
				Records: []Record{{Operation: "change_profile", Namespace: "iso", Profile: "held", Name: "next"}},
			},
			{
				Name: "by-host", Tasks: []Task{{Name: "t", Where: OnHost, Label: "held"}},
				Do: []string{"changeprofile next => EACCES"}, Labels: map[string]string{"t": "held (enforce)"},
				Records: []Record{{Operation: "change_profile", Profile: "held", Name: "next"}},
			},
		},
	},
	{
		Group: "exec", Name: "change-onexec", About: "change_onexec inside the stack: only its own part changes",
		Why:    "domain.c, handle_onexec",
		Policy: next,
		Cases: []Case{
			{
				Name: "stacked", Tasks: []Task{{Name: "t", Where: InContainer, Label: InitLabel}}, Prepare: []string{"elf /iso/bin"},
				Do: []string{"onexec next", "exec /iso/bin"}, Labels: map[string]string{"t": "host-allow//&:iso:next (enforce)"},
			},
			{
				Name: "stackonexec", Tasks: []Task{{Name: "t", Where: InContainer, Label: InitLabel}}, Prepare: []string{"elf /iso/bin"},
				Do: []string{"stackonexec next", "exec /iso/bin"}, Labels: map[string]string{"t": "host-allow//&:iso:ct-allow//&next (enforce)"},
			},
			{
				Name: "from-host", Tasks: []Task{{Name: "t", Where: OnHost, Label: "host-allow"}}, Prepare: []string{"elf /iso/bin"},
				Do: []string{"onexec next", "exec /iso/bin"}, Labels: map[string]string{"t": "next (enforce)"},
			},
			{
				Name: "into-namespace", Tasks: []Task{{Name: "t", Where: OnHost}}, Prepare: []string{"elf /iso/bin"},
				Do: []string{"onexec " + InitLabel, "exec /iso/bin"}, Labels: map[string]string{"t": InitLabel + " (enforce)"},
			},
		},
	},
	{
		Group: "exec", Name: "hats", About: "change_hat inside the stack",
		Why: "domain.c, aa_change_hat, change_hat: hats are looked up below each profile of the label in the task's namespace",
		Policy: []Policy{{Namespace: Namespace, Text: "profile hatted flags=(attach_disconnected) {\n  …\n  ^hat flags=(attach_disconnected) {\n  …\n  }\n}\n"},
			{Text: "profile hatted flags=(attach_disconnected) {\n  …\n  ^hat flags=(attach_disconnected) {\n  …\n  }\n}\n"}},
		Cases: []Case{
			{
				Name: "host", Tasks: []Task{{Name: "t", Where: OnHost, Label: "hatted"}},
				Do: []string{"changehat hat", `label => "hatted//hat (enforce)"`, "changehat", `label => "hatted (enforce)"`}, Labels: map[string]string{"t": "hatted (enforce)"},
			},
			{
				Name: "stacked", Tasks: []Task{{Name: "t", Where: InContainer, Label: "host-allow//&:iso:hatted"}},
				Do: []string{"changehat hat", `label => "hatted//hat (enforce)"`}, Labels: map[string]string{"t": "host-allow//&:iso:hatted//hat (enforce)"},
			},
			{
				Name: "back", Tasks: []Task{{Name: "t", Where: InContainer, Label: "host-allow//&:iso:hatted"}},
				Do: []string{"changehat hat", "changehat", `label => "hatted (enforce)"`}, Labels: map[string]string{"t": "host-allow//&:iso:hatted (enforce)"},
			},
		},
	},
}
