// SPDX-License-Identifier: Apache-2.0

package isolation

import "slices"

var resourceRows = []Row{
	{
		Group: "resource", Name: "setrlimit", About: "set a resource limit above that of the profile", Why: "resource.c, aa_task_setrlimit: each profile of the label decides by itself",
		Deny: "set rlimit nofile <= 64,", Do: []string{"setrlimit nofile 128 128"},
		Records: []Record{{Operation: "setrlimit", Fields: map[string]string{"rlimit": "nofile", "value": "128"}}},
	},
	{
		Group: "resource", Name: "exec", About: "the resource limits of a profile apply from the exec that enters it", Why: "resource.c, __aa_transition_rlimits: the hard limit becomes the profile's, and the soft one no more than that",
		Policy: slices.Concat(executing("limiting", "px -> limited"), both("profile limited flags=(attach_disconnected) {\n  …\n  set rlimit nofile <= 64,\n}\n")),
		Cases: bothSides("limiting", Case{
			Prepare: []string{"elf /iso/bin"}, Do: []string{"setrlimit nofile 256 512", "exec /iso/bin", `@: limitof t nofile => "64 64"`}, Labels: map[string]string{"t": "limited"},
		}),
	},
}
