// SPDX-License-Identifier: Apache-2.0

package reports

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"proofhouse/internal/exit"
)

// journalOf is a run on one kernel whose journal has these lines between its
// beginning and its end.
const (
	beginning = `{"event":"process-started","time":"2026-01-01T00:00:00Z","process":1,"format":2}
{"event":"run-started","time":"2026-01-01T00:00:00Z","process":1,"run":{"tool":"x","processes":1,"planned":[{"id":"regression/open","kernel":"k1"}]}}
{"event":"kernel","time":"2026-01-01T00:00:00Z","process":1,"kernel":{"id":"k1","spec":"s","release":"7.9","version":"v"}}
`
	specBegin = `{"event":"spec-started","time":"2026-01-01T00:00:01Z","process":1,"spec":{"id":"regression/open","kernel":"k1","machine":"uml-1","start":"2026-01-01T00:00:01Z"}}
`
	ending = `{"event":"run-ended","time":"2026-01-01T00:00:03Z","process":1}
{"event":"process-ended","time":"2026-01-01T00:00:03Z","process":1}
`
)

// specEnd is the end of the spec, with these results.
func specEnd(more string, results ...string) string {
	return fmt.Sprintf(`{"event":"spec-ended","time":"2026-01-01T00:00:02Z","process":1,"spec":{"id":"regression/open","kernel":"k1","machine":"uml-1","start":"2026-01-01T00:00:01Z","end":"2026-01-01T00:00:02Z",%s"results":[%s]}}`, more, strings.Join(results, ",")) + "\n"
}

func result(id, status string) string {
	return fmt.Sprintf(`{"id":"regression/open/%s","status":%q}`, id, status)
}

// readJournal reads a run of one journal, or of several.
func readJournal(t *testing.T, texts ...string) *Run {
	t.Helper()
	dir := t.TempDir()
	for i, text := range texts {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("journal-%d.jsonl", i+1)), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	run, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	return run
}

