// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"strings"
	"testing"

	"proofhouse/containers"
	"proofhouse/internal/exit"
)

// Without liblxc every container command says so, in one line, whatever it is
// given.
func TestWithoutLXC(t *testing.T) {
	if containers.Available() == nil {
		t.Skip("built with liblxc")
	}
	for _, args := range []string{"list", "list x", "create web", "start web", "run web -- true", "stop web", "destroy web", "status web --json", "create"} {
		_, err := run(t, strings.Fields("container "+args)...)
		var line bytes.Buffer
		status := exit.Report(&line, "nsmgr", err)
		if status != exit.Usage || !strings.Contains(line.String(), "built without liblxc") || strings.Count(line.String(), "\n") != 1 {
			t.Errorf("nsmgr container %s: status %d, %q", args, status, line.String())
		}
	}
}
