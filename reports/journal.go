// SPDX-License-Identifier: Apache-2.0

package reports

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"syscall"
	"time"

	"proofhouse/internal/exit"
	"proofhouse/internal/printable"
)

// Kind names what an [Event] is about.
type Kind string

// The kinds of events.
const (
	ProcessStarted Kind = "process-started" // the first of a journal; carries Format
	ProcessEnded   Kind = "process-ended"
	PartStarted    Kind = "part"        // before the first of a journal that was joined; carries Part and Format
	RunStarted     Kind = "run-started" // carries Run
	RunEnded       Kind = "run-ended"
	KernelOpened   Kind = "kernel"         // carries Kernel
	MachineOpened  Kind = "machine-opened" // carries Machine
	MachineClosed  Kind = "machine-closed" // carries Machine, with Lost if it was lost
	SpecStarted    Kind = "spec-started"   // carries Spec
	SpecResults    Kind = "results"        // carries Spec (its ID and Kernel) and Results
	SpecEnded      Kind = "spec-ended"     // carries Spec with its Results
)

// Event is one line of a journal.
type Event struct {
	Event   Kind      `json:"event"`
	Time    time.Time `json:"time"`
	Process int       `json:"process"`
	Format  int       `json:"format,omitempty"`
	Part    *Part     `json:"part,omitempty"`
	Run     *RunStart `json:"run,omitempty"`
	Kernel  *Kernel   `json:"kernel,omitempty"`
	Machine *Machine  `json:"machine,omitempty"`
	Spec    *Spec     `json:"spec,omitempty"`
	Results []Result  `json:"results,omitempty"`
}

// RunStart is what is known when a run starts.
type RunStart struct {
	Tool      string            `json:"tool"` // proofhouse's version
	Argv      []string          `json:"argv,omitempty"`
	Processes int               `json:"processes"` // that run specs side by side
	Planned   []Planned         `json:"planned"`   // in the order in which they will start
	Host      map[string]string `json:"host,omitempty"`
	// Shard is set for a run that is one of several parts; Whole is then what
	// all of them together are to run.
	Shard *Shard    `json:"shard,omitempty"`
	Whole []Planned `json:"whole,omitempty"`
	// Kernels have to be in the run: see [Require].
	Kernels   []string   `json:"kernels,omitempty"`
	Selection *Selection `json:"selection,omitempty"`
}

// Journal is the file in which one process of a run records what happens:
// journal-<process>.jsonl in the run's directory. Each event is one
// line and one write(2), so a process that is killed leaves at most one
// incomplete line, the last.
//
// A nil *Journal takes every call and writes nothing. All methods may be called
// from several goroutines. A write that fails is not returned by the method but
// kept for [Journal.Close]: a full disk does not change what a spec found.
type Journal struct {
	process int
	dir     string
	release func() // the run's directory

	mu    sync.Mutex
	f     *os.File
	begin []byte // what the next line needs before it: a newline after half a line
	err   error
}

// Create opens the journal of the process (Ginkgo's number, from 1) in the
// run's directory, which is created if it does not exist. An existing journal is
// continued: the run is repeated.
func Create(dir string, process int) (*Journal, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("create the run's directory: %w", noSpace(dir, err))
	}
	release, err := Hold(dir)
	if err != nil {
		return nil, err
	}
	f, err := openJournal(dir, fmt.Sprintf("journal-%d.jsonl", process))
	if err != nil {
		release()
		return nil, fmt.Errorf("open the journal: %w", noSpace(dir, err))
	}
	j := &Journal{process: process, dir: dir, release: release, f: f}
	if endsInHalfLine(f) {
		j.begin = []byte("\n")
	}
	j.write(Event{Event: ProcessStarted, Format: FormatVersion})
	return j, nil
}

// openJournal opens the journal to append to it, or makes it.
func openJournal(dir, name string) (*os.File, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	f, err := root.OpenFile(name, os.O_RDWR|os.O_APPEND|os.O_CREATE|os.O_EXCL, 0o644)
	if !errors.Is(err, fs.ErrExist) {
		return f, err
	}
	if err := checkFile(root, name); err != nil {
		return nil, err
	}
	return root.OpenFile(name, os.O_RDWR|os.O_APPEND, 0)
}

