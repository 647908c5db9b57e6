// SPDX-License-Identifier: Apache-2.0

package suite

import (
	. "github.com/onsi/ginkgo/v2"

	"proofhouse/isolation"
	"proofhouse/isolation/defects"
)

// A kernel has the fixes of AppArmor's known defects. Those whose check may crash
// it are last.
var _ = Describe("known defects", Label("known-defects"), func() {
	list := defects.All()
	if len(plan.Config.Scripts) > 0 || len(plan.Config.Rows) > 0 {
		list = nil // whoever names scripts or rows wants only these
	}
	for k, build := range plan.Builds {
		Context("on "+build.ID(), Label(kernelLabel+build.ID()), func() {
			for i, d := range list {
				if !ours(build.ID(), d.ID()) {
					continue
				}
				priority := turn(k, len(plan.Scripts)+len(isolation.Rows())+i, d.ID())
				It(d.Name, Label(defectLabel+d.Name), priority, func(ctx SpecContext) {
					outcome(bench.Defect(ctx, build, d))
				})
			}
		})
	}
})
