// SPDX-License-Identifier: Apache-2.0

// Package clitest has tests that hold for every command of a program. Only tests
// import it.
package clitest

import (
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"proofhouse/internal/exit"
)

// goError are words of the errors of Go's parsers and of the flag library.
var goError = regexp.MustCompile(`strconv|parsing|time:|syntax|invalid argument|shorthand|argument:`)

// BadFlags gives every flag of every command below root values that it may not
// accept, and checks that each refusal is one line that says what is accepted.
func BadFlags(t *testing.T, root *cobra.Command) {
	refused := 0
	check := func(c *cobra.Command, args ...string) {
		err := c.ParseFlags(args)
		if err == nil {
			return // any text is a value of this flag
		}
		refused++
		err = c.FlagErrorFunc()(c, err)
		text := err.Error()
		if exit.Status(err) != exit.Usage || strings.Contains(text, "\n") || goError.MatchString(text) ||
			!strings.Contains(text, "want ") && !strings.Contains(text, "needs a value") && !strings.Contains(text, "out of range") && !strings.Contains(text, "unknown flag") {
			t.Errorf("%s %q: status %d: %s", c.CommandPath(), args, exit.Status(err), text)
		}
	}
	var visit func(c *cobra.Command)
	visit = func(c *cobra.Command) {
		for _, sub := range c.Commands() {
			visit(sub)
		}
		c.InitDefaultHelpFlag()
		c.Flags().VisitAll(func(f *pflag.Flag) {
			for _, value := range []string{"", ",", "?", "1e9", "-99999999999999999999", "99999999999999999999"} {
				check(c, "--"+f.Name+"="+value)
			}
			if f.NoOptDefVal == "" {
				check(c, "--"+f.Name)
			}
		})
		if !c.DisableFlagParsing {
			for _, arg := range []string{"--no-such-flag", "-?", "---"} {
				check(c, arg)
			}
		}
	}
	visit(root)
	if refused < 50 {
		t.Errorf("only %d values were refused", refused)
	}
}
