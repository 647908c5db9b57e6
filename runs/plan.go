// SPDX-License-Identifier: Apache-2.0

// Package runs runs tests on kernels. It prepares what a run needs (Plan), opens
// machines, runs one script or one isolation row at a time on them (Bench), and
// writes the results to the journal.
//
// What is tested is in suite/, regression/ and isolation/; how a result is
// judged is in regression/ and isolation/; reports are made in reports/. The
// packages below this one start a run (runner), show it (progress), list old
// ones (history), examine the host (doctor) and find our programs (programs).
package runs

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"proofhouse/images"
	"proofhouse/internal/cache"
	"proofhouse/internal/exit"
	"proofhouse/kernels"
	"proofhouse/machines"
	"proofhouse/regression"
	"proofhouse/reports"
	"proofhouse/reports/expect"
	"proofhouse/runs/programs"
)

// The default trio: kernel, guest and upstream source. See docs/suite.md for
// how it was chosen.
const (
	DefaultKernel = "uml:debian:forky"
	DefaultGuest  = "sid"
	DefaultSource = "debian:forky"
)

// Config is what a user can choose for a run.
type Config struct {
	Kernels []string // specs; none: DefaultKernel
	Guest   string   // Debian suite of the guest root
	Source  string   // spec of the source of the upstream suite
	Scripts []string // run only these; none: all, or none if Rows has some
	Rows    []string // of the isolation matrix, in the same way
	// Rerun is the directory of an earlier run, or its results.json: run only
	// what failed or did not run there.
	Rerun string
	// Debug makes each process write what it does to the debug log of the run.
	Debug bool
	// KeepFailed offers a shell on a machine on which something failed.
	KeepFailed  bool
	Accelerator string // auto, kvm, tcg
	Memory      int    // of a machine, in MiB; 0: machines.DefaultMemory
	Plain       bool   // no kernel parameters that make a boot faster
	PlainGuest  bool   // a guest without what makes the upstream scripts faster
	Out         string // directory of all runs
	// Shard is the part of the run to do; Count 0 is all of it.
	Shard reports.Shard
	// Durations is the directory of an earlier run, or its results.json, to take
	// expected durations from. "": from the runs in Out; for a shard, from the
	// built-in table, as all jobs must know the same.
	Durations string
	// Expectations are files with the user's own expected failures.
	Expectations []string
	// Coverage measures which lines of the kernel's AppArmor each test reaches.
	// CoverageTree is the build tree; "": the kernel's spec is one.
	Coverage     bool
	CoverageTree string
	// Patch is a file, or a range of commits in the build tree: report which of
	// the lines that it changes were reached.
	Patch string
	// SelectFor is a patch in the same form: run only the tests that reach what
	// it changes, as the run Map measured it; with SelectRest the others, too,
	// but later.
	SelectFor  string
	Map        string
	SelectRest bool
}

// Plan is everything that a run needs. It is complete: all files are on this
// host, and nothing more is fetched or built. Save writes it for the processes
// of the run.
type Plan struct {
	Config Config           `json:"config"`
	Builds []*kernels.Build `json:"builds"`
	Given  []given          `json:"given"` // for each of Builds
	// Guests are the guests that the kernels need, by kernels.Build.Arch.
	Guests  map[string]*Guest   `json:"guests,omitempty"`
	Modules map[string]string   `json:"modules"` // Build.ID -> disk image with its modules
	Scripts []regression.Script `json:"scripts"` // in the order of their starts
	// Rows are the IDs of the isolation rows to run; nil: all.
	Rows []string `json:"rows"` // [] is none: without a value it would be all
	// Only has the specs that Config.Rerun selects, by kernel ID; nil: all.
	Only    map[string][]string `json:"only"`
	Seconds map[string]float64  `json:"seconds"` // expected, by script
	// Pace is the factor to Seconds on a build, by Build.ID.
	Pace map[string]float64 `json:"pace,omitempty"`
	// Measured has what is to be measured on each build, by Build.ID.
	Measured map[string]*measuredBuild `json:"measured,omitempty"`
	// Selection is what a patch selected, and First the selected specs in the
	// order in which they are to start.
	Selection *reports.Selection `json:"selection,omitempty"`
	First     []string           `json:"first,omitempty"`
	Source    string             `json:"source"` // version and note of the upstream suite
	// Whole is what all shards together will run, if this run is a shard.
	Whole []reports.Planned `json:"-"`
	// Expectations are the user's own and the built-in ones, as they were when
	// the run began.
	Expectations expect.List `json:"expectations,omitempty"`
}

