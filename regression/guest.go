// SPDX-License-Identifier: Apache-2.0

package regression

import (
	"embed"
	"io/fs"
	"path"
	"path/filepath"
	"strings"

	"proofhouse/images"
)

// Tests describes the suite for a guest root of a Debian suite (bookworm,
// trixie, forky, sid).
func (s *Source) Tests(suite string) images.Tests {
	dirs := map[string]string{}
	for _, name := range []string{commonPath, testPath} {
		dirs[path.Join(GuestDir, name)] = filepath.Join(s.Dir, name)
	}
	return images.Tests{
		Source:   strings.TrimSpace(s.Version + " " + s.Spec),
		Hash:     s.Hash,
		Dirs:     dirs,
		Packages: Packages(suite),
		Files:    guestFiles(),
		// Against the guest's own libapparmor and parser.
		Make: []string{"sh", "-ec", `make USE_SYSTEM=1 all; sh "$0" "$1"`, fastDir + "/build", TestDir},
		Dir:  TestDir,
	}
}

//go:embed guest guest/fast
var embedded embed.FS

// guestFiles are what a guest needs beside Debian's packages, by absolute
// path. They must be there before the suite is built.
//
// They expect of the guest's init that it loads the modules loop and fuse (a
// script that finds no /dev/fuse dies), brings up lo, and makes the directory
// /run/systemd/system, by which dbus.inc asks for systemd. The services that
// systemctl starts continue to run when the script has ended.
func guestFiles() map[string]images.File {
	files := map[string]images.File{}
	for _, f := range []struct {
		from, to string
		mode     fs.FileMode
	}{
		// Without it, 134 subtests of capabilities and 4 of syscall are
		// left out without a word.
		{"guest/uname", "/usr/local/bin/uname", 0o755},
		// Without it, nfs skips, and half of the dbus_* scripts.
		{"guest/systemctl", "/usr/local/bin/systemctl", 0o755},
		// What makes a guest faster without changing what is tested.
		{"guest/fast/build", fastDir + "/build", 0o755},
		{"guest/fast/off", fastDir + "/off", 0o755},
		{"guest/fast/ldd.c", fastDir + "/ldd.c", 0o644},
		{"guest/fast/mkprofile.c", fastDir + "/mkprofile.c", 0o644},
		{"guest/fast/mkprofile-server", fastDir + "/mkprofile-server", 0o755},
	} {
		content, err := embedded.ReadFile(f.from)
		if err != nil {
			panic(err) // embedded: the table is wrong
		}
		files[f.to] = images.File{Mode: f.mode, Data: content}
	}
	return files
}

// fastDir is where a guest has what makes it faster.
const fastDir = "/usr/lib/proofhouse/fast"

// GuestChanges are the programs of a guest that are faster than Debian's and
// upstream's own and answer the same, for the report. In a plain guest there
// are none.
func GuestChanges(plain bool) []string {
	if plain {
		return nil
	}
	return []string{
		"/usr/bin/ldd asks the dynamic loader directly",
		"mkprofile.pl runs, unchanged, in a fork of a process that has it loaded",
	}
}

// GuestPrepare are the commands to run once in a guest that has booted, before
// the first script. A plain guest has none of [GuestChanges].
func GuestPrepare(plain bool) [][]string {
	commands := [][]string{
		// Where they are modules, mount, swap and others look for loop devices
		// that exist, and overlayfs_fuse for /dev/fuse.
		{"modprobe", "-qa", "loop", "fuse"},
		// By this directory the scripts know that systemctl, which is ours, works.
		{"mkdir", "-p", "/run/systemd/system"},
	}
	if plain {
		commands = append(commands, []string{fastDir + "/off", TestDir})
	}
	return commands
}

// packages are what the scripts of 4.1.8, their helpers and their Makefile
// look for, and who does. Debian's names, the same from bookworm to sid, read
// in the package lists of all four. What is Essential or required in Debian
// (bash, coreutils, sed, grep, findutils, diffutils, debianutils' which, mawk)
// is not listed.
var packages = []struct{ name, why string }{
	// policy
	{"apparmor", "apparmor_parser and aa-exec: every script"},
	{"libapparmor-dev", "every helper in C"},

	// building
	{"gcc", "builds the helpers; syscall_sysctl and the Makefile run cpp"},
	{"libc6-dev", "headers of the helpers, and linux/mount.h: without it no move_mount, and mount leaves a part out"},
	{"make", "upstream's Makefile"},
	{"pkgconf", "how the Makefile finds libapparmor, dbus-1 and liburing; what it does not find it leaves out"},
	{"libcap-dev", "sys/capability.h"},
	{"libdbus-1-dev", "without it no dbus_* helpers"},
	{"liburing-dev", "without it no io_uring helper"},

	// running
	{"perl", "mkprofile.pl: every script; perl -MPOSIX in runchecktest_errno"},
	{"libc-bin", "ldd, with which mkprofile.pl finds a helper's libraries"},
	{"adduser", "adduser and deluser in settest -u and the *_mq scripts"},
	{"passwd", "chpasswd in the *_mq scripts"},
	{"sudo", "settest -u: userns, net_inet; the *_mq scripts"},
	{"attr", "setfattr: xattrs_profile; without it the Makefile leaves xattrs_profile out"},
	{"libcap2-bin", "setcap: userns, the *_mq scripts"},
	{"e2fsprogs", "mkfs.ext2, mkfs.ext3, mkfs.ext4: attach_disconnected, mount, pivot_root, swap, overlayfs_*, xattrs"},
	{"dosfstools", "mkfs.fat: file_unbindable_mount"},
	{"util-linux", "losetup, findmnt, mountpoint, fallocate, flock, mkswap, swapon, unshare, ipcrm"},
	{"util-linux-extra", "what bookworm and later moved out of util-linux"},
	{"mount", "mount, umount, losetup and swapon"},
	{"kmod", "modprobe loop: attach_disconnected, mount, pivot_root"},
	{"iproute2", "ip -6 addr: net_inet"},
	{"strace", "compression"},
	{"procps", "sysctl and ps: net_iface, net_iface_veth"},
	{"netcat-openbsd", "nc: net_iface_veth"},
	{"lsof", "net_inet looks for a free port with it"},

	// file systems and services
	{"fuse-overlayfs", "overlayfs_fuse; without it the Makefile leaves it out"},
	{"fuse3", "fusermount: overlayfs_fuse"},
	{"nfs-kernel-server", "exportfs and the server: nfs"},
	{"nfs-common", "mount.nfs: nfs"},
	{"rpcbind", "nfs"},
	{"dbus-daemon", "the dbus_* scripts' first bus"},
	{"dbus-broker", "the dbus_* scripts' second bus"},
	{"dbus", "the configuration both read"},
	{"systemd", "systemd-socket-activate, with which our systemctl gives dbus-broker its socket; libsystemd's users expect it"},

	// containers
	{"lxc", "containers in namespaces of their own"},
	{"lxc-dev", "what nsmgr is built against for this guest, in the root's build directory"},
	{"lxc-templates", "the busybox template, which works offline"},
	{"busybox-static", "what that template copies"},
	{"uidmap", "newuidmap and newgidmap: unprivileged containers"},
}

// Packages are the Debian packages that a guest of the suite (bookworm,
// trixie, forky, sid) needs so that no script skips for want of userspace,
// sorted by what they are for. They are the same for all four suites today.
func Packages(suite string) []string {
	_ = suite // a suite whose names differ gets its row here
	names := make([]string, 0, len(packages))
	for _, p := range packages {
		names = append(names, p.name)
	}
	return names
}
