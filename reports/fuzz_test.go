// SPDX-License-Identifier: Apache-2.0

package reports

import (
	"bytes"
	"io"
	"testing"

	"proofhouse/internal/exit"
	"proofhouse/internal/printable"
)

// earned checks that a run with exit status 0 deserves it, and that every
// writer takes the run.
func earned(t *testing.T, run *Run) {
	t.Helper()
	status, line := Verdict(run)
	if status == exit.OK {
		passed, ran := 0, 0
		for _, k := range run.Kernels {
			ran += len(k.Specs)
			if len(k.NotRun) > 0 {
				t.Errorf("%s: %d not run", line, len(k.NotRun))
			}
			for _, s := range k.Specs {
				if s.End.IsZero() || len(s.Results) == 0 {
					t.Errorf("%s: spec %q without an end or results", line, s.ID)
				}
				for _, r := range s.Results {
					switch r.Status {
					case Pass:
						passed++
					case XFail, XPass, Skip, Recorded:
					default:
						t.Errorf("%s: %q is %q", line, r.ID, r.Status)
					}
				}
			}
		}
		if passed == 0 || run.Ended.IsZero() || run.CutShort || len(run.Doubts) > 0 || run.Planned <= 0 || run.Planned > ran {
			t.Errorf("%s: %d passed, ended %v, doubts %q, planned %d, ran %d", line, passed, run.Ended, run.Doubts, run.Planned, ran)
		}
	}
	for _, f := range Formats() {
		var b bytes.Buffer
		if err := f.Write(&b, run, FormatOptions{Origin: KCIDBOrigin}); err != nil {
			// A time beyond the year 9999 cannot be written.
			continue
		}
		if text := b.String(); text != printable.Lines(text) {
			t.Errorf("%s: characters that are not seen", f.Name)
		}
		if f.Name == "junit" {
			bad := bytes.Contains(b.Bytes(), []byte("<error ")) || bytes.Contains(b.Bytes(), []byte("<failure "))
			if bad != (status != exit.OK) {
				t.Errorf("JUnit has a failure: %v, and the verdict is %s", bad, line)
			}
		}
	}
	// Settling again changes nothing.
	var before, after bytes.Buffer
	if JSON(&before, run) != nil {
		return
	}
	run.settle()
	if _ = JSON(&after, run); !bytes.Equal(before.Bytes(), after.Bytes()) {
		t.Errorf("settled twice:\n%s\n%s", before.String(), after.String())
	}
	_ = Terminal(io.Discard, run, Style{Width: 80, Unicode: true, Color: true})
}

// FuzzResults reads results.json as anybody may have made it.
func FuzzResults(f *testing.F) {
	for _, name := range []string{"pass", "mixed", "killed", "skip", "nothing"} {
		var b bytes.Buffer
		run := samples[name]().run()
		for i := range run.Kernels { // small seeds are tried more often
			k := &run.Kernels[i]
			k.Specs = k.Specs[:min(len(k.Specs), 2)]
			for n := range k.Specs {
				k.Specs[n].Results = k.Specs[n].Results[:min(len(k.Specs[n].Results), 2)]
			}
		}
		if err := JSON(&b, run); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
	}
	f.Add([]byte(`{"format":2,"ended":"2026-01-01T00:00:00Z","planned":1,"kernels":[{"id":"k","specs":[{"id":"regression/a","end":"2026-01-01T00:00:00Z","results":[{"id":"regression/a/x","status":"PASS"}]}]}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		run, err := decodeResults(text)
		if err != nil {
			return
		}
		earned(t, run)
	})
}

// FuzzJournals reads the journals of two processes.
func FuzzJournals(f *testing.F) {
	f.Add([]byte(beginning+specBegin+specEnd("", result("A", "PASS"))+ending), []byte(""))
	f.Add([]byte(beginning+specBegin+specEnd("", result("A", "FAIL"), result("A", "PASS"))), []byte(ending))
	f.Add([]byte(`{"event":"part","time":"2026-01-01T00:00:00Z","format":2,"part":{"number":1,"name":"x","shard":{"index":1,"count":2}}}`+"\n"+beginning), []byte(beginning+specBegin+ending))
	f.Fuzz(func(t *testing.T, one, two []byte) {
		var journals []journal
		for i, text := range [][]byte{one, two} {
			j, err := decode(i+1, text)
			if err != nil {
				return
			}
			if i == 0 || len(text) > 0 {
				journals = append(journals, j)
			}
		}
		earned(t, merge(journals))
	})
}
