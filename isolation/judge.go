// SPDX-License-Identifier: Apache-2.0

package isolation

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"proofhouse/nsmgr"
	"proofhouse/reports"
)

// Judge judges each cell of the row: found is what the probe reported, and audit
// the kernel's records meanwhile, a line each. Every planned cell has a result,
// also one that the probe did not report. What is unknown, missing, incomplete
// or contradictory is an ERROR, never a PASS.
func (r Row) Judge(k Kernel, found []Found, audit string) []reports.Result {
	if lacks := Lacks(k, r.Needs); lacks != "" {
		return []reports.Result{skipped(r.ID(), lacks)}
	}
	log := attribute(found, audit)
	cells := r.reported(found)
	var results []reports.Result
	if r.Cases != nil {
		for _, c := range r.Cases {
			results = append(results, r.judgeCase(k, c, cells, log))
		}
	} else {
		for _, s := range r.squares() {
			results = append(results, r.judgeSquare(s, cells, log))
		}
	}
	return append(results, r.strays(k, cells, log)...)
}

// strays are the results for what belongs to no cell of the row.
func (r Row) strays(k Kernel, cells map[string]cellFound, log auditLog) (results []reports.Result) {
	missing := false
	planned := map[string]bool{}
	for _, c := range r.Plan(k).Cells {
		planned[c.Key] = true
		if _, ok := cells[c.Key]; !ok {
			missing = true
		}
	}
	if len(log.stray) > 0 {
		first := describe(log.stray[0])
		res := reports.Result{
			ID: r.ID() + "/(records)", Status: reports.Fail,
			Expected: "only records of the cells' tasks", Got: first, Reason: "the kernel logged a denial for an unrelated process: " + first,
		}
		if missing {
			// It may be of a cell that the probe did not report.
			res.Status = reports.Error
		}
		results = append(results, res)
	}
	for _, key := range slices.Sorted(maps.Keys(cells)) {
		if !planned[key] {
			results = append(results, broken(r.ID()+"/(probe)", fmt.Sprintf("the probe reported the cell %q, which is not in the plan", key)))
			break
		}
	}
	return results
}

// cellFound is what the probe reported about a cell, and how often.
type cellFound struct {
	Found
	times int
}

// reported sorts what the probe reported by cell.
func (r Row) reported(found []Found) map[string]cellFound {
	cells := map[string]cellFound{}
	for _, f := range found {
		cells[f.Key] = cellFound{Found: f, times: cells[f.Key].times + 1}
	}
	return cells
}

// helping is the name of a task whose own records are ignored: it only makes the
// kernel log something else in between.
const helping = "flush"

// auditLog is the kernel's records, by the cell whose task they are about.
type auditLog struct {
	by map[string][]nsmgr.Record
	// administration are the records of policy administration, which only cases
	// that expect some compare.
	administration map[string][]nsmgr.Record
	// stray are denials of processes that belong to no cell.
	stray []nsmgr.Record
	// lost is why the log may lack records, or "".
	lost string
	// shared are cells of which a process id is another cell's, too: their
	// records cannot be distinguished.
	shared map[string]bool
}

// attribute gives each record to the cell whose task it is of, by process id.
func attribute(found []Found, audit string) auditLog {
	log := auditLog{by: map[string][]nsmgr.Record{}, administration: map[string][]nsmgr.Record{}, shared: map[string]bool{}}
	cell := map[int]string{}
	helper := map[int]bool{}
	for _, f := range found {
		for _, name := range slices.Sorted(maps.Keys(f.PIDs)) {
			pid := f.PIDs[name]
			if other, twice := cell[pid]; twice {
				log.shared[other], log.shared[f.Key] = true, true
			}
			cell[pid] = f.Key
			helper[pid] = name == helping
		}
	}
	for line := range strings.Lines(audit) {
		rec, ok := nsmgr.ParseRecord(line)
		if !ok || !slices.Contains(kinds, rec.Kind) || rec.Operation == "" || rec.PID <= 0 {
			if log.lost == "" && !harmless(line) {
				log.lost = strings.TrimSpace(line)
			}
			continue
		}
		if helper[rec.PID] {
			continue
		}
		if key, ok := cell[rec.PID]; ok {
			if rec.Kind == statusRecord {
				log.administration[key] = append(log.administration[key], rec)
			} else {
				log.by[key] = append(log.by[key], rec)
			}
		} else if rec.Kind != statusRecord {
			log.stray = append(log.stray, rec)
		}
	}
	return log
}

