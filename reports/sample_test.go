// SPDX-License-Identifier: Apache-2.0

package reports

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// start is when the sample runs start.
var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func at(seconds float64) time.Time {
	return start.Add(time.Duration(seconds * float64(time.Second)))
}

// A sample is a run as its processes would write it down, with a clock of its
// own.
type sample struct {
	journals map[int][]Event
	clock    map[int]float64
}

func newSample(tool string, kernels []Kernel, scripts ...string) *sample {
	s := &sample{journals: map[int][]Event{}, clock: map[int]float64{}}
	r := &RunStart{Tool: tool, Argv: []string{"proofhouse", "run"}, Processes: 2, Host: map[string]string{"cpus": "2"}}
	for _, k := range kernels {
		for _, id := range scripts {
			r.Planned = append(r.Planned, Planned{ID: "regression/" + id, Kernel: k.ID})
		}
	}
	for p := range 2 {
		s.event(p+1, Event{Event: ProcessStarted, Format: FormatVersion})
	}
	s.event(1, Event{Event: RunStarted, Run: r})
	for _, k := range kernels {
		s.event(1, Event{Event: KernelOpened, Kernel: &k})
	}
	return s
}

func (s *sample) event(process int, e Event) {
	e.Process, e.Time = process, at(s.clock[process])
	s.journals[process] = append(s.journals[process], e)
}

// spec is a whole spec that took a number of seconds.
func (s *sample) spec(process int, kernel, script string, seconds float64, results ...Result) *Spec {
	spec := s.begin(process, kernel, script)
	s.clock[process] += seconds
	spec.End, spec.Seconds, spec.Results = at(s.clock[process]), seconds, results
	for i := range spec.Results {
		spec.Results[i].ID = spec.ID + "/" + spec.Results[i].ID
	}
	s.event(process, Event{Event: SpecEnded, Spec: spec})
	return spec
}

// begin is a spec that has just started.
func (s *sample) begin(process int, kernel, script string) *Spec {
	spec := &Spec{ID: "regression/" + script, Kernel: kernel, Start: at(s.clock[process]), Process: process}
	began := *spec
	s.event(process, Event{Event: SpecStarted, Spec: &began})
	return spec
}

func (s *sample) end() *sample {
	s.event(1, Event{Event: RunEnded})
	for _, p := range []int{1, 2} {
		s.event(p, Event{Event: ProcessEnded})
	}
	return s
}

func (s *sample) run() *Run {
	var js []journal
	for p, events := range s.journals {
		js = append(js, journal{process: p, events: events})
	}
	slices.SortFunc(js, func(a, b journal) int { return a.process - b.process })
	return merge(js)
}

