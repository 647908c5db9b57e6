// SPDX-License-Identifier: Apache-2.0

package isolation

import (
	"slices"
	"strings"

	"proofhouse/internal/features"
	"proofhouse/reports"
)

// Kernel is what expectations depend on: features, never the version alone.
type Kernel struct {
	// Features are the files of AppArmor's features directory: path -> content.
	Features map[string]string
	// Parser is the version of the guest's apparmor_parser.
	Parser string
	// Slowness is the factor by which the machine is slower than hardware.
	Slowness float64
	// Off reports whether the kernel's config has an option off; nil where the
	// config is not known.
	Off func(option string) bool
}

// Row is one row of the matrix: an operation with the expected outcome, or
// experiments of its own (Cases).
type Row struct {
	Group string
	Name  string
	// About is what is tried, in a few words.
	About string
	// Why is the reason for what is expected, and the source: a file and
	// function of the kernel (security/apparmor/…), or what was measured on
	// what.
	Why string
	// Needs are the features of the kernel without which the row is skipped: a
	// file of the features directory, and after a space a word in it; or an option
	// of its config.
	Needs []string

	// Deny are the rules by which a side denies the operation. They say "audit",
	// as a deny rule logs nothing otherwise.
	Deny string
	// More are rules of both profiles of a side, the one that allows and the one
	// that denies.
	More string
	// Bare replaces the usual base of rules; Deny is then "". Allow is the rule
	// of the profile that allows, and Missing what the one that denies has
	// instead.
	Bare, Allow, Missing string
	// Prepare are steps before the task gets its label, Do those after, and
	// Clean the manager's, at the end. The errno of the first step of Do that
	// fails is the outcome.
	Prepare, Do, Clean []string
	// Errno is the errno of a denial; "" is EACCES.
	Errno string
	// Records are what each part that denies logs, once each.
	Records []Record
	// Second is what the second part, the namespace's, logs where both deny: ""
	// is that each part logs, Never that only the first does, and Maybe that
	// kernels differ.
	Second string
	// Where are the places of the task; nil is both the host and the container.
	Where []string
	// Unprivileged rows use the container with a user namespace.
	Unprivileged bool
	// Peers are tasks beside the confined one, with their labels.
	Peers []Task
	// After are the labels that the host sees at the end where the operation
	// succeeded and changed them, by the label's kind. Others are unchanged.
	After map[string]string
	// Extra policy is loaded beside the row's profiles.
	Extra []Policy
	// Recorded is why the outcome has no right answer: it is written down and
	// compared between kernels.
	Recorded string
	// CrashFails is true where a warning or a crash of the kernel is a FAIL of
	// the row: that the kernel survives what the row does is what it asks. In
	// other rows it is an ERROR, no verdict on the policy.
	CrashFails bool
	// Smoke rows belong to the quick selection.
	Smoke bool
	// Blind are the parts that do not mediate the operation: "host",
	// "namespace". Why has the reason.
	Blind []string

	// BlindStack are parts that do not mediate it in a stack only.
	BlindStack []string

	// Cases are experiments of the row's own, instead of the matrix.
	Cases []Case
	// Namespaces are those that the cases need beside the container's.
	Namespaces []string
	// Policy is what the cases load beside the profiles that allow.
	Policy []Policy
}

// Record is an expected record of the kernel. Fields that are "" are not
// compared.
type Record struct {
	Kind      string // "" is DENIED
	Operation string
	// Namespace and Profile are the part that logged; rows of the matrix leave
	// them out.
	Namespace, Profile string
	Name               string
	// Fields are others by the kernel's names, such as requested_mask and
	// capname.
	Fields map[string]string
	// Maybe is true for a record that some kernels make.
	Maybe bool
}

// Values of Row.Second.
const (
	Never = "never"
	Maybe = "maybe"
)

// Case is an experiment with an expectation of its own.
type Case struct {
	Name  string
	Tasks []Task
	// Prepare as in a Row.
	Prepare []string
	// Do are steps with the expected outcome of each after "=>": an errno, "ok"
	// (the default), or a value in quotes.
	//
	//	cat /iso/f => EACCES
	//	label => "ct-allow (enforce)"
	Do    []string
	Clean []string
	// Labels are those that the host sees at the end, by task.
	Labels  map[string]string
	Records []Record
	// Recorded: as in a Row.
	Recorded string
	Needs    []string
	// Why replaces the row's.
	Why string
}

// ID is the row's stable name: "isolation/file/read".
func (r Row) ID() string { return reports.NewID(reports.Isolation, r.Group, r.Name).String() }

// Lacking is what the kernel lacks for the row, or "".
func (r Row) Lacking(k Kernel) string { return Lacks(k, r.Needs) }

// Survives reports whether the row asks that the kernel survives: a crash is a
// FAIL then.
func (r Row) Survives() bool { return r.CrashFails }

// Alone reports whether the row needs a machine of its own.
func (r Row) Alone() bool { return false }

// Lacks returns the first of needs that the kernel lacks, or "": a feature, or an
// option of its config (CONFIG_IO_URING, as features/io_uring exists without it).
func Lacks(k Kernel, needs []string) string {
	for _, n := range needs {
		if strings.HasPrefix(n, "CONFIG_") {
			if k.Off != nil && k.Off(n) {
				return n
			}
			continue
		}
		file, word, _ := strings.Cut(n, " ")
		if !features.Has(k.Features, file, word) {
			return n
		}
	}
	return ""
}

// Rows returns all rows, group by group.
func Rows() []Row {
	return slices.Concat(fileRows, execRows, capabilityRows, networkRows, mountRows, signalRows, ptraceRows, ipcRows, resourceRows, viewRows,
		administrationRows, modeRows, liveRows, lifecycleRows, limitRows, unprivilegedRows())
}

// denied are the fields of a record with this denied_mask.
func denied(m string) map[string]string { return map[string]string{"denied_mask": m} }
