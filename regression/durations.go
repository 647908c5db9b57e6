// SPDX-License-Identifier: Apache-2.0

package regression

// seconds is how long each script took on Debian's User Mode Linux 7.2um1 with
// the 4.1.8 suite and parser 5.0.2, on one of two busy processors of 2026.
// What matters is their order. A script that skipped there has no row.
var seconds = map[string]float64{
	"aa_exec":                7.8,
	"aa_policy_cache":        131.6,
	"access":                 5.6,
	"at_secure":              20.1,
	"attach_disconnected":    8.3,
	"capabilities":           435,
	"changehat":              2.9,
	"changehat_fork":         2.6,
	"changehat_misc":         7.2,
	"changeprofile":          7.6,
	"chdir":                  0.7,
	"clone":                  1.7,
	"complain":               1.3,
	"coredump":               3.0,
	"dbus_eavesdrop":         8.5,
	"dbus_message":           25,
	"dbus_service":           23,
	"dbus_unrequested_reply": 11.1,
	"deleted":                8.2,
	"e2e":                    0.8,
	"environ":                9.9,
	"exec":                   5.4,
	"exec_namespace":         4.3,
	"exec_qual":              24.7,
	"exec_stack":             10.0,
	"fd_inheritance":         7.5,
	"file_unbindable_mount":  1.3,
	"fork":                   1.8,
	"i18n":                   249.4,
	"introspect":             1.1,
	"io_uring":               6.7,
	"link":                   0.8,
	"link_subset":            40.1,
	"mkdir":                  2.8,
	"mmap":                   5.8,
	"mount":                  139.5,
	"mult_mount":             7.4,
	"named_pipe":             36.0,
	"namespaces":             0.8,
	"net_raw":                1.5,
	"nfs":                    18,
	"nnp":                    9.2,
	"onexec":                 13.7,
	"open":                   3.8,
	"openat":                 5.0,
	"overlayfs_fuse":         6.3,
	"overlayfs_kernel":       6.2,
	"pipe":                   1.1,
	"pivot_root":             6.2,
	"ptrace":                 59.4,
	"pwrite":                 2.6,
	"query_label":            12.4,
	"readdir":                2.5,
	"regex":                  15.0,
	"rename":                 3.0,
	"rw":                     2.6,
	"sd_flags":               12.2,
	"setattr":                19.3,
	"socketpair":             12.2,
	"stackonexec":            16.2,
	"stackprofile":           17.0,
	"swap":                   1.4,
	"symlink":                1.2,
	"syscall":                13.4,
	"syscall_sysctl":         8.7,
	"tcp":                    4.2,
	"unix_fd_server":         11.0,
	"unix_socket_abstract":   166.5,
	"unix_socket_autobind":   160.0,
	"unix_socket_pathname":   80.6,
	"unix_socket_unnamed":    145.3,
	"unlink":                 1.4,
	"xattrs_profile":         5.1,
}

// DefaultSeconds is how long a script takes on User Mode Linux, in seconds,
// where no earlier run tells. One that isn't known counts as long, so that it
// isn't started last.
func DefaultSeconds(script string) float64 {
	if s, ok := seconds[script]; ok {
		return s
	}
	return 30
}

// Smoke is a handful of scripts that touch many classes of mediation and take
// 39 s in all on User Mode Linux. A suite may lack one of them: 4.1.0 has no
// exec_namespace.
func Smoke() []string {
	return []string{
		"changehat",      // hats
		"changeprofile",  // transitions by a task itself
		"e2e",            // what the parser compiled is what the kernel has
		"exec",           // transitions by exec
		"exec_namespace", // … into another namespace
		"exec_stack",     // … onto a stack
		"namespaces",     // making namespaces
		"net_raw",        // network and capability
		"open",           // files
		"swap",           // capability, and the guest's loop devices
	}
}
