package isolation

import (
	"slices"
	"strings"

	"proofhouse/reports"
)

// Kernel is what expectations depend on: never the version alone.
type Kernel struct {
	// Features is the tree of AppArmor's features folder: path -> content.
	Features map[string]string
	// Parser is the version of the guest's apparmor_parser.
	Parser string
	// Slowness is how many times slower than hardware the machine is.
	Slowness float64
	// Off says whether the kernel's config says that an option is not set; nil
	// where nothing is known of it.
	Off func(option string) bool
}

// Has says whether a file of the features folder is there and holds the word;
// "" is any content but "no". A folder proves nothing (features/dbus is empty
// on 7.3).
func (k Kernel) Has(file, word string) bool {
	content, ok := k.Features[file]
	if !ok || content == "no" {
		return false
	}
	return word == "" || slices.Contains(strings.Fields(content), word)
}

// Row is one line of the matrix: an operation with what must come of it, or
// experiments of its own (Cases).
type Row struct {
	Group string
	Name  string
	// About says what is tried, in a few words.
	About string
	// Why is the reason for what is expected, and the source: a file and
	// function of the kernel (security/apparmor/…), or what was measured on
	// what.
	Why string
	// Needs are the features of the kernel without which the row is skipped: a
	// file of the features folder, and after a space a word in it; or an option
	// of its config.
	Needs []string

	// Deny is the rule, or rules, by which a side denies the operation. It
	// audits what it denies: a deny rule is silent otherwise.
	Deny string
	// More rules of both profiles of a side, also of the one that allows.
	More string
	// Bare is a base of rules in place of the usual one; Deny is then "", and
	// Allow the rule without which the operation is denied.
	// Missing is a rule of those profiles of a Bare row that deny.
	Bare, Allow, Missing string
	// Prepare are steps before the task takes on its label, Do those after,
	// and Clean the manager's, at the end. The errno of the first step of Do
	// that fails is the outcome.
	Prepare, Do, Clean []string
	// Errno is that of a denial; "" is EACCES.
	Errno string
	// Records are what each denying part logs, one for each.
	Records []Record
	// Second says what becomes of the record of the second part, the
	// namespace's, where both deny: "" is that each logs, Never that the first
	// denial ends the matter, and Maybe that kernels differ in it.
	Second string
	// Where the tasks are; none is both on the host and in the container.
	Where []string
	// Unprivileged rows have the container that is in a user namespace.
	Unprivileged bool
	// Tasks beside the one that is confined, with their labels.
	Peers []Task
	// After are the labels that the host sees at the end where the operation
	// succeeded and changed them, by the label's kind. One that is not here is
	// as it was.
	After map[string]string
	// Extra policy is loaded beside the row's profiles.
	Extra []Policy
	// Recorded has a row's outcome written down and compared between kernels,
	// as it has no right answer; it is the reason.
	Recorded string
	// CrashFails is true where a warning or a crash of the kernel is a FAIL of
	// the row: that the kernel survives what the row does is what it asks. In
	// other rows it is an ERROR, no verdict on the policy.
	CrashFails bool
	// Smoke rows are in the quick choice.
	Smoke bool
	// Blind are the parts that do not mediate the operation, "host" or
	// "namespace", and Why says why.
	Blind []string

	// BlindStack are parts that do so only in a stack.
	BlindStack []string

	// Cases are experiments of the row's own, in place of the matrix.
	Cases []Case
	// Namespaces that the cases need, beside the container's.
	Namespaces []string
	// Policy is what the cases load, beside the profiles that allow.
	Policy []Policy
}

// Record is a record that the kernel is to make. Fields that are "" are not
// looked at.
type Record struct {
	Kind      string // "" is DENIED
	Operation string
	// Namespace and Profile say which part spoke; a matrix row leaves them out.
	Namespace, Profile string
	Name               string
	// Fields are others, by the kernel's names: requested_mask, denied_mask,
	// capname, signal …
	Fields map[string]string
	// Maybe is true for a record that kernels may make or not.
	Maybe bool
}

// What becomes of the second record: see Row.
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
	// Do are steps with what must come of each behind "=>": an errno, "ok"
	// (which can be left out), or a value in quotes.
	//
	//	cat /iso/f => EACCES
	//	label => "ct-allow (enforce)"
	Do    []string
	Clean []string
	// Labels are what the host sees at the end, by task.
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

// Lacks names the feature that the kernel is missing for the row, or the option
// of its config that is not set ("CONFIG_IO_URING": features/io_uring is there
// without it), or "".
func Lacks(k Kernel, needs []string) string {
	for _, n := range needs {
		if strings.HasPrefix(n, "CONFIG_") {
			if k.Off != nil && k.Off(n) {
				return n
			}
			continue
		}
		file, word, _ := strings.Cut(n, " ")
		if !k.Has(file, word) {
			return n
		}
	}
	return ""
}

// Rows are all rows, in the order of the groups.
func Rows() []Row {
	return slices.Concat(fileRows, execRows, capabilityRows, networkRows, mountRows, signalRows, ptraceRows, ipcRows, viewRows,
		administrationRows, modeRows, liveRows, lifecycleRows, limitRows, unprivilegedRows())
}

// denied is the field of what a record says was denied.
func denied(m string) map[string]string { return map[string]string{"denied_mask": m} }
