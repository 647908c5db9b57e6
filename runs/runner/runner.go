// SPDX-License-Identifier: Apache-2.0

// Package runner runs the compiled suite through the ginkgo program, for
// `proofhouse run`: it prepares the run, shows its progress, and makes the
// reports from the journals. It runs no test itself: that is in package runs,
// in the processes of the suite.
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

// Options say what a run does.
type Options struct {
	Config      runs.Config
	Dir         string // of this run; "": a new one under Config.Out
	Procs       int    // processes side by side; 0: as many as the host has room for
	LabelFilter string // Ginkgo's
	Focus       string // Ginkgo's: a regular expression
	Repeat      int    // how often to repeat the run
	Console     bool   // show the consoles of the machines
	// Shell connects a person with a machine that was kept (Config.KeepFailed);
	// see runs.Answer. It returns when the shell has ended.
	Shell func(ctx context.Context, conn net.Conn) error
}

// Watcher shows the progress of a run.
type Watcher interface {
	Step(line string)
	Lines(lines ...string)
	Follow(ctx context.Context, dir string)
}

// Run prepares a run, runs it and writes its reports; files are the reports. It
// returns an error for a run without a verdict: one that was refused, did not
// start or was interrupted. The results so far are in the directory of the run
// even then.
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
	w.Step("starting machines")
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
	run, files, werr := page.Reports(dir, plan.Review)
	return run, files, errors.Join(err, werr)
}

// check refuses invalid filters before anything is prepared.
func (o Options) check() error {
	if _, err := types.ParseLabelFilter(o.LabelFilter); err != nil {
		return exit.BadInputf("--label-filter %q: %s", o.LabelFilter, plainly(err))
	}
	if _, err := regexp.Compile(o.Focus); err != nil {
		return exit.BadInputf("--focus %q: %w", o.Focus, err)
	}
	return nil
}

// plainly returns the last line of an error of Ginkgo's about a filter. The other
// lines are a coloured heading and the filter.
func plainly(err error) string {
	var g types.GinkgoError
	if !errors.As(err, &g) {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(g.Message), "\n")
	return strings.ReplaceAll(lines[len(lines)-1], "  ", " ")
}

// given creates the directory that the user named for this run. A directory that
// already contains a run is refused.
func given(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", exit.BadInputf("create the directory of this run: %w", err)
	}
	if old, _ := filepath.Glob(filepath.Join(dir, "journal-*.jsonl")); len(old) > 0 {
		return "", exit.BadInputf("create the directory of this run: %s already contains a run: give a new one with --out", dir)
	}
	return dir, nil
}

// arguments returns the arguments of the ginkgo program.
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

// ginkgoLog is the file with Ginkgo's output, in the directory of the run.
const ginkgoLog = "ginkgo.log"

// interruptGrace is how long Ginkgo may take to end after an interrupt.
const interruptGrace = 30 * time.Second

// ginkgoRun runs the suite once. Failed specs are not an error here: their results
// are in the journals.
func ginkgoRun(ctx context.Context, ginkgo string, args []string, dir string) error {
	log, err := os.OpenFile(filepath.Join(dir, ginkgoLog), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("write ginkgo's output: %w", err)
	}
	defer func() { _ = log.Close() }()
	cmd := child.Command(ctx, ginkgo, args...)
	cmd.Dir = dir
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	cmd.WaitDelay = interruptGrace
	// An interrupt may come before anything has started.
	if err = cmd.Start(); err == nil {
		err = child.Wait(cmd)
	}
	var status *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &status) && status.Exited():
		return nil
	case err != nil:
		return fmt.Errorf("ginkgo: %w (its output is in %s)", err, log.Name())
	}
	return nil
}
