// SPDX-License-Identifier: Apache-2.0

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

// procs returns how many machines to run side by side: one for each processor, if
// there is enough memory (available, in MiB; 0: unknown) and work. The kernel of
// this host is one machine, and so is a board.
func procs(plan *runs.Plan, cpus, available int) int {
	if slices.ContainsFunc(plan.Builds, func(b *kernels.Build) bool { return b.Kind == kernels.Local || b.Kind == kernels.OnBoard }) {
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

// memAvailable returns MemAvailable of proc_meminfo(5) in MiB; 0 if it cannot be
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
