// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"proofhouse/internal/cli/clitest"
	"proofhouse/internal/exit"
	"proofhouse/reports"
	"proofhouse/runs"
)

// Each command has help, with an example that names it, in plain ASCII: the
// flags would not line up.
func TestHelp(t *testing.T) {
	var visit func(c *cobra.Command)
	visit = func(c *cobra.Command) {
		for _, sub := range c.Commands() {
			visit(sub)
		}
		if c.HasParent() && c.Example == "" {
			t.Errorf("%s has no example", c.CommandPath())
		}
		if c.HasParent() && !strings.Contains(c.Example, c.CommandPath()) {
			t.Errorf("the example of %s is about something else: %s", c.CommandPath(), c.Example)
		}
		if usage := c.Flags().FlagUsages(); strings.ContainsFunc(usage, func(r rune) bool { return r > '~' }) {
			t.Errorf("the flags of %s:\n%s", c.CommandPath(), usage)
		}
	}
	visit(command())
}

// Bad input is one line and exit status 2, and nothing is fetched or booted
// before it is said.
func TestBadUsage(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"completion tcsh", "unknown shell"}, {"runs --out /nonexistent", "list the runs"},
		{"report /nonexistent", "read the run /nonexistent: no such file or directory: want the directory of a run"},
		{"merge main_test.go", "read the run main_test.go: not a directory: want the directory of a run"},
		{"compare /nonexistent .", "read the run /nonexistent: no such file or directory: want the directory of a run or of a kernel in it, or a results.json"},
		{"compare main_test.go .", "read the run main_test.go: not a results.json of proofhouse"},
		{"run --rerun /nonexistent", "--rerun: read the run /nonexistent: no such file or directory: want the directory of a run, or a results.json"},
		{"run --accel none", `--accel "none": want auto, kvm or tcg`},
		{"exec --accel none true", `--accel "none": want auto, kvm or tcg`},
		{"run --memory -3", `--memory "-3": want a whole number of at least 128`},
		{"run --memory 64", `--memory "64": want a whole number of at least 128`},
		{"run --procs 0", `--procs "0": want a whole number of at least 1`},
		{"run --focus (", "--focus \"(\": error parsing regexp: missing closing ): `(`"},
		{"run --label-filter a&&&&", `--label-filter "a&&&&": Operator '&&' missing left hand operand.`},
		{"run --label-filter (a", `--label-filter "(a": Mismatched '(' - could not find matching ')'.`},
		{"run --script ,", `--script ",": want at least one name`},
		{"run --shard 3/2", `--shard "3/2": the index must be from 1 to the count`},
		{"runs prune --keep -1", `--keep "-1": want a whole number of at least 0`},
	} {
		st, err := status(t, strings.Fields(c.args)...)
		if st != exit.Usage || err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: status %d, %v; want %s", c.args, st, err, c.want)
		}
	}
}

func TestBadFlags(t *testing.T) { clitest.BadFlags(t, command()) }

// A cache directory that cannot be created is reported at once, with the way out.
func TestNoCache(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PROOFHOUSE_CACHE", filepath.Join(file, "cache"))
	for _, args := range []string{"run --smoke", "exec true", "kernels show uml:debian:forky"} {
		st, err := status(t, strings.Fields(args)...)
		if st != exit.Usage || err == nil || !strings.Contains(err.Error(), "create the cache directory: ") || !strings.Contains(err.Error(), "PROOFHOUSE_CACHE") {
			t.Errorf("%s: status %d, %v", args, st, err)
		}
	}
}

// What is joined without --out becomes the newest run in out/.
func TestMergeDefault(t *testing.T) {
	from, err := filepath.Abs("../../reports/testdata/format-1")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	if st, err := status(t, "merge", from); st != exit.OK {
		t.Fatal(st, err)
	}
	run, err := reports.Open(filepath.Join("out", runs.Latest))
	if err != nil || len(run.Kernels) != 1 {
		t.Error(err)
	}
	entries, err := os.ReadDir("out")
	if err != nil || len(entries) != 2 {
		t.Error(entries, err)
	}
}

// Names complete in the shell, also behind a comma.
func TestCompletion(t *testing.T) {
	root := command()
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetArgs([]string{"__complete", "run", "--row", "file/read,signal/host-to-c"})
	if err := root.Execute(); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(out.String(), "file/read,signal/host-to-container\n") {
		t.Errorf("%q", out.String())
	}
}

// What is listed can be chosen.
func TestList(t *testing.T) {
	if all := rowTable(""); len(all.rows) < 50 {
		t.Errorf("%d rows", len(all.rows))
	}
	for pattern, want := range map[string]int{"file/read": -1, "*/host-to-container": -1, "nothing-like-this": 0} {
		got := len(rowTable(pattern).rows)
		if want < 0 && got == 0 || want == 0 && got != 0 {
			t.Errorf("%q matches %d rows", pattern, got)
		}
	}
	sum := 0
	for _, g := range groupTable("").rows {
		n, err := strconv.Atoi(g[1])
		if err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	if sum != len(rowTable("").rows) {
		t.Errorf("the groups have %d rows of %d", sum, len(rowTable("").rows))
	}
	for _, bad := range []string{"list", "list nonsense", "list rows a b", "list rows nothing-like-this", "run --json", "run --rerun /no/such/run", "run --row no/such"} {
		if st, err := status(t, strings.Fields(bad)...); st != exit.Usage {
			t.Errorf("%s: status %d, %v", bad, st, err)
		}
	}
}
