// SPDX-License-Identifier: Apache-2.0

package suite

import (
	"slices"

	. "github.com/onsi/ginkgo/v2"

	"proofhouse/regression"
	"proofhouse/runs"
)

// Every script of the upstream regression suite must pass on the kernel.
var _ = Describe("upstream AppArmor regression suite", Label("regression"), func() {
	smoke := regression.Smoke()
	for k, build := range plan.Builds {
		Context("on "+build.ID(), Label(kernelLabel+build.ID()), func() {
			for i, script := range plan.Scripts {
				if !ours(build.ID(), runs.SpecID(script.Name)) {
					continue
				}
				// The longest first.
				priority := turn(k, i, runs.SpecID(script.Name))
				labels := Label(scriptLabel + script.Name)
				if slices.Contains(smoke, script.Name) {
					labels = append(labels, "smoke")
				}
				It(script.Name, labels, priority, func(ctx SpecContext) {
					outcome(bench.Script(ctx, build, script))
				})
			}
		})
	}
})
