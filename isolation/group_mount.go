// SPDX-License-Identifier: Apache-2.0

package isolation

import "slices"

const mountWhy = "mount.c: every profile of the label decides by itself (fn_for_each_confined)"

// inMounts are the steps that give a task mounts of its own to change.
func inMounts(more ...string) []string {
	return append([]string{"try mkdir /iso/m", "try mkdir /iso/n", "put /iso/f", "unshare mnt", "mount none / none rec,private"}, more...)
}

// flagged are cases of a mount that is denied, by the flags that its record has.
func flagged(name, step, flags string) []Case {
	return bothSides("unmounting", Case{
		Name: name, Prepare: inMounts(), Do: []string{step + " => EACCES"}, Records: []Record{{Operation: "mount", Name: "/iso/m/", Fields: map[string]string{"flags": flags}}},
	})
}

var mountRows = []Row{
	{
		Group: "mount", Name: "mount", About: "mount a tmpfs", Why: mountWhy, Smoke: true,
		Deny: "audit deny mount fstype=tmpfs -> /iso/m/,", Prepare: inMounts(), Do: []string{"mount none /iso/m tmpfs nosuid"},
		Records: []Record{{Operation: "mount", Name: "/iso/m/"}},
	},
	{
		Group: "mount", Name: "bind", About: "bind-mount a directory", Why: mountWhy,
		Deny: "audit deny mount options=(bind) -> /iso/n/,", Prepare: inMounts(), Do: []string{"mount /iso/m /iso/n none bind"},
		Records: []Record{{Operation: "mount", Name: "/iso/n/"}},
	},
	{
		Group: "mount", Name: "remount", About: "remount read-only", Why: mountWhy,
		Deny: "audit deny remount /iso/m/,", Prepare: inMounts("mount none /iso/m tmpfs nosuid"), Do: []string{"mount none /iso/m none remount,ro"},
		Records: []Record{{Operation: "mount", Name: "/iso/m/"}},
	},
	{
		Group: "mount", Name: "move", About: "move a mount", Why: mountWhy,
		Deny: "audit deny mount options=(move) -> /iso/n/,", Prepare: inMounts("mount none /iso/m tmpfs nosuid"), Do: []string{"mount /iso/m /iso/n none move"},
		Records: []Record{{Operation: "mount", Name: "/iso/n/"}},
	},
	{
		Group: "mount", Name: "umount", About: "unmount", Why: mountWhy,
		Deny: "audit deny umount /iso/m/,", Prepare: inMounts("mount none /iso/m tmpfs nosuid"), Do: []string{"umount /iso/m"},
		Records: []Record{{Operation: "umount", Name: "/iso/m/"}},
	},
	{
		Group: "mount", Name: "pivot-root", About: "change the root", Why: "the first part that denies ends it, and alone logs: mount.c, aa_pivotroot, fn_label_build", Second: Never,
		Deny: "audit deny pivot_root,", Prepare: inMounts("mount none /iso/m tmpfs nosuid", "try mkdir /iso/m/old"), Do: []string{"pivotroot /iso/m /iso/m/old"},
		Records: []Record{{Operation: "pivotroot"}},
	},
	{
		Group: "mount", Name: "propagation", About: "change how a mount propagates", Why: mountWhy,
		Deny: "audit deny mount options=(shared) -> /iso/m/,", Prepare: inMounts("mount none /iso/m tmpfs nosuid"), Do: []string{"mount none /iso/m none shared"},
		Records: []Record{{Operation: "mount", Name: "/iso/m/"}},
	},
	{
		Group: "mount", Name: "move-mount", About: "attach a mount through move_mount(2)", Why: mountWhy, Needs: []string{"mount/move_mount"},
		Deny: "audit deny mount -> /iso/n/,", Prepare: inMounts("mount none /iso/m tmpfs nosuid", "t = opentree /iso/m"), Do: []string{"movemount t /iso/n"},
		Records: []Record{{Operation: "mount", Name: "/iso/n/"}},
	},
	{
		Group: "mount", Name: "record", About: "what the record of a denied mount says about its flags", Why: "mount.c, audit_mnt_flags",
		Policy: both("profile unmounting flags=(attach_disconnected) {\n  …\n  audit deny mount -> /iso/m/,\n}\n"),
		Cases: slices.Concat(
			flagged("nosuid-noexec", "mount none /iso/m tmpfs nosuid,noexec", "rw, nosuid, noexec"), flagged("nodev-strictatime", "mount none /iso/m tmpfs nodev,strictatime", "rw, nodev, strictatime"),
			flagged("private", "mount none /iso/m none private", "rw, private"), flagged("shared-rec", "mount none /iso/m none shared,rec", "rw, rshared"),
			flagged("ro", "mount none /iso/m tmpfs ro", "ro"),
		),
	},
	{
		Group: "mount", Name: "empty-source", About: "bind and move without a source", Why: "mount.c, aa_bind_mount and aa_move_mount_old: EINVAL, as without AppArmor, before any rule is asked",
		Policy: []Policy{{Text: "profile mountless flags=(attach_disconnected) {\n  …\n  audit deny mount,\n}\n"}},
		Cases: []Case{{
			Name: "host", Tasks: []Task{{Name: "t", Where: OnHost, Label: "mountless"}}, Prepare: inMounts(),
			Do: []string{"mount '' /iso/n none bind => EINVAL", "mount '' /iso/n none move => EINVAL"}, Labels: map[string]string{"t": "mountless (enforce)"},
		}},
	},
}
