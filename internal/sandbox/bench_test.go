// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"testing"

	"proofhouse/internal/child"
)

// What a sandbox adds to the start of a program: once for each machine.
//
//	go test -run '^$' -bench . ./internal/sandbox
func BenchmarkStart(b *testing.B) {
	b.Run("sandbox", func(b *testing.B) {
		for b.Loop() {
			cmd, err := Spec{Program: "/bin/true"}.Command(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			if err := cmd.Run(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("plain", func(b *testing.B) {
		for b.Loop() {
			if err := child.Command(b.Context(), "/bin/true").Run(); err != nil {
				b.Fatal(err)
			}
		}
	})
}
