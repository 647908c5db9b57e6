// SPDX-License-Identifier: Apache-2.0

package reports

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"proofhouse/internal/child"
	"proofhouse/internal/exit"
)

const killMe = "PROOFHOUSE_TEST_JOURNAL"

// TestMain makes the test binary also the process that is killed while it
// writes: see TestKilled.
func TestMain(m *testing.M) {
	if dir := os.Getenv(killMe); dir != "" {
		writeForever(dir)
	}
	os.Exit(m.Run())
}

// writeForever writes specs with five results each until it is killed, and
// prints a line for each spec whose end is in the journal.
func writeForever(dir string) {
	j, err := Create(dir, 1)
	if err != nil {
		panic(err)
	}
	var planned []Planned
	for i := range 5000 {
		planned = append(planned, Planned{ID: fmt.Sprintf("regression/s%04d", i), Kernel: "k"})
	}
	j.RunStarted(RunStart{Tool: "test", Processes: 1, Planned: planned})
	output := strings.Repeat("ok: some output\n", 500)
	for _, p := range planned {
		s := Spec{ID: p.ID, Kernel: p.Kernel}
		j.SpecStarted(s)
		for n := range 5 {
			r := Result{ID: fmt.Sprintf("%s/%d", p.ID, n), Status: Pass, Output: output}
			j.Results(s, r)
		}
		j.SpecEnded(s)
		fmt.Println(p.ID)
	}
	select {}
}

// TestKilled kills a process at a random moment of its writing: whatever it
// had said to be written is there, and nothing is lost silently.
func TestKilled(t *testing.T) {
	halves := 0
	for range 30 {
		run, said := killedRun(t)
		if !run.CutShort || run.Planned != 5000 || len(run.Kernels) != 1 {
			t.Fatalf("cut short %v, planned %d, kernels %d", run.CutShort, run.Planned, len(run.Kernels))
		}
		k := run.Kernels[0]
		if got := len(k.Specs) + len(k.NotRun); got != 5000 {
			t.Fatalf("%d specs ran or did not, of 5000", got)
		}
		ended := 0
		for _, s := range k.Specs {
			last := s.Results[len(s.Results)-1]
			switch {
			case !s.End.IsZero() && len(s.Results) == 5 && last.Status == Pass:
				ended++
			case s.End.IsZero() && last.Status == Error && last.ID == s.ID+"/(script)":
			default:
				t.Fatalf("spec %s: end %v, %d results, the last %+v", s.ID, s.End, len(s.Results), last)
			}
		}
		if ended < said || len(k.Specs)-ended > 1 {
			t.Fatalf("%d of %d specs ended, %d were said to", ended, len(k.Specs), said)
		}
		if len(run.Remarks) > 1 {
			halves++
		}
		if status, line := Verdict(run); status != exit.NoVerdict {
			t.Fatalf("verdict %d %q", status, line)
		}
	}
	t.Logf("%d of 30 kills left half a line", halves)
}

func killedRun(t *testing.T) (run *Run, said int) {
	t.Helper()
	dir := t.TempDir()
	ctx, kill := context.WithCancel(context.Background())
	defer kill()
	cmd := child.Command(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), killMe+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if said++; said == 1 {
			time.AfterFunc(time.Duration(rand.IntN(20_000))*time.Microsecond, kill)
		}
	}
	_ = cmd.Wait() // killed, which is what we want
	run, err = Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	return run, said
}

func TestNilJournal(t *testing.T) {
	var j *Journal
	j.RunStarted(RunStart{})
	j.Kernel(Kernel{})
	j.MachineOpened(Machine{})
	j.MachineClosed(Machine{})
	j.SpecStarted(Spec{})
	j.Results(Spec{}, Result{})
	j.SpecEnded(Spec{})
	j.RunEnded()
	if err := j.Close(); err != nil {
		t.Error(err)
	}
}

func TestWriteAfterClose(t *testing.T) {
	j, err := Create(t.TempDir(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if err := j.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
	j.RunEnded()
	if err := j.Close(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("an event that was lost: %v", err)
	}
}

// TestFullDisk needs Linux's /dev/full, whose every write fails with ENOSPC.
func TestFullDisk(t *testing.T) {
	f, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	j := &Journal{process: 1, dir: "out", f: f}
	j.RunEnded()
	err = j.Close()
	if exit.Status(err) != exit.Usage || !strings.Contains(err.Error(), "no space left under out") {
		t.Errorf("status %d: %v", exit.Status(err), err)
	}
}

// TestCreateAfterKill continues a journal that ends in half a line.
func TestCreateAfterKill(t *testing.T) {
	dir := t.TempDir()
	writeJournal(t, dir, 1, `{"event":"process-started","time":"2026-01-01T00:00:00Z","format":1}`, `{"event":"run-st`)
	j, err := Create(dir, 1)
	if err != nil {
		t.Fatal(err)
	}
	j.RunStarted(RunStart{Tool: "again"})
	j.RunEnded()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	run, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"journal-1.jsonl: line 2 is ignored: it was cut, as by a kill"}
	if run.Tool != "again" || run.CutShort || !reflect.DeepEqual(run.Remarks, want) {
		t.Errorf("tool %q, cut short %v, remarks %q", run.Tool, run.CutShort, run.Remarks)
	}
}

// writeJournal writes lines with newlines between them, so without one at the
// end.
func writeJournal(t *testing.T, dir string, process int, lines ...string) {
	t.Helper()
	name := filepath.Join(dir, fmt.Sprintf("journal-%d.jsonl", process))
	if err := os.WriteFile(name, []byte(strings.Join(lines, "\n")), 0o644); err != nil {
		t.Fatal(err)
	}
}
