// Package runner runs the compiled suite through the ginkgo runner, as a user
// of `proofhouse run` wants it: prepared before, watched meanwhile, and judged
// by what the journals say.
package runner

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/onsi/ginkgo/v2/types"

	"proofhouse/internal/child"
	"proofhouse/internal/exit"
	"proofhouse/reports"
	"proofhouse/reports/page"
	"proofhouse/runs"
	"proofhouse/runs/programs"
)

// Options are what one run is to do.
type Options struct {
	Config      runs.Config
	Dir         string // of this run; "" = a new one under Config.Out
	Procs       int    // processes side by side; 0 = as many as the machine can take
	LabelFilter string // Ginkgo's
	Focus       string // Ginkgo's: a regular expression
	Repeat      int    // how often to run it all again
	Console     bool   // show the machines' consoles while they run
	// Shell has a person use a machine that was kept (Config.KeepFailed); see
	// runs.Answer. It returns when they are done.
	Shell func(ctx context.Context, conn net.Conn) error
}

// Watcher shows a run while it goes on.
type Watcher interface {
	Step(line string)
	Lines(lines ...string)
	Follow(ctx context.Context, dir string)
}

// Run prepares, runs and judges. The error is for a run without a verdict: one
// that was refused, could not start or was interrupted; what it had found by
// then is in the run's folder all the same.
func Run(ctx context.Context, o Options, w Watcher) (run *reports.Run, files []string, err error) {
	if err := o.check(); err != nil {
		return nil, nil, err
	}
	plan, err := runs.Prepare(ctx, o.Config, w.Step)
	if err != nil {
		return nil, nil, err
	}
	suite, err := programs.Suite(ctx)
	if err != nil {
		return nil, nil, err
	}
	ginkgo, err := programs.Ginkgo(ctx)
	if err != nil {
		return nil, nil, err
	}
	dir := o.Dir
	if dir == "" {
		dir, err = runs.NewRunDir(plan.Config.Out, time.Now())
	} else {
		dir, err = given(dir)
	}
	if err != nil {
		return nil, nil, err
	}
	release, err := reports.Hold(dir)
	if err != nil {
		return nil, nil, err
	}
	defer release()
	planFile, err := plan.Save(dir)
	if err != nil {
		return nil, nil, err
	}
	if o.Procs == 0 {
		o.Procs = procs(plan, runtime.NumCPU(), memAvailable())
	}
	log, endLog := runs.OpenDebug(o.Config.Debug, dir, "runner")
	defer endLog()
	args := arguments(o, suite, planFile, dir)
	if o.Shell != nil {
		socket, end, err := listenForShell(ctx, o.Shell, w)
		if err != nil {
			return nil, nil, err
		}
		defer end()
		args = append(args, "-shell", socket)
	}
	log.Debug("the suite starts", "command", append([]string{ginkgo}, args...), "builds", len(plan.Builds), "scripts", len(plan.Scripts))
	w.Step("starting the machines")
	watch, stop := context.WithCancel(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		w.Follow(watch, dir)
	}()
	if o.Console {
		go showConsoles(watch, dir, w)
	}
	for range o.Repeat + 1 {
		if err = ginkgoRun(ctx, ginkgo, args, dir); err != nil || runs.Refused(dir) != nil {
			break
		}
	}
	log.Debug("the suite ended", "error", err)
	stop()
	<-watched
	if refused := runs.Refused(dir); refused != nil {
		return nil, nil, refused
	}
	if journals, _ := filepath.Glob(filepath.Join(dir, "journal-*.jsonl")); len(journals) == 0 && err == nil {
		return nil, nil, fmt.Errorf("the suite did not start: see %s", filepath.Join(dir, ginkgoLog))
	}
	run, files, werr := page.Reports(dir, plan.Expectations.Review)
	return run, files, errors.Join(err, werr)
}

// check refuses filters that Ginkgo would not understand, before anything is
// prepared.
func (o Options) check() error {
	if _, err := types.ParseLabelFilter(o.LabelFilter); err != nil {
		return exit.BadInputf("label filter %q: %s", o.LabelFilter, plainly(err))
	}
	if _, err := regexp.Compile(o.Focus); err != nil {
		return exit.BadInputf("focus: %w", err)
	}
	return nil
}

// plainly is what Ginkgo has to say of a filter: its last line, for the others
// are the filter again, and a heading in colour.
func plainly(err error) string {
	var g types.GinkgoError
	if !errors.As(err, &g) {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(g.Message), "\n")
	return strings.ReplaceAll(lines[len(lines)-1], "  ", " ")
}

// given makes the folder that the user named for this run. One that holds a
// run already is left as it is.
func given(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", exit.BadInputf("make the folder of this run: %w", err)
	}
	if old, _ := filepath.Glob(filepath.Join(dir, "journal-*.jsonl")); len(old) > 0 {
		return "", exit.BadInputf("%s holds a run already", dir)
	}
	return dir, nil
}

// arguments are those of the ginkgo runner.
func arguments(o Options, suite, planFile, dir string) []string {
	args := []string{"run", "--procs=" + strconv.Itoa(max(1, o.Procs)), "--no-color", "-v", "--timeout=240h", "--grace-period=20s"}
	if o.LabelFilter != "" {
		args = append(args, "--label-filter="+o.LabelFilter)
	}
	if o.Focus != "" {
		args = append(args, "--focus="+o.Focus)
	}
	return append(args, suite, "--", "-plan", planFile, "-run", dir)
}

// ginkgoLog has Ginkgo's output, in the run's folder.
const ginkgoLog = "ginkgo.log"

// interruptGrace is how long Ginkgo gets to end in order when it is told to.
const interruptGrace = 30 * time.Second

// ginkgoRun runs the suite once. That specs failed is no error here: what they
// found is in the journals.
func ginkgoRun(ctx context.Context, ginkgo string, args []string, dir string) error {
	log, err := os.OpenFile(filepath.Join(dir, ginkgoLog), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("keep ginkgo's output: %w", err)
	}
	defer func() { _ = log.Close() }()
	cmd := child.Command(ctx, ginkgo, args...)
	cmd.Dir = dir
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	cmd.WaitDelay = interruptGrace
	err = cmd.Run()
	var status *exec.ExitError
	switch {
	case ctx.Err() != nil:
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		return context.Cause(ctx)
	case errors.As(err, &status) && status.Exited():
		return nil
	case err != nil:
		return fmt.Errorf("ginkgo: %w (its output is in %s)", err, log.Name())
	}
	return nil
}
