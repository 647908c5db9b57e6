// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"proofhouse/internal/exit"
)

// Count is a flag for a whole number of at least least. The value of to is the
// default, which may be less.
func Count(to *int, least int) pflag.Value { return &count{to, least} }

type count struct {
	to    *int
	least int
}

func (n *count) String() string {
	if n.to == nil { // package flag calls it on the zero value
		return "0"
	}
	return strconv.Itoa(*n.to)
}

func (n *count) Set(text string) error {
	v, err := strconv.Atoi(text)
	switch {
	case errors.Is(err, strconv.ErrRange):
		return errors.New("the number is out of range")
	case err != nil || v < n.least:
		return fmt.Errorf("want a whole number of at least %d", n.least)
	}
	*n.to = v
	return nil
}

func (*count) Type() string { return "int" }

// Duration is a flag for a time of at least least. The value of to is the default,
// which may be less.
func Duration(to *time.Duration, least time.Duration) pflag.Value { return &duration{to, least} }

type duration struct {
	to    *time.Duration
	least time.Duration
}

func (d *duration) String() string {
	if d.to == nil || *d.to == 0 { // help texts show no default then
		return "0"
	}
	return d.to.String()
}

func (d *duration) Set(text string) error {
	v, err := time.ParseDuration(text)
	if err != nil || v < d.least {
		least := ""
		if d.least > 0 {
			least = " of at least " + d.least.String()
		}
		return fmt.Errorf("want a duration%s, such as 90s, 5m or 1h30m", least)
	}
	*d.to = v
	return nil
}

func (*duration) Type() string { return "duration" }

// badFlag says in one line what is wrong with a flag of c, and what is accepted.
func badFlag(c *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	var missing *pflag.ValueRequiredError
	var invalid *pflag.InvalidValueError
	var syntax *pflag.InvalidSyntaxError
	switch {
	case errors.As(err, &unknown):
		flag := "--" + unknown.GetSpecifiedName()
		if unknown.GetSpecifiedShortnames() != "" {
			flag = "-" + unknown.GetSpecifiedName()
		}
		return exit.BadInputf("unknown flag %s (%s --help lists the flags)", flag, c.CommandPath())
	case errors.As(err, &missing):
		flag := missing.GetFlag()
		what, _ := pflag.UnquoteUsage(flag)
		return exit.BadInputf("flag --%s needs a value: --%s %s (see %s --help)", flag.Name, flag.Name, what, c.CommandPath())
	case errors.As(err, &invalid):
		return exit.BadInputf("--%s %q: %s (see %s --help)", invalid.GetFlag().Name, invalid.GetValue(), wanted(invalid), c.CommandPath())
	case errors.As(err, &syntax):
		return exit.BadInputf("invalid flag %q: want --NAME, --NAME=VALUE or --NAME VALUE (%s --help lists the flags)", syntax.GetSpecifiedFlag(), c.CommandPath())
	}
	return exit.BadInputf("%w (see %s --help)", err, c.CommandPath())
}

// wanted is what a flag accepts. The errors of the library's own types are those
// of Go's parsers, which mean nothing to a user.
func wanted(e *pflag.InvalidValueError) string {
	var number *strconv.NumError
	switch cause := e.Unwrap(); {
	case e.GetFlag().Value.Type() == "bool":
		return "want true or false"
	case errors.As(cause, &number):
		return "want a number"
	default:
		return cause.Error()
	}
}
