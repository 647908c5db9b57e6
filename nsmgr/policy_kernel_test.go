// SPDX-License-Identifier: Apache-2.0

package nsmgr_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"proofhouse/nsmgr"
)

// The kernel asks for the version only before the first profile of a load. A
// second profile without one must be seen all the same: when it names another
// namespace, and when the policy is read back.
func TestKernelHiddenProfile(t *testing.T) {
	ctx, v := kernel(t)
	const versionLength = 16
	a := compile(t, v, fmt.Sprintf(wide, "a"))[0].Data
	second := func(name string) nsmgr.Policy {
		b := compile(t, v, fmt.Sprintf(wide, name))[0].Data
		return nsmgr.Policy{{Origin: "joined", Data: append(bytes.Clone(a), b[versionLength:]...)}}
	}
	must(t, v.Create(ctx, "hide", nsmgr.Making{}))
	if err := v.Load(ctx, "hide", second(":deeper:b"), nsmgr.LoadOptions{}); err == nil {
		t.Error("policy for another namespace is loaded")
	}
	if below, err := v.Below("hide"); err != nil || len(below) > 0 {
		t.Errorf("below it: %q, %v", below, err)
	}
	must(t, v.Load(ctx, "hide", second("b"), nsmgr.LoadOptions{}))
	saved, err := v.Save(ctx, "hide")
	must(t, err)
	if names, err := saved.Names(); err != nil || !slices.Equal(names, []string{"a", "b"}) {
		t.Errorf("saved %q, %v", names, err)
	}
	must(t, v.Load(ctx, "hide", saved, nsmgr.LoadOptions{ReplaceAll: true}))
	must(t, v.Unload(ctx, "hide", nsmgr.Removal{}, "b"))
	must(t, v.Delete(ctx, "hide", nsmgr.Deletion{}))
}
