// SPDX-License-Identifier: Apache-2.0

// Package reports holds what a run found: the results model, the journal that
// a run appends to, and the writers that make JUnit, JSON, KTAP and text from
// it. It runs nothing, and reads and writes only below the directory of a run.
package reports

import (
	"cmp"
	"fmt"
	"time"
)

// Status is the verdict on one result.
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
	// Expected is what the test asked for and Got what happened, in the test's
	// own words: "pass", "fail", "signal9".
	Expected string `json:"expected,omitempty"`
	Got      string `json:"got,omitempty"`
	// Reason is one line that says why a result is not a PASS.
	Reason string `json:"reason,omitempty"`
	// Lacks names what is missing where Status is SKIP: "kernel: dbus",
	// "parser: unix rules", "machine: x86 I/O ports", "guest: nfs server".
	Lacks string `json:"lacks,omitempty"`
	// Output is the test's own text that led to the verdict.
	Output string `json:"output,omitempty"`
	// Known is what was found before an expectation applied; nil if none did.
	Known *Known `json:"known,omitempty"`
}

// Known names the expectation that set the status of a result, and the status
// without it, so that a run can be judged again.
type Known struct {
	Found     Status `json:"found"`
	Reason    string `json:"reason,omitempty"` // as it was found
	By        string `json:"by"`               // "expectations.yaml:12"
	Reference string `json:"reference,omitempty"`
}

// Spec is one unit of work on one kernel: an upstream script, an isolation row.
type Spec struct {
	ID      string    `json:"id"`     // "regression/open"
	Kernel  string    `json:"kernel"` // Kernel.ID
	Start   time.Time `json:"start"`
	End     time.Time `json:"end,omitzero"` // zero: it did not end
	Process int       `json:"process"`      // the Ginkgo process that ran it
	Machine string    `json:"machine,omitempty"`
	// Attempt counts the runs of this spec on this kernel from 1, in the order
	// of their starts. [Read] sets it.
	Attempt int `json:"attempt,omitempty"`
	// Seconds is how long the command under test took on the machine; the rest
	// of the time from Start to End is the harness's.
	Seconds float64 `json:"seconds,omitempty"`
	// Output names the file with the whole output, below the run's directory.
	Output string `json:"output,omitempty"`
	// Audit names the file with everything that the kernel's security modules
	// logged meanwhile, below the run's directory; Denials are the denials among it
	// where a result asks for an explanation.
	Audit   string   `json:"audit,omitempty"`
	Denials []string `json:"denials,omitempty"`
	// Console is the kernel's warning or crash report, if any, and Crash its title.
	Console string   `json:"console,omitempty"`
	Crash   string   `json:"crash,omitempty"`
	Results []Result `json:"results,omitempty"`
	// Coverage names the tracefile with the lines of the kernel that the spec
	// reached, below the run's directory. NoCoverage says why they are unknown in
	// a run that measures them.
	Coverage   string `json:"coverage,omitempty"`
	NoCoverage string `json:"no_coverage,omitempty"`
}

// Kernel is the build that was tested, the userspace it was tested with and
// the machine it ran on.
type Kernel struct {
	ID      string `json:"id"` // directory name, stable for the same build: "6.12.107+deb13-cloud-amd64-1f2e3d4c"
	Spec    string `json:"spec"`
	Release string `json:"release"` // uname -r
	Version string `json:"version"` // uname -v
	SHA256  string `json:"sha256,omitempty"`
	Source  string `json:"source,omitempty"`
	Append  string `json:"append,omitempty"` // parameters added to the command line
	// Properties are the machine and the userspace, by name: machine, arch (as
	// uname -m names it), accelerator, qemu, guest, parser, libapparmor, lxc, suite, cmdline,
	// slowness, taint …
	Properties map[string]string `json:"properties,omitempty"`
	// Features is the tree of AppArmor's features directory: path -> content.
	Features map[string]string `json:"features,omitempty"`
	// Gaps are named holes in the coverage, such as a class that the kernel
	// mediates and the parser cannot express.
	Gaps []string `json:"gaps,omitempty"`
	// Machines are those that ran this kernel, by process and opening.
	Machines []Machine `json:"machines,omitempty"`
	// Specs are sorted by ID and attempt: a spec that ran twice is there twice.
	Specs []Spec `json:"specs,omitempty"`
	// NotRun are the specs that were planned and never started, once for each
	// time.
	NotRun []string `json:"not_run,omitempty"`
	// Coverage is nil unless the run measures it.
	Coverage *Coverage `json:"coverage,omitempty"`
}

