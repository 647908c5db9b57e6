package runner

import (
	"cmp"
	"os"
	"slices"
	"strconv"
	"strings"

	"proofhouse/kernels"
	"proofhouse/machines"
	"proofhouse/runs"
)

// overhead is the memory that a machine takes beside its own, in MiB: QEMU, the
// process that drives it, a little for the host.
const overhead = 256

// procs is how many machines this one can have side by side: one for each
// processor, as far as there is memory (available, in MiB; 0: not known) and
// work. The kernel that runs here is one machine.
func procs(plan *runs.Plan, cpus, available int) int {
	if slices.ContainsFunc(plan.Builds, func(b *kernels.Build) bool { return b.Kind == kernels.Local }) {
		return 1
	}
	n := cpus
	if available > 0 {
		memory := cmp.Or(plan.Config.Memory, machines.DefaultMemory)
		n = min(n, available/(memory+overhead))
	}
	switch {
	case plan.Only != nil:
		work := 0
		for _, specs := range plan.Only {
			work += len(specs)
		}
		n = min(n, work)
	case len(plan.Config.Scripts)+len(plan.Config.Rows) > 0:
		n = min(n, (len(plan.Scripts)+len(plan.Rows))*len(plan.Builds))
	}
	if plan.Config.KeepFailed {
		n = 1 // there is one terminal
	}
	return max(n, 1)
}

// memAvailable is MemAvailable of proc_meminfo(5) in MiB; 0 if it cannot be
// read.
func memAvailable() int {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	return parseMeminfo(string(b))
}

func parseMeminfo(text string) int {
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "MemAvailable:" && f[2] == "kB" {
			n, _ := strconv.Atoi(f[1])
			return n / 1024
		}
	}
	return 0
}