// Guest is what runs on the kernels of one architecture.
type Guest struct {
	Root  *images.Root      `json:"root"`
	Image string            `json:"image"` // of Root
	Init  string            `json:"init"`
	Tools map[string]string `json:"tools"` // our programs in its PATH
	// Tree is the upstream suite as a tar file, for boards that use their own root.
	Tree string `json:"tree,omitempty"`
}

// Guest returns the guest of a build; nil for the running kernel of this host,
// which has none.
func (p *Plan) Guest(b *kernels.Build) *Guest {
	if b.Kind == kernels.Local {
		return nil
	}
	return p.Guests[b.Arch]
}

// given is what the user said about a build. It is not part of the build.
type given struct {
	Spec   string   `json:"spec"`
	Append []string `json:"append,omitempty"`
}

// guestTools are our programs in the PATH of every guest.
var guestTools = []string{"nsmgr", "probe"}

// FromEnvironment returns the configuration of tests that boot kernels: the
// default, or the kernels in PROOFHOUSE_KERNELS, separated by spaces, and the
// guest suite in PROOFHOUSE_GUEST.
func FromEnvironment() Config {
	return Config{Kernels: SplitNames(os.Getenv("PROOFHOUSE_KERNELS")), Guest: os.Getenv("PROOFHOUSE_GUEST")}
}

// Prepare fetches and builds everything that cfg needs. What is in the cache is
// used as it is. progress gets a line for each step that takes time; it may be
// nil. A user error has exit status 2.
func Prepare(ctx context.Context, cfg Config, progress func(string)) (*Plan, error) {
	if progress == nil {
		progress = func(string) {}
	}
	cfg.Guest = cmp.Or(cfg.Guest, DefaultGuest)
	cfg.Source = cmp.Or(cfg.Source, DefaultSource)
	if err := cfg.check(); err != nil {
		return nil, err
	}
	earlier, err := cfg.earlier()
	if err != nil {
		return nil, err
	}
	if len(cfg.Kernels) == 0 {
		cfg.Kernels = []string{DefaultKernel}
	}
	if err := cache.Check(); err != nil {
		return nil, err
	}
	expectations, err := expect.Load(cfg.Expectations...)
	if err != nil {
		return nil, err
	}
	p := &Plan{Config: cfg, Expectations: expectations, Modules: map[string]string{}}
	if !slices.Contains(images.Suites, cfg.Guest) {
		return nil, exit.BadInputf("--guest %q: unknown Debian suite: want one of %s", cfg.Guest, strings.Join(images.Suites, ", "))
	}
	if err := p.rows(); err != nil {
		return nil, err
	}
	if err := p.builds(ctx, progress); err != nil {
		return nil, err
	}
	if err := p.coverage(ctx); err != nil {
		return nil, err
	}
	src, err := regression.Fetch(ctx, cfg.Source, progress)
	if err != nil {
		return nil, err
	}
	p.Source = strings.TrimSpace(src.Version + " " + src.Note)
	if err := p.scripts(src); err != nil {
		return nil, err
	}
	if earlier != nil {
		if err := p.rerun(earlier); err != nil {
			return nil, err
		}
	}
	if err := p.selectFor(ctx); err != nil {
		return nil, err
	}
	return p, p.guests(ctx, src, progress)
}

// leastMemory is the memory that a guest needs to boot, in MiB.
const leastMemory = 128

// check refuses what no machine can be opened with, whatever the kernel.
func (c Config) check() error {
	if !slices.Contains([]string{"", "auto", "kvm", "tcg"}, c.Accelerator) {
		return exit.BadInputf("--accel %q: want auto, kvm or tcg", c.Accelerator)
	}
	if c.Memory != 0 && c.Memory < leastMemory {
		return exit.BadInputf("--memory %d: a machine needs at least %d MiB", c.Memory, leastMemory)
	}
	return nil
}

func (p *Plan) builds(ctx context.Context, progress func(string)) error {
	seen := map[string]string{}
	for _, spec := range p.Config.Kernels {
		b, err := kernels.Resolve(ctx, spec, progress)
		if err != nil {
			return err
		}
		if err := b.Check(); err != nil {
			return err
		}
		if b.Kind == kernels.OnBoard {
			progress("asking " + b.Board.Name + " which kernel it runs")
			if _, err := machines.Identify(ctx, b, agentFor(ctx)); err != nil {
				return err
			}
			if err := b.Check(); err != nil {
				return err
			}
		}
		if err := machines.Check(b, p.Config.Accelerator); err != nil {
			return err
		}
		if other, ok := seen[b.ID()]; ok {
			return exit.BadInputf("--kernel %s and --kernel %s are the same build: name it once", other, spec)
		}
		seen[b.ID()] = spec
		p.Builds = append(p.Builds, b)
		p.Given = append(p.Given, given{b.Spec, b.Append})
		if b.Modules == "" || b.Kind == kernels.Local {
			continue
		}
		disk, err := images.Disk(ctx, "modules", map[string]string{b.Release: b.Modules}, progress)
		if err != nil {
			return err
		}
		p.Modules[b.ID()] = disk
	}
	return nil
}

