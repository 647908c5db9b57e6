// SPDX-License-Identifier: Apache-2.0

package bounded

import "testing"

func TestHead(t *testing.T) {
	h := Head{Limit: 5}
	for _, s := range []string{"abc", "de"} {
		if n, err := h.Write([]byte(s)); n != len(s) || err != nil || h.Cut() {
			t.Fatal(n, err, h.Cut())
		}
	}
	if n, err := h.Write([]byte("f")); n != 1 || err != nil || !h.Cut() || h.String() != "abcde" {
		t.Errorf("%d, %v, cut %v, %q", n, err, h.Cut(), h.String())
	}
}
