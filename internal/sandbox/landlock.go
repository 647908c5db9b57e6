// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/landlock-lsm/go-landlock/landlock"
	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
)

// always are what most programs look at when they start, and what tells of the
// host no more than its hardware.
var always = []string{
	"/dev/zero", "/dev/urandom", "/dev/random",
	"/proc/cpuinfo", "/proc/meminfo", "/proc/filesystems", "/proc/sys/vm/max_map_count",
	"/proc/sys/vm/overcommit_memory", "/proc/sys/kernel/random/boot_id",
	"/etc/localtime",
}

// alwaysDirs are the same, with all below them.
var alwaysDirs = []string{"/sys/devices/system/cpu", "/sys/devices/system/node", "/sys/kernel/mm/transparent_hugepage"}

// fence has this thread, and what it will execute, reach the files of s only:
// no others, no TCP or UDP port, no socket and no process of others (as far as
// the kernel's ABI has each).
func fence(s Spec) error {
	fd, flags, err := landlock.V10.BestEffort().NewRulesetFD(
		landlock.ROFiles(slices.Concat(s.ReadFiles, always)...).IgnoreIfMissing(),
		landlock.RODirs(append(slices.Concat(s.ReadDirs, alwaysDirs), fmt.Sprintf("/proc/%d", os.Getpid()))...).IgnoreIfMissing(),
		landlock.RWFiles("/dev/null").IgnoreIfMissing(),
		landlock.RWFiles(s.Devices...).WithIoctlDev().IgnoreIfMissing(),
		landlock.RWDirs(s.WriteDirs...),
	)
	if err != nil || fd < 0 {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	return ll.LandlockRestrictSelf(fd, flags)
}
