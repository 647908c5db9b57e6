// SPDX-License-Identifier: Apache-2.0

package isolation

import (
	"slices"
	"strings"
)

const modeWhy = "each profile of the label has its own mode: policy.h, COMPLAIN_MODE, KILL_MODE; audit.c, aa_audit"

// modal is a pair of profiles that do not allow /iso/f, on the side and in the
// mode that is wanted.
func modal(ns, name, flags, rules string) Policy {
	return Policy{Namespace: ns, Text: "profile " + name + " flags=(attach_disconnected" + flags + ") {\n  capability,\n  network,\n  unix,\n  signal,\n  /{,**} w,\n  /iso/ok rw,\n  " + rules + "\n}\n"}
}

// resting are profiles to be in at the end of a case whose own would log how the
// task is ended.
var resting = both("profile resting flags=(attach_disconnected) {\n  …\n}\n")

// lacking are profiles in complain mode without any rule of a class.
func lacking(class string) []Policy {
	rules := []string{"file", "capability", "network", "unix", "mount", "remount", "umount", "signal", "ptrace", "change_profile"}
	rules = slices.DeleteFunc(rules, func(r string) bool { return r == class })
	return both("profile no-" + class + " flags=(attach_disconnected,complain) {\n  " + strings.Join(rules, ",\n  ") + ",\n}\n")
}

// complains are cases of a step that no rule of a class allows in complain mode.
func complains(class string, peers []Task, do, prepare []string, r Record) []Case {
	r.Kind = "ALLOWED"
	list := bothSides("no-"+class, Case{Name: class, Tasks: peers, Prepare: prepare, Do: do, Records: []Record{r}})
	if slices.Contains(do, "changeprofile resting") { // by the manager's signal at the end it would log once more
		list[0].Labels, list[1].Labels = map[string]string{"t": "resting (enforce)"}, map[string]string{"t": hostAllow + "//&:" + Namespace + ":resting (enforce)"}
		return list
	}
	list[0].Labels = map[string]string{"t": "no-" + class + " (complain)"}
	list[1].Labels = map[string]string{"t": hostAllow + "//&:" + Namespace + ":no-" + class + " (mixed)"}
	return list
}

// needing are cases that need features of the kernel.
func needing(needs []string, list []Case) []Case {
	for i := range list {
		list[i].Needs = needs
	}
	return list
}

// parameter are cases with a value of the module's parameter audit.
func parameter(value string, records ...Record) []Case {
	return bothSides("logging", Case{
		Name: value, Prepare: []string{"put /iso/loud", "put /iso/quiet", "put /iso/f", "@: run printf " + value + " >/sys/module/apparmor/parameters/audit"},
		Do:    []string{"cat /iso/loud => EACCES", "cat /iso/quiet => EACCES", "cat /iso/f"},
		Clean: []string{"@: run printf normal >/sys/module/apparmor/parameters/audit"}, Records: records,
	})
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
	{
		Group: "modes", Name: "complain-by-class", About: "complain mode allows and logs what no rule of a class allows", Why: modeWhy + "; lib.c, aa_apply_modes_to_perms",
		Policy: slices.Concat(
			resting, lacking("network"), lacking("capability"), lacking("signal"), lacking("ptrace"), lacking("mount"), lacking("io_uring"), lacking("userns"),
		),
		Cases: slices.Concat(
			complains("network", nil, []string{"socket inet dgram"}, nil, Record{Operation: "create"}),
			complains("capability", nil, []string{"chown /iso/f"}, []string{"put /iso/f"}, Record{Operation: "capable", Fields: map[string]string{"capname": "chown"}}),
			complains("signal", []Task{{Name: "target", Label: InitLabel}}, []string{"kill target urg", "changeprofile resting"}, nil, Record{Operation: "signal"}),
			complains("ptrace", []Task{{Name: "target", Label: InitLabel}}, []string{"seize target"}, nil, Record{Operation: "ptrace"}),
			complains("mount", nil, []string{"mount none /iso/m tmpfs nosuid"}, inMounts(), Record{Operation: "mount", Name: "/iso/m/"}),
			needing([]string{"namespaces/mask userns_create"}, complains("userns", nil, []string{"unshare user"}, nil, Record{Operation: "userns_create"})),
			needing([]string{"io_uring/mask override_creds", "CONFIG_IO_URING"}, complains("io_uring", nil, []string{"uringcreds"}, nil, Record{Operation: "uring_override"})),
		),
	},
	{
		Group: "modes", Name: "audit-flag", About: "a profile with the flag audit logs everything that it allows", Why: "audit.c, AUDIT_ALL; file.c, aa_audit_file",
		Policy: slices.Concat(both("profile talking flags=(attach_disconnected,audit) {\n  …\n}\n"), resting),
		Cases: bothSides("talking", Case{
			Prepare: []string{"put /iso/f"}, Do: []string{"stat /iso/f", "f = open /iso/f r", "changeprofile resting"}, Labels: map[string]string{"t": "resting"},
			Records: []Record{{Kind: "AUDIT", Operation: "getattr", Name: "/iso/f"}, {Kind: "AUDIT", Operation: "open", Name: "/iso/f"}, {Kind: "AUDIT", Operation: "open"}}, // the last is of the task's attribute
		}),
	},
	{
		Group: "modes", Name: "audit-parameter", About: "the module's parameter audit overrides what profiles and rules say about logging", Why: "audit.c, aa_audit, AUDIT_MODE: quiet logs nothing, noquiet what rules deny quietly, quiet_denied no denial",
		Policy: both("profile logging flags=(attach_disconnected) {\n  …\n  audit deny /iso/loud r,\n  deny /iso/quiet r,\n  audit /iso/f r,\n}\n"),
		Cases: slices.Concat(
			parameter("quiet"), parameter("quiet_denied", Record{Kind: "AUDIT", Operation: "open", Name: "/iso/f"}),
			parameter("noquiet", Record{Operation: "open", Name: "/iso/loud"}, Record{Operation: "open", Name: "/iso/quiet"}, Record{Kind: "AUDIT", Operation: "open", Name: "/iso/f"}),
			parameter("normal", Record{Operation: "open", Name: "/iso/loud"}, Record{Kind: "AUDIT", Operation: "open", Name: "/iso/f"}),
		),
	},
}