// agentFor finds the agent for a board's architecture.
func agentFor(ctx context.Context) func(arch string) (string, error) {
	return func(arch string) (string, error) {
		if arch != "amd64" && arch != "arm64" {
			return "", exit.BadInputf("wrong architecture: the board is %s, and proofhouse has programs for amd64 and arm64 only", arch)
		}
		return programs.Static(ctx, "guest-init", arch)
	}
}

// scripts selects the scripts and sorts the longest first, so that several
// processes end at about the same time.
func (p *Plan) scripts(src *regression.Source) error {
	all, err := src.Scripts()
	if err != nil {
		return err
	}
	p.Seconds = map[string]float64{}
	kind := p.machineKind(p.Builds[0])
	last, err := p.measured(kind)
	if err != nil {
		return err
	}
	p.Pace = map[string]float64{}
	for _, b := range p.Builds {
		p.Pace[b.ID()] = cmp.Or(pace[p.machineKind(b)], 1) / cmp.Or(pace[kind], 1)
	}
	for _, s := range all {
		p.Seconds[s.Name] = cmp.Or(last[SpecID(s.Name)], regression.DefaultSeconds(s.Name)*cmp.Or(pace[kind], 1))
	}
	switch {
	case len(p.Config.Scripts) == 0 && len(p.Config.Rows) > 0:
		all = nil // only the rows
	case len(p.Config.Scripts) > 0:
		byName := map[string]regression.Script{}
		for _, s := range all {
			byName[s.Name] = s
		}
		all = nil
		for _, name := range p.Config.Scripts {
			s, ok := byName[name]
			if !ok {
				return exit.BadInputf("--script %q: not found in the upstream suite %s (proofhouse list scripts lists them)", name, p.Source)
			}
			all = append(all, s)
		}
	}
	slices.SortStableFunc(all, func(a, b regression.Script) int {
		return cmp.Or(cmp.Compare(p.Seconds[b.Name], p.Seconds[a.Name]), cmp.Compare(a.Name, b.Name))
	})
	p.Scripts = slices.CompactFunc(all, func(a, b regression.Script) bool { return a.Name == b.Name })
	return nil
}

// kindName returns the kind of machine that runs a build, as in reports.
func kindName(b *kernels.Build) string {
	if b.Kind == kernels.BzImage || b.Kind == kernels.Image {
		return "qemu"
	}
	return string(b.Kind)
}

// pace is the factor between the duration of the suite on a kind of machine and
// on UML, where the table of durations was measured. Only the first estimate
// uses it; later ones use the last run.
var pace = map[string]float64{"qemu/tcg": 2.5, "qemu/kvm": 0.3, "local": 0.2, "qemu/tcg/aarch64": 2.5, "qemu/kvm/aarch64": 0.3}

// machineKind returns reports.Kernel.MachineKind for a machine that is not open
// yet.
func (p *Plan) machineKind(b *kernels.Build) string {
	kind := kindName(b)
	if kind != "qemu" {
		return kind
	}
	known := p.Config.Shard.Count == 0 // hosts of other shards may differ
	accelerator := "tcg"
	if a := p.Config.Accelerator; a == "kvm" || a != "tcg" && known && b.DebianArch() == runtime.GOARCH && machines.KVM() == "works" {
		accelerator = "kvm"
	}
	k := reports.Kernel{Properties: map[string]string{"machine": kind, "accelerator": accelerator, "arch": b.Arch}}
	return k.MachineKind()
}

// measured returns the duration of each spec in the last run, in seconds.
func (p *Plan) measured(kind string) (map[string]float64, error) {
	switch {
	case p.Config.Durations != "":
		run, err := reports.Open(p.Config.Durations)
		if err != nil {
			return nil, fmt.Errorf("--durations: %w", err)
		}
		return reports.Durations(run, kind), nil
	case p.Config.Shard.Count > 0:
		return nil, nil
	}
	return reports.LastDurations(p.Config.Out, kind), nil
}

