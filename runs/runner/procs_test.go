// SPDX-License-Identifier: Apache-2.0

package runner

import (
	"testing"

	"proofhouse/kernels"
	"proofhouse/regression"
	"proofhouse/runs"
)

func TestProcs(t *testing.T) {
	uml, local := &kernels.Build{Kind: kernels.UML}, &kernels.Build{Kind: kernels.Local}
	three := make([]regression.Script, 3)
	for name, c := range map[string]struct {
		plan            runs.Plan
		cpus, available int
		want            int
	}{
		"processors":           {runs.Plan{Builds: []*kernels.Build{uml}}, 2, 16000, 2},
		"memory":               {runs.Plan{Builds: []*kernels.Build{uml}}, 64, 8000, 6},
		"more memory asked":    {runs.Plan{Builds: []*kernels.Build{uml}, Config: runs.Config{Memory: 4096}}, 64, 16000, 3},
		"hardly any memory":    {runs.Plan{Builds: []*kernels.Build{uml}}, 64, 300, 1},
		"memory not known":     {runs.Plan{Builds: []*kernels.Build{uml}}, 4, 0, 4},
		"little work":          {runs.Plan{Builds: []*kernels.Build{uml}, Scripts: three, Config: runs.Config{Scripts: []string{"a", "b", "c"}}}, 64, 0, 3},
		"on two kernels":       {runs.Plan{Builds: []*kernels.Build{uml, uml}, Scripts: three, Config: runs.Config{Scripts: []string{"a", "b", "c"}}}, 64, 0, 6},
		"this machine's own":   {runs.Plan{Builds: []*kernels.Build{local}}, 8, 0, 1},
		"its own, and another": {runs.Plan{Builds: []*kernels.Build{uml, local}}, 8, 0, 1},
	} {
		if got := procs(&c.plan, c.cpus, c.available); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

func TestParseMeminfo(t *testing.T) {
	for text, want := range map[string]int{
		"MemTotal:       24689120 kB\nMemFree:         1000000 kB\nMemAvailable:   23068672 kB\n": 22528,
		"MemTotal: 1 kB\n": 0, "MemAvailable:\n": 0, "": 0,
	} {
		if got := parseMeminfo(text); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}