// write puts the journals into dir.
func (s *sample) write(t testing.TB, dir string) {
	t.Helper()
	for p, events := range s.journals {
		var text []byte
		for _, e := range events {
			line, err := encodeLine(e)
			if err != nil {
				t.Fatal(err)
			}
			text = append(text, line...)
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("journal-%d.jsonl", p)), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// passes are n subtests that passed.
func passes(n int) (list []Result) {
	for i := range n {
		list = append(list, Result{ID: fmt.Sprintf("SUBTEST %d", i+1), Status: Pass, Expected: "pass", Got: "pass"})
	}
	return list
}

func trixie() Kernel {
	return Kernel{
		ID: "6.12.94+deb13-cloud-amd64-1f2e3d4c", Spec: "debian:trixie", Release: "6.12.94+deb13-cloud-amd64",
		Version: "#1 SMP PREEMPT_DYNAMIC Debian 6.12.94-1 (2026-02-11)", SHA256: "1f2e3d4c",
		Properties: map[string]string{
			"machine": "qemu", "accelerator": "tcg", "qemu": "10.0.3", "slowness": "3.1",
			"guest": "forky", "parser": "4.1.8", "suite": "4.1.8",
		},
	}
}

func uml() Kernel {
	return Kernel{
		ID: "7.2.7-um-9a8b7c6d", Spec: "uml:debian:forky", Release: "7.2.7", Version: "#1 Debian 7.2.7-1um1",
		Properties: map[string]string{"machine": "uml", "guest": "forky", "parser": "4.1.8", "suite": "4.1.8"},
		Gaps:       []string{"the kernel mediates network_v9/af_unix, parser 4.1.8 has no rules for it: 8 scripts skip"},
	}
}

const denial = `audit: type=1400 audit(1772366405.123:42): apparmor="DENIED" operation="open" class="file" ` +
	`profile="/tmp/sdtest.1234/complain" name="/tmp/sdtest.1234/file" pid=812 comm="complain" ` +
	`requested_mask="r" denied_mask="r" fsuid=0 ouid=0`

// The sample runs: what their names say.
var samples = map[string]func() *sample{
	"pass": func() *sample {
		s := newSample("v1", []Kernel{trixie()}, "access", "capabilities", "open")
		s.spec(1, trixie().ID, "capabilities", 312, passes(621)...)
		s.spec(2, trixie().ID, "open", 9.2, passes(23)...)
		known := Result{ID: "longpath", Status: XFail, Reason: "known upstream"}
		s.spec(2, trixie().ID, "access", 18, append(passes(18), known)...)
		return s.end()
	},
	"fail": func() *sample {
		s := newSample("v1", []Kernel{trixie()}, "complain", "open", "dbus_message")
		spec := s.begin(1, trixie().ID, "complain")
		s.clock[1] += 12
		spec.End, spec.Seconds, spec.Denials, spec.Output = at(12), 12, []string{denial}, "6.12.94+deb13-cloud-amd64-1f2e3d4c/complain.txt"
		spec.Results = append(spec.Results, Result{
			ID: "regression/complain/file exec cx permission entry", Status: Fail, Expected: "pass", Got: "fail",
			Reason: "exec: Permission denied",
			Output: "Error: complain failed. Test 'file exec cx permission entry' was expected to 'pass'. Reason for failure 'FAIL - exec'",
		}, Result{ID: "regression/complain/file no permission", Status: Pass})
		s.event(1, Event{Event: SpecEnded, Spec: spec})
		s.spec(2, trixie().ID, "open", 9.2, passes(23)...)
		s.spec(2, trixie().ID, "dbus_message", 0.4, Result{ID: "(script)", Status: Skip, Lacks: "kernel: dbus"})
		return s.end()
	},
	"error": func() *sample {
		s := newSample("v1", []Kernel{uml()}, "open", "swap")
		s.spec(1, uml().ID, "open", 3.6, passes(23)...)
		spec := s.begin(2, uml().ID, "swap")
		s.event(2, Event{Event: MachineOpened, Machine: &Machine{ID: "uml-1", Kernel: uml().ID, Opened: at(0)}})
		s.clock[2] += 5
		spec.End, spec.Crash = at(5), "BUG: kernel NULL pointer dereference in aa_label_merge"
		spec.Console = "[    9.1] BUG: kernel NULL pointer dereference, address: 0000000000000010\n[    9.2] Kernel panic - not syncing: Fatal exception"
		spec.Results = []Result{{ID: "regression/swap/(script)", Status: Error, Reason: spec.Crash}}
		s.event(2, Event{Event: SpecEnded, Spec: spec})
		s.event(2, Event{Event: MachineClosed, Machine: &Machine{ID: "uml-1", Kernel: uml().ID, Closed: at(5), Lost: spec.Crash}})
		return s.end()
	},
	"mixed": func() *sample {
		s := newSample("v1", []Kernel{uml(), trixie()}, "complain", "open", "unix_socket", "syscall")
		for _, k := range []Kernel{uml(), trixie()} {
			var bad []Result
			for n := range 14 {
				bad = append(bad, Result{ID: fmt.Sprintf("file permission %d", n+1), Status: Fail, Expected: "fail", Got: "pass"})
			}
			s.spec(1, k.ID, "complain", 4, append(bad, passes(3)...)...)
			s.spec(2, k.ID, "open", 3.6, passes(23)...)
			s.spec(1, k.ID, "unix_socket", 2,
				Result{ID: "(skipped: parser: unix rules)", Status: Skip, Lacks: "parser: unix rules"},
				Result{ID: "getopt", Status: XPass, Reason: "known problem"})
			s.spec(2, k.ID, "syscall", 14,
				Result{ID: "(skipped: machine: x86 I/O ports)", Status: Skip, Lacks: "machine: x86 I/O ports"},
				Result{ID: "ioperm", Status: Recorded, Got: "EPERM"}, Result{ID: "ptrace \x1b[31m & <b>", Status: Pass})
		}
		// A second attempt with another verdict.
		s.spec(2, uml().ID, "open", 3.7, append(passes(22), Result{ID: "SUBTEST 23", Status: Error, Reason: "no answer within 60 s"})...)
		return s.end()
	},
	"killed": func() *sample {
		s := newSample("v1", []Kernel{uml()}, "capabilities", "complain", "open", "stackprofile")
		s.spec(1, uml().ID, "open", 3.6, passes(23)...)
		cut := s.begin(1, uml().ID, "stackprofile")
		s.event(1, Event{Event: SpecResults, Spec: &Spec{ID: cut.ID, Kernel: cut.Kernel},
			Results: []Result{{ID: "regression/stackprofile/STACK 1", Status: Pass}}})
		return s
	},
	"skip": func() *sample {
		s := newSample("v1", []Kernel{uml()}, "dbus_message")
		s.spec(1, uml().ID, "dbus_message", 1, Result{ID: "(script)", Status: Skip, Lacks: "kernel: dbus"})
		return s.end()
	},
	"nothing": func() *sample { return newSample("v1", []Kernel{uml()}).end() },
}
