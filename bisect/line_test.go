// SPDX-License-Identifier: Apache-2.0

package bisect

import (
	"os"
	"path/filepath"
	"testing"

	"proofhouse/internal/exit"
	"proofhouse/kernels"
)

func TestLine(t *testing.T) {
	file := filepath.Join(t.TempDir(), "builds")
	text := "# oldest first\nlinux-1\numl:debian:forky  # with a remark\n\ndebian:trixie,append=quiet\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	line, at, err := Line(t.Context(), "", file, "debian:trixie,append=quiet", "linux-1", nil)
	if err != nil || len(line) != 3 || at != [2]int{2, 0} || line[1].Spec != "uml:debian:forky" {
		t.Errorf("%v, %v, %v", line, at, err)
	}
	if _, _, err := Line(t.Context(), "", file, "debian:sid", "linux-1", nil); exit.Status(err) != exit.Usage {
		t.Errorf("%v", err)
	}
	if _, _, err := Line(t.Context(), file, file, "a", "b", nil); exit.Status(err) != exit.Usage {
		t.Errorf("%v", err)
	}
	if !isCalled(kernels.Candidate{Spec: "debs/linux-image-7.0.9_1_amd64.deb", Release: "7.0.9", Version: "7.0.9-1"}, "linux-image-7.0.9_1_amd64.deb") {
		t.Error("a file's name is no name")
	}
}
