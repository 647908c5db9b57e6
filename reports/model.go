// Package reports holds what a run found: the results model, the journal that
// a run appends to while it goes on, and the writers that make JUnit, JSON and
// the terminal's verdict from it. It runs nothing.
package reports

import "time"

// Status is the verdict of one result.
type Status string

// The statuses. Only FAIL speaks against the kernel.
const (
	Pass     Status = "PASS"
	Fail     Status = "FAIL"
	Skip     Status = "SKIP"     // the kernel lacks a feature, or the userspace a part: named in Reason
	XFail    Status = "XFAIL"    // a known problem, still there
	XPass    Status = "XPASS"    // a known problem that is gone
	Error    Status = "ERROR"    // the harness, a deadline, a crash of the kernel: never a verdict on its policy
	Recorded Status = "RECORDED" // behaviour that has no right answer: written down and compared
)

// Result is one subtest on one kernel.
type Result struct {
	// ID is stable from run to run: "regression/open/OPEN RW". It never holds
	// a duration, a label or a random path.
	ID     string `json:"id"`
	Status Status `json:"status"`
	// Expected is what the test demanded and Got what happened, in the words
	// of the test: "pass", "fail", "signal9".
	Expected string `json:"expected,omitempty"`
	Got      string `json:"got,omitempty"`
	// Reason is one line that says why a result is not a PASS.
	Reason string `json:"reason,omitempty"`
	// Lacks names what is missing where Status is SKIP: "kernel: dbus",
	// "parser: unix rules", "machine: x86 I/O ports", "guest: nfs server".
	Lacks string `json:"lacks,omitempty"`
	// Output is the test's own text that led to the verdict.
	Output string `json:"output,omitempty"`
}

// Spec is one unit of work on one kernel: an upstream script, an isolation row.
type Spec struct {
	ID      string    `json:"id"`     // "regression/open"
	Kernel  string    `json:"kernel"` // Kernel.ID
	Start   time.Time `json:"start"`
	End     time.Time `json:"end,omitzero"` // zero: it was cut short
	Process int       `json:"process"`      // the Ginkgo process that ran it
	Machine string    `json:"machine,omitempty"`
	// Seconds is what the command under test took on the machine; what lies
	// between Start and End beyond that is the harness's own.
	Seconds float64 `json:"seconds,omitempty"`
	// Output names the file with the whole output, below the run's folder.
	Output string `json:"output,omitempty"`
	// Denials are the AppArmor audit records that the kernel logged meanwhile.
	Denials []string `json:"denials,omitempty"`
	// Console is the kernel's complaint, where it had one, and Crash its title.
	Console string   `json:"console,omitempty"`
	Crash   string   `json:"crash,omitempty"`
	Results []Result `json:"results,omitempty"`
}

// Kernel is the build that was tested, the userspace it was tested with and
// the machine it ran on.
type Kernel struct {
	ID      string `json:"id"` // folder name, stable for the same build: "6.12.107+deb13-cloud-amd64-1f2e3d4c"
	Spec    string `json:"spec"`
	Release string `json:"release"` // uname -r
	Version string `json:"version"` // uname -v
	SHA256  string `json:"sha256,omitempty"`
	Source  string `json:"source,omitempty"`
	Append  string `json:"append,omitempty"` // words added to the command line
	// Properties are the machine and the userspace, by name: machine,
	// accelerator, qemu, guest, parser, libapparmor, lxc, suite, cmdline,
	// slowness, taint …
	Properties map[string]string `json:"properties,omitempty"`
	// Features is the tree of AppArmor's features folder: path -> content.
	Features map[string]string `json:"features,omitempty"`
	// Gaps are named holes in the coverage, such as a class that the kernel
	// mediates and the parser cannot express.
	Gaps  []string `json:"gaps,omitempty"`
	Specs []Spec   `json:"specs,omitempty"`
}

// Run is all that one run found.
type Run struct {
	Format  int               `json:"format"` // of results.json; see FormatVersion
	Tool    string            `json:"tool"`   // proofhouse's version
	Started time.Time         `json:"started"`
	Ended   time.Time         `json:"ended,omitzero"` // zero: the run was cut short
	Argv    []string          `json:"argv,omitempty"`
	Planned int               `json:"planned"` // specs that were to run
	Host    map[string]string `json:"host,omitempty"`
	Kernels []Kernel          `json:"kernels"`
}

// FormatVersion is the version of the journal and of results.json.
const FormatVersion = 1