// harmless reports whether a line that is no record of AppArmor proves nothing
// about its records: a mark by which the harness synchronises, or a whole record
// of another security module. Any other is a notice that records were lost, or
// a record that was damaged.
func harmless(line string) bool {
	line = strings.TrimSpace(line)
	if line == "" || mark.MatchString(line) {
		return true
	}
	if !strings.Contains(line, "audit(") || strings.Contains(line, "apparmor") {
		return false
	}
	if strings.Contains(line, "avc:") || strings.Contains(line, "lsm=") {
		return true
	}
	// Of AppArmor's own type, AUDIT_AVC, and without the mark of another module:
	// the start of a record of AppArmor.
	typed := recordType.FindStringSubmatch(line)
	return typed != nil && typed[1] != "1400" && typed[1] != "AVC"
}

var recordType = regexp.MustCompile(`\btype=(\w+)`)

// kinds are those of records of AppArmor (security/apparmor/audit.c,
// aa_audit_type); a record of another was cut or damaged.
var kinds = []string{"AUDIT", "ALLOWED", "DENIED", "HINT", "STATUS", "ERROR", "KILLED", "AUTO"}

// mark is a line of machines.Machine's SyncAudit.
var mark = regexp.MustCompile(`^sync-\d+\.$`)

// LostRecords is a line for the audit text of Judge that says why records may be
// missing from it.
func LostRecords(why string) string {
	return "records were lost: " + strings.ReplaceAll(why, "\n", " ") + "\n"
}

// trial is one cell and what speaks against it.
type trial struct {
	id string
	// problems are what certainly differs from what is expected.
	problems []string
	// missing are records that are not in the log.
	missing []string
	got     string
	want    string
}

func (t *trial) wrong(format string, args ...any) {
	t.problems = append(t.problems, fmt.Sprintf(format, args...))
}

// result ends the trial.
func (t *trial) result(recorded string, f Found, records []nsmgr.Record, lost string) reports.Result {
	r := reports.Result{ID: t.id, Expected: t.want, Got: t.got}
	if lost != "" && (recorded != "" || len(t.problems) == 0) {
		// The records that are there match, or some are missing: neither says
		// what the kernel logged.
		r.Status, r.Reason = reports.Error, "the audit log is incomplete, so the kernel's records cannot be judged: "+lost
		r.Output = evidence(f, records)
		return r
	}
	problems := slices.Concat(t.problems, t.missing)
	switch {
	case recorded != "":
		r.Status, r.Expected = reports.Recorded, ""
		r.Reason = recorded
		r.Got = strings.Join(append([]string{t.got}, recordNames(records)...), "; ")
	case len(problems) > 0:
		r.Status, r.Reason = reports.Fail, strings.Join(problems, "; ")
		r.Output = evidence(f, records)
	default:
		r.Status = reports.Pass
	}
	return r
}

// broken is the result of a cell that cannot be judged: no verdict on the
// kernel's policy.
func broken(id, why string) reports.Result {
	return reports.Result{ID: id, Status: reports.Error, Reason: why}
}

// begun reports what keeps a cell from being judged at all; steps are those that
// were planned. A label that the kernel refuses is a FAIL: nothing was enforced.
func begun(id string, cells map[string]cellFound, log auditLog, key string, tasks []Task, steps []string) (Found, *reports.Result) {
	c, ok := cells[key]
	f := c.Found
	var r reports.Result
	switch {
	case !ok:
		r = broken(id, "the probe stopped before this cell")
	case c.times > 1:
		r = broken(id, fmt.Sprintf("the probe reported this cell %d times", c.times))
	case f.Trouble != "":
		r = broken(id, "the probe failed: "+f.Trouble)
	case f.Prepared != nil:
		r = broken(id, fmt.Sprintf("the preparation failed: %q: %s", f.Prepared.Step, f.Prepared.Errno))
	case log.shared[key]:
		r = broken(id, "two tasks have the same process id, so the kernel's records cannot be attributed")
	case len(f.Refused) > 0:
		r = reports.Result{ID: id, Status: reports.Fail, Expected: "the task gets its label", Got: "refused"}
		for _, name := range slices.Sorted(maps.Keys(f.Refused)) {
			r.Reason = fmt.Sprintf("the kernel refuses task %s the label %s: %s", name, labelOf(tasks, name), f.Refused[name])
		}
	case inContainer(tasks) && f.Init != InitLabel+" (enforce)":
		r = reports.Result{
			ID: id, Status: reports.Fail, Expected: InitLabel + " (enforce)", Got: f.Init,
			Reason: fmt.Sprintf("the container's init has the label %q, not %q", f.Init, InitLabel+" (enforce)"),
		}
	default:
		why := contradiction(f, tasks, steps)
		if why == "" {
			return f, nil
		}
		r = broken(id, why)
	}
	return f, &r
}