func endsInHalfLine(f *os.File) bool {
	st, err := f.Stat()
	if err != nil || st.Size() == 0 {
		return false
	}
	var last [1]byte
	_, err = f.ReadAt(last[:], st.Size()-1)
	return err == nil && last[0] != '\n'
}

func noSpace(dir string, err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return exit.BadInputf("no space left under %s: %w", dir, err)
	}
	return err
}

// RunStarted records what the run is about to do. One process calls it, before
// any spec starts; again when the run is repeated.
func (j *Journal) RunStarted(r RunStart) { j.write(Event{Event: RunStarted, Run: &r}) }

// RunEnded records that every planned spec had its turn.
func (j *Journal) RunEnded() { j.write(Event{Event: RunEnded}) }

// Kernel records what is known of a kernel under test; its Specs, Machines and
// NotRun are ignored. Any process may call it, and again when it knows more:
// what is not empty in a later call replaces or joins what was there.
func (j *Journal) Kernel(k Kernel) {
	k.Specs, k.Machines, k.NotRun = nil, nil, nil
	j.write(Event{Event: KernelOpened, Kernel: &k})
}

// MachineOpened records that a machine is running.
func (j *Journal) MachineOpened(m Machine) {
	j.fill(&m.Process, &m.Opened)
	j.write(Event{Event: MachineOpened, Machine: &m})
}

// MachineClosed records the end of a machine; m.Lost says why if it was lost. m.ID is
// that of the opening.
func (j *Journal) MachineClosed(m Machine) {
	j.fill(&m.Process, &m.Closed)
	j.write(Event{Event: MachineClosed, Machine: &m})
}

// SpecStarted records that a spec begins. A zero Start is now.
func (j *Journal) SpecStarted(s Spec) {
	j.fill(&s.Process, &s.Start)
	s.Results = nil
	j.write(Event{Event: SpecStarted, Spec: &s})
}

// Results records results of a spec that is still running, together or one by
// one, so that they survive a kill.
func (j *Journal) Results(s Spec, results ...Result) {
	if len(results) > 0 {
		j.write(Event{Event: SpecResults, Spec: &Spec{ID: s.ID, Kernel: s.Kernel}, Results: results})
	}
}

// SpecEnded records the end of a spec. A zero End is now. Its Results, if it has
// any, replace those that [Journal.Results] wrote.
func (j *Journal) SpecEnded(s Spec) {
	j.fill(&s.Process, &s.End)
	j.write(Event{Event: SpecEnded, Spec: &s})
}

// Close records that this process ended normally, closes the file, and returns
// the first error of writing.
func (j *Journal) Close() error {
	if j == nil {
		return nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.f == nil {
		return j.err
	}
	j.writeLocked(Event{Event: ProcessEnded})
	if err := j.f.Close(); err != nil && j.err == nil {
		j.err = fmt.Errorf("close the journal: %w", noSpace(j.dir, err))
	}
	j.f = nil
	if j.release != nil {
		j.release()
	}
	return j.err
}

func (j *Journal) fill(process *int, at *time.Time) {
	if j == nil {
		return
	}
	if *process == 0 {
		*process = j.process
	}
	if at.IsZero() {
		*at = now()
	}
}

func (j *Journal) write(e Event) {
	if j == nil {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.f != nil {
		j.writeLocked(e)
	} else if j.err == nil {
		j.err = fmt.Errorf("write %q to the journal: %w", e.Event, os.ErrClosed)
	}
}

func (j *Journal) writeLocked(e Event) {
	e.Time, e.Process = now(), j.process
	line, err := encodeLine(e)
	if err == nil {
		_, err = j.f.Write(append(j.begin, line...))
		// After a write that failed half way, the next event needs a line of
		// its own; an empty line does no harm.
		j.begin = nil
		if err != nil {
			j.begin = []byte("\n")
		}
	}
	if err != nil && j.err == nil {
		j.err = fmt.Errorf("write %q to the journal: %w", e.Event, noSpace(j.dir, err))
	}
}

// now has no monotonic part: it is what a reader of the journal will see.
func now() time.Time { return time.Now().UTC().Round(0) }

// encodeLine makes the one line of an event, newline included. Profiles and
// labels are full of < and &, which stay readable.
func encodeLine(e Event) ([]byte, error) {
	var b bytes.Buffer
	err := printable.EncodeJSON(&b, e, "")
	return b.Bytes(), err
}
