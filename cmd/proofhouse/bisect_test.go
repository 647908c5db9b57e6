// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"proofhouse/internal/exit"
	"proofhouse/kernels"
)

// git bisect run takes any other status from 1 to 127 for a bad commit.
func TestStepStatus(t *testing.T) {
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{exit.Fail(errSaid), 1},
		{exit.With(stepUntestable, errors.New("it does not boot")), 125},
		{exit.BadInputf("a flag"), 128},
		{errors.New("the harness broke"), 128},
		{exit.With(127, errors.New("what a command gave")), 128},
		{exit.With(130, errors.New("interrupted")), 130},
	} {
		if got := exit.Status(stepStatus(c.err)); got != c.want {
			t.Errorf("%v: %d, want %d", c.err, got, c.want)
		}
	}
}

func TestLineOf(t *testing.T) {
	file := filepath.Join(t.TempDir(), "builds")
	text := "# oldest first\nlinux-1\numl:debian:forky  # with a remark\n\ndebian:trixie,append=quiet\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	line, at, err := lineOf(t.Context(), "", file, "debian:trixie,append=quiet", "linux-1", nil)
	if err != nil || len(line) != 3 || at != [2]int{2, 0} || line[1].Spec != "uml:debian:forky" {
		t.Errorf("%v, %v, %v", line, at, err)
	}
	if _, _, err := lineOf(t.Context(), "", file, "debian:sid", "linux-1", nil); exit.Status(err) != exit.Usage {
		t.Errorf("%v", err)
	}
	if _, _, err := lineOf(t.Context(), file, file, "a", "b", nil); exit.Status(err) != exit.Usage {
		t.Errorf("%v", err)
	}
	if !isCalled(kernels.Candidate{Spec: "debs/linux-image-7.0.9_1_amd64.deb", Release: "7.0.9", Version: "7.0.9-1"}, "linux-image-7.0.9_1_amd64.deb") {
		t.Error("a file's name is no name")
	}
}
