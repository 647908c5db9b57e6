// SPDX-License-Identifier: Apache-2.0

package mutants

import (
	"regexp"
	"slices"
	"strings"

	"proofhouse/internal/exit"
	"proofhouse/isolation"
	"proofhouse/reports"
	"proofhouse/runs"
)

// area maps functions of AppArmor to the part of the suite that is about them.
type area struct {
	file     string
	function *regexp.Regexp // nil: all functions of the file
	groups   string         // of the isolation matrix
	scripts  string         // of the upstream suite, the quick ones first
}

// areas are searched from the top: the first that fits counts. Scripts that take
// minutes (capabilities, mount, unix_socket_*) are only where nothing else
// is about the function.
var areas = []area{
	{"lsm.c", regexp.MustCompile(`ptrace`), "ptrace", "ptrace syscall"},
	{"lsm.c", regexp.MustCompile(`capable`), "capability administration limits", "syscall capabilities"},
	{"lsm.c", regexp.MustCompile(`path_|file_|mmap|inode`), "file unprivileged modes", "open rename link unlink mkdir symlink rw deleted fd_inheritance setattr mmap"},
	{"lsm.c", regexp.MustCompile(`mount|pivot`), "mount", "pivot_root mount"},
	{"lsm.c", regexp.MustCompile(`kill`), "signal", "coredump ptrace"},
	{"lsm.c", regexp.MustCompile(`rlimit`), "resource", "exec"},
	{"lsm.c", regexp.MustCompile(`userns|uring`), "ipc", "userns io_uring"},
	{"lsm.c", regexp.MustCompile(`unix|sock|sk_`), "network view", "net_inet socketpair unix_fd_server unix_socket_pathname"},
	{"lsm.c", regexp.MustCompile(`bprm|cred`), "exec resource", "exec exec_qual onexec at_secure coredump"},
	{"lsm.c", regexp.MustCompile(`setattr|procattr`), "exec view", "introspect changeprofile changehat onexec stackprofile"},
	{"lsm.c", nil, "file exec view", "introspect open exec"},
	{"capability.c", nil, "capability administration", "syscall capabilities"},
	{"ipc.c", nil, "signal ptrace", "ptrace coredump"},
	{"task.c", regexp.MustCompile(`ptrace|trac`), "ptrace", "ptrace"},
	{"task.c", regexp.MustCompile(`_ns_`), "ipc", "userns"},
	{"task.c", nil, "exec", "changeprofile changehat onexec stackprofile nnp"},
	{"file.c", nil, "file modes network exec", "open rw link link_subset fd_inheritance deleted unix_fd_server unix_socket_pathname"},
	{"domain.c", regexp.MustCompile(`hat`), "live exec limits", "changehat changehat_misc changehat_fork"},
	{"domain.c", nil, "exec", "exec exec_qual exec_stack onexec changeprofile changehat nnp stackprofile at_secure ptrace xattrs_profile complain"},
	{"mount.c", nil, "mount", "pivot_root mount"},
	{"net.c", nil, "network", "net_inet socketpair net_raw tcp unix_socket_pathname"},
	{"af_inet.c", nil, "network", "net_inet net_raw tcp"},
	{"af_unix.c", nil, "network", "socketpair unix_fd_server unix_socket_pathname unix_socket_abstract"},
	{"procattr.c", nil, "view exec", "introspect changeprofile changehat"},
	{"resource.c", nil, "resource", "exec"},
	{"audit.c", nil, "modes file", "complain open"},
	{"label.c", nil, "view exec live", "introspect namespaces stackprofile exec_stack"},
	{"policy.c", nil, "administration live view", "namespaces e2e changeprofile exec_namespace"},
	{"policy_unpack.c", nil, "administration live", "namespaces e2e"},
	{"policy_ns.c", nil, "administration view live limits", "namespaces exec_namespace"},
	{"apparmorfs.c", nil, "administration view live limits", "namespaces query_label introspect"},
}

// areaOf returns the part of the suite that is about a fault's function.
func areaOf(m Mutant) area {
	for _, a := range areas {
		if a.file == m.File && (a.function == nil || a.function.MatchString(m.Function)) {
			return a
		}
	}
	return area{}
}

// Stage names a part of the suite that a fault is tried with.
type Stage string

// The stages, in their order.
const (
	// Near has the rows of the groups that are about the fault's function.
	Near Stage = "near"
	// Rest has the other rows of the matrix.
	Rest Stage = "rest"
	// Scripts has the upstream scripts that are about the fault's function.
	Scripts Stage = "scripts"
)

// stages are all of them.
var stages = []Stage{Near, Rest, Scripts}

// ParseStage returns the stage with this name.
func ParseStage(name string) (Stage, error) {
	if !slices.Contains(stages, Stage(name)) {
		return "", exit.BadInputf("unknown stage %q: want near, rest or scripts", name)
	}
	return Stage(name), nil
}

// specs returns the IDs of the specs that a stage tries a fault with.
func (s Stage) specs(m Mutant) []string {
	a := areaOf(m)
	groups := strings.Fields(a.groups)
	var ids []string
	switch s {
	case Scripts:
		for _, name := range strings.Fields(a.scripts) {
			ids = append(ids, runs.SpecID(name))
		}
	default:
		for _, row := range isolation.Rows() {
			if slices.Contains(groups, row.Group) == (s == Near) {
				ids = append(ids, row.ID())
			}
		}
	}
	return ids
}

// rowIDs returns the IDs of all rows of the matrix.
func rowIDs() []string {
	var ids []string
	for _, row := range isolation.Rows() {
		ids = append(ids, row.ID())
	}
	return ids
}

// choose makes a run of only these specs, which are all rows or all scripts.
func choose(cfg *runs.Config, ids []string) {
	cfg.Rows, cfg.Scripts = nil, nil
	for _, id := range ids {
		if name, ok := strings.CutPrefix(id, string(reports.Isolation)+"/"); ok {
			cfg.Rows = append(cfg.Rows, name)
		} else {
			cfg.Scripts = append(cfg.Scripts, strings.TrimPrefix(id, string(reports.Regression)+"/"))
		}
	}
}
