// SPDX-License-Identifier: Apache-2.0

package regression

import (
	"fmt"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"

	"proofhouse/internal/features"
	"proofhouse/reports"
)

// IOPorts is what [Lacking] calls the I/O ports of x86 hardware.
const IOPorts = "machine: x86 I/O ports"

// A prerequisite is what a test needs but AppArmor does not mediate. Without it,
// what the test prints is no verdict.
type prerequisite struct {
	lacks   string         // "machine: …", or "kernel: CONFIG_A or CONFIG_B"
	id      *regexp.Regexp // of the subtests, or nil
	scripts []string       // that are not run
}

// prerequisites are those of the machine and of the kernel. The kernel's were
// found by running all scripts on one that was built from make allnoconfig.
var prerequisites = []prerequisite{
	{lacks: IOPorts, id: regexp.MustCompile(`^regression/(?:capabilities/syscall_io(?:perm|pl) |syscall/IO(?:PERM|PL) )`)},
	{lacks: "kernel: CONFIG_PACKET", id: regexp.MustCompile(`^regression/capabilities/net_raw `), scripts: []string{"net_raw"}},
	{lacks: "kernel: CONFIG_SWAP", scripts: []string{"swap"}},
	{lacks: "kernel: CONFIG_COREDUMP", scripts: []string{"coredump"}},
	{lacks: "kernel: CONFIG_IO_URING", scripts: []string{"io_uring"}}, // the features name it all the same
	// File systems that they mount.
	{lacks: "kernel: CONFIG_EXT2_FS or CONFIG_EXT4_USE_FOR_EXT2", scripts: []string{"attach_disconnected", "mount", "mult_mount", "pivot_root"}},
	{lacks: "kernel: CONFIG_VFAT_FS", scripts: []string{"file_unbindable_mount"}},
	{lacks: "kernel: CONFIG_OVERLAY_FS", scripts: []string{"overlayfs_kernel"}},
	{lacks: "kernel: CONFIG_NETWORK_FILESYSTEMS", scripts: []string{"nfs"}},
	{lacks: "kernel: CONFIG_NFSD", scripts: []string{"nfs"}},
	{lacks: "kernel: CONFIG_NFS_FS", scripts: []string{"nfs"}},
	// raw_data: AppArmor's own, but only to look at.
	{lacks: "kernel: CONFIG_SECURITY_APPARMOR_INTROSPECT_POLICY", scripts: []string{"e2e"}},
	{lacks: "kernel: CONFIG_SECURITY_APPARMOR_EXPORT_BINARY", scripts: []string{"e2e"}},
}

// KernelLacks names the prerequisites that a kernel was built without. off reports whether
// its config says that an option is not set: the failures alone do not tell, as
// a kernel that wrongly refuses prints the same.
func KernelLacks(off func(option string) bool) map[string]bool {
	lacks := map[string]bool{}
	for _, g := range prerequisites {
		options, ok := strings.CutPrefix(g.lacks, "kernel: ")
		if ok && !slices.ContainsFunc(strings.Split(options, " or "), func(o string) bool { return !off(o) }) {
			lacks[g.lacks] = true
		}
	}
	return lacks
}

// reason is why a test is skipped that needs what is lacking.
func reason(lacks string) string {
	if option, ok := strings.CutPrefix(lacks, "kernel: "); ok {
		return "the kernel was built without what the test needs: " + option
	}
	return "the machine has no " + strings.TrimPrefix(lacks, "machine: ")
}

// Unmet returns the result to report instead of running a script, all of whose
// subtests need what is lacking; false for any other script. lacks is by name,
// such as [IOPorts].
func (s Script) Unmet(lacks map[string]bool) (reports.Result, bool) {
	for _, g := range prerequisites {
		if lacks[g.lacks] && slices.Contains(g.scripts, s.Name) {
			return reports.Result{ID: ScriptID(s.Name), Status: reports.Skip, Lacks: g.lacks, Reason: reason(g.lacks)}, true
		}
	}
	return reports.Result{}, false
}

// Lacking returns results in which the subtests that need what is lacking are
// skips, also those that passed: without I/O ports, that access to them is
// refused says nothing about the kernel. lacks is by name, such as [IOPorts].
// results is not changed.
//
// It needs a measurement; failures alone do not tell, as a kernel that wrongly
// refuses I/O ports prints the same.
func Lacking(results []reports.Result, lacks map[string]bool) []reports.Result {
	results = slices.Clone(results)
	for i := range results {
		r := &results[i]
		for _, g := range prerequisites {
			if !lacks[g.lacks] || g.id == nil || !g.id.MatchString(r.ID) || r.Status == reports.Skip {
				continue
			}
			*r = reports.Result{
				ID: r.ID, Status: reports.Skip, Expected: r.Expected, Output: r.Output,
				Lacks: g.lacks, Reason: reason(g.lacks),
			}
		}
	}
	return results
}

