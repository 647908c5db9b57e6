// SPDX-License-Identifier: Apache-2.0

package regression

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"proofhouse/reports"
)

var update = flag.Bool("update", false, "write the golden files anew")

// samples are what scripts of the 4.1.8 suite printed on Debian's User Mode
// Linux 7.2um1, cut where they are long. A file's name is the script's, what
// was special, and the exit status: setattr,complain,20.txt ran with
// apparmor.mode=complain and ended with 20.
func samples(tb testing.TB) []string {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		tb.Fatalf("no samples: %v", err)
	}
	return files
}

func sample(tb testing.TB, file string) (script string, output []byte, exit Exit) {
	part := strings.Split(strings.TrimSuffix(filepath.Base(file), ".txt"), ",")
	status, err := strconv.Atoi(part[len(part)-1])
	if err != nil {
		tb.Fatalf("%s: no exit status in its name", file)
	}
	output, err = os.ReadFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	return part[0], output, Exit{Status: status}
}

// Every sample is read as its golden file says.
// A verdict behind another one in the same line is not lost: some scripts do not
// count their failures.
func TestParseJoinedVerdicts(t *testing.T) {
	for _, line := range []string{
		"ok (pass): readError: (foo)", "ok (pass): aFAIL: (gzip) level 4 x", "ok: aok (pass): b",
		"PASS: (gzip) level 3 FAIL: (gzip) level 4 x", "PASS: a FAIL: b", "SKIP: a FAIL: b", "xfail: a FAIL: b",
		"ok (pass): a\rError: (b)", "ok (pass): \"a\n_post\" Error: (b)", "  skipping a FAIL: b",
		"not supported by kernel - skipping mount options=(a), FAIL: b",
	} {
		results := Parse("x", []byte("ok (pass): first\n"+line+"\n"), Exit{})
		if last := results[len(results)-1]; last.ID != ScriptID("x") || last.Status != reports.Error {
			t.Errorf("%q: %+v", line, results)
		}
	}
	for _, line := range []string{
		"Error: open failed. Test 'a' was expected to 'pass'. Reason for failure 'FAIL: open skipping'",
		"XFAIL: Error: corefile expected but not present - a",
	} {
		for _, r := range Parse("x", []byte(line+"\n"), Exit{Status: strings.Count(line, "Reason")}) {
			if r.Status == reports.Error {
				t.Errorf("%q: %+v", line, r)
			}
		}
	}
}

