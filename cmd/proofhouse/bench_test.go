// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"proofhouse/regression"
	"proofhouse/reports"
	"proofhouse/runs"
)

// benchScripts are short, so that the harness's own time shows.
const benchScripts = "namespaces,chdir,open,fork"

// BenchmarkRun measures what a user waits for that is not the kernel's own
// work. Per kernel, in seconds: from the start of `proofhouse run` to the
// first command (first-s), of which the boot (boot-s); and in milliseconds per
// script, what lies between its start and its end beyond what the script took
// on the machine (overhead-ms; max-overhead-ms).
func BenchmarkRun(b *testing.B) {
	for _, kernel := range strings.Fields(os.Getenv("PROOFHOUSE_BENCH")) {
		b.Run(kernel, func(b *testing.B) {
			// The first makes whatever is missing.
			benchRun(b, kernel)
			var first, boot, overhead, most float64
			specs := 0
			b.ResetTimer()
			for range b.N {
				began, run := benchRun(b, kernel)
				k := run.Kernels[0]
				m := k.Machines[0]
				first += m.Opened.Sub(began).Seconds()
				boot += m.BootSeconds
				for _, s := range k.Specs {
					own := s.End.Sub(s.Start).Seconds() - s.Seconds
					overhead += own
					most = max(most, own)
					specs++
				}
			}
			b.ReportMetric(first/float64(b.N), "first-s")
			b.ReportMetric(boot/float64(b.N), "boot-s")
			b.ReportMetric(1000*overhead/float64(specs), "overhead-ms")
			b.ReportMetric(1000*most, "max-overhead-ms")
		})
	}
}

func benchRun(b *testing.B, kernel string) (began time.Time, run *reports.Run) {
	b.Helper()
	dir := filepath.Join(b.TempDir(), "run")
	began = time.Now()
	out, err := exec.Command(binary(b), "run", "-k", kernel, "--script", benchScripts, "--procs", "1", "--out", dir).CombinedOutput()
	if err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	if run, err = reports.Read(dir); err != nil {
		b.Fatal(err)
	}
	return began, run
}

// BenchmarkLoop measures what a run of the whole upstream suite saves against
// what people do by hand: the same scripts, one after the other, in one machine
// of the same kind. Per kernel, in seconds: run-s, loop-s; and their quotient.
// It takes the better part of an hour: make bench-loop.
func BenchmarkLoop(b *testing.B) {
	const loop = `cd "$0" && for s; do VERBOSE=1 bash "$s.sh" >/dev/null 2>&1; done; true`
	for _, kernel := range strings.Fields(os.Getenv("PROOFHOUSE_BENCH_LOOP")) {
		b.Run(kernel, func(b *testing.B) {
			benchRun(b, kernel) // makes whatever is missing
			b.ResetTimer()
			for b.Loop() {
				dir := filepath.Join(b.TempDir(), "whole")
				began := time.Now()
				out, err := exec.Command(binary(b), "run", "-k", kernel, "--label-filter", "regression", "--out", dir).CombinedOutput()
				whole := time.Since(began).Seconds()
				run, readErr := reports.Read(dir)
				if readErr != nil {
					b.Fatalf("%v\n%s", err, out)
				}
				args := []string{"exec", "-k", kernel, "--", "bash", "-c", loop, regression.TestDir}
				for _, s := range run.Kernels[0].Specs {
					if s.Machine != "" { // it ran
						args = append(args, strings.TrimPrefix(s.ID, runs.SpecID("")))
					}
				}
				began = time.Now()
				if out, err := exec.Command(binary(b), args...).CombinedOutput(); err != nil {
					b.Fatalf("%v\n%s", err, out)
				}
				serial := time.Since(began).Seconds()
				b.ReportMetric(whole, "run-s")
				b.ReportMetric(serial, "loop-s")
				b.ReportMetric(whole/serial, "run/loop")
			}
		})
	}
}