// x86_64 is the architecture whose name is left out: runs had no other at first.
const x86_64 = "x86_64"

// Arch returns the architecture of the kernel, as uname -m names it.
func (k *Kernel) Arch() string { return cmp.Or(k.Properties["arch"], x86_64) }

// MachineKind returns what durations depend on: "uml", "qemu/tcg", "qemu/kvm", and
// with an architecture that is not x86-64 "qemu/tcg/aarch64".
func (k *Kernel) MachineKind() string {
	kind := k.Properties["machine"]
	if a := k.Properties["accelerator"]; a != "" && kind == "qemu" {
		kind += "/" + a
	}
	if a := k.Arch(); a != x86_64 {
		kind += "/" + a
	}
	return kind
}

// Machine is one machine from its opening to its end.
type Machine struct {
	ID          string    `json:"id"`     // unique within its process: "uml-1"
	Kernel      string    `json:"kernel"` // Kernel.ID
	Process     int       `json:"process"`
	Opened      time.Time `json:"opened,omitzero"`
	Closed      time.Time `json:"closed,omitzero"`
	BootSeconds float64   `json:"boot_seconds,omitempty"` // from the start to the first command
	Slowness    float64   `json:"slowness,omitempty"`     // the factor that deadlines are scaled with
	// Lost says why the machine ended before it was closed, such as the title
	// of a panic; empty if it was closed normally.
	Lost string `json:"lost,omitempty"`
}

// Planned is a spec that a run is to run.
type Planned struct {
	ID      string  `json:"id"`
	Kernel  string  `json:"kernel"`
	Seconds float64 `json:"seconds,omitempty"` // expected; 0: unknown
}

// Run is everything that one run found.
type Run struct {
	Format  int               `json:"format"` // of results.json; see FormatVersion
	Tool    string            `json:"tool"`   // proofhouse's version
	Started time.Time         `json:"started"`
	Ended   time.Time         `json:"ended,omitzero"` // zero: the run was cut short
	Argv    []string          `json:"argv,omitempty"`
	Planned int               `json:"planned"` // specs that were to run
	Host    map[string]string `json:"host,omitempty"`
	// CutShort is true for a run without an end: it was killed, or is still
	// running.
	CutShort bool `json:"cut_short,omitempty"`
	// Remarks are notes that do not change the verdict, such as a line that was
	// cut by a kill.
	Remarks []string `json:"remarks,omitempty"`
	// Doubts say why the run cannot be a PASS whatever its results are, such as
	// a line in the middle of a journal that cannot be read.
	Doubts []string `json:"doubts,omitempty"`
	// Shard is set for a run that is one of several parts.
	Shard *Shard `json:"shard,omitempty"`
	// Parts are the runs that this one was joined from, if it was.
	Parts []Part `json:"parts,omitempty"`
	// Selection is set for a run of only the tests that a patch may affect, or of
	// these first.
	Selection *Selection `json:"selection,omitempty"`
	Kernels   []Kernel   `json:"kernels"`
}

// Selection says which tests a patch selected.
type Selection struct {
	For      string   `json:"for"` // the patch
	Map      string   `json:"map"` // the run that measured which tests reach what
	Selected int      `json:"selected"`
	Unknown  []string `json:"unknown,omitempty"` // selected because the map lacks them
	// LeftOut are the tests that were not selected, sorted. With Rest they ran
	// after the others.
	LeftOut []string `json:"left_out,omitempty"`
	Rest    bool     `json:"rest,omitempty"`
}

// Partial reports whether tests were left out.
func (s *Selection) Partial() bool { return s != nil && !s.Rest && len(s.LeftOut) > 0 }

// Shard says that a run is part Index, from 1, of Count.
type Shard struct {
	Index int `json:"index"`
	Count int `json:"count"`
}

// String returns the shard as the command line has it: "2/5".
func (s Shard) String() string { return fmt.Sprintf("%d/%d", s.Index, s.Count) }

// Part is one of several runs that were joined.
type Part struct {
	Number int    `json:"number"` // from 1
	Name   string `json:"name"`   // of the directory that it was in
	Shard  *Shard `json:"shard,omitempty"`
}

// FormatVersion is the version of the journal and of results.json. Format 2
// has parts and shards: a reader of format 1 would treat a part as the whole.
const FormatVersion = 2