func TestParseSamples(t *testing.T) {
	for _, file := range samples(t) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			script, output, exit := sample(t, file)
			got := render(Parse(script, output, exit))
			golden := strings.TrimSuffix(file, ".txt") + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

func render(results []reports.Result) string {
	var b strings.Builder
	for _, r := range results {
		fmt.Fprintf(&b, "%-5s %s", r.Status, r.ID)
		for _, f := range []struct{ name, value string }{
			{"expected", r.Expected}, {"got", r.Got}, {"lacks", r.Lacks}, {"reason", r.Reason},
		} {
			if f.value != "" && r.Status != reports.Pass {
				fmt.Fprintf(&b, "\n      %s: %s", f.name, f.value)
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// What a sample printed cannot be turned into a pass by ending otherwise, and
// counts the same when the output is cut anywhere.
func TestNoOtherEndPasses(t *testing.T) {
	for _, file := range samples(t) {
		script, output, exit := sample(t, file)
		for _, end := range []Exit{
			{Status: (exit.Status + 100) % 256},
			{Signal: "KILL"},
			{Deadline: true},
			{Crash: "KASAN: use-after-free in aa_label_free"},
			{Status: exit.Status, Crash: "Oops"},
		} {
			if r := whole(Parse(script, output, end), script); r == nil || r.Status != reports.Error || r.Reason == "" {
				t.Errorf("%s, ended %+v: %+v, want an ERROR with its reason", file, end, r)
			}
		}
		for _, n := range []int{1, len(output) / 3, len(output) / 2, len(output) - 1} {
			if n < 1 || n >= len(output) {
				continue
			}
			part := Parse(script, output[:n], Exit{Deadline: true})
			if r := whole(part, script); r == nil || r.Status != reports.Error {
				t.Errorf("%s cut at %d: %+v, want an ERROR", file, n, r)
			}
			full := map[string]reports.Status{}
			for _, r := range Parse(script, output, exit) {
				full[r.ID] = r.Status
			}
			for _, r := range part {
				// exec_qual takes an ok back in the line after it.
				if s, ok := full[r.ID]; r.ID != ScriptID(script) && (!ok || s != r.Status) && script != "exec_qual" {
					t.Errorf("%s cut at %d: %s %s, uncut %q", file, n, r.Status, r.ID, s)
				}
			}
		}
	}
}

func whole(results []reports.Result, script string) *reports.Result {
	for i := range results {
		if results[i].ID == ScriptID(script) {
			return &results[i]
		}
	}
	return nil
}

func TestParse(t *testing.T) {
	const fail = "Error: open failed. Test 'D' was expected to 'pass'. Reason for failure 'FAIL: open - Permission denied'\n"
	tests := []struct {
		name   string
		output string
		exit   Exit
		want   string
	}{
		{"silence", "", Exit{}, "PASS  regression/s/(script)\n"},
		{"silence that failed", "", Exit{Status: 3},
			"ERROR regression/s/(script)\n      reason: it counted 3 failures (exit status 3), but printed 0 failures\n"},
		{"silence", " \n", Exit{}, "PASS  regression/s/(script)\n"},
		{"noise alone", "mount: something\n", Exit{}, "ERROR regression/s/(script)\n      reason: it printed no verdict: \"mount: something\"\n"},
		{"ok of 4.1.0", "ok: D\n", Exit{}, "PASS  regression/s/D\n"},
		{"ok that failed", "ok (pass): D\n", Exit{Status: 1},
			"PASS  regression/s/D\nERROR regression/s/(script)\n      reason: it counted 1 failure (exit status 1), but printed 0 failures\n"},
		{"a failure that is not counted", fail, Exit{},
			"FAIL  regression/s/D\n      expected: pass\n      got: fail\n      reason: FAIL: open - Permission denied\nERROR regression/s/(script)\n      reason: it counted 0 failures (exit status 0), but printed 1 failure\n"},
		{"256 failures", strings.Repeat(fail, 256), Exit{},
			func() string {
				var b strings.Builder
				for i := 1; i <= 256; i++ {
					n := ""
					if i > 1 {
						n = fmt.Sprintf(" #%d", i)
					}
					fmt.Fprintf(&b, "FAIL  regression/s/D%s\n      expected: pass\n      got: fail\n      reason: FAIL: open - Permission denied\n", n)
				}
				return b.String()
			}()},
		{"a description in disguise", "ok (pass): (script)\nok: D #2\nok: D\nok: D\n", Exit{Status: 0},
			"PASS  regression/s/(script) #2\nPASS  regression/s/D #2\nPASS  regression/s/D\nPASS  regression/s/D #3\n"},
		{"a skip that failed", "NFS server not available. Skipping tests ...\n", Exit{Status: 2},
			"SKIP  regression/s/(skipped: guest: nfs server)\n      lacks: guest: nfs server\n      reason: NFS server not available. Skipping tests ...\nERROR regression/s/(script)\n      reason: it counted 2 failures (exit status 2), but printed 0 failures\n"},
		{"the wrong signal", "Error: s failed. Test 'D' was expected to terminate with signal 9 (known problem). Instead it terminated with signal 11\n", Exit{Status: 1},
			"FAIL  regression/s/D\n      expected: signal9 (known problem)\n      got: signal11\n      reason: it was killed by signal 11, but was expected to be by signal 9\n"},
		{"a signal", "Error: s failed. Test 'D' was expected to 'fail' (known problem). Reason for failure 'killed by signal 9'\n", Exit{Status: 1},
			"FAIL  regression/s/D\n      expected: fail (known problem)\n      got: signal9\n      reason: killed by signal 9\n"},
		{"the wrong errno", "Error: s failed. Test 'D' was expected to 'fail'. Reason for failure expect errno 13 != 1\n", Exit{Status: 1},
			"FAIL  regression/s/D\n      expected: errno 13\n      got: errno 1\n      reason: expect errno 13 != 1\n"},
		{"an alert of another subtest", "Alert: s passed. Test 'A' was marked as expected pass but known problem (xpass)\nxpass: B\n", Exit{},
			"XFAIL regression/s/B\n      expected: pass\n      got: fail\n      reason: marked as a known problem upstream\n"},
		{"a fatal error in a subshell", "ok: D\nFatal Error (s): Unable to load profile /tmp/sdtest.1-2-abcdef/profile\n", Exit{},
			"PASS  regression/s/D\nERROR regression/s/(script)\n      reason: fatal error (s): Unable to load profile /tmp/sdtest/profile\n"},
		{"a profile that is not there", "ok: D\nGenprofile failed to load profile \"p\"\n", Exit{},
			"PASS  regression/s/D\nERROR regression/s/(script)\n      reason: it ended where the profile p was loaded but not listed\n"},
		{"a missing helper", "Fatal Error (s): Unable to run test sub-executable\n", Exit{Status: 127},
			"ERROR regression/s/(script)\n      reason: fatal error (s): Unable to run test sub-executable\n"},
		{"a missing program", "/x/s.sh: line 80: lsof: command not found\nok: D\n", Exit{},
			"PASS  regression/s/D\nERROR regression/s/(script)\n      reason: shell error: /x/s.sh: line 80: lsof: command not found\n"},
		{"bash's report of a child", "/x/prologue.inc: line 325: 31257 Killed                     $testexec \"$@\" > $outfile 2>&1\nok: D\n", Exit{},
			"PASS  regression/s/D\n"},
		{"no such script", "bash: s.sh: No such file or directory\n", Exit{Status: 127},
			"ERROR regression/s/(script)\n      reason: it counted 127 failures (exit status 127), but printed 0 failures; unknown line, perhaps a failure: \"bash: s.sh: No such file or directory\"\n"},
		// A quotation mark in the description above does not make it a part of that.
		{"a shell error behind an odd quotation mark", "ok (pass): i18n (\") open w\n/x/s.sh: line 88: unexpected EOF while looking for matching `\"'\n", Exit{},
			"PASS  regression/s/i18n (\") open w\nERROR regression/s/(script)\n      reason: shell error: /x/s.sh: line 88: unexpected EOF while looking for matching `\"'\n"},
		{"a failure behind an odd quotation mark", "ok (pass): \"A\nmkdir (12) incorrectly generated \"dir at length 4097\nError: s failed. Test 'a' was expected to 'pass'\n", Exit{Status: 1},
			"PASS  regression/s/\"A\nFAIL  regression/s/a\n      expected: pass\n      got: fail\n      reason: it failed, but was expected to pass\nERROR regression/s/(script)\n      reason: unknown line, perhaps a failure: \"mkdir (12) incorrectly generated \\\"dir at length 4097\"\n"},
		{"a shell error without a newline", "ok (pass): A\nx.sh: line 3: foo: command not found", Exit{},
			"PASS  regression/s/A\nERROR regression/s/(script)\n      reason: shell error: x.sh: line 3: foo: command not found; the output ends in the middle of a line: \"x.sh: line 3: foo: command not found\"\n"},
		{"a failure without a newline", "ok (pass): A\nmkdir (12) incorrectly generated dir at length 4097", Exit{},
			"PASS  regression/s/A\nFAIL  regression/s/mkdir (12) beyond the longest path\n      expected: fail\n      got: pass\n      reason: done at length 4097\nERROR regression/s/(script)\n      reason: the output ends in the middle of a line: \"mkdir (12) incorrectly generated dir at length 4097\"\n"},
		{"a skip without a newline", "ok (pass): A\nNFS server not available. Skipping tests", Exit{},
			"PASS  regression/s/A\nERROR regression/s/(script)\n      reason: the output ends in the middle of a line: \"NFS server not available. Skipping tests\"\n"},
		{"an unknown complaint", "ok (pass): A\nmount: /mnt: cannot remount read-write\n", Exit{},
			"PASS  regression/s/A\nERROR regression/s/(script)\n      reason: unknown line, perhaps a failure: \"mount: /mnt: cannot remount read-write\"\n"},
		{"an unknown word of bash", "/x/s.sh: line 7: [: too many arguments\nok (pass): A\n", Exit{},
			"PASS  regression/s/A\nERROR regression/s/(script)\n      reason: shell error: /x/s.sh: line 7: [: too many arguments\n"},
		{"a verdict behind a program's text", "helper: donePASS: x\nhelper: doneError: ls -l /f output does not look correct\nok (pass): A\n", Exit{},
			"PASS  regression/s/A\nERROR regression/s/(script)\n      reason: a verdict in the middle of a line: \"helper: doneError: ls -l /f output does not look correct\"\n"},
		{"an ok behind a program's text", "helper: doneok (pass): A\nok (pass): B\n", Exit{},
			"PASS  regression/s/B\nERROR regression/s/(script)\n      reason: a verdict in the middle of a line: \"helper: doneok (pass): A\"\n"},
		{"chatter", "  using mount rules ...\n    parser does not support v9, encoding v7/8 ... using v9 af_unix kernel semantics\nok (pass): A\n", Exit{}, "PASS  regression/s/A\n"},
		{"cut in the middle of an ok", "ok: D\nok (pass): E", Exit{},
			"PASS  regression/s/D\nERROR regression/s/(script)\n      reason: the output ends in the middle of a line: \"ok (pass): E\"\n"},
		{"an unknown error, counted", "Error: something new\n", Exit{Status: 1},
			"FAIL  regression/s/something new\n      reason: something new\n"},
		{"an unknown error, not counted", "Error: something new\nok: D\n", Exit{},
			"FAIL  regression/s/something new\n      reason: something new\nPASS  regression/s/D\n"},
		{"a confinement that differs", "ok (pass): D\nError: exec_qual failed. Test 'D' actual confinement 'a' differed from expected confinement 'b'\n", Exit{Status: 1},
			"FAIL  regression/s/D\n      expected: b\n      got: a\n      reason: its confinement was a\n"},
		{"a namespace that is not made", "Error: namespaces failed. Test 'NAMESPACES create unique ns' did not create the expected namespace directory in apparmorfs: policy/namespaces/test_namespaces_aB3dE6\n", Exit{Status: 1},
			"FAIL  regression/s/NAMESPACES create unique ns\n      expected: pass\n      got: fail\n      reason: it did not create the expected namespace directory in apparmorfs: policy/namespaces/test_namespaces\n"},
		{"raw_data that differs", "Error: e2e, E2E load profile failed. raw_data profile doesn't match the generated cached one\n", Exit{Status: 1},
			"FAIL  regression/s/E2E load profile\n      expected: pass\n      got: fail\n      reason: raw_data profile doesn't match the generated cached one\n"},
		{"a policy that is not loaded", "Error: Policy \"p_0001\" was not loaded\n", Exit{Status: 1},
			"FAIL  regression/s/policy p_0001 is loaded\n      expected: loaded\n      got: not loaded\n      reason: the policy was not loaded\n"},
		{"a newline in a failure's description", "Error: open failed. Test 'i18n (10) \"/tmp/file_\n_post\" RW' was expected to 'pass'. Reason for failure 'FAIL: no'\nok: D\n", Exit{Status: 1},
			"FAIL  regression/s/i18n (10) \"/tmp/file_\\012_post\" RW\n      expected: pass\n      got: fail\n      reason: FAIL: no\nPASS  regression/s/D\n"},
		{"bytes that are no text", "ok: \"\x01_\xff_\x7f\" é\n", Exit{}, "PASS  regression/s/\"\\001_\\377_\\177\" é\n"},
		{"a long path that was made", "mkdir (9) incorrectly generated dir at length 2300\n", Exit{},
			"FAIL  regression/s/mkdir (9) beyond the longest path\n      expected: fail\n      got: pass\n      reason: done at length 2300\n"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := render(Parse("s", []byte(test.output), test.exit)); got != test.want {
				t.Errorf("got:\n%s\nwant:\n%s", got, test.want)
			}
		})
	}
}

// A failure keeps the lines that led to it, and only those.
func TestFailureKeepsItsLines(t *testing.T) {
	got := Parse("setattr", []byte("ok (pass): before\nnoise\nError: (confined r)\nError: ls -l /tmp/f output does not look correct\nError: saw: a/b/c   expected: d/e/f\nok: after\n"), Exit{})
	if len(got) != 3 || got[1].Status != reports.Fail {
		t.Fatalf("got %+v", got)
	}
	want := "noise\nError: (confined r)\nError: ls -l /tmp/f output does not look correct\nError: saw: a/b/c   expected: d/e/f\n"
	if got[1].Output != want || got[1].Expected != "d/e/f" || got[1].Got != "a/b/c" {
		t.Errorf("got %+v", got[1])
	}
}

func FuzzParse(f *testing.F) {
	for _, file := range samples(f) {
		script, output, exit := sample(f, file)
		if len(output) > 8<<10 {
			output = output[:8<<10]
		}
		f.Add(script, output, exit.Status, "")
	}
	f.Add("s", []byte("ok: (script)\nXFAIL: Error: corefile expected but not present - x"), 1, "KILL")
	f.Fuzz(func(t *testing.T, script string, output []byte, status int, signal string) {
		exit := Exit{Status: status & 255, Signal: signal}
		results := Parse(script, output, exit)
		if len(results) == 0 {
			t.Fatal("no result at all")
		}
		ids := map[string]bool{}
		fails := 0
		for _, r := range results {
			if ids[r.ID] {
				t.Errorf("%q twice", r.ID)
			}
			ids[r.ID] = true
			if !strings.HasPrefix(r.ID, "regression/"+script+"/") {
				t.Errorf("%q is not of %q", r.ID, script)
			}
			if r.Status == reports.Fail {
				fails++
			}
			if r.Status != reports.Pass && r.Reason == "" && r.ID != ScriptID(script) && len(bytes.TrimSpace(output)) > 0 && r.Output == "" {
				t.Errorf("%s %q for no reason", r.Status, r.ID)
			}
			if r.Status == reports.Skip && r.Lacks == "" {
				t.Errorf("%q lacks nothing", r.ID)
			}
		}
		w := whole(results, script)
		bad := exit.Status != 0 || signal != ""
		if bad && fails == 0 && (w == nil || w.Status != reports.Error) {
			t.Errorf("ended with %+v and passed: %+v", exit, results)
		}
		if w != nil && w.Status == reports.Pass && len(results) > 1 {
			t.Errorf("a silent pass among others: %+v", results)
		}
		if (w == nil || w.Status != reports.Error) && fails%256 < exit.Status && fails < 256 {
			t.Errorf("%d failures, exit status %d, no ERROR", fails, exit.Status)
		}
	})
}

// What ends bash itself in the middle of a script leaves, through the trap of
// epilogue.inc, the exit status of success. It is bash that says so here.
func TestShellEndsEarly(t *testing.T) {
	for _, fatal := range []string{
		"if then", "echo ${a!b}", "readonly a=1; a=2", "echo $((1/0))", "echo $((08))", ": ${nothing:?}", "set -u; echo $nothing", `echo "`,
	} {
		file := filepath.Join(t.TempDir(), "s.sh")
		text := "failures=0\nleave() { exit $failures; }\ntrap leave EXIT\necho 'ok (pass): first'\n" + fatal + "\nfailures=1\necho 'Error: s failed. Test '\\''second'\\'' was expected to '\\''pass'\\''.'\n"
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("bash", file)
		cmd.Env = append(os.Environ(), "LC_ALL=C")
		output, err := cmd.CombinedOutput()
		var failed *exec.ExitError
		if err != nil && !errors.As(err, &failed) {
			t.Skip(err)
		}
		if r := whole(Parse("s", output, Exit{Status: cmd.ProcessState.ExitCode()}), "s"); r == nil || r.Status != reports.Error || !strings.Contains(r.Reason, "shell error") {
			t.Errorf("%s: exit status %d, %q: %+v", fatal, cmd.ProcessState.ExitCode(), output, r)
		}
	}
	for _, line := range []string{
		"prologue.inc: line 345: /tmp/x: No space left on device",
		"/x/prologue.inc: line 9: fork: retry: Resource temporarily unavailable",
		"s.sh: line 9: cannot create temp file for here-document: Read-only file system",
	} {
		if r := whole(Parse("s", []byte("ok: a\n"+line+"\n"), Exit{}), "s"); r == nil || r.Status != reports.Error {
			t.Errorf("%s: %+v", line, r)
		}
	}
	// What bash says of children that were to die is none.
	for _, line := range []string{
		"/x/prologue.inc: line 345:   713 Segmentation fault         (core dumped) $testexec \"$@\" > $outfile 2>&1",
		"/x/prologue.inc: line 345:   713 Killed                     $testexec \"$@\" > $outfile 2>&1",
	} {
		if got := Parse("s", []byte(line+"\nok: a\n"), Exit{}); len(got) != 1 || got[0].Status != reports.Pass {
			t.Errorf("%s: %+v", line, got)
		}
	}
}