// WhoLacks decides for skips in which the script leaves it open whether the
// kernel or the parser lacks something. tree is the kernel's AppArmor features
// directory, path to content. results is not changed.
func WhoLacks(results []reports.Result, tree map[string]string) []reports.Result {
	results = slices.Clone(results)
	for i := range results {
		what, open := strings.CutPrefix(results[i].Lacks, "kernel or parser: ")
		if !open {
			continue
		}
		who := "kernel"
		for _, path := range openQuestions[what] {
			if features.HasPath(tree, path) {
				who = "parser"
			}
		}
		results[i].Lacks = who + ": " + what
	}
	return results
}

// openQuestions are features; a kernel that has any of them does not lack the
// thing.
var openQuestions = map[string][]string{
	"unix rules":  {"network/af_unix", "network_v9/af_unix"},
	"mount rules": {"mount"},
}

// gaps are the classes that a kernel mediates and for which a parser before some
// version has no rules. The versions are those of Debian's parsers, tried with
// the rule itself: 3.0.8 (bookworm), 4.1.0 (trixie), 4.1.8 (forky), 5.0.2 (sid).
var gaps = []struct {
	feature      string
	major, minor int
	what         string
}{
	{"network_v9/af_unix", 5, 0, "AF_UNIX sockets (attach_disconnected, dbus_*, query_label and unix_socket_* skip, deleted leaves a part out)"},
	{"network_v8/af_inet", 4, 1, "addresses and ports of INET sockets (net_inet skips)"},
	{"network_v9/af_inet", 4, 1, "addresses and ports of INET sockets (net_inet skips)"},
	{"namespaces/mask/userns_create", 4, 0, "making user namespaces (userns skips)"},
	{"io_uring", 4, 0, "io_uring (io_uring skips)"},
	{"ipc/posix_mqueue", 4, 0, "POSIX message queues (posix_ipc and posix_mq skip)"},
	{"ipc/sysv_mqueue", 4, 0, "System V message queues (sysv_ipc and sysv_mq skip)"},
}

// Gaps names the holes in what the suite can cover on a kernel with a parser,
// sorted: what the kernel mediates and the parser has no rules for, and what
// the kernel seems to mediate and doesn't. tree is the kernel's AppArmor features
// directory, path to content; an empty directory is known only if it has an entry,
// with or without a slash at its end. parserVersion is like "4.1.0"; a version
// that cannot be parsed has no holes of the first kind. arch is as uname -m has it.
func Gaps(tree map[string]string, parserVersion, arch string) []string {
	found := []string{}
	if arch == "aarch64" {
		found = append(found, "the architecture has no I/O ports: capabilities and syscall leave out their tests of ioperm and iopl [arch]")
	}
	if major, minor, ok := version(parserVersion); ok {
		for _, g := range gaps {
			if features.HasPath(tree, g.feature) && (major < g.major || major == g.major && minor < g.minor) {
				found = append(found, fmt.Sprintf("the kernel mediates %s: parser %s has no rules for it, %d.%d has [%s]", g.what, parserVersion, g.major, g.minor, g.feature))
			}
		}
	}
	if emptyDirectory(tree, "dbus") {
		found = append(found, "the kernel's features/dbus is an empty directory: the suite treats it as D-Bus mediation (dbus_* and query_label) [dbus]")
	}
	sort.Strings(found)
	return found
}

func emptyDirectory(tree map[string]string, name string) bool {
	there := false
	for p, v := range tree {
		switch {
		case strings.TrimSuffix(p, "/") == name:
			there = strings.TrimSpace(v) == ""
		case strings.HasPrefix(p, name+"/"):
			return false
		}
	}
	return there
}

var versionRE = regexp.MustCompile(`^\D*(\d+)\.(\d+)`)

func version(s string) (major, minor int, ok bool) {
	m := versionRE.FindStringSubmatch(s)
	if m == nil {
		return 0, 0, false
	}
	major, err1 := strconv.Atoi(m[1])
	minor, err2 := strconv.Atoi(m[2])
	return major, minor, err1 == nil && err2 == nil
}
