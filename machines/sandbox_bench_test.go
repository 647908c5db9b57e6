// SPDX-License-Identifier: Apache-2.0

package machines_test

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"proofhouse/machines"
	"proofhouse/runs"
)

// benchWork is what upstream's scripts are made of: process starts, policy,
// files.
const benchWork = `set -e
for i in $(seq 100); do /bin/true; done
for i in $(seq 10); do echo "profile bench { /** rw, }" | apparmor_parser -qr; echo "$i" > /tmp/bench; sync /tmp/bench; cat /tmp/bench; rm /tmp/bench; done
dd if=/dev/zero of=/tmp/bench bs=64k count=200 status=none; rm /tmp/bench
`

// BenchmarkE2ESandbox measures what the sandbox costs a machine: two machines of
// the same kernel, one of them without a sandbox, work in turns. It reports
// the median of the rounds' ratios with/without. On one processor, as User Mode
// Linux stays on the one where it starts.
//
//	make build && PROOFHOUSE_E2E=$PWD/bin PROOFHOUSE_BENCH=uml:debian:forky taskset -c 0 go test -run '^$' -bench E2ESandbox -benchtime 40x ./machines
func BenchmarkE2ESandbox(b *testing.B) {
	for _, kernel := range strings.Fields(os.Getenv("PROOFHOUSE_BENCH")) {
		b.Run(strings.ReplaceAll(kernel, ":", "-"), func(b *testing.B) {
			plan, err := runs.Prepare(b.Context(), runs.Config{Kernels: []string{kernel}}, func(s string) { b.Log(s) })
			if err != nil {
				b.Fatal(err)
			}
			open := func() (machines.Machine, time.Duration) {
				began := time.Now()
				m, err := machines.Open(b.Context(), plan.Options(plan.Builds[0]))
				if err != nil {
					b.Fatal(err)
				}
				b.Cleanup(func() { _ = m.Close() })
				return m, time.Since(began)
			}
			work := func(m machines.Machine) time.Duration {
				began := time.Now()
				var out strings.Builder
				res, err := m.Run(b.Context(), machines.Command{Args: []string{"sh", "-c", benchWork}, Stdout: &out, Stderr: &out, Deadline: 10 * time.Minute})
				if err != nil || res.Status != 0 || res.Signal != "" || res.Deadline {
					b.Fatalf("%v, %v: %s", res, err, out.String())
				}
				return time.Since(began)
			}
			with, bootWith := open()
			restore := machines.Unconfined()
			without, bootWithout := open()
			restore()
			work(with) // the first reads everything from the disk
			work(without)
			var ratios []float64
			b.ResetTimer()
			for i := range b.N {
				// Each goes first in half of the rounds.
				var w, o time.Duration
				if i%2 == 0 {
					w, o = work(with), work(without)
				} else {
					o, w = work(without), work(with)
				}
				ratios = append(ratios, float64(w)/float64(o))
			}
			b.StopTimer()
			slices.Sort(ratios)
			b.ReportMetric(ratios[len(ratios)/2], "with/without")
			b.ReportMetric(bootWith.Seconds(), "boot-s-with")
			b.ReportMetric(bootWithout.Seconds(), "boot-s-without")
		})
	}
}