// TestEarnedPass has journals that are damaged, cut or contradictory. Just the
// first is a PASS. The verdict is the same when results.json is read back.
func TestEarnedPass(t *testing.T) {
	pass := specEnd("", result("A", "PASS"))
	machine := func(event, more string) string {
		return fmt.Sprintf(`{"event":%q,"time":"2026-01-01T00:00:02Z","machine":{"id":"uml-1","kernel":"k1"%s}}`, event, more) + "\n"
	}
	during := func(id, status string) string {
		return fmt.Sprintf(`{"event":"results","time":"2026-01-01T00:00:02Z","spec":{"id":"regression/open","kernel":"k1"},"results":[%s]}`, result(id, status)) + "\n"
	}
	for name, c := range map[string]struct {
		text   string
		status int
		line   string
	}{
		"whole":                       {beginning + specBegin + pass + ending, exit.OK, "PASS: 1 subtest passed"},
		"an empty line":               {beginning + specBegin + "\n" + pass + ending, exit.OK, "PASS"},
		"killed, then repeated":       {strings.SplitAfter(beginning, "\n")[0] + `{"event":"ker` + "\n" + beginning + specBegin + pass + ending, exit.OK, "PASS"},
		"a clock that jumped back":    {beginning + specBegin + pass + strings.ReplaceAll(ending, "2026", "2025"), exit.OK, "PASS"},
		"no end of the run":           {beginning + specBegin + pass, exit.NoVerdict, "cut short"},
		"no end of the process":       {beginning + specBegin + pass + strings.SplitAfter(ending, "\n")[0], exit.NoVerdict, "process 1 has no end"},
		"begun again, and no end":     {beginning + specBegin + pass + ending + beginning, exit.NoVerdict, "cut short"},
		"no end of the spec":          {beginning + specBegin + ending, exit.NoVerdict, "1 error"},
		"cut in the middle":           {beginning + specBegin + pass + `{"event":"spec-ended","ti` + "\n" + ending, exit.NoVerdict, "line 6 is ignored: it was cut"},
		"damaged in the middle":       {beginning + specBegin + pass + "\x00\x00\x00\n" + ending, exit.NoVerdict, "line 6 is ignored"},
		"an unknown event":            {beginning + specBegin + pass + `{"event":"retracted"}` + "\n" + ending, exit.NoVerdict, `unknown event "retracted"`},
		"no plan":                     {strings.SplitAfter(beginning, "\n")[0] + specBegin + pass + ending, exit.NoVerdict, "planned tests unknown"},
		"an unknown status":           {beginning + specBegin + specEnd("", result("A", "PASS"), result("B", "PASSED")) + ending, exit.NoVerdict, "1 error"},
		"an empty status":             {beginning + specBegin + specEnd("", result("A", "PASS"), result("B", "")) + ending, exit.NoVerdict, "1 error"},
		"a status in small letters":   {beginning + specBegin + specEnd("", result("A", "PASS"), result("B", "pass")) + ending, exit.NoVerdict, "1 error"},
		"no results":                  {beginning + specBegin + specEnd("") + ending, exit.NoVerdict, "1 error"},
		"two results for one id":      {beginning + specBegin + specEnd("", result("A", "PASS"), result("A", "FAIL")) + ending, exit.Failed, "1 of 2 subtests failed"},
		"the same, worst first":       {beginning + specBegin + specEnd("", result("A", "ERROR"), result("A", "PASS")) + ending, exit.NoVerdict, "1 error"},
		"FAIL, and PASS at the end":   {beginning + specBegin + during("A", "FAIL") + pass + ending, exit.NoVerdict, "1 error"},
		"a result gone at the end":    {beginning + specBegin + during("B", "FAIL") + pass + ending, exit.Failed, "1 of 2"},
		"ended twice":                 {beginning + specBegin + specEnd("", result("A", "FAIL")) + pass + ending, exit.Failed, "1 of 1"},
		"started twice, ended once":   {beginning + specBegin + specBegin + pass + ending, exit.NoVerdict, "1 error"},
		"a crash that nobody judged":  {beginning + specBegin + specEnd(`"crash":"BUG: oops",`, result("A", "PASS")) + ending, exit.NoVerdict, "1 error"},
		"a crash that is known":       {beginning + specBegin + specEnd(`"crash":"BUG: oops",`, result("A", "PASS"), result("(kernel-log)", "XFAIL")) + ending, exit.OK, "PASS"},
		"a crash, another is known":   {beginning + specBegin + specEnd(`"crash":"BUG: oops",`, result("A", "PASS"), result("B", "XFAIL")) + ending, exit.NoVerdict, "1 error"},
		"lost, another is known":      {beginning + machine("machine-opened", "") + specBegin + specEnd("", result("A", "PASS"), result("B", "XFAIL")) + machine("machine-closed", `,"lost":"no answer"`) + ending, exit.NoVerdict, "machine uml-1 was lost, and no result says so: no answer"},
		"a lost machine":              {beginning + machine("machine-opened", "") + specBegin + pass + machine("machine-closed", `,"lost":"no answer"`) + ending, exit.NoVerdict, "machine uml-1 was lost, and no result says so: no answer"},
		"a machine that closed":       {beginning + machine("machine-opened", "") + specBegin + pass + machine("machine-closed", "") + ending, exit.OK, "PASS"},
		"an expectation that cannot":  {beginning + specBegin + specEnd("", `{"id":"regression/open/A","status":"PASS","known":{"found":"FAIL","by":"x"}}`, result("B", "PASS")) + ending, exit.NoVerdict, "1 error"},
		"XPASS of what failed":        {beginning + specBegin + specEnd("", `{"id":"regression/open/A","status":"XPASS","known":{"found":"FAIL","by":"x"}}`, result("B", "PASS")) + ending, exit.NoVerdict, "1 error"},
		"XFAIL of what went wrong":    {beginning + specBegin + specEnd("", `{"id":"regression/open/A","status":"XFAIL","known":{"found":"ERROR","by":"x"}}`, result("B", "PASS")) + ending, exit.NoVerdict, "1 error"},
		"two builds under one name":   {beginning + specBegin + pass + ending, exit.NoVerdict, "described with different images"},
		"two guests under one kernel": {beginning + specBegin + pass + ending, exit.NoVerdict, "described with different parser"},
	} {
		t.Run(name, func(t *testing.T) {
			texts := []string{c.text}
			kernel := `{"event":"process-started","time":"2026-01-01T00:00:00Z","format":2}` + "\n" + `{"event":"kernel","time":"2026-01-01T00:00:00Z","kernel":{"id":"k1",%s}}` + "\n" + `{"event":"process-ended","time":"2026-01-01T00:00:03Z"}` + "\n"
			switch {
			case strings.HasPrefix(name, "two builds"):
				texts = append(texts, fmt.Sprintf(kernel, `"sha256":"aa"`), fmt.Sprintf(kernel, `"sha256":"bb"`))
			case strings.HasPrefix(name, "two guests"):
				texts = append(texts, fmt.Sprintf(kernel, `"properties":{"parser":"4"}`), fmt.Sprintf(kernel, `"properties":{"parser":"5"}`))
			}
			run := readJournal(t, texts...)
			status, line := Verdict(run)
			if status != c.status || !strings.Contains(line, c.line) {
				t.Errorf("%d %s, want %d %q", status, line, c.status, c.line)
			}
			checkNoPass(t, run, status)
		})
	}
}

