// SPDX-License-Identifier: Apache-2.0

package suite

import (
	. "github.com/onsi/ginkgo/v2"

	"proofhouse/isolation"
)

// Host policy and container policy must both be enforced, independently of each
// other.
var _ = Describe("isolation of host and container", Label("isolation"), func() {
	rows := isolation.Rows()
	for k, build := range plan.Builds {
		Context("on "+build.ID(), Label(kernelLabel+build.ID()), func() {
			for i, row := range rows {
				if !plan.HasRow(row.ID()) || !ours(build.ID(), row.ID()) {
					continue
				}
				// After the scripts of the same kernel, in the order of the
				// table: a machine that ran a row is not used for scripts.
				priority := turn(k, len(plan.Scripts)+i, row.ID())
				labels := Label(rowLabel+row.Group+"."+row.Name, groupLabel+row.Group)
				if row.Smoke {
					labels = append(labels, "smoke")
				}
				It(row.Group+" "+row.Name, labels, priority, func(ctx SpecContext) {
					outcome(bench.Isolation(ctx, build, row))
				})
			}
		})
	}
})
