// SPDX-License-Identifier: Apache-2.0

// Package exit holds the exit statuses of proofhouse's commands and the kinds
// of error that lead to them.
//
//	return exit.BadInput(fmt.Errorf("kernel %q: no such file", spec))
//	…
//	os.Exit(exit.Report(os.Stderr, "proofhouse", err))
package exit

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"proofhouse/internal/printable"
)

// The exit statuses of every command and of the suite.
const (
	OK        = 0 // all as expected
	Failed    = 1 // something FAILed or regressed
	Usage     = 2 // bad usage or bad input, reported in one line
	NoVerdict = 3 // no machine started, or the harness failed
)

type statusError struct {
	status int
	err    error
}

func (e *statusError) Error() string { return e.err.Error() }
func (e *statusError) Unwrap() error { return e.err }

// BadInput marks err as a user error: exit status 2, one line. A nil
// err stays nil.
func BadInput(err error) error { return with(Usage, err) }

// BadInputf is BadInput(fmt.Errorf(format, args...)).
func BadInputf(format string, args ...any) error {
	return BadInput(fmt.Errorf(format, args...))
}

// Fail marks err as a verdict: exit status 1. A nil err stays nil.
func Fail(err error) error { return with(Failed, err) }

// With gives err the exit status, such as that of a command run on a machine.
// A nil err stays nil.
func With(status int, err error) error { return with(status, err) }

func with(status int, err error) error {
	if err == nil {
		return nil
	}
	return &statusError{status, err}
}

// Status is the exit status for err: OK for nil, that of the outermost mark in
// its chain, and NoVerdict for an unmarked one.
func Status(err error) int {
	if err == nil {
		return OK
	}
	var s *statusError
	if errors.As(err, &s) {
		return s.status
	}
	return NoVerdict
}

// Report writes err to w as one line behind the command's name and returns
// the exit status. Characters that a terminal may interpret, such as an escape
// in a file's name, are escaped by [printable.Text]. It writes nothing for nil
// or for an error without text.
func Report(w io.Writer, command string, err error) int {
	if err != nil && err.Error() != "" {
		line := printable.Text(strings.Join(strings.Fields(err.Error()), " "))
		_, _ = fmt.Fprintf(w, "%s: %s\n", command, line)
	}
	return Status(err)
}
