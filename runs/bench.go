// SPDX-License-Identifier: Apache-2.0

package runs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"proofhouse/gcov"
	"proofhouse/internal/exit"
	"proofhouse/internal/version"
	"proofhouse/isolation"
	"proofhouse/kernels"
	"proofhouse/machines"
	"proofhouse/regression"
	"proofhouse/reports"
	"proofhouse/reports/coverage"
)

// Bench is the part of a run that one process does. It has at most one machine
// at a time, and opens another one when a machine was lost.
type Bench struct {
	Plan    *Plan
	Dir     string // of the run
	journal *reports.Journal
	process int
	say     func(string)
	known   map[string]*kernelState // by kernels.Build.ID

	// Shell is the unix socket of a process that wants a shell on a machine on
	// which something failed; "" = none.
	Shell string

	log    *slog.Logger
	endLog func()

	trees map[string]*gcov.Tree // of measured builds, by kernels.Build.ID

	machine *bench // nil: none is open
	opened  int    // machines so far
	faults  faults
}

// bench is an open machine and what was done on it so far.
type bench struct {
	machines.Machine
	log    *slog.Logger
	build  *kernels.Build
	record reports.Machine // as the journal has it
	half   half            // "" = none yet
	// containers has the containers of the isolation matrix that were started,
	// with the error of the start.
	containers map[string]error
	// read is how much of the console has been searched for complaints: what
	// came later belongs to the next test.
	read int
	// taintReported is set once the taint that the kernel booted with is in
	// the journal.
	taintReported bool
	// counts is set while the machine's counters are about one test at a time.
	// containerCounts is what the start of each container counted.
	counts          bool
	containerCounts map[string]coverage.Set
}

// faults is what a test breaks on purpose. The zero value breaks nothing.
type faults struct {
	open         func(context.Context, machines.Options) (machines.Machine, error)
	deadline     func(m machines.Machine, expected float64) time.Duration // of scripts
	world        func(world *isolation.Plan, label *string)
	unprivileged func(commands [][]string)
	plan         func(*isolation.Plan)
}

// half is what specs share a machine: the upstream scripts, the isolation matrix,
// or the checks of known defects.
type half string

const (
	scripts half = "scripts"
	rows    half = "rows"
	checks  half = "checks"
)

// machineFor is ready with a machine that the other half was not on.
// Scripts leave namespaces and profiles behind that rows would see. For rows,
// LXC enables cgroup controllers: with the cpu controller enabled, no command
// can be scheduled in real time (7.2, with RT_GROUP_SCHED), and subtests of
// capabilities would fail.
func (l *Bench) machineFor(ctx context.Context, b *kernels.Build, h half) (*bench, error) {
	if l.machine != nil && l.machine.half != "" && l.machine.half != h {
		l.drop("")
	}
	m, err := l.ready(ctx, b)
	if err != nil {
		return nil, err
	}
	m.half = h
	return m, nil
}

// kernelState is what this process knows of one kernel.
type kernelState struct {
	described bool
	noPorts   bool           // the machine has no x86 I/O ports
	noLXC     bool           // the board's userspace has no LXC
	kernel    reports.Kernel // as described; expectations depend on it
	failures  int            // failed boots in a row
	refused   error
}

// maxFailures is the number of failed boots in a row after which a kernel is
// treated as one that does not boot: the remaining specs fail at once.
const maxFailures = 3

// Open starts the part of the run in dir that this process does. process is
// Ginkgo's number of the process, from 1. say gets lines for a person.
func Open(plan *Plan, dir string, process int, say func(string)) (*Bench, error) {
	j, err := reports.Create(dir, process)
	if err != nil {
		return nil, err
	}
	l := &Bench{Plan: plan, Dir: dir, journal: j, process: process, known: map[string]*kernelState{}}
	l.log, l.endLog = OpenDebug(plan.Config.Debug, dir, strconv.Itoa(process))
	l.say = func(line string) {
		l.log.Info(line)
		say(line)
	}
	return l, nil
}

// RunStarted writes what the run will do to the journal. One process calls it.
func (l *Bench) RunStarted(planned []reports.Planned, processes int) {
	start := reports.RunStart{
		Tool: version.String(), Argv: os.Args, Processes: processes, Planned: planned, Host: Host(),
	}
	start.Selection = l.Plan.Selection
	if s := l.Plan.Config.Shard; s.Count > 0 {
		start.Shard, start.Whole = &s, l.Plan.Whole
	}
	l.journal.RunStarted(start)
	for _, b := range l.Plan.Builds {
		// A kernel whose specs are all in other shards is not part of this run.
		its := func(p reports.Planned) bool { return p.Kernel == b.ID() }
		if len(planned) == 0 || slices.ContainsFunc(planned, its) {
			k := l.describe(b)
			k.Coverage = l.keepSource(b)
			l.journal.Kernel(k)
		}
	}
}

// RunEnded writes to the journal that every spec had its turn.
func (l *Bench) RunEnded() { l.journal.RunEnded() }

