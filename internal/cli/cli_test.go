// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"proofhouse/internal/exit"
)

func TestBadUsage(t *testing.T) {
	for args, want := range map[string]string{
		"":             "",
		"version":      "",
		"two a b":      "",
		"any a":        "",
		"any a b c d":  "",
		"nope":         `unknown command "nope"`,
		"--nope":       "see x --help",
		"version x":    "takes no argument",
		"two a":        "x: two: give two",
		"two a b c":    "x: two: give two",
		"any":          "x: any: give some",
		"version --no": "x version --help",
	} {
		root := Root(&cobra.Command{Use: "x"})
		run := func(*cobra.Command, []string) {}
		root.AddCommand(Version("x"),
			&cobra.Command{Use: "two", Args: Args(2, 2, "give two"), Run: run},
			&cobra.Command{Use: "any", Args: Args(1, 0, "give some"), Run: run})
		root.SetArgs(strings.Fields(args))
		root.SetOut(&bytes.Buffer{})
		var line bytes.Buffer
		status := exit.Report(&line, "x", root.Execute())
		if want == "" && status != exit.OK || want != "" && (status != exit.Usage || !strings.Contains(line.String(), want) || strings.Count(line.String(), "\n") != 1) {
			t.Errorf("x %s: %d, %q; want %q", args, status, line.String(), want)
		}
	}
}
