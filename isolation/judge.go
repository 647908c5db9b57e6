package isolation

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"proofhouse/nsmgr"
	"proofhouse/reports"
)

// Judge says what came of each cell of the row: found is what the probe
// reported, and audit the kernel's records meanwhile, a line each. Every cell
// that was planned has a result, also one that the probe said nothing about.
func (r Row) Judge(k Kernel, found []Found, audit string) []reports.Result {
	if lacks := Lacks(k, r.Needs); lacks != "" {
		return []reports.Result{skipped(r.ID(), lacks)}
	}
	records, stray := attribute(found, audit)
	byKey := map[string]Found{}
	for _, f := range found {
		byKey[f.Key] = f
	}
	var results []reports.Result
	if r.Cases != nil {
		for _, c := range r.Cases {
			results = append(results, r.judgeCase(k, c, byKey, records[c.Name]))
		}
	} else {
		for _, s := range r.squares() {
			results = append(results, r.judgeSquare(s, byKey, records[s.key]))
		}
	}
	for _, s := range stray {
		results = append(results, reports.Result{
			ID: r.ID() + "/(records)", Status: reports.Fail,
			Expected: "no record but the cells' own", Got: describe(s), Reason: "the kernel logged a denial of nobody's: " + describe(s),
		})
		break // one is enough to say so
	}
	return results
}

// helping is the name of a task whose own records say nothing: it only has
// the kernel log something else in between.
const helping = "flush"

// attribute gives each record to the cell whose task it is of, by process id.
// stray are denials of processes that are no cell's.
func attribute(found []Found, audit string) (by map[string][]nsmgr.Record, stray []nsmgr.Record) {
	by = map[string][]nsmgr.Record{}
	cell := map[int]string{}
	helper := map[int]bool{}
	for _, f := range found {
		for name, pid := range f.PIDs {
			cell[pid] = f.Key
			helper[pid] = name == helping
		}
	}
	for line := range strings.Lines(audit) {
		rec, ok := nsmgr.ParseRecord(line)
		if !ok || rec.Kind == "STATUS" || helper[rec.PID] {
			continue
		}
		if key, ok := cell[rec.PID]; ok {
			by[key] = append(by[key], rec)
		} else {
			stray = append(stray, rec)
		}
	}
	return by, stray
}

// trial is what a cell is held against.
type trial struct {
	id       string
	problems []string
	got      string
	want     string
}

func (t *trial) wrong(format string, args ...any) {
	t.problems = append(t.problems, fmt.Sprintf(format, args...))
}

// result closes the trial.
func (t *trial) result(recorded string, f Found, records []nsmgr.Record) reports.Result {
	r := reports.Result{ID: t.id, Expected: t.want, Got: t.got}
	switch {
	case recorded != "":
		r.Status, r.Expected = reports.Recorded, ""
		r.Reason = recorded
		r.Got = strings.Join(append([]string{t.got}, recordNames(records)...), "; ")
	case len(t.problems) > 0:
		r.Status, r.Reason = reports.Fail, strings.Join(t.problems, "; ")
		r.Output = evidence(f, records)
	default:
		r.Status = reports.Pass
	}
	return r
}

// broken is the result of a cell that was not tried, through no fault of the
// kernel's policy.
func broken(id, why string) reports.Result {
	return reports.Result{ID: id, Status: reports.Error, Reason: why}
}

// begun looks at what keeps a cell from being judged at all. A label that the
// kernel refuses is a FAIL: nothing was enforced there.
func begun(id string, found map[string]Found, key string, tasks []Task) (Found, *reports.Result) {
	f, ok := found[key]
	var r reports.Result
	switch {
	case !ok:
		r = broken(id, "the probe ended before this cell")
	case f.Trouble != "":
		r = broken(id, "the probe: "+f.Trouble)
	case f.Prepared != nil:
		r = broken(id, fmt.Sprintf("preparing it failed: %q: %s", f.Prepared.Step, f.Prepared.Errno))
	case len(f.Refused) > 0:
		r = reports.Result{ID: id, Status: reports.Fail, Expected: "the task gets its label", Got: "refused"}
		for _, name := range slices.Sorted(maps.Keys(f.Refused)) {
			r.Reason = fmt.Sprintf("the kernel refuses task %s the label %s: %s", name, labelOf(tasks, name), f.Refused[name])
		}
	case inContainer(tasks) && f.Init != InitLabel+" (enforce)":
		r = reports.Result{
			ID: id, Status: reports.Fail, Expected: InitLabel + " (enforce)", Got: f.Init,
			Reason: fmt.Sprintf("the container's init runs in %q and not in %q", f.Init, InitLabel+" (enforce)"),
		}
	default:
		return f, nil
	}
	return f, &r
}

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

func (r Row) judgeSquare(s square, found map[string]Found, records []nsmgr.Record) reports.Result {
	id := r.ID() + "/" + s.key
	f, end := begun(id, found, s.key, r.tasks(s))
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
		return broken(id, "the probe did not do all steps")
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
	t.compare(expected, records)
	return t.result(r.Recorded, f, records)
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

func (r Row) judgeCase(k Kernel, c Case, found map[string]Found, records []nsmgr.Record) reports.Result {
	id := r.ID() + "/" + c.Name
	if lacks := Lacks(k, c.Needs); lacks != "" {
		return skipped(id, lacks)
	}
	f, end := begun(id, found, c.Name, c.Tasks)
	if end != nil {
		return *end
	}
	t := &trial{id: id, want: "as the table says"}
	var got []string
	for i, step := range c.Do {
		what, want := splitStep(step)
		if i >= len(f.Done) {
			return broken(id, "the probe did not come to "+what)
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
	t.compare(c.Records, records)
	if c.Recorded != "" {
		for _, name := range slices.Sorted(maps.Keys(f.Labels)) {
			t.got += fmt.Sprintf("; %s is %s", name, f.Labels[name])
		}
	}
	return t.result(c.Recorded, f, records)
}

// compare holds the records against those that are expected: each exactly
// once, and no others.
func (t *trial) compare(want []Record, got []nsmgr.Record) {
	left := slices.Clone(got)
	for _, w := range want {
		i := slices.IndexFunc(left, w.matches)
		if i < 0 {
			if !w.Maybe {
				t.wrong("no record of %s", w)
			}
			continue
		}
		left = slices.Delete(left, i, i+1)
	}
	for _, r := range left {
		t.wrong("a record too many: %s", describe(r))
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