// Close closes the machine and the journal, and returns the first error of a
// write to the journal.
func (l *Bench) Close() error {
	l.drop("")
	l.closeTrees()
	err := l.journal.Close()
	l.log.Debug("process ends", "error", err)
	l.endLog()
	return err
}

// describe returns what is known of a build before it has booted.
func (l *Bench) describe(b *kernels.Build) reports.Kernel {
	k := reports.Kernel{
		ID: b.ID(), Spec: b.Spec, Release: b.Release, Version: b.Version, SHA256: b.SHA256,
		Source: b.Source, Append: strings.Join(b.Append, " "),
		Properties: map[string]string{"machine": kindName(b), "suite": l.Plan.Source},
	}
	if b.Arch != "" {
		k.Properties["arch"] = b.Arch
	}
	if b.Modules != "" { // in the cache: its name is made of its content
		k.Properties["modules"] = filepath.Base(b.Modules)
	}
	if g := l.Plan.Guest(b); g != nil && !ownRoot(b) {
		root := g.Root
		k.Properties["guest"] = root.Suite
		for property, pkg := range map[string]string{"parser": "apparmor", "libapparmor": "libapparmor1", "lxc": "lxc", "libc": "libc6"} {
			if v := root.Packages[pkg]; v != "" {
				k.Properties[property] = v
			}
		}
	}
	return k
}

func (l *Bench) state(b *kernels.Build) *kernelState {
	s := l.known[b.ID()]
	if s == nil {
		s = &kernelState{}
		l.known[b.ID()] = s
	}
	return s
}

// Machine returns the machine that runs the build, and opens it if need be.
func (l *Bench) Machine(ctx context.Context, b *kernels.Build) (machines.Machine, error) {
	m, err := l.ready(ctx, b)
	if err != nil {
		return nil, err
	}
	return m, nil
}

func (l *Bench) ready(ctx context.Context, b *kernels.Build) (*bench, error) {
	if l.machine != nil && l.machine.build.ID() == b.ID() && (l.machine.counts || l.Plan.Measured[b.ID()] == nil) {
		return l.machine, nil
	}
	l.drop("")
	s := l.state(b)
	if s.refused != nil {
		return nil, s.refused
	}
	m, err := l.boot(ctx, b)
	if err != nil {
		if s.failures++; s.failures >= maxFailures || exit.Status(err) == exit.Usage {
			s.refused = err
		}
		return nil, err
	}
	s.failures = 0
	l.machine = m
	if err := l.examine(ctx, b, m); err != nil {
		s.refused = err
		l.drop(err.Error())
		return nil, err
	}
	l.unclaimed(m, "while it booted")
	if err := l.beginCounting(ctx, m); err != nil {
		if exit.Status(err) == exit.Usage {
			s.refused = err
		}
		l.drop(err.Error())
		return nil, err
	}
	return m, nil
}

func (l *Bench) boot(ctx context.Context, b *kernels.Build) (*bench, error) {
	dir := filepath.Join(l.Dir, b.ID())
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	o := l.Plan.Options(b)
	o.ConsoleFile = filepath.Join(dir, fmt.Sprintf("console-%d.log", l.process))
	o.Progress = l.say
	l.opened++
	record := reports.Machine{ID: fmt.Sprintf("%s-%d.%d", kindName(b), l.process, l.opened), Kernel: b.ID()}
	if err := announce(o.ConsoleFile, record.ID); err != nil {
		return nil, err
	}
	open := machines.Open
	if l.faults.open != nil {
		open = l.faults.open
	}
	l.log.Debug("machine starts", "machine", record.ID, "kernel", b.ID(), "image", b.Image, "console", o.ConsoleFile)
	m, err := open(ctx, o)
	if err != nil {
		l.log.Error("machine did not start", "machine", record.ID, "error", err)
		record.Lost = err.Error()
		l.journal.MachineClosed(record)
		return nil, err
	}
	record.BootSeconds = m.Info().Boot.Total().Seconds()
	record.Slowness = m.Info().Slowness
	l.journal.MachineOpened(record)
	l.log.Debug("machine is up", "machine", record.ID, "info", m.Info())
	return &bench{Machine: m, log: l.log, build: b, record: record}, nil
}

// announce writes to the console's file which machine follows.
func announce(file, machine string) error {
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("write the console file: %w", err)
	}
	_, err = fmt.Fprintf(f, "=== machine %s, %s ===\n", machine, time.Now().UTC().Format(time.RFC3339))
	return errors.Join(err, f.Close())
}

// drop closes the machine, if one is open. why says what was wrong with it.
func (l *Bench) drop(why string) {
	m := l.machine
	if m == nil {
		return
	}
	if why == "" {
		l.unclaimed(m, "after its last test")
	}
	l.machine = nil
	err := m.Close()
	l.log.Debug("machine closed", "machine", m.record.ID, "lost", why, "error", err)
	m.record.Lost = why
	l.journal.MachineClosed(m.record)
}

// timeout is the deadline of the short commands that examine a machine, on
// hardware.
const timeout = 15 * time.Second

func scaled(m machines.Machine, d time.Duration) time.Duration {
	return time.Duration(float64(d) * m.Info().Slowness)
}

