// SPDX-License-Identifier: Apache-2.0

package isolation

const mountWhy = "mount.c: every profile of the label decides by itself (fn_for_each_confined)"

// inMounts are the steps that give a task mounts of its own to change.
func inMounts(more ...string) []string {
	return append([]string{"try mkdir /iso/m", "try mkdir /iso/n", "put /iso/f", "unshare mnt", "mount none / none rec,private"}, more...)
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
}
