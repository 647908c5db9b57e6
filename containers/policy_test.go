// SPDX-License-Identifier: Apache-2.0

package containers

import "testing"

// Which rules of lxc-start's policy allow the label of a container.
func TestTransitionRE(t *testing.T) {
	for rules, want := range map[string]bool{
		"  change_profile -> lxc-*,\n  change_profile -> lxc-**,\n  change_profile -> unconfined,\n  change_profile -> :lxc-*:unconfined,\n": false,
		"  change_profile -> **,\n":                       true,
		"  change_profile,\n":                             true,
		"  change_profile -> host-ct//&**,\n":             true,
		"  change_profile -> \"host-ct//&**\",\n":         true,
		"  #change_profile -> **,\n":                      false,
		"  change_profile -> other//&**,\n":               false,
		"  change_profile -> host-ct,\n":                  false,
		"  # change_profile rules\n  change_profile -> x": false,
	} {
		if got := transitionRE.MatchString(rules); got != want {
			t.Errorf("%q: %v", rules, got)
		}
	}
}

func TestShippedHost(t *testing.T) {
	for name, want := range map[string][2]bool{
		"host-ct": {false, true}, "lxc-host-ct": {false, true}, "host-ct-nested": {true, true}, "lxc-host-ct-nested": {true, true},
		"mine": {false, false}, "": {false, false}, "lxc-": {false, false}, "lxc-lxc-host-ct": {false, false},
	} {
		if nested, ok := shippedHost(name); nested != want[0] || ok != want[1] {
			t.Errorf("%q: %v %v", name, nested, ok)
		}
	}
}
