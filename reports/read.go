// SPDX-License-Identifier: Apache-2.0

package reports

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"proofhouse/internal/exit"
)

// journal is one journal file as it was read.
type journal struct {
	process int
	part    Part // 0 for a journal that was not joined
	events  []Event
	remarks []string
	doubts  []string
}

var journalName = regexp.MustCompile(`^journal-([0-9]{1,9})\.jsonl$`)

// Read makes the run from all journals in its directory, also of a run that was
// killed at any moment or is still running. The order of kernels, specs and
// attempts does not depend on how the processes interleaved.
//
// A spec that started and never ended gets an ERROR "<spec>/(script)"; one that
// was planned and never started is in [Kernel.NotRun]; one that ran twice is
// there twice. What was wrong with the journals is in [Run.Doubts] and [Run.Remarks].
//
// A directory without a journal, or with one of a newer format, is bad input.
func Read(dir string) (*Run, error) {
	journals, _, err := readJournals(dir)
	if err != nil {
		return nil, err
	}
	return merge(journals), nil
}

// Open reads a run from its directory, as [Read] does, or from a results.json,
// which may stand alone.
func Open(path string) (*Run, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, noRun(path, err, wantRun)
	}
	if st.IsDir() {
		return Read(path)
	}
	// The user named the file: it may be a link.
	file, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, noRun(path, err, wantRun)
	}
	b, err := ReadFile(filepath.Dir(file), filepath.Base(file))
	if err != nil {
		return nil, noRun(path, err, wantRun)
	}
	run, err := decodeResults(b)
	switch {
	case errors.Is(err, errNewer):
		return nil, noRun(path, err, "use that proofhouse")
	case err != nil:
		return nil, noRun(path, fmt.Errorf("not a results.json of proofhouse: %w", err), wantRun)
	}
	return run, nil
}

// What a user may name to have a run read.
const (
	wantRun    = "want the directory of a run, or a results.json"
	wantRunDir = "want the directory of a run"
)

// noRun is the error of a path that names no run. want tells the user what to do.
func noRun(path string, err error, want string) error {
	var at *fs.PathError
	if errors.As(err, &at) { // it names a path, too
		err = at.Err
	}
	return exit.BadInputf("read the run %s: %w: %s", path, err, want)
}

// decodeResults reads a results.json.
func decodeResults(text []byte) (*Run, error) {
	d := document{Run: &Run{}}
	switch err := json.Unmarshal(text, &d); {
	case err != nil:
		return nil, err
	case d.Format < 1:
		return nil, errors.New("it has no format")
	case d.Format > FormatVersion:
		return nil, fmt.Errorf("%w: format %d, this one reads %d", errNewer, d.Format, FormatVersion)
	}
	d.Doubts = slices.DeleteFunc(d.Doubts, func(s string) bool { return s == "" })
	d.gather()
	d.settle()
	d.claims()
	return d.Run, nil
}

// readJournals reads all journals in dir, by process, and their texts. Errors
// name the directory or the file.
func readJournals(dir string) (list []journal, texts map[int][]byte, err error) {
	switch st, err := os.Stat(dir); {
	case err != nil:
		return nil, nil, noRun(dir, err, wantRunDir)
	case !st.IsDir():
		return nil, nil, noRun(dir, errNotDirectory, wantRunDir)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, nil, fmt.Errorf("read the run %s: %w", dir, err)
	}
	defer func() { _ = root.Close() }()
	names, err := journalNames(root)
	if err != nil {
		return nil, nil, fmt.Errorf("read the run %s: %w", dir, err)
	}
	if len(names) == 0 {
		return nil, nil, noRun(dir, errors.New("it has no journal-*.jsonl"), wantRunDir)
	}
	texts = map[int][]byte{}
	left := int64(MaxFile) // for all of them
	for _, n := range names {
		text, err := readFile(root, n.name, left)
		if err != nil {
			return nil, nil, badFile(dir, err)
		}
		left -= int64(len(text))
		j, err := decode(n.process, text)
		if err != nil {
			return nil, nil, exit.BadInputf("read the run %s: %s: %w", dir, n.name, err)
		}
		list = append(list, j)
		texts[n.process] = text
	}
	return list, texts, nil
}

