package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"proofhouse/bisect"
	"proofhouse/internal/exit"
	"proofhouse/kernels"
	"proofhouse/reports"
	"proofhouse/runs"
	"proofhouse/runs/progress"
)

const patternHelp = "the `PATTERN` of what decides: a script, a subtest's ID, or an ID with * for any text (default: all)"

func bisectCommand() *cobra.Command {
	var good, bad, from, builds string
	var asJSON bool
	t := bisect.Tester{Repeat: 1}
	c := &cobra.Command{
		Use:   "bisect --good SPEC --bad SPEC [--test PATTERN]",
		Short: "Find the build with which a test began to fail, or to pass",
		Long: `Halves a line of builds until it knows the first bad one, or, where the good
build is the newer of the two, the first fixed one; says what changed in it; and
shows what the tests did before and after. The ends are tested first. Each build
is tested --repeat times more than once: one on which the test is flaky, or that
cannot be tested, is stepped around and named.

The builds are those that Debian has between the two (debian:SUITE,
debian:RELEASE), the packages in the folder --from, or the specs in the file
--builds, one in each line, the oldest first. What was found on a build is kept.

The exit status is 0 if the build was found, and 3 if several are left.`,
		Example: `  proofhouse bisect --good debian:7.0.4+deb13-cloud-amd64 --bad debian:trixie-backports --test nfs
  proofhouse bisect --from debs --good 6.12.3-1 --bad 6.12.9-1 --test 'regression/complain/*cx*'`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if good == "" || bad == "" {
				return exit.BadInputf("name both ends: --good SPEC and --bad SPEC")
			}
			if t.Repeat < 0 {
				return exit.BadInputf("--repeat wants at least 0")
			}
			display := progress.New(os.Stderr)
			defer display.Close()
			t.Watch = display
			line, at, err := lineOf(c.Context(), from, builds, good, bad, display.Step)
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
	f.StringVar(&good, "good", "", "a good build, `SPEC`")
	f.StringVar(&bad, "bad", "", "a bad build, `SPEC`")
	f.StringVar(&t.Pattern, "test", "", patternHelp)
	f.StringVar(&from, "from", "", "the builds are the linux-image packages in this `folder`; an end is a path, a file's name, a release or a version")
	f.StringVar(&builds, "builds", "", "the builds are the specs in this `file`, the oldest first")
	f.IntVar(&t.Repeat, "repeat", 1, "test each build `N` times more before it is believed")
	f.BoolVar(&asJSON, "json", false, "as JSON")
	runs.MachineFlags(f, &t.Config)
	t.Config.Out = runs.DefaultOut()
	return c
}

// lineOf is the line of builds, and where in it good and bad are.
func lineOf(ctx context.Context, from, list, good, bad string, say func(string)) (line []kernels.Candidate, at [2]int, err error) {
	switch {
	case from != "" && list != "":
		return nil, at, exit.BadInputf("give --from or --builds, not both")
	case from != "":
		line, err = kernels.Debs(ctx, from)
	case list != "":
		line, err = readBuilds(list)
	default:
		return kernels.Between(ctx, good, bad, say)
	}
	if err != nil {
		return nil, at, err
	}
	for i, text := range []string{good, bad} {
		is := func(c kernels.Candidate) bool { return isCalled(c, text) }
		if at[i] = slices.IndexFunc(line, is); at[i] < 0 {
			return nil, at, exit.BadInputf("%s is not among the %d builds", text, len(line))
		}
		if slices.ContainsFunc(line[at[i]+1:], is) {
			return nil, at, exit.BadInputf("%s is the name of several builds: give a path or a version", text)
		}
	}
	return line, at, nil
}

// isCalled tells whether the text means the build.
func isCalled(c kernels.Candidate, text string) bool {
	if slices.Contains([]string{c.Spec, c.Release, c.Version, filepath.Base(c.Spec)}, text) {
		return true
	}
	a, errA := os.Stat(c.Spec)
	b, errB := os.Stat(text)
	return errA == nil && errB == nil && os.SameFile(a, b)
}

// readBuilds reads specs, one in each line; what follows a # is a remark.
func readBuilds(file string) ([]kernels.Candidate, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, exit.BadInput(err)
	}
	defer func() { _ = f.Close() }()
	var line []kernels.Candidate
	for lines := bufio.NewScanner(f); lines.Scan(); {
		text, _, _ := strings.Cut(lines.Text(), "#")
		if text = strings.TrimSpace(text); text != "" {
			line = append(line, kernels.Candidate{Spec: text})
		}
	}
	if len(line) < 2 {
		return nil, exit.BadInputf("%s names fewer than two builds", file)
	}
	return line, nil
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

// The exit statuses that git bisect run knows, see git-bisect(1). Any other
// from 1 to 127 would say that the build is bad.
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
		Short: "Say whether a kernel is good, for git bisect run",
		Long: `Tests one kernel and says so by the exit statuses of git bisect run: 0 good,
1 bad, 125 not testable (there is no kernel, it does not boot, the test is flaky
or gave an ERROR), 128 and above for what ends the bisection, such as a PATTERN
that matches nothing.`,
		Example: `  git bisect run sh -c 'make ARCH=um -j$(nproc) || exit 125; proofhouse bisect-step -k linux --test complain'`,
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			// A crash of ours must not look like a bad kernel: Go's own exit
			// status for a panic is 2, that of SIGABRT is above 128.
			debug.SetTraceback("crash")
			if t.Repeat < 0 {
				return exit.BadInputf("--repeat wants at least 0")
			}
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
	f.StringVarP(&kernel, "kernel", "k", "./", "kernel, `SPEC`: usually the path of a build tree or of what was built in it")
	f.StringVar(&t.Pattern, "test", "", patternHelp)
	f.IntVar(&t.Repeat, "repeat", 1, "test `N` times more before it is believed")
	f.BoolVar(&crashIsBad, "crash-is-bad", false, "a kernel that crashes during a test is bad, not untestable")
	runs.MachineFlags(f, &t.Config)
	t.Config.Out = runs.DefaultOut()
	return c
}

// stepStatus makes an error's exit status one that git bisect run does not
// take for a verdict.
func stepStatus(err error) error {
	switch status := exit.Status(err); {
	case err == nil, status == exit.Failed, status == stepUntestable, status >= stepAbort:
		return err
	default:
		return exit.With(stepAbort, err)
	}
}
