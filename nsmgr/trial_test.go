// SPDX-License-Identifier: Apache-2.0

package nsmgr

import "testing"

// A trial fails where the process has another profile, or the policy allowed or
// denied something else.
func TestSeenFindings(t *testing.T) {
	const name = "nsmgr-verify-1"
	for _, c := range []struct {
		seen Seen
		want [3]bool
	}{
		{Seen{name + " (enforce)\n", "", "permission denied"}, [3]bool{true, true, true}},
		{Seen{"unconfined\n", "", ""}, [3]bool{false, true, false}},
		{Seen{name + " (complain)\n", "", ""}, [3]bool{true, true, false}},
		{Seen{name + " (enforce)\n", "permission denied", "permission denied"}, [3]bool{true, false, true}},
		{Seen{name + " (enforce)\n", "", "no such file or directory"}, [3]bool{true, true, false}},
	} {
		found, err := c.seen.findings(name)
		if err != nil || len(found) != 3 {
			t.Fatalf("%+v: %+v, %v", c.seen, found, err)
		}
		for i, f := range found {
			if f.OK != c.want[i] {
				t.Errorf("%+v: %s: %v", c.seen, f.What, f.OK)
			}
		}
	}
}