// badFile is the error of a file in a run's directory that cannot be read.
func badFile(dir string, err error) error {
	err = fmt.Errorf("read the run %s: %w", dir, err)
	if errors.Is(err, errNotFile) {
		return exit.BadInput(err)
	}
	return err
}

// numbered is the name of a file of one process.
type numbered struct {
	process int
	name    string
}

// journalNames are the journals in a run's directory, by process. Two of one
// process cannot be.
func journalNames(root *os.Root) ([]numbered, error) { return numberedFiles(root, journalName) }

// numberedFiles are the files whose names have a process's number in them, by
// process.
func numberedFiles(root *os.Root, pattern *regexp.Regexp) ([]numbered, error) {
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return nil, err
	}
	var list []numbered
	for _, e := range entries {
		if m := pattern.FindStringSubmatch(e.Name()); m != nil {
			n, _ := strconv.Atoi(m[1]) // nine digits fit
			list = append(list, numbered{n, e.Name()})
		}
	}
	slices.SortFunc(list, func(a, b numbered) int { return cmp.Or(cmp.Compare(a.process, b.process), cmp.Compare(a.name, b.name)) })
	for i := 1; i < len(list); i++ {
		if list[i].process == list[i-1].process {
			return nil, exit.BadInputf("journals %s and %s are of the same process: remove the copy", list[i-1].name, list[i].name)
		}
	}
	return list, nil
}

var errCut = errors.New("it was cut, as by a kill")

var errNewer = errors.New("written by a newer proofhouse")

// decode reads the text of one journal. Only a format that is newer than ours
// is an error. A line that is no event may have been anything, so it is a doubt,
// unless it was cut by a kill that the rest of the journal tells of: what was
// going on then has no end.
func decode(process int, text []byte) (journal, error) {
	j := journal{process: process}
	cut := "" // the line before was
	for n, line := range bytes.Split(text, []byte("\n")) {
		if len(line) == 0 {
			continue
		}
		e, err := decodeLine(line)
		if cut != "" {
			j.ignored(cut, err == nil && e.Event == ProcessStarted)
			cut = ""
		}
		if err != nil {
			what := fmt.Sprintf("journal-%d.jsonl: line %d is ignored: %v", process, n+1, err)
			if errors.Is(err, errCut) {
				cut = what
			} else {
				j.ignored(what, false)
			}
			continue
		}
		if e.Format > FormatVersion {
			return j, fmt.Errorf("%w: format %d, this one reads %d", errNewer, e.Format, FormatVersion)
		}
		// The file's name is what distinguishes processes.
		e.Process = process
		if e.Event == PartStarted {
			j.part = *e.Part
		}
		if e.Kernel != nil {
			e.Kernel.Specs, e.Kernel.Machines, e.Kernel.NotRun = nil, nil, nil
		}
		j.events = append(j.events, e)
	}
	if cut != "" {
		j.ignored(cut, true)
	}
	return j, nil
}

func (j *journal) ignored(what string, harmless bool) {
	if harmless {
		j.remarks = append(j.remarks, what)
	} else {
		j.doubts = append(j.doubts, what)
	}
}

// needs says what an event of a kind must carry to mean anything.
var needs = map[Kind]func(e *Event) bool{
	ProcessStarted: func(e *Event) bool { return e.Format > 0 },
	ProcessEnded:   func(*Event) bool { return true },
	PartStarted:    func(e *Event) bool { return e.Part != nil && e.Part.Number > 0 },
	RunStarted:     func(e *Event) bool { return e.Run != nil },
	RunEnded:       func(*Event) bool { return true },
	KernelOpened:   func(e *Event) bool { return e.Kernel != nil && e.Kernel.ID != "" },
	MachineOpened:  func(e *Event) bool { return e.Machine != nil },
	MachineClosed:  func(e *Event) bool { return e.Machine != nil },
	SpecStarted:    func(e *Event) bool { return e.Spec != nil && e.Spec.ID != "" },
	SpecResults:    func(e *Event) bool { return e.Spec != nil && e.Spec.ID != "" },
	SpecEnded:      func(e *Event) bool { return e.Spec != nil && e.Spec.ID != "" },
}

