// SPDX-License-Identifier: Apache-2.0

package progress

import (
	"bytes"
	"context"
	"flag"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"proofhouse/reports"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestRemaining(t *testing.T) {
	for name, c := range map[string]struct {
		queue             []float64
		running, finished []job
		procs             int
		want              float64
	}{
		"all as expected":         {[]float64{60, 30, 30}, nil, nil, 1, 120},
		"two processes":           {[]float64{60, 30, 30}, nil, nil, 2, 60},
		"the longest one decides": {[]float64{10, 10}, []job{{300, 100}}, nil, 2, 200},
		"twice as slow":           {[]float64{100}, nil, []job{{490, 1000}}, 1, 200}, // (1000+20)/(490+20)
		"half the time":           {[]float64{100}, nil, []job{{1020, 500}}, 1, 50},  // (500+20)/(1020+20)
		"one short spec is no measure": {
			[]float64{1000}, nil, []job{{0.1, 20.1}}, 1, 1995, // not 200 times as slow
		},
		"a spec overdue tells the speed": {[]float64{100}, []job{{80, 180}}, nil, 2, 200},
		"overdue, and then some":         {nil, []job{{10, 1000}}, nil, 1, 200},
		"no expectations, some finished": {[]float64{0, 0}, nil, []job{{0, 10}, {0, 20}}, 1, 30},
		"one without expectation":        {[]float64{40, 20, 0}, nil, nil, 1, 90},
		"no process number":              {[]float64{5}, nil, nil, 0, 5},
		"done":                           {nil, nil, []job{{1, 1}}, 1, 0},
	} {
		got, ok := remaining(c.queue, c.running, c.finished, c.procs)
		if !ok || math.Abs(got-c.want) > c.want/100+0.001 {
			t.Errorf("%s: %v %v, want %v", name, got, ok, c.want)
		}
	}
	if got, ok := remaining([]float64{0, 0}, []job{{0, 3}}, nil, 2); ok {
		t.Errorf("an estimate from nothing: %v", got)
	}
}

// start is when the test's run starts.
var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func at(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }

func event(process, seconds int, kind reports.Kind) reports.Event {
	return reports.Event{Event: kind, Process: process, Time: at(seconds)}
}

func runStarted(kernels ...string) reports.Event {
	e := event(1, 0, reports.RunStarted)
	e.Run = &reports.RunStart{Processes: 2}
	for _, k := range kernels {
		for _, p := range []reports.Planned{
			{ID: "regression/capabilities", Seconds: 300}, {ID: "regression/stackprofile", Seconds: 60},
			{ID: "regression/complain", Seconds: 20}, {ID: "regression/open", Seconds: 10},
		} {
			p.Kernel = k
			e.Run.Planned = append(e.Run.Planned, p)
		}
	}
	return e
}

// rowsPlanned is the start of a run of nothing but the isolation matrix.
func rowsPlanned() reports.Event {
	e := event(1, 0, reports.RunStarted)
	e.Run = &reports.RunStart{Processes: 1, Planned: []reports.Planned{{ID: "isolation/signal/host-to-host", Kernel: "k", Seconds: 2}, {ID: "isolation/file/read", Kernel: "k", Seconds: 2}}}
	return e
}

func rowEnded() reports.Event {
	e := event(1, 9, reports.SpecEnded)
	e.Spec = &reports.Spec{ID: "isolation/signal/host-to-host", Kernel: "k", Start: at(5), End: at(9), Results: passed(20)}
	return e
}

func specStarted(process, seconds int, id string) reports.Event {
	e := event(process, seconds, reports.SpecStarted)
	e.Spec = &reports.Spec{ID: "regression/" + id, Kernel: "k", Start: e.Time}
	return e
}

func specResults(process, seconds int, id string, results ...reports.Result) reports.Event {
	e := event(process, seconds, reports.SpecResults)
	e.Spec, e.Results = &reports.Spec{ID: "regression/" + id, Kernel: "k"}, results
	return e
}

func specEnded(process, seconds int, id string, results ...reports.Result) reports.Event {
	e := event(process, seconds, reports.SpecEnded)
	e.Spec = &reports.Spec{ID: "regression/" + id, Kernel: "k", End: e.Time, Results: results}
	return e
}

func passed(n int) (list []reports.Result) {
	for range n {
		list = append(list, reports.Result{ID: "x", Status: reports.Pass})
	}
	return list
}

func lost() reports.Event {
	e := event(1, 70, reports.MachineClosed)
	e.Machine = &reports.Machine{ID: "uml-1", Lost: "Kernel panic - not syncing: sysrq"}
	return e
}

var failure = reports.Result{
	ID: "regression/complain/exec cx", Status: reports.Fail, Expected: "pass", Got: "fail", Reason: "exec: \x1b[1mdenied",
}

// TestGolden shows a run at moments of its life, as a terminal and as a log
// would show it.
func TestGolden(t *testing.T) {
	var many []reports.Result
	for len(many) < 8 {
		many = append(many, reports.Result{ID: "regression/complain/" + strings.Repeat("y", len(many)+1), Status: reports.Error, Reason: "no answer"})
	}
	begun := []reports.Event{runStarted("k"), specStarted(1, 0, "capabilities"), specStarted(2, 0, "stackprofile")}
	for name, c := range map[string]struct {
		now    int
		events []reports.Event
	}{
		"empty":   {0, nil},
		"planned": {1, []reports.Event{runStarted("k")}},
		"begun":   {7, begun},
		"middle": {95, append(begun[:3:3],
			specEnded(2, 66, "stackprofile", append(passed(64), reports.Result{ID: "s", Status: reports.Skip})...),
			specStarted(2, 66, "complain"), specResults(2, 67, "complain", failure),
			specEnded(2, 90, "complain", append(passed(30), failure)...), specStarted(2, 90, "open"))},
		"many errors":  {40, append(begun[:2:2], specStarted(2, 1, "complain"), specResults(2, 2, "complain", many[:7]...), specEnded(2, 30, "complain", many...))},
		"machine lost": {80, append(begun[:3:3], lost(), specEnded(1, 70, "capabilities", reports.Result{ID: "regression/capabilities/(script)", Status: reports.Error, Reason: "Kernel panic - not syncing: sysrq"}))},
		"two kernels":  {30, []reports.Event{runStarted("k", "other"), specStarted(1, 0, "open"), specEnded(1, 9, "open", failure)}},
		"rows":         {12, []reports.Event{rowsPlanned(), rowEnded()}},
		"end": {95, append(begun[:3:3], specEnded(1, 80, "capabilities", passed(621)...), specEnded(2, 60, "stackprofile", passed(54)...),
			specStarted(1, 80, "complain"), specEnded(1, 90, "complain", passed(3)...), specStarted(2, 60, "open"), specEnded(2, 61, "open", passed(23)...))},
	} {
		t.Run(name, func(t *testing.T) {
			s := newState()
			var b bytes.Buffer
			for _, e := range c.events {
				for _, n := range s.apply(e) {
					b.WriteString(n.line(reports.Style{}) + "\n")
				}
			}
			b.WriteString("\nterminal:\n")
			for _, width := range []int{80, 40} {
				for _, l := range statusLines(s, at(c.now), reports.Style{Unicode: true, Width: width}) {
					if utf8.RuneCountInString(l) >= width {
						t.Errorf("%d columns: %q", width, l)
					}
					b.WriteString(l + "\n")
				}
			}
			b.WriteString("log:\n" + statusLine(s, at(c.now)) + "\n")
			golden(t, name+".txt", b.Bytes())
		})
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", strings.ReplaceAll(name, " ", "-"))
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (go test -update writes it anew); got:\n%s", path, got)
	}
}

// TestRestart: a process died within a spec, and another of the same number
// runs it again.
func TestRestart(t *testing.T) {
	s := newState()
	for _, e := range []reports.Event{runStarted("k"), specStarted(1, 0, "open"), specStarted(1, 9, "open"), specEnded(1, 12, "open", passed(1)...)} {
		s.apply(e)
	}
	if s.total() != 4 || len(s.finished) != 1 || s.finished[0] != (job{10, 3}) {
		t.Errorf("total %d, finished %+v", s.total(), s.finished)
	}
}

// screen interprets what frame writes, as a terminal would.
type screen struct {
	lines    []string
	row, col int
}

func (s *screen) write(text string) {
	for len(text) > 0 {
		for len(s.lines) <= s.row {
			s.lines = append(s.lines, "")
		}
		switch {
		case text[0] == '\r':
			s.col, text = 0, text[1:]
		case text[0] == '\n': // the terminal driver adds the carriage return
			s.row, s.col, text = s.row+1, 0, text[1:]
		case strings.HasPrefix(text, "\x1b[K"):
			s.lines[s.row] = s.lines[s.row][:s.col]
			text = text[3:]
		case strings.HasPrefix(text, "\x1b[J"):
			s.lines = s.lines[:s.row+1]
			s.lines[s.row] = s.lines[s.row][:s.col]
			text = text[3:]
		case strings.HasPrefix(text, "\x1b["):
			end := strings.IndexByte(text, 'A')
			s.row -= int(text[2] - '0') // few lines: one digit
			text = text[end+1:]
		default:
			old := s.lines[s.row]
			s.lines[s.row] = old[:s.col] + text[:1] + old[min(s.col+1, len(old)):]
			s.col, text = s.col+1, text[1:]
		}
	}
}

func TestFrame(t *testing.T) {
	var s screen
	drawn := 0
	for _, c := range []struct {
		stay, lines, want []string
	}{
		{nil, []string{"a long step"}, []string{"a long step"}},
		{nil, []string{"a step"}, []string{"a step"}},
		{[]string{"done: a"}, []string{"1/9", "open 1 s"}, []string{"done: a", "1/9", "open 1 s"}},
		{nil, []string{"2/9", "open"}, []string{"done: a", "2/9", "open"}},
		{[]string{"FAIL x", "FAIL y", "FAIL z"}, []string{"3/9", "swap"}, []string{"done: a", "FAIL x", "FAIL y", "FAIL z", "3/9", "swap"}},
		{nil, []string{"one"}, []string{"done: a", "FAIL x", "FAIL y", "FAIL z", "one"}},
		{nil, nil, []string{"done: a", "FAIL x", "FAIL y", "FAIL z", ""}},
	} {
		s.write(frame(drawn, c.stay, c.lines))
		drawn = len(c.lines)
		if !reflect.DeepEqual(s.lines, c.want) {
			t.Fatalf("%q, want %q", s.lines, c.want)
		}
	}
}

// buffer is a writer that the display's goroutines share.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// TestPlainSteps: a log has a line for each step, and for a long one now and
// then.
func TestPlainSteps(t *testing.T) {
	var out buffer
	now := at(0)
	d := &Display{w: &out, now: func() time.Time { return now }, stop: make(chan struct{})}
	step := func(seconds int, text string) {
		now = at(seconds)
		d.Step(text)
	}
	step(0, "kernel: fetching 3 MB of 36 MB")
	step(5, "kernel: fetching 20 MB of 36 MB")
	step(21, "kernel: fetching 30 MB of 36 MB")
	step(22, "guest root trixie: installing packages")
	step(22, "guest root trixie: installing packages")
	now = at(43)
	d.show() // the ticker
	d.Close()
	want := "kernel: fetching 3 MB of 36 MB\nkernel: fetching 30 MB of 36 MB (21 s)\n" +
		"guest root trixie: installing packages\nguest root trixie: installing packages (21 s)\n"
	if out.String() != want {
		t.Errorf("%s", out.String())
	}
}

// TestFollow follows a journal that is written meanwhile.
func TestFollow(t *testing.T) {
	var out buffer
	d := New(&out)
	defer d.Close()
	// Its clock stands still, however long this takes: no line is due just
	// because of the time.
	d.mu.Lock()
	d.now = func() time.Time { return at(0) }
	d.mu.Unlock()
	dir := filepath.Join(t.TempDir(), "run")
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.Follow(ctx, dir)
	}()
	j, err := reports.Create(dir, 1)
	if err != nil {
		t.Fatal(err)
	}
	j.RunStarted(*runStarted("k").Run)
	s := reports.Spec{ID: "regression/complain", Kernel: "k"}
	j.SpecStarted(s)
	j.Results(s, failure)
	wait(t, &out, "x FAIL regression/complain/exec cx: expected pass, got fail: exec: \\x1b[1mdenied\n")
	j.SpecEnded(s)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	cancel() // at once: what was written before is still shown
	<-done
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if last := lines[len(lines)-1]; !strings.HasPrefix(last, "[1/4] regression/complain: 1 failed (") || !strings.HasSuffix(last, ")") || len(lines) != 2 {
		t.Errorf("%q", lines)
	}
}

func wait(t *testing.T, out *buffer, text string) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if strings.Contains(out.String(), text) {
			return
		}
	}
	t.Fatalf("%q does not come; there is %q", text, out.String())
}