// checkNoPass writes the run in every form: none may look like a PASS that it
// is not, and results.json says the same when it is read back.
func checkNoPass(t *testing.T, run *Run, status int) {
	t.Helper()
	var text bytes.Buffer
	if err := JSON(&text, run); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), ResultsFile)
	if err := os.WriteFile(path, text.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	again, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if s, line := Verdict(again); s != status {
		t.Errorf("read back: %d %s", s, line)
	}
	if status == exit.OK {
		return
	}
	text.Reset()
	if err := JUnit(&text, run); err != nil || !strings.Contains(text.String(), "<error") && !strings.Contains(text.String(), "<failure") {
		t.Errorf("JUnit has no failure: %v\n%s", err, text.String())
	}
	text.Reset()
	if err := KTAP(&text, run); err != nil || !strings.Contains(text.String(), "not ok") {
		t.Errorf("KTAP has no failure: %v\n%s", err, text.String())
	}
	if len(run.Kernels) == 0 { // KCIDB has no test without a build
		return
	}
	text.Reset()
	if err := KCIDB(&text, run, KCIDBOrigin); err != nil || !strings.Contains(text.String(), `"ERROR"`) && !strings.Contains(text.String(), `"FAIL"`) && !strings.Contains(text.String(), `"MISS"`) {
		t.Errorf("KCIDB has no failure: %v\n%s", err, text.String())
	}
}

