// SPDX-License-Identifier: Apache-2.0

package reports_test

import (
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"
	"time"

	"proofhouse/reports"
)

// start is when the runs of the examples start.
var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// record writes the journal of a run of one script on one kernel.
func record(dir string, results ...reports.Result) {
	j, err := reports.Create(dir, 1)
	if err != nil {
		fmt.Println(err)
		return
	}
	spec := reports.Spec{ID: "regression/open", Kernel: "6.12.107-1f2e", Start: start, End: start.Add(2 * time.Second), Results: results}
	j.RunStarted(reports.RunStart{Tool: "example", Planned: []reports.Planned{{ID: spec.ID, Kernel: spec.Kernel}}})
	j.Kernel(reports.Kernel{ID: spec.Kernel, Spec: "debian:trixie", Release: "6.12.107"})
	j.SpecStarted(spec)
	j.SpecEnded(spec)
	j.RunEnded()
	if err := j.Close(); err != nil {
		fmt.Println(err)
		return
	}
}

func temporary() string {
	dir, err := os.MkdirTemp("", "example-")
	if err != nil {
		log.Fatal(err)
	}
	return dir
}

// A run records what happens in a journal; Write makes the reports of it.
func Example() {
	dir := temporary()
	defer func() { _ = os.RemoveAll(dir) }()
	record(dir,
		reports.Result{ID: "regression/open/OPEN RW", Status: reports.Pass},
		reports.Result{ID: "regression/open/OPEN R", Status: reports.Fail, Expected: "pass", Got: "fail"},
	)
	run, files, err := reports.Write(dir)
	if err != nil {
		fmt.Println(err)
		return
	}
	status, verdict := reports.Verdict(run)
	fmt.Println(status, verdict)
	for _, f := range files {
		fmt.Println(filepath.Base(f))
	}
	// Output:
	// 1 FAIL: 1 of 2 subtests failed on 6.12.107
	// results.json
	// junit.xml
}

// A run that does not say what it was to run has no verdict, whatever passed.
func ExampleVerdict() {
	run := &reports.Run{Ended: start, Kernels: []reports.Kernel{{Release: "6.12.107", Specs: []reports.Spec{{
		ID: "regression/open", End: start, Results: []reports.Result{{ID: "regression/open/OPEN RW", Status: reports.Pass}},
	}}}}}
	status, verdict := reports.Verdict(run)
	fmt.Println(status, verdict)
	run.Planned = 1
	status, verdict = reports.Verdict(run)
	fmt.Println(status, verdict)
	// Output:
	// 3 NO VERDICT: planned tests unknown on 6.12.107
	// 0 PASS: 1 subtest passed on 6.12.107
}

// The writers are functions of a run; --format names them.
func ExampleFindFormat() {
	dir := temporary()
	defer func() { _ = os.RemoveAll(dir) }()
	record(dir, reports.Result{ID: "regression/open/OPEN RW", Status: reports.Pass})
	run, err := reports.Read(dir)
	if err != nil {
		fmt.Println(err)
		return
	}
	ktap, _ := reports.FindFormat("ktap")
	var text strings.Builder
	if err := ktap.Write(&text, run, reports.FormatOptions{}); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Print(text.String())
	// Output:
	// KTAP version 1
	// 1..1
	//   KTAP version 1
	//   # Subtest: regression/open
	//   1..1
	//   ok 1 OPEN RW
	// ok 1 regression/open
	// # PASS: 1 subtest passed on 6.12.107
}

// The runs of shards, or of several kernels, are joined into one.
func ExampleJoin() {
	dir := temporary()
	defer func() { _ = os.RemoveAll(dir) }()
	record(filepath.Join(dir, "part-1"), reports.Result{ID: "regression/open/OPEN RW", Status: reports.Pass})
	out := filepath.Join(dir, "merged")
	if err := reports.Join(out, false, filepath.Join(dir, "part-1")); err != nil {
		fmt.Println(err)
		return
	}
	if err := reports.Require(out, "debian:trixie", "debian:sid"); err != nil {
		fmt.Println(err)
		return
	}
	run, err := reports.Read(out)
	if err != nil {
		fmt.Println(err)
		return
	}
	status, verdict := reports.Verdict(run)
	fmt.Println(status, verdict)
	// Output:
	// 3 NO VERDICT: kernel debian:sid is missing on 6.12.107
}

// An ID knows its group, its spec and what a spec of that group is called.
func ExampleID() {
	id := reports.NewID(reports.Isolation, "file", "read", "host")
	fmt.Println(id.Spec(), id.Noun(), id.Spec().Whole())
	// Output:
	// isolation/file/read row isolation/file/read/(row)
}