func decodeLine(line []byte) (Event, error) {
	var e Event
	if err := json.Unmarshal(line, &e); err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) && syntax.Offset >= int64(len(line)) {
			return e, errCut
		}
		return e, err
	}
	ok, known := needs[e.Event]
	if !known {
		return e, fmt.Errorf("unknown event %q", e.Event)
	}
	if !ok(&e) {
		return e, fmt.Errorf("event %q is incomplete", e.Event)
	}
	return e, nil
}

// specKey identifies one spec on one kernel.
type specKey struct{ kernel, id string }

// merger makes a run of journals.
type merger struct {
	run     *Run
	kernels map[string]*Kernel
	order   []string        // of kernels: as planned, then as seen
	planned map[specKey]int // how often it was to run
	ran     map[specKey]int // how often it started
	// required are the kernels that have to be there.
	required []string
	chosen   []chosenPart
}

func merge(journals []journal) *Run {
	m := &merger{
		run:     &Run{Format: FormatVersion},
		kernels: map[string]*Kernel{},
		planned: map[specKey]int{},
		ran:     map[specKey]int{},
	}
	m.plans(journals)
	for _, j := range journals {
		m.journal(j)
	}
	m.ends(journals)
	m.notRun()
	m.run.Selection = m.selection()
	m.finish()
	return m.run
}

// kernel is the kernel of that ID, which may be known by its ID alone: that of
// a spec whose machine never came up.
func (m *merger) kernel(id string) *Kernel {
	k := m.kernels[id]
	if k == nil {
		k = &Kernel{ID: id}
		m.kernels[id] = k
		m.order = append(m.order, id)
	}
	return k
}

// plans takes what the journals say of the run as a whole.
func (m *merger) plans(journals []journal) {
	var splits []*split
	for _, part := range parts(journals) {
		planned, s := m.plan(part)
		for key, n := range planned {
			m.planned[key] += n
		}
		if s == nil {
			continue
		}
		same := func(o *split) bool { return len(o.have) == len(s.have) && maps.Equal(o.whole, s.whole) }
		if i := slices.IndexFunc(splits, same); i < 0 {
			splits = append(splits, s)
		} else {
			for n := range s.have {
				splits[i].have[n] += s.have[n]
			}
			most(splits[i].own, s.own)
		}
	}
	for _, s := range splits {
		times := slices.Max(s.have)
		for key, n := range s.whole {
			m.planned[key] += n * times
		}
		for key, n := range s.own { // a shard may not plan what the whole does not
			m.planned[key] = max(m.planned[key], n)
		}
		for i, n := range s.have {
			if n < times {
				m.run.doubt(fmt.Sprintf("shard %d/%d is missing: %s", i+1, len(s.have), s.kernels()))
			}
		}
	}
}

// split is a run that was split into shards, as far as these are there.
type split struct {
	whole map[specKey]int // what all of them were to run: the same in each
	own   map[specKey]int // what the shards that are there were to run
	have  []int           // how often each shard is there
}

func (s *split) kernels() string {
	ids := map[string]bool{}
	for key := range s.whole {
		ids[key.kernel] = true
	}
	return "kernel " + strings.Join(slices.Sorted(maps.Keys(ids)), ", ")
}

// maxShards bounds what a journal, which is a file like any other, can ask for.
const maxShards = 10_000

func (s *Shard) valid() bool {
	return s != nil && s.Index >= 1 && s.Index <= s.Count && s.Count <= maxShards
}

// parts are the journals by the part that they belong to.
func parts(journals []journal) [][]journal {
	var list [][]journal
	sorted := slices.Clone(journals)
	slices.SortStableFunc(sorted, func(a, b journal) int { return cmp.Compare(a.part.Number, b.part.Number) })
	for i, j := range sorted {
		if i == 0 || sorted[i-1].part.Number != j.part.Number {
			list = append(list, nil)
		}
		list[len(list)-1] = append(list[len(list)-1], j)
	}
	return list
}

