// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"proofhouse/bisect"
	"proofhouse/internal/cli"
	"proofhouse/internal/exit"
	"proofhouse/reports"
	"proofhouse/runs"
	"proofhouse/runs/progress"
)

const patternHelp = "`PATTERN` of the tests that decide: a script, the ID of a subtest, or an ID in which * matches any text (default: all)"

func bisectCommand() *cobra.Command {
	var good, bad, from, builds string
	var asJSON bool
	t := bisect.Tester{Repeat: 1}
	c := &cobra.Command{
		Use:   "bisect --good SPEC --bad SPEC [--test PATTERN]",
		Short: "Find the first build on which a test fails, or passes again",
		Long: `Finds the first bad build in a line of builds by a binary search, or, if the
good build is newer than the bad one, the first fixed build. Then it shows what
changed in that build, and what the tests did before and after. Both ends are
tested first. Each build is tested again --repeat times: a build on which the
test is flaky, or that cannot be tested, is skipped and named.

The builds are those that Debian has between the two (debian:SUITE,
debian:RELEASE), the packages in the directory --from, or the specs in the file
--builds, one per line, the oldest first. Results are cached.

Exit status: 0 if the build was found, 3 if several are left.`,
		Example: `  proofhouse bisect --good debian:7.0.4+deb13-cloud-amd64 --bad debian:trixie-backports --test nfs
  proofhouse bisect --from debs --good 6.12.3-1 --bad 6.12.9-1 --test 'regression/complain/*cx*'`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if good == "" || bad == "" {
				return exit.BadInputf("bisect: give both ends: --good SPEC and --bad SPEC")
			}
			display := progress.New(os.Stderr)
			defer display.Close()
			t.Watch = display
			line, at, err := bisect.Line(c.Context(), from, builds, good, bad, display.Step)
			if err != nil {
				return err
			}
			s := bisect.Session{Builds: line, Good: at[0], Bad: at[1], Pattern: t.Pattern, Test: t.Test}
			s.Say = func(text string) {
				display.Step("")
				fmt.Fprintln(os.Stderr, text)
			}
			found, err := s.Run(c.Context())
			if err != nil {
				return err
			}
			changes, err := bisect.Compare(c.Context(), found.Last, found.First)
			display.Close()
			if err != nil {
				return err
			}
			return showFound(found, changes, asJSON)
		},
	}
	f := c.Flags()
	f.StringVar(&good, "good", "", "`SPEC` of a good build")
	f.StringVar(&bad, "bad", "", "`SPEC` of a bad build")
	f.StringVar(&t.Pattern, "test", "", patternHelp)
	f.StringVar(&from, "from", "", "the builds are the linux-image packages in this `directory`; an end is a path, a file name, a release or a version")
	f.StringVar(&builds, "builds", "", "the builds are the specs in this `file`, the oldest first")
	f.Var(cli.Count(&t.Repeat, 0), "repeat", "test each build `N` more times")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	runs.MachineFlags(f, &t.Config)
	t.Config.Out = runs.DefaultOut()
	return c
}

func showFound(f *bisect.Found, c bisect.Changes, asJSON bool) error {
	var err error
	if asJSON {
		err = printJSON(struct {
			Line string `json:"line"`
			*bisect.Found
			Evidence map[string]*bisect.Evidence `json:"evidence"`
			Changes  bisect.Changes              `json:"changes"`
		}{f.Line(), f, map[string]*bisect.Evidence{"last": f.Last.Evidence, "first": f.First.Evidence}, c})
	} else {
		err = bisect.Text(os.Stdout, f, c, reports.StyleOf(os.Stdout))
	}
	if err == nil && len(f.Between) > 0 {
		err = exit.With(exit.NoVerdict, errSaid)
	}
	return err
}

// The exit statuses of git bisect run, see git-bisect(1). Any other from 1 to 127
// means that the build is bad.
const (
	stepUntestable = 125
	stepAbort      = 128
)

const stepName = "bisect-step"

func bisectStepCommand() *cobra.Command {
	var kernel string
	var crashIsBad bool
	t := bisect.Tester{Repeat: 1}
	c := &cobra.Command{
		Use:   stepName + " [-k PATH] [--test PATTERN]",
		Short: "Test whether a kernel is good, for git bisect run",
		Long: `Tests one kernel and returns the exit statuses of git bisect run: 0 good, 1 bad,
125 not testable (no kernel, it does not boot, the test is flaky or an ERROR),
128 and above to end the bisection, for example if PATTERN matches nothing.`,
		Example: `  git bisect run sh -c 'make ARCH=um -j$(nproc) || exit 125; proofhouse bisect-step -k linux --test complain'`,
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			// A panic of proofhouse must not look like a bad kernel: Go's exit
			// status for a panic is 2, that of SIGABRT is above 128.
			debug.SetTraceback("crash")
			if _, err := os.Stat(filepath.Dir(strings.SplitN(kernel, ",", 2)[0])); err != nil {
				return exit.BadInput(err)
			}
			display := progress.New(os.Stderr)
			defer display.Close()
			t.Watch = display
			step, err := t.Step(c.Context(), kernel, crashIsBad)
			display.Close()
			var no *bisect.Untestable
			if errors.As(err, &no) {
				return exit.With(stepUntestable, fmt.Errorf("not testable: %w", err))
			} else if err != nil {
				return err
			}
			fmt.Println(step.Line)
			if step.Verdict == bisect.Bad {
				return exit.Fail(errSaid)
			}
			return nil
		},
	}
	f := c.Flags()
	f.StringVarP(&kernel, "kernel", "k", "./", "`SPEC` of the kernel: usually the path of a build tree or of an image in it")
	f.StringVar(&t.Pattern, "test", "", patternHelp)
	f.Var(cli.Count(&t.Repeat, 0), "repeat", "test `N` more times")
	f.BoolVar(&crashIsBad, "crash-is-bad", false, "treat a kernel that crashes during a test as bad, not as untestable")
	runs.MachineFlags(f, &t.Config)
	t.Config.Out = runs.DefaultOut()
	return c
}

// stepStatus changes the exit status of an error to one that git bisect run does
// not treat as a verdict.
func stepStatus(err error) error {
	switch status := exit.Status(err); {
	case err == nil, status == exit.Failed, status == stepUntestable, status >= stepAbort:
		return err
	default:
		return exit.With(stepAbort, err)
	}
}
