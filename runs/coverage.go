// SPDX-License-Identifier: Apache-2.0

package runs

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"proofhouse/gcov"
	"proofhouse/internal/child"
	"proofhouse/internal/exit"
	"proofhouse/internal/host"
	"proofhouse/internal/printable"
	"proofhouse/isolation"
	"proofhouse/kernels"
	"proofhouse/machines"
	"proofhouse/reports"
	"proofhouse/reports/coverage"
)

// measuredBuild is what a plan knows of the coverage of one build.
type measuredBuild struct {
	Tree  string               `json:"tree"` // the build tree
	Patch *coverage.PatchReach `json:"patch,omitempty"`
}

// coverage opens the build tree of each kernel, and finds the lines of the patch in
// it.
func (p *Plan) coverage(ctx context.Context) error {
	c := &p.Config
	if c.Patch != "" || c.CoverageTree != "" {
		c.Coverage = true
	}
	if !c.Coverage {
		return nil
	}
	if c.CoverageTree != "" && len(p.Builds) > 1 {
		return exit.BadInputf("--coverage-tree is for one kernel: give the build trees as kernels")
	}
	p.Measured = map[string]*measuredBuild{}
	for _, b := range p.Builds {
		dir := c.CoverageTree
		if dir == "" {
			dir = buildTree(b)
		}
		if dir == "" {
			return exit.BadInputf("kernel %s: coverage needs its build tree: give the tree as the kernel, or --coverage-tree", b.Spec)
		}
		tree, err := gcov.Open(ctx, dir)
		if err != nil {
			return err
		}
		defer tree.Close()
		source, err := tree.Source()
		if err != nil {
			return err
		}
		m := &measuredBuild{Tree: tree.Dir}
		if c.Patch != "" {
			if m.Patch, err = patchLines(ctx, c.Patch, tree.Dir, source); err != nil {
				return err
			}
		}
		p.Measured[b.ID()] = m
	}
	return nil
}

// buildTree returns the tree that a build was made in, or "".
func buildTree(b *kernels.Build) string {
	dirs := []string{b.Source}
	if path, _, _ := strings.Cut(b.Spec, ","); path != "" {
		dirs = append(dirs, path, filepath.Dir(path))
	}
	for _, dir := range dirs {
		if fi, err := os.Stat(filepath.Join(dir, coverage.Dir)); dir != "" && err == nil && fi.IsDir() {
			return dir
		}
	}
	return ""
}

// patchLines reads a patch, and finds its lines in the source of a tree.
func patchLines(ctx context.Context, name, tree string, source coverage.Source) (*coverage.PatchReach, error) {
	p, err := readPatch(ctx, name, tree)
	if err != nil {
		return nil, err
	}
	changed, removed, err := p.Applied(source)
	if err != nil {
		return nil, fmt.Errorf("patch %s: %w", name, err)
	}
	reach := &coverage.PatchReach{Name: patchName(name), Removed: removed, Elsewhere: p.Elsewhere}
	for _, c := range changed {
		reach.Lines = append(reach.Lines, coverage.Reach{Changed: c})
	}
	return reach, nil
}

// PatchReach says what reached the lines of a patch, a file, in a run that was
// measured.
func PatchReach(covered *reports.Covered, name string) (*coverage.PatchReach, error) {
	reach, err := patchLines(context.Background(), name, "", covered.Source)
	if err != nil {
		return nil, err
	}
	c := coverage.NewCollector(covered.Source, reach)
	if err := covered.Background(c); err != nil {
		return nil, err
	}
	if err := covered.Each(c.Test); err != nil {
		return nil, err
	}
	c.End()
	return reach, nil
}

// patchName is how reports call a patch.
func patchName(name string) string { return printable.Line(filepath.Base(name)) }

// readPatch reads a patch: a file, or the changes of a range of commits in the git
// repository of a tree, "v7.3..HEAD".
func readPatch(ctx context.Context, name, tree string) (*coverage.Patch, error) {
	text, err := host.ReadFile(name, coverage.MaxPatch)
	if errors.Is(err, os.ErrNotExist) && strings.Contains(name, "..") {
		if tree == "" {
			return nil, exit.BadInputf("patch %s: a range of commits needs the kernel's tree", name)
		}
		text, err = gitDiff(ctx, name, tree)
	}
	if err != nil {
		return nil, exit.BadInputf("patch %s: %w", name, err)
	}
	p, err := coverage.ParsePatch(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("patch %s: %w", name, err)
	}
	return p, nil
}