// plan takes the plan of one part. Were it written by several processes, it
// would still be one plan. A shard that was joined plans nothing by itself: it
// is one of a split, so that what a missing shard was to run is missed.
func (m *merger) plan(part []journal) (planned map[specKey]int, of *split) {
	planned, whole := map[specKey]int{}, map[specKey]int{}
	var shard *Shard
	var chosen []chosenPart
	for _, j := range part {
		times, all := map[specKey]int{}, map[specKey]int{}
		for _, e := range j.events {
			if m.run.Started.IsZero() || e.Time.Before(m.run.Started) {
				m.run.Started = e.Time
			}
			if e.Event != RunStarted {
				continue
			}
			m.required = append(m.required, e.Run.Kernels...)
			if m.run.Tool == "" {
				m.run.Tool, m.run.Argv = e.Run.Tool, e.Run.Argv
			}
			m.run.Host = overlay(e.Run.Host, m.run.Host)
			if e.Run.Selection != nil {
				chosen = append(chosen, chosenPart{selection: e.Run.Selection})
			}
			if e.Run.Shard.valid() {
				shard = e.Run.Shard
			}
			for _, p := range e.Run.Planned {
				m.kernel(p.Kernel)
				times[specKey{p.Kernel, p.ID}]++
			}
			for _, p := range e.Run.Whole {
				all[specKey{p.Kernel, p.ID}]++
			}
		}
		most(planned, times)
		most(whole, all)
	}
	for _, c := range chosen {
		c.kernels = kernelsOf(planned, whole)
		m.chosen = append(m.chosen, c)
	}
	p := part[0].part
	if p.Number == 0 {
		m.run.Shard = shard
		return planned, nil
	}
	p.Shard = shard
	m.run.Parts = append(m.run.Parts, p)
	if shard == nil {
		return planned, nil
	}
	of = &split{whole: whole, own: planned, have: make([]int, shard.Count)}
	of.have[shard.Index-1]++
	return nil, of
}

func most(to, from map[specKey]int) {
	for key, n := range from {
		to[key] = max(to[key], n)
	}
}

// ends finds whether the run ended, and if so which processes did not.
func (m *merger) ends(journals []journal) {
	for _, part := range parts(journals) {
		name := ""
		if p := part[0].part; p.Number > 0 {
			name = p.Name + ": "
		}
		for _, j := range part {
			m.remark(name, j.remarks)
			for _, d := range j.doubts {
				m.run.doubt(name + d)
			}
		}
		ended, doubts := endOf(part)
		if ended.IsZero() {
			m.run.CutShort = true
		}
		m.run.Ended = latest(m.run.Ended, ended)
		for _, d := range doubts {
			m.run.doubt(name + d)
		}
	}
	if m.run.CutShort {
		m.run.Ended = time.Time{}
	}
}

func (m *merger) remark(prefix string, remarks []string) {
	for _, r := range remarks {
		m.run.Remarks = append(m.run.Remarks, prefix+r)
	}
}

