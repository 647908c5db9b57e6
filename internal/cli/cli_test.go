// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

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
		"--nope":       "unknown flag --nope (x --help lists the flags)",
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

func TestBadFlags(t *testing.T) {
	for args, want := range map[string]string{
		"c --n 3 --d 1m -b --v x":    "",
		"c -n 0":                     `--n "0": want a whole number of at least 1 (see x c --help)`,
		"c --n x":                    `--n "x": want a whole number of at least 1 (see x c --help)`,
		"c --n=":                     `--n "": want a whole number of at least 1 (see x c --help)`,
		"c --n 1e9":                  `--n "1e9": want a whole number of at least 1 (see x c --help)`,
		"c --n 99999999999999999999": `--n "99999999999999999999": the number is out of range (see x c --help)`,
		"c --n":                      "flag --n needs a value: --n MACHINES (see x c --help)",
		"c -n":                       "flag --n needs a value: --n MACHINES (see x c --help)",
		"c --d x":                    `--d "x": want a duration of at least 1s, such as 90s, 5m or 1h30m (see x c --help)`,
		"c --d 10":                   `--d "10": want a duration of at least 1s, such as 90s, 5m or 1h30m (see x c --help)`,
		"c --d 10ms":                 `--d "10ms": want a duration of at least 1s, such as 90s, 5m or 1h30m (see x c --help)`,
		"c --any -1s":                `--any "-1s": want a duration, such as 90s, 5m or 1h30m (see x c --help)`,
		"c --b=perhaps":              `--b "perhaps": want true or false (see x c --help)`,
		"c --v bad":                  `--v "bad": want INDEX/COUNT (see x c --help)`,
		"c -z":                       "unknown flag -z (x c --help lists the flags)",
		"c -bz":                      "unknown flag -z (x c --help lists the flags)",
		"c --zz=1":                   "unknown flag --zz (x c --help lists the flags)",
		"c ---":                      `invalid flag "---": want --NAME, --NAME=VALUE or --NAME VALUE (x c --help lists the flags)`,
		"c --=3":                     `invalid flag "--=3": want --NAME, --NAME=VALUE or --NAME VALUE (x c --help lists the flags)`,
	} {
		root := Root(&cobra.Command{Use: "x"})
		c := &cobra.Command{Use: "c", Run: func(*cobra.Command, []string) {}}
		n, d, any := 0, time.Duration(0), time.Duration(0)
		c.Flags().VarP(Count(&n, 1), "n", "n", "number of `MACHINES`")
		c.Flags().Var(Duration(&d, time.Second), "d", "a time")
		c.Flags().Var(Duration(&any, 0), "any", "a time")
		c.Flags().BoolP("b", "b", false, "")
		c.Flags().Var(picky{}, "v", "")
		root.AddCommand(c)
		root.SetArgs(strings.Fields(args))
		var line bytes.Buffer
		status := exit.Report(&line, "x", root.Execute())
		got := strings.TrimSuffix(strings.TrimPrefix(line.String(), "x: "), "\n")
		if got != want || (status == exit.Usage) != (want != "") {
			t.Errorf("x %s: %d, %q; want %q", args, status, got, want)
		}
		if want == "" && (n != 3 || d != time.Minute) {
			t.Errorf("n = %d, d = %v", n, d)
		}
	}
}

// picky is a flag with an error of its own.
type picky struct{}

func (picky) String() string { return "" }
func (picky) Type() string   { return "picky" }
func (picky) Set(s string) error {
	if s == "bad" {
		return errors.New("want INDEX/COUNT")
	}
	return nil
}