// gitDiff returns the changes of a range of commits in AppArmor and elsewhere. No
// program that the repository names is run.
func gitDiff(ctx context.Context, commits, tree string) ([]byte, error) {
	if strings.HasPrefix(commits, "-") || strings.ContainsAny(commits, " \t\n\x00") {
		return nil, exit.BadInputf("not a range of commits")
	}
	git, err := host.Find("git")
	if err != nil {
		return nil, err
	}
	cmd := child.Command(ctx, git, "-C", tree, "-c", "core.fsmonitor=false", "diff", "--no-ext-diff", "--no-textconv", "--no-color",
		"--no-renames", "--submodule=short", "--ignore-submodules=all", "--unified=3", "--src-prefix=a/", "--dst-prefix=b/", "--end-of-options", commits, "--")
	// A partial clone would fetch what it lacks, with its own ssh command or helper.
	cmd.Env = append(host.Env(), "GIT_OPTIONAL_LOCKS=0", "GIT_TERMINAL_PROMPT=0", "GIT_NO_LAZY_FETCH=1", "GIT_ALLOW_PROTOCOL=none")
	out, said := newOutput(nil), newOutput(nil)
	out.limit, said.limit = 2*coverage.MaxPatch, 64<<10
	cmd.Stdout, cmd.Stderr = out, said
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("git diff in %s: %w", tree, host.With(said.String(), err))
	}
	if out.seen > coverage.MaxPatch {
		return nil, fmt.Errorf("larger than %d MiB", coverage.MaxPatch>>20)
	}
	return out.bytes(), nil
}

// The part of a process.

const coverageDir = "coverage"

// sourceFile is the name of the file with the source, in coverageDir.
const sourceFile = "source.json.gz"

// keepSource copies the source of the measured kernels to the run's directory. One
// process calls it.
func (l *Bench) keepSource(b *kernels.Build) *reports.Coverage {
	m := l.Plan.Measured[b.ID()]
	if m == nil {
		return nil
	}
	c := &reports.Coverage{Tree: m.Tree, Patch: m.Patch}
	tree, err := l.tree(context.Background(), b)
	if err != nil {
		l.say(fmt.Sprintf("coverage of %s: %v", b.Spec, err))
		return c
	}
	source, err := tree.Source()
	if err == nil {
		c.Source, err = l.writeCoverage(b, sourceFile, source.Write)
	}
	if err != nil {
		l.say(fmt.Sprintf("coverage of %s: keep its source: %v", b.Spec, err))
	}
	return c
}

// writeCoverage creates a file in the coverage directory of a kernel, and returns
// its name below the run's directory.
func (l *Bench) writeCoverage(b *kernels.Build, name string, write func(io.Writer) error) (string, error) {
	dir := filepath.Join(l.Dir, b.ID(), coverageDir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	f, _, err := reports.CreateNumbered(filepath.Join(dir, name))
	if err != nil {
		return "", err
	}
	if err := errors.Join(write(f), f.Close()); err != nil {
		_ = os.Remove(f.Name())
		return "", err
	}
	return l.relative(f.Name()), nil
}

// writeTracefile keeps a set as a gzipped tracefile.
func (l *Bench) writeTracefile(b *kernels.Build, test string, set coverage.Set) (string, error) {
	name := strings.ReplaceAll(test, "/", "-") + ".info.gz"
	return l.writeCoverage(b, name, func(w io.Writer) error {
		z := gzip.NewWriter(w)
		return errors.Join(coverage.WriteLCOV(z, set, test), z.Close())
	})
}

func (l *Bench) tree(ctx context.Context, b *kernels.Build) (*gcov.Tree, error) {
	if t := l.trees[b.ID()]; t != nil {
		return t, nil
	}
	t, err := gcov.Open(ctx, l.Plan.Measured[b.ID()].Tree)
	if err != nil {
		return nil, err
	}
	if l.trees == nil {
		l.trees = map[string]*gcov.Tree{}
	}
	l.trees[b.ID()] = t
	return t, nil
}

// maxCounters bounds the counters of a guest, in bytes: AppArmor's have 300 KB.
const maxCounters = 8 << 20

// count reads and resets the counters of the machine.
func (l *Bench) count(ctx context.Context, m *bench) (coverage.Set, error) {
	tree, err := l.tree(ctx, m.build)
	if err != nil {
		return nil, err
	}
	out, errOut := newOutput(nil), newOutput(nil)
	out.limit = 2 * maxCounters
	errOut.limit = 64 << 10
	res, err := m.Run(ctx, machines.Command{Args: gcov.Collect(), Stdout: out, Stderr: errOut, Deadline: scaled(m, timeout)})
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the counters: %w", err)
	case res.Deadline || res.Signal != "" || res.Status != 0:
		return nil, fmt.Errorf("read the counters: %v: %s", res, lastLines(errOut.String(), 3))
	case out.cut() > 0 || out.seen > maxCounters:
		return nil, fmt.Errorf("read the counters: more than %d MiB", maxCounters>>20)
	}
	return tree.Count(ctx, out.bytes())
}

