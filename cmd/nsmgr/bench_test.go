package main

import (
	"bytes"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"proofhouse/internal/lab"
	"proofhouse/machines"
)

// rounds times making a namespace, loading a profile that is cached, and
// removing it again: in LXC's own way, which is three commands, and in ours,
// which is two; and, below both, starting so many programs that do nothing. It
// takes turns, so that other work on the machine slows all alike, and prints
// the nanoseconds of each round.
const rounds = `
set -e
A=/sys/kernel/security/apparmor/policy/namespaces
printf 'abi <kernel>,\nprofile p flags=(attach_disconnected) { file, signal, ptrace, capability, network, unix, }\n' > p.aa
mkdir -p cache
lxc() { mkdir $A/b; apparmor_parser -rWL cache -n b p.aa; rmdir $A/b; }
ours() { nsmgr create b --profiles p.aa >/dev/null; nsmgr delete b >/dev/null; }
start() { nsmgr version >/dev/null; nsmgr version >/dev/null; }
lxc; ours; start
for i in $(seq 20); do
	for way in lxc ours start; do
		s=${EPOCHREALTIME/./}
		$way
		echo $way $(( (${EPOCHREALTIME/./} - s) * 1000 ))
	done
done
`

// BenchmarkE2ERound boots the kernels that PROOFHOUSE_BENCH names.
func BenchmarkE2ERound(b *testing.B) {
	specs := lab.SplitNames(os.Getenv("PROOFHOUSE_BENCH"))
	if len(specs) == 0 {
		b.Skip("boots kernels: make bench")
	}
	for _, spec := range specs {
		b.Run(strings.ReplaceAll(spec, ":", "-"), func(b *testing.B) {
			plan, err := lab.Prepare(b.Context(), lab.Config{Kernels: []string{spec}}, nil)
			if err != nil {
				b.Fatal(err)
			}
			m, err := machines.Open(b.Context(), plan.Options(plan.Builds[0]))
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = m.Close() }()
			took := map[string][]float64{} // ms
			for b.Loop() {
				var out, errOut bytes.Buffer
				res, err := m.Run(b.Context(), machines.Command{Args: []string{"bash", "-c", rounds}, Stdout: &out, Stderr: &errOut, Deadline: 2 * time.Minute})
				if err != nil || res.Status != 0 {
					b.Fatalf("%v, %v: %s", res, err, errOut.String())
				}
				for line := range strings.Lines(out.String()) {
					way, ns, _ := strings.Cut(strings.TrimSpace(line), " ")
					if t, err := strconv.ParseFloat(ns, 64); err == nil {
						took[way] = append(took[way], t/1e6)
					}
				}
			}
			for way, all := range took {
				slices.Sort(all)
				b.ReportMetric(all[len(all)/2], "ms/"+way)
				b.ReportMetric(all[0], "ms-best/"+way)
			}
		})
	}
}
