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

// from617 is a feature that came with 6.17, as did the record of a conflict of
// attachments.
var from617 = []string{"network_v9/af_unix"}

// family is a profile with two hats and a child that is none.
func family(more string) string {
	sub := func(name string) string { return "\n  " + name + " flags=(attach_disconnected) {\n  …\n  }" }
	return "profile family flags=(attach_disconnected) {\n  …" + sub("^first") + sub("^second") + sub("profile child") + "\n  " + more + "\n}\n"
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
	{
		Group: "exec", Name: "change-onexec-denied", About: "change_onexec that policy denies",
		Why:    "the rule of the part that would change, asked for at once and not at the exec: domain.c, aa_change_profile, AA_MAY_ONEXEC",
		Policy: slices.Concat(both("profile staying flags=(attach_disconnected) {\n  …\n  audit deny change_profile -> next,\n}\n"), next),
		Cases:  bothSides("staying", Case{Do: []string{"onexec next => EACCES"}, Records: []Record{{Operation: "change_onexec", Name: "next"}}}),
	},
	{
		Group: "exec", Name: "traced", About: "a traced task gets no profile that its tracer may not trace",
		Why: "domain.c, may_change_ptraced_domain: the tracer's policy must allow to trace the new profile",
		Policy: append([]Policy{
			{Text: "profile traced flags=(attach_disconnected) {\n  …\n  /iso/bin px -> next,\n}\n"},
			{Text: "profile tracing flags=(attach_disconnected) {\n  file,\n  capability,\n  signal,\n  ptrace peer=traced,\n}\n"},
		}, next...),
		Cases: []Case{
			{
				Name: "change-profile", Tasks: []Task{{Name: "t", Where: OnHost, Label: "traced"}, {Name: "tracer", Where: OnHost, Label: "tracing"}},
				Do: []string{"tracer: seize t", "changeprofile next => EACCES"}, Labels: map[string]string{"t": "traced (enforce)"},
				Records: []Record{{Operation: "ptrace", Profile: "tracing", Fields: map[string]string{"denied_mask": "trace", "peer": "next"}}},
			},
			{
				Name: "exec", Tasks: []Task{{Name: "t", Where: OnHost, Label: "traced"}, {Name: "tracer", Where: OnHost, Label: "tracing"}}, Prepare: []string{"elf /iso/bin"},
				Do: []string{"tracer: seize t", "exec /iso/bin => EACCES"}, Labels: map[string]string{"t": "traced (enforce)"},
				Records: []Record{
					{Operation: "ptrace", Profile: "tracing", Fields: map[string]string{"denied_mask": "trace", "peer": "next"}},
					{Operation: "exec", Profile: "traced", Name: "/iso/bin", Fields: map[string]string{"info": "ptrace prevents transition"}},
				},
			},
			{
				Name: "allowed", Tasks: []Task{{Name: "t", Where: OnHost, Label: "traced"}, {Name: "tracer", Where: OnHost, Label: hostAllow}},
				Do: []string{"tracer: seize t", "changeprofile next"}, Labels: map[string]string{"t": "next (enforce)"},
			},
		},
	},
	{
		Group: "exec", Name: "attachment-conflict", About: "two profiles attach to a program equally well: none is used, and it is logged",
		Why: "domain.c, find_attach, profile_transition and x_to_label: a conflict is no attachment, and its fallback is always logged",
		Policy: []Policy{
			{Text: "profile con-one /iso/con[ab] flags=(attach_disconnected) {\n  …\n}\n"},
			{Text: "profile con-two /iso/con[ac] flags=(attach_disconnected) {\n  …\n}\n"},
			{Text: "profile searching flags=(attach_disconnected) {\n  …\n  /iso/cona pix,\n  /iso/conb pix,\n}\n"},
			{Text: "profile freeing flags=(attach_disconnected) {\n  …\n  /iso/cona pux,\n}\n"},
		},
		Cases: []Case{
			{
				Name: "unconfined", Tasks: []Task{{Name: "t", Where: OnHost}}, Prepare: []string{"elf /iso/cona"}, Do: []string{"exec /iso/cona"}, Labels: map[string]string{"t": "unconfined"}, Needs: from617,
				Records: []Record{{Kind: "AUDIT", Operation: "exec", Profile: "unconfined", Name: "/iso/cona", Fields: map[string]string{"info": "conflicting profile attachments"}}},
			},
			{
				Name: "one", Tasks: []Task{{Name: "t", Where: OnHost}}, Prepare: []string{"elf /iso/conb"}, Do: []string{"exec /iso/conb"}, Labels: map[string]string{"t": "con-one (enforce)"},
			},
			{
				Name: "pix", Tasks: []Task{{Name: "t", Where: OnHost, Label: "searching"}}, Prepare: []string{"elf /iso/cona"}, Do: []string{"exec /iso/cona"}, Labels: map[string]string{"t": "searching (enforce)"}, Needs: from617,
				Records: []Record{{Kind: "AUDIT", Operation: "exec", Profile: "searching", Name: "/iso/cona", Fields: map[string]string{"info": "conflicting profile attachments - ix fallback"}}},
			},
			{
				Name: "pix-one", Tasks: []Task{{Name: "t", Where: OnHost, Label: "searching"}}, Prepare: []string{"elf /iso/conb"}, Do: []string{"exec /iso/conb"}, Labels: map[string]string{"t": "con-one (enforce)"},
			},
			{
				Name: "pux", Tasks: []Task{{Name: "t", Where: OnHost, Label: "freeing"}}, Prepare: []string{"elf /iso/cona"}, Do: []string{"exec /iso/cona"}, Labels: map[string]string{"t": "unconfined"},
			},
		},
	},
	{
		Group: "exec", Name: "fallback", About: "execute under a profile that is not loaded, with a rule that names what happens then",
		Why:    "domain.c, x_to_label: pix keeps the profile and pux leaves it; the record names the fallback",
		Policy: slices.Concat(executing("staying", "pix -> nowhere"), executing("leaving", "pux -> nowhere"), both("profile loud flags=(attach_disconnected) {\n  …\n  audit /iso/bin pix -> nowhere,\n}\nprofile loud-leaving flags=(attach_disconnected) {\n  …\n  audit /iso/bin pux -> nowhere,\n}\n")),
		Cases: slices.Concat(
			bothSides("staying", Case{Name: "pix", Prepare: []string{"elf /iso/bin"}, Do: []string{"exec /iso/bin"}}),
			bothSides("loud", Case{Name: "logged", Prepare: []string{"elf /iso/bin"}, Do: []string{"exec /iso/bin", "@: run dmesg | grep 'AppArmor: find_attach' => exit 1"}, Records: []Record{{
				Kind: "AUDIT", Operation: "exec", Name: "/iso/bin", Fields: map[string]string{"info": "ix fallback"},
			}}}),
			[]Case{
				{
					Name: "pux-logged", Tasks: []Task{{Name: "t", Where: OnHost, Label: "loud-leaving"}}, Prepare: []string{"elf /iso/bin"}, Do: []string{"exec /iso/bin"}, Labels: map[string]string{"t": "unconfined"},
					Records: []Record{{Kind: "AUDIT", Operation: "exec", Profile: "loud-leaving", Name: "/iso/bin", Fields: map[string]string{"info": "ux fallback"}}},
				},
				{Name: "pux-host", Tasks: []Task{{Name: "t", Where: OnHost, Label: "leaving"}}, Prepare: []string{"elf /iso/bin"}, Do: []string{"exec /iso/bin"}, Labels: map[string]string{"t": "unconfined"}},
				{
					Name: "pux-namespace", Tasks: inside("host-allow//&:iso:leaving"), Prepare: []string{"elf /iso/bin"}, Do: []string{"exec /iso/bin"},
					Labels: map[string]string{"t": "host-allow//&:iso:unconfined (enforce)"},
				},
			},
		),
	},
	{
		Group: "exec", Name: "terminal", About: "a program whose new profile may not read the controlling terminal loses it",
		Why:    "file.c, revalidate_tty: the terminal is taken away, which is a SIGHUP to its session (tty_jobctrl.c, disassociate_ctty)",
		Policy: slices.Concat(executing("typing", "px -> terminal-less"), executing("keeping", "ix"), both("profile terminal-less flags=(attach_disconnected) {\n  …\n  deny /dev/pts/* r,\n}\n")),
		Cases: []Case{
			{Name: "lost", Tasks: []Task{{Name: "t", Where: OnHost, Label: "typing"}}, Prepare: []string{"elf /iso/bin"}, Do: []string{"tty", "exec /iso/bin => dead"}, Labels: map[string]string{"t": "dead: SIGHUP"}},
			{Name: "kept", Tasks: []Task{{Name: "t", Where: OnHost, Label: "keeping"}}, Prepare: []string{"elf /iso/bin"}, Do: []string{"tty", "exec /iso/bin", `@: ttyof t => "tty"`}, Labels: map[string]string{"t": "keeping (enforce)"}},
		},
	},
	{
		Group: "exec", Name: "change-profile-stack", About: "change_profile to a stack of which rules name the parts", Why: "domain.c, label_match: a rule for the whole stack counts, or one for each part",
		Policy: append([]Policy{
			{Text: "profile climbing flags=(attach_disconnected) {\n  file,\n  capability,\n  signal,\n  change_profile -> next,\n  change_profile -> second,\n}\n"},
			{Text: "profile second flags=(attach_disconnected) {\n  …\n}\n"}, {Text: "profile third flags=(attach_disconnected) {\n  …\n}\n"},
		}, next...),
		Cases: []Case{
			{
				Name: "each-part", Tasks: []Task{{Name: "t", Where: OnHost, Label: "climbing"}}, Do: []string{"changeprofile next//&second"}, Labels: map[string]string{"t": "next//&second (enforce)"},
			},
			{
				Name: "last-part-missing", Tasks: []Task{{Name: "t", Where: OnHost, Label: "climbing"}}, Do: []string{"changeprofile next//&third => EACCES"}, Labels: map[string]string{"t": "climbing (enforce)"},
				Records: []Record{{Operation: "change_profile", Profile: "climbing", Name: "next//&third"}},
			},
		},
	},
	{
		Group: "exec", Name: "no-new-privs-later", About: "no_new_privs is set after a change_profile: the profile of that moment counts", Needs: []string{"domain/post_nnp_subset"},
		Why:    "domain.c, aa_change_profile: ctx->nnp is the label at the first change under no_new_privs",
		Policy: append([]Policy{{Text: "profile second flags=(attach_disconnected) {\n  …\n}\n"}}, next...),
		Cases: []Case{{
			Name: "host", Tasks: []Task{{Name: "t", Where: OnHost, Label: hostAllow}}, Do: []string{"changeprofile next", "nnp", "changeprofile next//&second"}, Labels: map[string]string{"t": "next//&second (enforce)"},
		}},
	},
	{
		Group: "exec", Name: "execute-only", Second: Never, About: "execute a program that policy lets execute and not read",
		Why:  "lsm.c, apparmor_file_open: what the kernel reads and maps to execute a program is part of the right to execute",
		Bare: "capability,\n  network,\n  unix,\n  signal,", Allow: "/iso/bin ix,", Missing: "/iso/bin r,",
		Prepare: []string{"elf /iso/bin"}, Do: []string{"exec /iso/bin"},
		Records: []Record{{Operation: "exec", Name: "/iso/bin", Fields: denied("x")}},
	},
	{
		Group: "exec", Name: "unconfined-restricted", About: "an unprivileged unconfined task changes its profile where kernel.apparmor_restrict_unprivileged_unconfined is 1",
		Why:   "domain.c, priv_restricted_transition: the change becomes a stack, and is logged",
		Needs: []string{"policy/unconfined_restrictions/change_profile"}, Policy: next,
		Cases: []Case{{
			Name: "host", Tasks: []Task{{Name: "t", Where: OnHost}}, Prepare: []string{"@: sysctl kernel/apparmor_restrict_unprivileged_unconfined 1"},
			Do:      []string{"setuid 65534", "changeprofile next"},
			Clean:   []string{"@: sysctl kernel/apparmor_restrict_unprivileged_unconfined 0"},
			Records: []Record{{Kind: "AUDIT", Operation: "change_profile", Profile: "unconfined", Name: "next"}},
		}},
	},
	{
		Group: "exec", Name: "attributes", About: "unknown commands to the attributes of a task, and attributes that it does not have", Why: "lsm.c, do_setattr: EINVAL, logged with the attribute; apparmor_getprocattr",
		Policy: next,
		Cases: []Case{
			{
				Name: "unknown-current", Tasks: []Task{{Name: "t", Where: OnHost, Label: hostAllow}}, Do: []string{"say /proc/thread-self/attr/apparmor/current unknown next => EINVAL"},
				Labels:  map[string]string{"t": "host-allow (enforce)"},
				Records: []Record{{Operation: "setprocattr", Profile: hostAllow, Fields: map[string]string{"info": "current"}}},
			},
			{
				Name: "unknown-exec", Tasks: []Task{{Name: "t", Where: OnHost, Label: hostAllow}}, Do: []string{"say /proc/thread-self/attr/apparmor/exec unknown next => EINVAL"},
				Labels:  map[string]string{"t": "host-allow (enforce)"},
				Records: []Record{{Operation: "setprocattr", Profile: hostAllow, Fields: map[string]string{"info": "exec"}}},
			},
			{
				Name: "none", Tasks: []Task{{Name: "t", Where: OnHost, Label: hostAllow}},
				Do:     []string{"cat /proc/thread-self/attr/apparmor/prev => EINVAL", "cat /proc/thread-self/attr/apparmor/exec => EINVAL", "onexec next", "cat /proc/thread-self/attr/apparmor/prev => EINVAL", `cat /proc/thread-self/attr/apparmor/exec => "next (enforce)"`},
				Labels: map[string]string{"t": "host-allow (enforce)"},
			},
		},
	},
	{
		Group: "exec", Name: "hat-siblings", About: "change_hat from one hat to another of the same profile, also after the profile was replaced",
		Why: "domain.c, build_change_hat: a hat finds its siblings below its parent, and that is the newest parent: policy.c, update_to_newest_parent",
		Policy: slices.Concat(both(family("")), []Policy{
			{Namespace: Namespace, Text: "profile another flags=(attach_disconnected) {\n  …\n}\n"},
			{Name: "host-again", Text: family("deny /iso/one r,\n  ^third flags=(attach_disconnected) {\n  …\n  }")},
			{Name: "ns-again", Namespace: Namespace, Text: family("deny /iso/one r,\n  ^third flags=(attach_disconnected) {\n  …\n  }")},
		}),
		Cases: slices.Concat(
			bothSides("family", Case{Name: "sibling", Do: []string{"changehat first", "changehat second", `label => "family//second (enforce)"`}, Labels: map[string]string{"t": "family//second"}}),
			[]Case{{
				Name: "in-a-stack", Tasks: inside(":iso:family"), Do: []string{"changehat first", "stack another", "changehat second => EPERM"},
				Labels: map[string]string{"t": ":iso:another//&family//first (enforce)"},
			}},
			bothSides("family", Case{Name: "no-hat", Do: []string{"changehat child => EPERM"}}),
			bothSides("family", Case{
				Name: "replaced", Do: []string{"changehat first", "@: load host-again", "@: load ns-again", "changehat third", `label => "family//third (enforce)"`}, Labels: map[string]string{"t": "family//third"},
			}),
		),
	},
	{
		Group: "exec", Name: "secure-onexec", About: "whether AT_SECURE is set for a program after change_onexec: by the rule that names it safe or unsafe",
		Why:    "domain.c, profile_onexec: a rule without unsafe asks for it",
		Policy: slices.Concat(next, both("profile safely flags=(attach_disconnected) {\n  file,\n  capability,\n  signal,\n  change_profile safe /iso/bin -> next,\n}\nprofile unsafely flags=(attach_disconnected) {\n  file,\n  capability,\n  signal,\n  change_profile unsafe /iso/bin -> next,\n}\n")),
		Cases: slices.Concat(
			bothSides("safely", Case{Name: "safe", Prepare: []string{"elf /iso/bin"}, Do: []string{"onexec next", "exec /iso/bin", `@: secure t => "1"`}, Labels: map[string]string{"t": "next"}}),
			bothSides("unsafely", Case{Name: "unsafe", Prepare: []string{"elf /iso/bin"}, Do: []string{"onexec next", "exec /iso/bin", `@: secure t => "0"`}, Labels: map[string]string{"t": "next"}}),
		),
	},
	{
		Group: "exec", Name: "complain", About: "execute a program that no rule allows, in complain mode: under a profile for learning, without AT_SECURE",
		Why:    "domain.c, profile_transition: complain mode must change nothing for the program, so its environment is not scrubbed (AA_X_UNSAFE)",
		Policy: []Policy{{Text: "profile learning flags=(attach_disconnected,complain) {\n  capability,\n  signal,\n  network,\n  unix,\n  /iso/bin rw,\n}\n"}},
		Cases: []Case{{
			Name: "host", Tasks: []Task{{Name: "t", Where: OnHost, Label: "learning"}}, Prepare: []string{"elf /iso/bin"}, Do: []string{"exec /iso/bin", `@: secure t => "0"`},
			Labels:  map[string]string{"t": "learning//null-/iso/bin (complain)"},
			Records: []Record{{Kind: "ALLOWED", Operation: "exec", Profile: "learning", Name: "/iso/bin"}, {Kind: "ALLOWED", Operation: "file_mmap", Profile: "learning//null-/iso/bin", Name: "/iso/bin", Maybe: true}},
		}},
	},
}