// TestClaims has files that say of themselves what their results do not
// support.
func TestClaims(t *testing.T) {
	whole := func() map[string]any {
		run := samples["pass"]().run()
		var text bytes.Buffer
		if err := JSON(&text, run); err != nil {
			t.Fatal(err)
		}
		var doc map[string]any
		if err := json.Unmarshal(text.Bytes(), &doc); err != nil {
			t.Fatal(err)
		}
		return doc
	}
	kernel := func(doc map[string]any) map[string]any { return doc["kernels"].([]any)[0].(map[string]any) }
	spec := func(doc map[string]any) map[string]any { return kernel(doc)["specs"].([]any)[0].(map[string]any) }
	for name, c := range map[string]struct {
		edit   func(doc map[string]any)
		status int
		line   string
	}{
		"as written": {func(map[string]any) {}, exit.OK, "PASS"},
		"no claims": {func(doc map[string]any) {
			delete(doc, "verdict")
			delete(doc, "counts")
		}, exit.OK, "PASS"},
		"claims a PASS of a failure": {func(doc map[string]any) {
			spec(doc)["results"].([]any)[0].(map[string]any)["status"] = "FAIL"
		}, exit.Failed, "1 of"},
		"an unknown status": {func(doc map[string]any) {
			spec(doc)["results"].([]any)[0].(map[string]any)["status"] = "GREAT"
		}, exit.NoVerdict, "1 error"},
		"results are missing": {func(doc map[string]any) {
			spec(doc)["results"] = spec(doc)["results"].([]any)[1:]
		}, exit.NoVerdict, "results.json counts"},
		"says that it failed":  {func(doc map[string]any) { doc["status"] = 1 }, exit.NoVerdict, "says exit status 1"},
		"more was planned":     {func(doc map[string]any) { doc["planned"] = 4000 }, exit.NoVerdict, "nothing is known of"},
		"no plan":              {func(doc map[string]any) { doc["planned"] = -1 }, exit.NoVerdict, "planned tests unknown"},
		"no end":               {func(doc map[string]any) { delete(doc, "ended") }, exit.NoVerdict, "cut short"},
		"a spec without end":   {func(doc map[string]any) { delete(spec(doc), "end") }, exit.NoVerdict, "1 error"},
		"a kernel is twice in": {func(doc map[string]any) { doc["kernels"] = append(doc["kernels"].([]any), kernel(doc)) }, exit.NoVerdict, "more than once"},
		"no kernel":            {func(doc map[string]any) { doc["kernels"] = []any{} }, exit.NoVerdict, "nothing ran"},
		"it has doubts":        {func(doc map[string]any) { doc["doubts"] = []string{"shard 2/2 is missing"} }, exit.NoVerdict, "shard 2/2 is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			doc := whole()
			c.edit(doc)
			text, err := json.Marshal(doc)
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(t.TempDir(), ResultsFile)
			if err := os.WriteFile(path, text, 0o644); err != nil {
				t.Fatal(err)
			}
			run, err := Open(path)
			if err != nil {
				t.Fatal(err)
			}
			status, line := Verdict(run)
			if status != c.status || !strings.Contains(line, c.line) {
				t.Errorf("%d %s, want %d %q", status, line, c.status, c.line)
			}
			checkNoPass(t, run, status)
		})
	}
}

// TestUnsorted has a run whose specs are in no order: none may be counted as
// two.
func TestUnsorted(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	s := func(id string, n int, status Status) Spec {
		return Spec{ID: id, Start: at.Add(time.Duration(n) * time.Second), End: at.Add(time.Hour), Results: []Result{{ID: id + "/x", Status: status}}}
	}
	run := &Run{Format: 2, Ended: at, Planned: 3, Kernels: []Kernel{{ID: "k", NotRun: []string{"c", "a"}, Specs: []Spec{s("b", 2, Pass), s("a", 1, Pass), s("b", 1, Fail)}}}}
	run.settle()
	outcomes := run.Kernels[0].Outcomes()
	if len(outcomes) != 3 || len(outcomes[1].Attempts) != 2 || !outcomes[1].Flaky() || outcomes[1].Status() != Fail || outcomes[1].Attempts[1].Attempt != 2 {
		t.Errorf("%+v", outcomes)
	}
}

// TestManyNamesakes has many results of one name, as a hostile run may.
func TestManyNamesakes(t *testing.T) {
	const n = 100_000
	s := Spec{ID: "regression/open"}
	for range n {
		s.Results = append(s.Results, Result{ID: "regression/open/x", Status: Pass})
	}
	begun := time.Now()
	if got := subtests([]Spec{s}); len(got) != n || got[n-1].ID != fmt.Sprintf("regression/open/x #%d", n) {
		t.Errorf("%d", len(got))
	}
	if took := time.Since(begun); took > 20*time.Second {
		t.Errorf("took %v", took)
	}
}

// A list of expectations that excuses the only failure of a spec does not hide
// that the kernel crashed in it.
func TestEditHidesNoCrash(t *testing.T) {
	run := readJournal(t, beginning+specBegin+specEnd(`"crash":"BUG: oops",`, result("A", "FAIL"), result("B", "PASS"))+ending)
	run.Edit(func(r *Run) { r.Kernels[0].Specs[0].Results[0].Status = XFail })
	if status, line := Verdict(run); status != exit.NoVerdict {
		t.Errorf("%d %s", status, line)
	}
}
