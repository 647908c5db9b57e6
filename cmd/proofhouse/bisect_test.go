// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"testing"

	"proofhouse/internal/exit"
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
