// Package runs is where kernels meet tests: it prepares what a run needs, keeps
// a machine open per kernel and process, runs one unit of work on it, and
// writes down what came of it. The specs in suite/ say what is to be tested
// and what counts as good; how it is done is here.
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

// Config is what a user can choose.
type Config struct {
	Kernels []string // specs; none = DefaultKernel
	Guest   string   // Debian suite of the guest root
	Source  string   // spec of the upstream suite's source
	Scripts []string // only these; none = all, or none where Rows has some
	Rows    []string // of the isolation matrix, the same way
	// Rerun is the directory of an earlier run, or its results.json: only what
	// failed or did not run there is run.
	Rerun string
	// Debug has each process write what it does to the run's debug log.
	Debug bool
	// KeepFailed has a machine on which something failed wait for a shell.
	KeepFailed  bool
	Accelerator string // auto, kvm, tcg
	Memory      int    // of a machine, in MiB; 0 = the default
	Plain       bool   // no words on the command line to make a kernel boot faster
	PlainGuest  bool     // a guest without what makes the upstream scripts faster
	Out         string // folder of all runs
	// Shard is which part of the run is to be done; Count 0 is all of it.
	Shard reports.Shard
	// Durations is the folder of an earlier run, or its results.json: what
	// took how long there is expected again. "" = what the runs in Out tell,
	// and, of a shard, the table that comes along: all jobs must know the same.
	Durations string
	// Expectations are the user's own lists of expected failures, files.
	Expectations []string
}

// Plan is all that a run needs, prepared: everything in it is on this
// machine, and nothing more is fetched or built. It can be written down for
// the processes that will run it.
type Plan struct {
	Config  Config              `json:"config"`
	Builds  []*kernels.Build    `json:"builds"`
	Given   []given             `json:"given"`          // beside Builds
	Root    *images.Root        `json:"root,omitempty"` // nil: no kernel needs one
	Image   string              `json:"image,omitempty"`
	Modules map[string]string   `json:"modules"` // Build.ID -> disk with its modules
	Scripts []regression.Script `json:"scripts"` // in the order to start them
	// Rows are the IDs of the isolation rows to run; nil: all.
	Rows []string `json:"rows,omitempty"`
	// Only has the specs that are left of these by Config.Rerun, by kernel ID;
	// nil: all.
	Only    map[string][]string `json:"only,omitempty"`
	Seconds map[string]float64  `json:"seconds"` // expected, by script
	// Pace is how much longer than Seconds it takes on a build, by Build.ID.
	Pace   map[string]float64 `json:"pace,omitempty"`
	Source string             `json:"source"` // version and note of the upstream suite
	// Whole is what all shards together are to run, where this run is one.
	Whole []reports.Planned `json:"-"`
	// Expectations are the user's own and those that come along, as they were
	// when the run began.
	Expectations expect.List       `json:"expectations,omitempty"`
	Init         string            `json:"init"`
	Tools        map[string]string `json:"tools"`
}

// given is what the user said of a build; it is not part of the build.
type given struct {
	Spec   string   `json:"spec"`
	Append []string `json:"append,omitempty"`
}

// guestTools are our programs that every guest has on its PATH.
var guestTools = []string{"nsmgr", "probe"}

// FromEnvironment is what the tests that boot kernels run on: the default, or
// the kernels that PROOFHOUSE_KERNELS names, with spaces between, and the guest
// suite of PROOFHOUSE_GUEST.
func FromEnvironment() Config {
	return Config{Kernels: SplitNames(os.Getenv("PROOFHOUSE_KERNELS")), Guest: os.Getenv("PROOFHOUSE_GUEST")}
}

// Prepare makes everything that cfg asks for. What is there already costs
// next to nothing. progress gets a line for whatever takes a while.
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
	p := &Plan{Config: cfg, Expectations: expectations, Modules: map[string]string{}, Tools: map[string]string{}}
	if !slices.Contains(images.Suites, cfg.Guest) {
		return nil, exit.BadInputf("guest %q: no such suite (there are %s)", cfg.Guest, strings.Join(images.Suites, ", "))
	}
	if err := p.rows(); err != nil {
		return nil, err
	}
	if err := p.builds(ctx, progress); err != nil {
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
	if !p.needsGuest() {
		return p, nil
	}
	if p.Root, err = images.Get(ctx, images.Request{Suite: cfg.Guest, Tests: src.Tests(cfg.Guest)}, progress); err != nil {
		return nil, err
	}
	p.Image = p.Root.Image
	return p, p.programs(ctx, progress)
}

// leastMemory is what the guest needs to come up, in MiB.
const leastMemory = 128

