package runner

import (
	"os"
	"slices"
	"strconv"
	"strings"

	"proofhouse/kernels"
	"proofhouse/runs"
)

const (
	// machineMemory is that of a machine unless something else is asked for,
	// in MiB.
	machineMemory = 1024
	// overhead is what a machine takes beside its own memory, in MiB: QEMU,
	// the process that drives it, a little for the host.
	overhead = 256
)

// procs is how many machines this one can have side by side: one for each
// processor, as far as there is memory (available, in MiB; 0: not known) and
// work. The kernel that runs here is one machine.
func procs(plan *runs.Plan, cpus, available int) int {
	if slices.ContainsFunc(plan.Builds, func(b *kernels.Build) bool { return b.Kind == kernels.Local }) {
		return 1
	}
	n := cpus
	if available > 0 {
		memory := plan.Config.Memory
		if memory == 0 {
			memory = machineMemory
		}
		n = min(n, available/(memory+overhead))
	}
	if len(plan.Config.Scripts) > 0 {
		n = min(n, len(plan.Scripts)*len(plan.Builds))
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