// endOf returns when the part's run ended, zero if it did not, and what is
// doubtful about that.
func endOf(part []journal) (ended time.Time, doubts []string) {
	var started time.Time
	for _, j := range part {
		alive := false
		for _, e := range j.events {
			switch e.Event {
			case ProcessStarted:
				alive = true
			case ProcessEnded:
				alive = false
			}
		}
		if alive || len(j.events) == 0 {
			doubts = append(doubts, fmt.Sprintf("process %d has no end: it was killed, or it crashed", j.process))
		}
		s, e := endOfRun(j)
		ended = latest(ended, e)
		if e.IsZero() {
			started = latest(started, s)
		}
	}
	if ended.IsZero() || started.After(ended) { // repeated, and killed then
		return time.Time{}, []string{"the run has no end: it was killed, or it is still running"}
	}
	return ended, doubts
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// journal takes the events of one process.
func (m *merger) journal(j journal) {
	mine := map[string]*Kernel{}
	open := map[specKey]*Spec{}
	machines := map[string]*Machine{}
	var opened []*Machine
	var specs []*Spec
	for _, e := range j.events {
		switch e.Event {
		case KernelOpened:
			mine[e.Kernel.ID] = joinKernel(e.Kernel, mine[e.Kernel.ID])
		case MachineOpened:
			machines[e.Machine.ID] = e.Machine
			opened = append(opened, e.Machine)
		case MachineClosed:
			if o := machines[e.Machine.ID]; o != nil && o.Closed.IsZero() {
				o.Closed, o.Lost = e.Machine.Closed, e.Machine.Lost
			} else { // one that was lost before it was up
				opened = append(opened, e.Machine)
			}
		case SpecStarted:
			s := *e.Spec
			s.End = time.Time{}
			open[keyOf(&s)] = &s
			specs = append(specs, &s)
		case SpecResults:
			if s := open[keyOf(e.Spec)]; s != nil {
				s.Results = append(s.Results, e.Results...)
			} else {
				s := &Spec{ID: e.Spec.ID, Kernel: e.Spec.Kernel, Start: e.Time, Results: e.Results}
				open[keyOf(s)] = s
				specs = append(specs, s)
			}
		case SpecEnded:
			s := open[keyOf(e.Spec)]
			if s == nil {
				s = &Spec{Start: e.Spec.Start}
				specs = append(specs, s)
			}
			delete(open, keyOf(e.Spec))
			endSpec(s, e)
		}
	}
	m.take(j.process, mine, opened, specs)
}

func keyOf(s *Spec) specKey { return specKey{s.Kernel, s.ID} }

// endSpec replaces s by what was known at its end.
func endSpec(s *Spec, e Event) {
	start, results := s.Start, s.Results
	*s = *e.Spec
	if s.Start.IsZero() {
		s.Start = start
	}
	if s.End.IsZero() {
		s.End = e.Time
	}
	s.Results = endResults(results, s.Results)
}

// take adds what one process found to the run.
func (m *merger) take(process int, kernels map[string]*Kernel, machines []*Machine, specs []*Spec) {
	ids := make([]string, 0, len(kernels))
	for id := range kernels {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		// Where two processes disagree, the one with the lower number stays:
		// any rule does, as long as it does not depend on who was faster.
		k := m.kernel(id)
		if what := contradiction(k, kernels[id]); what != "" {
			m.run.doubt(fmt.Sprintf("kernel %s is described with different %s", id, what))
		}
		*k = *joinKernel(k, kernels[id])
	}
	for _, mc := range machines {
		mc.Process = process
		k := m.kernel(mc.Kernel)
		k.Machines = append(k.Machines, *mc)
	}
	for _, s := range specs {
		s.Process = process
		k := m.kernel(s.Kernel)
		k.Specs = append(k.Specs, *s)
		m.ran[keyOf(s)]++
	}
}

// joinKernel is older with everything that is not empty in newer. Either may
// be nil.
func joinKernel(newer, older *Kernel) *Kernel {
	if older == nil {
		older = &Kernel{}
	}
	k := *older
	for _, f := range []struct {
		to   *string
		from string
	}{
		{&k.ID, newer.ID}, {&k.Spec, newer.Spec}, {&k.Release, newer.Release}, {&k.Version, newer.Version},
		{&k.SHA256, newer.SHA256}, {&k.Source, newer.Source}, {&k.Append, newer.Append},
	} {
		if f.from != "" {
			*f.to = f.from
		}
	}
	k.Properties = overlay(older.Properties, newer.Properties)
	k.Features = overlay(older.Features, newer.Features)
	k.Coverage = joinCoverage(newer.Coverage, older.Coverage)
	k.Gaps = slices.Concat(older.Gaps, newer.Gaps)
	slices.Sort(k.Gaps)
	k.Gaps = slices.Compact(k.Gaps)
	k.Machines = slices.Concat(older.Machines, newer.Machines)
	k.Specs = slices.Concat(older.Specs, newer.Specs)
	return &k
}

// overlay is a copy of below with above on top; nil if both are empty.
func overlay(below, above map[string]string) map[string]string {
	if len(below)+len(above) == 0 {
		return nil
	}
	m := make(map[string]string, len(below)+len(above))
	for k, v := range below {
		m[k] = v
	}
	for k, v := range above {
		m[k] = v
	}
	return m
}

func (m *merger) notRun() {
	for key, n := range m.planned {
		m.run.Planned += n
		k := m.kernel(key.kernel)
		for range n - m.ran[key] {
			k.NotRun = append(k.NotRun, key.id)
		}
	}
}

// finish puts the kernels into their order, and settles the run.
func (m *merger) finish() {
	for _, id := range m.order {
		m.run.Kernels = append(m.run.Kernels, *m.kernels[id])
	}
	for _, name := range m.required {
		if !slices.ContainsFunc(m.run.Kernels, func(k Kernel) bool {
			return (k.ID == name || k.Spec == name || k.Release == name) && len(k.Specs)+len(k.NotRun) > 0
		}) {
			m.run.doubt("kernel " + name + " is missing")
		}
	}
	m.run.settle()
}
