// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"proofhouse/internal/exit"
	"proofhouse/reports"
)

// status runs the command in this process, without its output.
func status(t *testing.T, args ...string) (int, error) {
	t.Helper()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	stdout := os.Stdout
	os.Stdout = null
	defer func() { os.Stdout = stdout; _ = null.Close() }()
	c := command()
	c.SetArgs(args)
	err = c.Execute()
	return exit.Status(err), err
}

// The exit statuses, on a run that was really made and copies of it.
func TestCompareStatus(t *testing.T) {
	run := filepath.Join("..", "..", "reports", "testdata", "format-1")
	edited := func(edit func(*reports.Kernel)) string {
		r, err := reports.Open(run)
		if err != nil {
			t.Fatal(err)
		}
		edit(&r.Kernels[0])
		b, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		// Alone in its directory: what lies beside a run is its history.
		path := filepath.Join(t.TempDir(), "run", "results.json")
		if err := os.Mkdir(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	fails := func(k *reports.Kernel) { // as another build
		k.ID, k.SHA256 = "7.3-uml-2", "2"
		k.Specs[0].Results[0].Status = reports.Fail
	}
	worse := edited(fails)
	flaky := edited(func(k *reports.Kernel) { k.Specs[0].Results[0].Status = reports.Fail })
	fewer := edited(func(k *reports.Kernel) { k.ID = "7.3-uml-2"; k.Specs = k.Specs[1:] })
	feature := edited(func(k *reports.Kernel) { k.ID = "7.3-uml-2"; k.Features["new"] = "yes" })
	other := edited(func(k *reports.Kernel) { k.ID = "7.3-uml-2"; k.Specs = nil })
	for _, c := range []struct {
		args string
		want int
	}{
		{run + " " + run, exit.OK},
		{run + " " + run + " --fail-on any-change", exit.OK},
		{run + " " + flaky + " --fail-on any-change", exit.OK}, // the same build
		{run + " " + worse, exit.Failed},
		{run + " " + worse + " --fail-on never", exit.OK},
		{worse + " " + run, exit.OK}, // a fix
		{worse + " " + run + " --fail-on any-change", exit.Failed},
		{run + " " + feature, exit.OK},
		{run + " " + feature + " --fail-on any-change", exit.Failed},
		{run + " " + fewer, exit.Failed},
		{run + " " + fewer + " --common", exit.NoVerdict}, // fewer than it planned
		{run + " " + other + " --common", exit.NoVerdict},
		{run + " " + worse + " --format json", exit.Failed},
		{run + " " + worse + " --format markdown", exit.Failed},
		{run + " " + worse + " --format html", exit.Failed},
		{run, exit.Usage},
		{run + " " + run + " " + run, exit.Usage},
		{run + " " + run + "-gone", exit.Usage},
		{run + " " + run + ":debian:sid", exit.Usage},
		{run + " " + run + " --format pdf", exit.Usage},
		{run + " " + run + " --fail-on rain", exit.Usage},
	} {
		got, err := status(t, append([]string{"compare"}, strings.Fields(c.args)...)...)
		if got != c.want {
			t.Errorf("compare %s: exit status %d, want %d: %v", c.args, got, c.want, err)
		}
		if got == exit.Usage && (err == nil || strings.Contains(err.Error(), "\n")) {
			t.Errorf("compare %s: not one line: %v", c.args, err)
		}
	}
}

func TestReportFormats(t *testing.T) {
	run := filepath.Join("..", "..", "reports", "testdata", "format-1")
	result, err := reports.Open(run)
	if err != nil {
		t.Fatal(err)
	}
	verdict, _ := reports.Verdict(result)
	dir := t.TempDir()
	list := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := list("good.yaml", "- {subtest: regression/open/OPEN R, reason: x}\n")
	bad := list("bad.yaml", "- {subtest: regression/open/OPEN R, because: x}\n")
	for _, c := range []struct {
		args string
		want int
	}{
		{"--format text", verdict},
		{"--format json", verdict},
		{"--format junit", verdict},
		{"--format ktap", verdict},
		{"--format markdown", verdict},
		{"--format kcidb", verdict},
		{"--format kcidb --origin our_lab", verdict},
		{"--format text --expectations " + good, verdict},
		{"--format kcidb --origin Our-Lab", exit.Usage},
		{"--format ktap --origin our_lab", exit.Usage},
		{"--format pdf", exit.Usage},
		{"--format text --expectations " + bad, exit.Usage},
		{"--format text --expectations " + bad + "-gone", exit.Usage},
	} {
		if got, err := status(t, append([]string{"report", run}, strings.Fields(c.args)...)...); got != c.want {
			t.Errorf("report %s: exit status %d, want %d: %v", c.args, got, c.want, err)
		}
	}
}
