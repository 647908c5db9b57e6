// SPDX-License-Identifier: Apache-2.0

package bisect

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"proofhouse/internal/cache"
	"proofhouse/internal/exit"
	"proofhouse/internal/version"
	"proofhouse/kernels"
	"proofhouse/regression"
	"proofhouse/reports"
	"proofhouse/reports/expect"
	"proofhouse/runs"
	"proofhouse/runs/runner"
)

// Tester runs the suite on builds. Each test is a run of its own.
type Tester struct {
	Config  runs.Config // without kernels
	Pattern string
	Repeat  int // number of additional runs on each build
	Procs   int // 0: as many as the host has room for
	Watch   runner.Watcher

	scripts []string // of the upstream suite
}

// room is the name of the cache room of evidence.
const room = "bisect"

// evidenceFile is the name of the evidence in its cache entry.
const evidenceFile = "evidence.json"

// Test is a [Session.Test]. It caches the evidence, so that the same build is not
// tested again.
func (t *Tester) Test(ctx context.Context, build kernels.Candidate, specs []string) (*Evidence, error) {
	cfg, filter, err := t.selection(ctx, specs)
	if err != nil {
		return nil, err
	}
	cfg.Kernels = []string{build.Spec}
	b, err := kernels.Resolve(ctx, build.Spec, t.Watch.Step)
	if err == nil {
		err = b.Check()
	}
	if err != nil {
		return nil, untestable(ctx, err)
	}
	plan, err := runs.Prepare(ctx, cfg, t.Watch.Step)
	if err != nil {
		return nil, err
	}
	var e *Evidence
	dir, err := cache.Entry(ctx, room, t.key(plan, filter), func(ctx context.Context, dir string) error {
		if e, err = t.run(ctx, cfg, filter, len(specs)); err != nil {
			return err
		}
		if e.open() {
			return errOpen
		}
		text, err := json.Marshal(e)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, evidenceFile), append(text, '\n'), 0o644)
	})
	switch {
	case errors.Is(err, errOpen) || err == nil && e != nil:
		return e, nil
	case err != nil:
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(dir, evidenceFile))
	if err != nil {
		return nil, err
	}
	e = new(Evidence)
	if err := json.Unmarshal(text, e); err != nil {
		return nil, fmt.Errorf("read the evidence of %s: %w", build.Name(), err)
	}
	return e, nil
}

// errOpen is the error of evidence that is not cached: another try may give a
// result.
var errOpen = errors.New("no clear result")

// open reports whether the run has doubts, or an ERROR that was not a crash of
// the kernel.
func (e *Evidence) open() bool {
	return e.Doubt != "" || slices.ContainsFunc(e.Subtests, func(s Subtest) bool { return slices.Contains(s.Attempts, reports.Error) })
}

func untestable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return &Untestable{err}
}

// image returns the path of the guest's root; "" if the kernel has no guest.
func image(plan *runs.Plan) string {
	if g := plan.Guest(plan.Builds[0]); g != nil {
		return g.Image
	}
	return ""
}

// key returns the cache key: everything that the evidence depends on.
func (t *Tester) key(plan *runs.Plan, filter string) string {
	b, c := plan.Builds[0], plan.Config
	words := []string{
		b.ID(), b.SHA256, b.Version, plan.Source, c.Guest, image(plan), strings.Join(c.Scripts, ","), filter,
		strconv.Itoa(t.Repeat), c.Accelerator, strconv.Itoa(c.Memory), strconv.FormatBool(c.Plain), strconv.FormatBool(c.PlainGuest),
		version.String(), // another version may judge differently
	}
	sum := sha256.Sum256([]byte(strings.Join(words, "\x00")))
	return b.ID() + "-" + hex.EncodeToString(sum[:8])
}

// run runs the selection; specs is the number of its specs, 0 if unknown.
func (t *Tester) run(ctx context.Context, cfg runs.Config, filter string, specs int) (*Evidence, error) {
	o := runner.Options{Config: cfg, LabelFilter: filter, Repeat: t.Repeat, Procs: t.Procs}
	if o.Procs == 0 && specs > 0 {
		o.Procs = min(specs, runtime.NumCPU())
	}
	run, files, err := runner.Run(ctx, o, t.Watch)
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case run == nil && err != nil:
		return nil, untestable(ctx, err)
	case err != nil:
		return nil, err
	case len(run.Kernels) != 1 || len(files) == 0:
		return nil, fmt.Errorf("the run has %d kernels, not 1", len(run.Kernels))
	}
	e := gather(&run.Kernels[0], filepath.Dir(files[0]))
	e.Doubt = doubtOf(run)
	return e, nil
}

// selection returns what to run for the specs, or without specs, for the
// pattern.
func (t *Tester) selection(ctx context.Context, specs []string) (cfg runs.Config, filter string, err error) {
	cfg = t.Config
	if t.scripts == nil {
		src, err := regression.Fetch(ctx, cmp.Or(cfg.Source, runs.DefaultSource), t.Watch.Step)
		if err != nil {
			return cfg, "", err
		}
		all, err := src.Scripts()
		if err != nil {
			return cfg, "", err
		}
		for _, s := range all {
			t.scripts = append(t.scripts, s.Name)
		}
	}
	if len(specs) == 0 {
		cfg.Scripts, filter, err = forPattern(t.Pattern, t.scripts)
		return cfg, filter, err
	}
	cfg.Scripts, filter = forSpecs(specs)
	return cfg, filter, nil
}

// forPattern returns the scripts, or the label filter, that cover a pattern.
func forPattern(pattern string, scripts []string) (chosen []string, filter string, err error) {
	if pattern == "" {
		return nil, "", nil
	}
	if !strings.Contains(pattern, "/") {
		pattern = reports.NewID(reports.Regression, pattern).String()
	}
	id := reports.ID(pattern)
	switch id.Root() {
	case reports.Regression:
	case reports.Isolation:
		return nil, string(reports.Isolation), nil
	default:
		return nil, "", nil // all, to be safe
	}
	script, _, _ := strings.Cut(id.Rest(), "/")
	for _, s := range scripts {
		if expect.Match(script, s) {
			chosen = append(chosen, s)
		}
	}
	if len(chosen) == 0 && !strings.Contains(script, "*") {
		return nil, "", exit.BadInputf("test %q: the upstream suite has no script %q", pattern, script)
	}
	return chosen, "", nil // none: a * may match more than the name of a script
}

// forSpecs returns the scripts, or the label filter, that cover specs.
func forSpecs(specs []string) (scripts []string, filter string) {
	var labels []string
	only := true
	for _, id := range specs {
		id := reports.ID(id)
		label := ""
		switch id.Root() {
		case reports.Regression:
			scripts = append(scripts, id.Rest())
			label = "script:" + id.Rest()
		case reports.Isolation:
			label, only = string(reports.Isolation), false
		case reports.KnownDefects:
			label, only = "defect:"+id.Rest(), false
		default:
			return nil, "" // all, to be safe: it may come after any test
		}
		if !slices.Contains(labels, label) {
			labels = append(labels, label)
		}
	}
	if only {
		return scripts, ""
	}
	return nil, strings.Join(labels, " || ")
}