// contradiction is what in the probe's report of a cell does not fit the plan,
// or "".
func contradiction(f Found, tasks []Task, steps []string) string {
	for _, t := range tasks {
		if f.PIDs[t.Name] <= 0 {
			return fmt.Sprintf("the probe did not report the process id of task %s", t.Name)
		}
	}
	if len(f.Done) > len(steps) {
		return fmt.Sprintf("the probe reported %d steps, and %d were planned", len(f.Done), len(steps))
	}
	for i, d := range f.Done {
		if d.Step != steps[i] {
			return fmt.Sprintf("the probe reported the step %q, and %q was planned", d.Step, steps[i])
		}
		if d.Errno == hangs {
			return fmt.Sprintf("%s: the system call did not return in time", d.Step)
		}
	}
	return ""
}

// Reported returns what the probe reported about a cell of the plan, or why that
// says nothing about the kernel: it is missing, incomplete or contradictory, the
// preparation failed, a task did not get its label, or the container's init has
// another label.
func (c Cell) Reported(found []Found) (Found, error) {
	f, end := begun("", Row{}.reported(found), attribute(found, ""), c.Key, c.Tasks, c.Do)
	if end != nil {
		return f, errors.New(end.Reason)
	}
	return f, nil
}

// Meets reports whether the step came out as an expectation says, which is
// written as in [Case].Do: "ok", an errno, or a value in quotes.
func (d Done) Meets(want string) bool {
	if value, quoted := strings.CutPrefix(want, `"`); quoted {
		return d.Errno == "" && d.Value == strings.TrimSuffix(value, `"`)
	}
	return orOK(d.Errno) == want
}

// Outcome is what came of the step: an errno, the value in quotes, or "ok".
func (d Done) Outcome() string {
	if d.Errno == "" && d.Value != "" {
		return strconv.Quote(d.Value)
	}
	return orOK(d.Errno)
}

// SplitStep returns a step of a [Case] without its expectation, and that: "ok"
// where none is written.
func SplitStep(step string) (what, want string) { return splitStep(step) }

// hangs is the errno that the probe reports for a system call that does not
// return in time.
const hangs = "hangs"

func inContainer(tasks []Task) bool {
	return slices.ContainsFunc(tasks, func(t Task) bool { return t.Where != OnHost })
}

func labelOf(tasks []Task, name string) string {
	for _, t := range tasks {
		if t.Name == name {
			return t.Label
		}
	}
	return ""
}

func (r Row) judgeSquare(s square, cells map[string]cellFound, log auditLog) reports.Result {
	id := r.ID() + "/" + s.key
	f, end := begun(id, cells, log, s.key, r.tasks(s), r.Do)
	if end != nil {
		return *end
	}
	t := &trial{id: id, want: "ok"}
	if s.byHost || s.byNS {
		t.want = "EACCES"
		if r.Errno != "" {
			t.want = r.Errno
		}
	}
	t.got = outcome(f.Done)
	if t.got == "ok" && len(f.Done) != len(r.Do) {
		return broken(id, "the probe did not report all steps")
	}
	if t.got != t.want {
		t.wrong("%s: %s, not %s", lastStep(f.Done), t.got, t.want)
	}
	want := seen(s.host, s.ns)
	if after := r.After[s.label.name]; after != "" && t.want == "ok" {
		want = after
	}
	if f.Labels["t"] != want {
		t.wrong("the host sees the label %q, not %q", f.Labels["t"], want)
	}
	var expected []Record
	for _, rec := range r.Records {
		if s.byHost {
			rec.Profile = s.host
			expected = append(expected, rec)
		}
		if s.byNS && (!s.byHost || r.Second != Never) {
			rec.Namespace, rec.Profile = Namespace, s.ns
			rec.Maybe = s.byHost && r.Second == Maybe
			expected = append(expected, rec)
		}
	}
	t.compare(expected, log.by[s.key])
	return t.result(r.Recorded, f, log.by[s.key], log.lost)
}

// outcome is the errno of the first step that failed, or "ok".
func outcome(done []Done) string {
	for _, d := range done {
		if d.Errno != "" {
			return d.Errno
		}
	}
	return "ok"
}

func lastStep(done []Done) string {
	step := ""
	for _, d := range done {
		step = d.Step
		if d.Errno != "" {
			break
		}
	}
	return step
}

// skipped is the result of what the kernel lacks something for.
func skipped(id, lacks string) reports.Result {
	reason := "this kernel's AppArmor has no " + lacks
	if strings.HasPrefix(lacks, "CONFIG_") {
		reason = "this kernel was built without " + lacks
	}
	return reports.Result{ID: id, Status: reports.Skip, Lacks: "kernel: " + lacks, Reason: reason}
}