// Expected returns how many seconds a script should take on the kernel with this
// ID; 0: unknown.
func (p *Plan) Expected(kernel, name string) float64 {
	return p.Seconds[name] * cmp.Or(p.Pace[kernel], 1)
}

// guests makes a guest for each architecture of the kernels.
func (p *Plan) guests(ctx context.Context, src *regression.Source, progress func(string)) error {
	p.Guests = map[string]*Guest{}
	for _, b := range p.Builds {
		if b.Kind == kernels.Local || p.Guests[b.Arch] != nil {
			continue
		}
		tests := src.Tests(p.Config.Guest)
		root, err := images.Get(ctx, images.Request{Suite: p.Config.Guest, Arch: b.DebianArch(), Tests: tests}, progress)
		if err != nil {
			return err
		}
		g := &Guest{Root: root, Image: root.Image, Tools: map[string]string{}}
		if err := g.programs(ctx, progress); err != nil {
			return err
		}
		if slices.ContainsFunc(p.Builds, func(o *kernels.Build) bool { return ownRoot(o) && o.Arch == b.Arch }) {
			if g.Tree, err = root.Tree(ctx, filepath.Dir(regression.GuestDir)); err != nil {
				return err
			}
		}
		p.Guests[b.Arch] = g
	}
	return nil
}

func (g *Guest) programs(ctx context.Context, progress func(string)) (err error) {
	if g.Init, err = programs.Static(ctx, "guest-init", g.Root.Arch); err != nil {
		return err
	}
	for _, name := range guestTools {
		if g.Tools[name], err = programs.Static(ctx, name, g.Root.Arch); err != nil {
			return err
		}
	}
	// The container commands of nsmgr need a build against the guest's libc and
	// liblxc.
	if g.Root.Arch != runtime.GOARCH { // takes a minute or more, once
		progress(fmt.Sprintf("guest root %s: building nsmgr with its container commands", g.Root.Name()))
	}
	lxc, err := programs.Guest(ctx, g.Root, "nsmgr")
	switch {
	case err == nil:
		g.Tools["nsmgr-lxc"] = lxc
	case ctx.Err() != nil:
		return err
	default: // everything else works without it
		progress(fmt.Sprintf("nsmgr in guest %s has no container commands: %v", g.Root.Name(), err))
	}
	return nil
}

// ownRoot reports whether a build is tested in the userspace of its board.
func ownRoot(b *kernels.Build) bool { return b.Board != nil && b.Board.OwnRoot }

// Options returns the options of a machine for the build.
func (p *Plan) Options(b *kernels.Build) machines.Options {
	o := machines.Options{
		Kernel: b, Modules: p.Modules[b.ID()], Prepare: regression.GuestPrepare(p.Config.PlainGuest),
		Accelerator: p.Config.Accelerator, Memory: p.Config.Memory, Plain: p.Config.Plain, Tools: map[string]string{},
	}
	if g := p.Guest(b); g != nil {
		o.Root, o.Init, o.Tools = g.Image, g.Init, maps.Clone(g.Tools)
	}
	if ownRoot(b) {
		o.Trees = []string{p.Guest(b).Tree}
	}
	if b.Kind == kernels.UML {
		// Debian's package has another module first in its built-in order.
		o.Parameters = []string{"security=apparmor"}
	}
	return o
}

// PlanFile is the name of a plan in the directory of its run.
const PlanFile = "plan.json"

// Save writes the plan to the directory of the run and returns the file's path.
func (p *Plan) Save(dir string) (string, error) {
	b, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, PlanFile)
	return file, os.WriteFile(file, append(b, '\n'), 0o644)
}

// Load reads a plan that Save wrote. A file that is not a plan is bad input.
func Load(file string) (*Plan, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, exit.BadInputf("read the plan: %w", err)
	}
	p := new(Plan)
	if err := json.Unmarshal(b, p); err != nil {
		return nil, exit.BadInputf("read the plan %s: %w", file, err)
	}
	if len(p.Builds) == 0 || len(p.Builds) != len(p.Given) {
		return nil, exit.BadInputf("read the plan %s: it has no kernel", file)
	}
	for i, g := range p.Given {
		p.Builds[i].Spec, p.Builds[i].Append = g.Spec, g.Append
	}
	return p, nil
}

// SpecID returns the ID of the spec that runs an upstream script.
func SpecID(script string) string { return reports.NewID(reports.Regression, script).String() }

// Host describes this host, for the report.
func Host() map[string]string {
	h := map[string]string{"cpus": fmt.Sprint(runtime.NumCPU())}
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		h["kernel"] = strings.TrimSpace(string(b))
	}
	return h
}