// examine refuses a kernel on which AppArmor is not enabled, and describes one
// on which it is.
func (l *Bench) examine(ctx context.Context, b *kernels.Build, m machines.Machine) error {
	s := l.state(b)
	if s.described {
		return nil
	}
	look := func(args ...string) (string, error) {
		out, err := machines.Output(ctx, m, scaled(m, timeout), args...)
		return strings.TrimSpace(out), err
	}
	if enabled, err := look("cat", "/sys/module/apparmor/parameters/enabled"); errors.Is(err, machines.ErrLost) {
		return err
	} else if enabled != "Y" {
		return exit.BadInputf("kernel %s runs without AppArmor: %s", b.Spec, withoutAppArmor(b, m, err))
	}
	features, err := look("grep", "-r", "", apparmorFS+"/features")
	if err != nil {
		return exit.BadInputf("kernel %s: read AppArmor's features: %w", b.Spec, err)
	}
	k := l.describe(b)
	if k.Version, err = look("uname", "-v"); err != nil {
		return err
	}
	release, err := look("uname", "-r")
	if err != nil {
		return err
	}
	if b.Release != "" && release != b.Release {
		return exit.BadInputf("kernel %s: the running kernel is %s, but the build is %s", b.Spec, release, b.Release)
	}
	k.Release = release
	k.Features = parseFeatures(features)
	info := m.Info()
	if info.Kind == "qemu" {
		k.Properties["qemu"] = info.Version
	}
	maps.Copy(k.Properties, info.Board)
	if info.Kind != "local" {
		k.Properties["guest_changes"] = cmp.Or(strings.Join(regression.GuestChanges(l.Plan.Config.PlainGuest), "; "), "plain")
	}
	for name, value := range map[string]string{
		"accelerator": info.Accelerator, "cmdline": info.Cmdline, "slowness": fmt.Sprintf("%.1f", info.Slowness),
		"sandbox": info.Sandbox,
	} {
		if value != "" {
			k.Properties[name] = value
		}
	}
	if k.Properties["parser"] == "" {
		if v, err := look("apparmor_parser", "--version"); err == nil {
			_, v, _ = strings.Cut(v, "version ")
			v, _, _ = strings.Cut(v, "\n")
			k.Properties["parser"] = v
		}
	}
	k.Gaps = regression.Gaps(k.Features, k.Properties["parser"], b.Arch)
	s.noPorts = b.Arch == kernels.ARM64 || lacksPorts(look)
	if ownRoot(b) {
		k.Properties["guest"] = "the board's userspace"
		_, err := look("/bin/sh", "-c", "command -v lxc-start")
		s.noLXC = err != nil
	}
	s.kernel = k
	l.journal.Kernel(k)
	s.described = true
	return nil
}

const apparmorFS = "/sys/kernel/security/apparmor"

// withoutAppArmor returns the reason why AppArmor is not enabled on a kernel, as
// far as it is known.
func withoutAppArmor(b *kernels.Build, m machines.Machine, err error) string {
	if v, known := b.ConfigValue("CONFIG_SECURITY_APPARMOR"); known && v != "y" {
		return "it was built without CONFIG_SECURITY_APPARMOR"
	}
	words := strings.Fields(m.Info().Cmdline)
	for i := len(words) - 1; i >= 0; i-- {
		for _, p := range []string{"apparmor=", "security=", "lsm="} {
			if strings.HasPrefix(words[i], p) && words[i] != "apparmor=1" && words[i] != "security=apparmor" {
				return "its command line has " + words[i]
			}
		}
	}
	if err != nil {
		return "it was built without AppArmor"
	}
	return "AppArmor is built in but not enabled: try ,append=security=apparmor"
}

// parseFeatures reads the output of grep -r "" on the features directory.
func parseFeatures(text string) map[string]string {
	tree := map[string]string{}
	for line := range strings.Lines(text) {
		file, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		if !ok {
			continue
		}
		file = strings.TrimPrefix(file, apparmorFS+"/features/")
		if old, again := tree[file]; again {
			value = old + "\n" + value
		}
		tree[file] = value
	}
	return tree
}

// lacksPorts reports whether the machine has no x86 I/O ports: User Mode Linux
// returns ENOSYS. Nothing else counts: a kernel that refuses the ports to root
// with EPERM, or a command that fails, must not turn failures into skips.
func lacksPorts(look func(args ...string) (string, error)) bool {
	const iopl = `my $r = syscall(172, 3); print $r == 0 ? "granted" : $! + 0` // 172 on x86-64
	errno, err := look("perl", "-e", iopl)
	return err == nil && errno == strconv.Itoa(int(syscall.ENOSYS))
}

// scriptDeadline returns how long a script may run on the machine. It ends a
// script that hangs, and not one that is slow. expected is in seconds on UML,
// where the table of durations was measured.
func scriptDeadline(m machines.Machine, expected float64) time.Duration {
	const (
		least = 15 * time.Second // on hardware
		ratio = 5                // to the measured duration
		uml   = 9.0              // slowness of the measurement
	)
	reference := expected / uml
	return scaled(m, least+time.Duration(ratio*reference*float64(time.Second)))
}