// beginCounting reads what the machine counted while it booted, and what the harness
// counts without a test. A kernel that does not count is bad input.
func (l *Bench) beginCounting(ctx context.Context, m *bench) error {
	if l.Plan.Measured[m.build.ID()] == nil {
		return nil
	}
	var c reports.Coverage
	for _, kind := range []string{reports.Boot, reports.Harness} {
		if kind == reports.Harness {
			_, _ = machines.Output(ctx, m, scaled(m, timeout), "true")
			_ = m.SyncAudit(ctx)
			_ = m.Sane(ctx)
		}
		set, err := l.count(ctx, m)
		if errors.Is(err, machines.ErrLost) {
			return err
		}
		if err != nil {
			return exit.BadInputf("coverage of kernel %s: %w", m.build.Spec, err)
		}
		file, err := l.writeTracefile(m.build, kind, set)
		if err != nil {
			return fmt.Errorf("keep the coverage: %w", err)
		}
		c.Background = append(c.Background, reports.Background{Kind: kind, File: file})
	}
	c.Tree = l.Plan.Measured[m.build.ID()].Tree
	l.journal.Kernel(reports.Kernel{ID: m.build.ID(), Coverage: &c})
	m.counts = true
	return nil
}

// countTest keeps what the kernel counted since the last time as the coverage of a
// test, with what was counted for it before.
func (l *Bench) countTest(ctx context.Context, m *bench, spec *reports.Spec, before coverage.Set) {
	if l.Plan.Measured[m.build.ID()] == nil {
		return
	}
	err := errNotCounting
	var set coverage.Set
	if m.counts {
		set, err = l.count(ctx, m)
	}
	if err == nil {
		set.Add(before)
		spec.Coverage, err = l.writeTracefile(m.build, spec.ID, set)
	}
	if err != nil {
		spec.NoCoverage = err.Error()
		l.say(fmt.Sprintf("%s: coverage: %v", spec.ID, err))
		m.counts = false // the next test's counts would have this one's in them
	}
}

// errNotCounting is the error of a test whose counts are mixed with others'.
var errNotCounting = errors.New("the counters could not be read before the test")

// countContainer keeps what the start of a container counted: it is part of every
// row that needs the container.
func (l *Bench) countContainer(ctx context.Context, m *bench, name string) {
	if !m.counts {
		return
	}
	set, err := l.count(ctx, m)
	if err != nil {
		l.say(fmt.Sprintf("container %s: coverage: %v", name, err))
		m.counts = false
		return
	}
	if m.containerCounts == nil {
		m.containerCounts = map[string]coverage.Set{}
	}
	if name == isolation.Unprivileged { // a copy of the other one
		set.Add(m.containerCounts[isolation.Container])
	}
	m.containerCounts[name] = set
}

// closeTrees removes the copies of the notes.
func (l *Bench) closeTrees() {
	for _, t := range l.trees {
		t.Close()
	}
}