// check refuses what no machine would be opened with, whatever the kernel.
func (c Config) check() error {
	if !slices.Contains([]string{"", "auto", "kvm", "tcg"}, c.Accelerator) {
		return exit.BadInputf("accelerator %q: want auto, kvm or tcg", c.Accelerator)
	}
	if c.Memory != 0 && c.Memory < leastMemory {
		return exit.BadInputf("memory of %d MiB: a machine needs at least %d", c.Memory, leastMemory)
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
		if other, ok := seen[b.ID()]; ok {
			return exit.BadInputf("kernels %s and %s are the same build", other, spec)
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

// scripts chooses the scripts and puts the longest first: a run on several
// processes ends when the last one does.
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
				return exit.BadInputf("script %q: the upstream suite %s has none of that name", name, p.Source)
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

// kindName is the machine that runs a build, as reports call it.
func kindName(b *kernels.Build) string {
	if b.Kind == kernels.BzImage {
		return "qemu"
	}
	return string(b.Kind)
}

// pace is how much longer the suite takes on a kind of machine than on UML,
// on which the table of durations was measured. It serves the first estimate;
// later ones know the last run.
var pace = map[string]float64{"qemu/tcg": 2.5, "qemu/kvm": 0.3, "local": 0.2}

// machineKind is reports.Kernel.MachineKind for a machine that is not open yet.
func (p *Plan) machineKind(b *kernels.Build) string {
	kind := kindName(b)
	if kind != "qemu" {
		return kind
	}
	known := p.Config.Shard.Count == 0 // the hosts of other shards may differ
	if a := p.Config.Accelerator; a == "kvm" || a != "tcg" && known && machines.KVM() == "works" {
		return kind + "/kvm"
	}
	return kind + "/tcg"
}

// measured is how long each spec took the last time.
func (p *Plan) measured(kind string) (map[string]float64, error) {
	switch {
	case p.Config.Durations != "":
		run, err := reports.Open(p.Config.Durations)
		if err != nil {
			return nil, fmt.Errorf("read the durations: %w", err)
		}
		return reports.Durations(run, kind), nil
	case p.Config.Shard.Count > 0:
		return nil, nil
	}
	return reports.LastDurations(p.Config.Out, kind), nil
}

// Expected is how many seconds a spec should take on the kernel with that ID;
// name is that in Seconds. 0: unknown.
func (p *Plan) Expected(kernel, name string) float64 {
	return p.Seconds[name] * cmp.Or(p.Pace[kernel], 1)
}

func (p *Plan) needsGuest() bool {
	return slices.ContainsFunc(p.Builds, func(b *kernels.Build) bool { return b.Kind != kernels.Local })
}

func (p *Plan) programs(ctx context.Context, progress func(string)) (err error) {
	if p.Init, err = programs.Static(ctx, "guest-init"); err != nil {
		return err
	}
	for _, name := range guestTools {
		if p.Tools[name], err = programs.Static(ctx, name); err != nil {
			return err
		}
	}
	// For its container commands nsmgr has this one, which fits the guest's
	// libc and liblxc.
	lxc, err := programs.Guest(ctx, p.Root, "nsmgr")
	switch {
	case err == nil:
		p.Tools["nsmgr-lxc"] = lxc
	case ctx.Err() != nil:
		return err
	default: // all else works without
		progress(fmt.Sprintf("nsmgr has no container commands in guest %s: %v", p.Root.Suite, err))
	}
	return nil
}

// Options is how to open a machine for the build.
func (p *Plan) Options(b *kernels.Build) machines.Options {
	o := machines.Options{
		Kernel: b, Root: p.Image, Modules: p.Modules[b.ID()],
		Init: p.Init, Tools: maps.Clone(p.Tools), Prepare: regression.GuestPrepare(p.Config.PlainGuest),
		Accelerator: p.Config.Accelerator, Memory: p.Config.Memory, Plain: p.Config.Plain,
	}
	if b.Kind == kernels.UML {
		// Debian's package has another module first in its built-in order.
		o.Parameters = []string{"security=apparmor"}
	}
	return o
}

// PlanFile is a plan's name in the folder of its run.
const PlanFile = "plan.json"

// Save writes the plan into the run's folder and returns the file's name.
func (p *Plan) Save(dir string) (string, error) {
	b, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, PlanFile)
	return file, os.WriteFile(file, append(b, '\n'), 0o644)
}

// Load reads a plan that Save wrote.
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
		return nil, exit.BadInputf("the plan %s has no kernel", file)
	}
	for i, g := range p.Given {
		p.Builds[i].Spec, p.Builds[i].Append = g.Spec, g.Append
	}
	return p, nil
}

// SpecID is the stable name of the spec that runs an upstream script.
func SpecID(script string) string { return reports.NewID(reports.Regression, script).String() }

// Host says what this machine is, for the report.
func Host() map[string]string {
	h := map[string]string{"cpus": fmt.Sprint(runtime.NumCPU())}
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		h["kernel"] = strings.TrimSpace(string(b))
	}
	return h
}