func (r Row) judgeCase(k Kernel, c Case, cells map[string]cellFound, log auditLog) reports.Result {
	id := r.ID() + "/" + c.Name
	if lacks := Lacks(k, c.Needs); lacks != "" {
		return skipped(id, lacks)
	}
	f, end := begun(id, cells, log, c.Name, c.Tasks, c.cell().Do)
	if end != nil {
		return *end
	}
	t := &trial{id: id, want: "as the table says"}
	var got []string
	for i, step := range c.Do {
		what, want := splitStep(step)
		if i >= len(f.Done) {
			return broken(id, "the probe stopped before "+what)
		}
		is := f.Done[i].Errno
		value, quoted := strings.CutPrefix(want, `"`)
		switch {
		case is == "" && quoted:
			want, is = strings.TrimSuffix(value, `"`), f.Done[i].Value
		case is == "":
			is = "ok"
			if c.Recorded != "" && f.Done[i].Value != "" {
				want, is = f.Done[i].Value, f.Done[i].Value
			}
		}
		if is != want {
			t.wrong("%s: %q, not %q", what, is, want)
		}
		got = append(got, what+" = "+is)
	}
	t.got = "as the table says"
	if len(t.problems) > 0 || c.Recorded != "" {
		t.got = strings.Join(got, "; ")
	}
	for _, name := range slices.Sorted(maps.Keys(c.Labels)) {
		if is := f.Labels[name]; is != c.Labels[name] {
			t.wrong("the host sees the label %q of task %s, not %q", is, name, c.Labels[name])
		}
	}
	records := log.by[c.Name]
	if slices.ContainsFunc(c.Records, func(r Record) bool { return r.Kind == statusRecord }) {
		records = slices.Concat(records, log.administration[c.Name])
	}
	t.compare(c.Records, records)
	if c.Recorded != "" {
		for _, name := range slices.Sorted(maps.Keys(f.Labels)) {
			t.got += fmt.Sprintf("; %s is %s", name, f.Labels[name])
		}
	}
	return t.result(c.Recorded, f, records, log.lost)
}

// compare compares the records with those that are expected: each exactly once,
// and no others.
func (t *trial) compare(want []Record, got []nsmgr.Record) {
	left := slices.Clone(got)
	for _, w := range want {
		i := slices.IndexFunc(left, w.matches)
		if i < 0 {
			if !w.Maybe {
				t.missing = append(t.missing, fmt.Sprintf("no record of %s", w))
			}
			continue
		}
		left = slices.Delete(left, i, i+1)
	}
	for _, r := range left {
		t.wrong("unexpected record: %s", describe(r))
	}
}

func (w Record) matches(r nsmgr.Record) bool {
	kind := w.Kind
	if kind == "" {
		kind = "DENIED"
	}
	if r.Kind != kind || r.Operation != w.Operation || string(r.Namespace) != w.Namespace || r.Profile != w.Profile {
		return false
	}
	if w.Name != "" && r.Name != w.Name {
		return false
	}
	for key, value := range w.Fields {
		if r.Fields[key] != value {
			return false
		}
	}
	return true
}

func (w Record) String() string {
	kind := w.Kind
	if kind == "" {
		kind = "DENIED"
	}
	s := fmt.Sprintf("%s %s by profile %s of %s", kind, w.Operation, w.Profile, part(w.Namespace))
	if w.Name != "" {
		s += " on " + w.Name
	}
	for _, key := range slices.Sorted(maps.Keys(w.Fields)) {
		s += fmt.Sprintf(" %s=%q", key, w.Fields[key])
	}
	return s
}

func part(ns string) string {
	if ns == "" {
		return "the host"
	}
	return "namespace " + ns
}

func describe(r nsmgr.Record) string {
	s := fmt.Sprintf("%s %s by profile %s of %s", r.Kind, r.Operation, r.Profile, part(string(r.Namespace)))
	if r.Name != "" {
		s += " on " + r.Name
	}
	for _, key := range []string{"requested_mask", "denied_mask", "capname", "signal", "peer", "target", "info", "comm"} {
		if v := r.Fields[key]; v != "" {
			s += fmt.Sprintf(" %s=%q", key, v)
		}
	}
	return s
}

func recordNames(records []nsmgr.Record) []string {
	var list []string
	for _, r := range records {
		list = append(list, fmt.Sprintf("%s %s by %s", r.Kind, r.Operation, part(string(r.Namespace))))
	}
	return list
}

// evidence is all that is known of a cell.
func evidence(f Found, records []nsmgr.Record) string {
	var b strings.Builder
	for _, d := range f.Done {
		fmt.Fprintf(&b, "%s: %s", d.Step, orOK(d.Errno))
		if d.Value != "" {
			fmt.Fprintf(&b, " %q", d.Value)
		}
		b.WriteByte('\n')
	}
	for _, name := range slices.Sorted(maps.Keys(f.Labels)) {
		fmt.Fprintf(&b, "label of %s: %s\n", name, f.Labels[name])
	}
	for _, r := range records {
		fmt.Fprintf(&b, "record: %s\n", describe(r))
	}
	return b.String()
}

func orOK(errno string) string {
	if errno == "" {
		return "ok"
	}
	return errno
}
