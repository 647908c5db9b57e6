// SPDX-License-Identifier: Apache-2.0

package nsmgr_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"proofhouse/machines"
	"proofhouse/nsmgr"
	"proofhouse/profiles"
	"proofhouse/runs"
)

// rounds measures creating a namespace, loading a cached profile and removing the
// namespace again. It measures commands: those that LXC runs (three), those of
// nsmgr (two), and starting nsmgr twice without doing anything, which is part of
// the latter. Then it measures the same within one program: see timeRounds. The
// measurements alternate, so that other work on the machine affects all of them
// alike. It prints the duration of each round in nanoseconds.
const rounds = `
set -e
A=/sys/kernel/security/apparmor/policy/namespaces
printf 'abi <kernel>,\nprofile p flags=(attach_disconnected) { file, signal, ptrace, capability, network, unix, }\n' > p.aa
mkdir -p cache
lxc_commands() { mkdir $A/b; apparmor_parser -rWL cache -n b p.aa; rmdir $A/b; }
nsmgr_commands() { nsmgr create b --profiles p.aa >/dev/null; nsmgr delete b >/dev/null; }
nsmgr_starts() { nsmgr version >/dev/null; nsmgr version >/dev/null; }
lxc_commands; nsmgr_commands; nsmgr_starts
for i in $(seq 20); do
	for way in lxc_commands nsmgr_commands nsmgr_starts; do
		s=${EPOCHREALTIME/./}
		$way
		echo $way $(( (${EPOCHREALTIME/./} - s) * 1000 ))
	done
done
NSMGR_TEST_CHILD="rounds 20 p.aa cache" nsmgr.test
`

// timeRounds measures the same within a running program, as programs use the
// libraries of LXC and nsmgr: LXC creates and removes the directory with system
// calls, and starts apparmor_parser.
func timeRounds(times int, file, cache string) error {
	ctx := context.Background()
	const ns = "b"
	folder := "/sys/kernel/security/apparmor/policy/namespaces/" + ns
	ways := []struct {
		name  string
		round func() error
	}{
		{"lxc_in_process", func() error {
			if err := os.Mkdir(folder, 0o755); err != nil {
				return err
			}
			if out, err := exec.Command("apparmor_parser", "-rWL", cache, "-n", ns, file).CombinedOutput(); err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			return os.Remove(folder)
		}},
		{"nsmgr_in_process", func() error {
			v, err := nsmgr.Open()
			if err != nil {
				return err
			}
			f, err := v.StableFeatures()
			if err != nil {
				return err
			}
			c, err := profiles.NewCompiler(f)
			if err != nil {
				return err
			}
			policy, err := c.Files(ctx, file)
			if err != nil {
				return err
			}
			if err := v.Create(ctx, ns, nsmgr.Making{Policy: policy}); err != nil {
				return err
			}
			return v.Delete(ctx, ns, nsmgr.Deletion{})
		}},
	}
	for i := range times + 1 {
		for _, w := range ways {
			start := time.Now()
			if err := w.round(); err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			if i > 0 { // the first round has no cache
				fmt.Println(w.name, time.Since(start).Nanoseconds())
			}
		}
	}
	return nil
}

// BenchmarkE2ERound boots the kernels that PROOFHOUSE_BENCH names.
func BenchmarkE2ERound(b *testing.B) {
	specs := runs.SplitNames(os.Getenv("PROOFHOUSE_BENCH"))
	if len(specs) == 0 {
		b.Skip("boots kernels: make bench")
	}
	for _, spec := range specs {
		b.Run(strings.ReplaceAll(spec, ":", "-"), func(b *testing.B) {
			plan, err := runs.Prepare(b.Context(), runs.Config{Kernels: []string{spec}}, nil)
			if err != nil {
				b.Fatal(err)
			}
			o := plan.Options(plan.Builds[0])
			o.Tools["nsmgr.test"] = kernelTests(b.Context(), b, plan.Builds[0].DebianArch())
			m, err := machines.Open(b.Context(), o)
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
