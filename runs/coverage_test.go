// SPDX-License-Identifier: Apache-2.0

package runs

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"proofhouse/internal/exit"
	"proofhouse/kernels"
	"proofhouse/machines"
	"proofhouse/regression"
	"proofhouse/reports"
	"proofhouse/reports/coverage"
)

const fileC = "int f(int a)\n{\n\treturn a;\n}\nint g(void)\n{\n\treturn 1;\n}\n"

// mapped writes a run with coverage below out: open reaches f, swap reaches g, and
// both reach nothing else. mount has no coverage; late was not whole.
func mapped(t *testing.T, out string) string {
	t.Helper()
	dir, err := NewRunDir(out, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	b := build()
	j, err := reports.Create(dir, 1)
	if err != nil {
		t.Fatal(err)
	}
	l := &Bench{Dir: dir}
	set := func(f, g uint64) coverage.Set {
		return coverage.Set{{
			Name:      "security/apparmor/file.c",
			Functions: []coverage.Function{{Name: "f", Start: 1, Count: f}, {Name: "g", Start: 5, Count: g}},
			Lines:     []coverage.Line{{Number: 1, Count: f}, {Number: 3, Count: f}, {Number: 5, Count: g}, {Number: 7, Count: g}},
		}}
	}
	c := &reports.Coverage{Tree: "/src/linux"}
	if c.Source, err = l.writeCoverage(b, sourceFile, coverage.Source{"security/apparmor/file.c": fileC}.Write); err != nil {
		t.Fatal(err)
	}
	begun := reports.RunStart{Tool: "v1"}
	tests := map[string]coverage.Set{"open": set(1, 0), "swap": set(0, 1), "exec": set(1, 0), "late": set(0, 1), "mount": nil}
	for name := range tests {
		begun.Planned = append(begun.Planned, reports.Planned{ID: SpecID(name), Kernel: b.ID()})
	}
	j.RunStarted(begun)
	j.Kernel(reports.Kernel{ID: b.ID(), Spec: "linux", Release: b.Release, Coverage: c})
	for name, set := range tests {
		s := reports.Spec{ID: SpecID(name), Kernel: b.ID()}
		j.SpecStarted(s)
		s.Results = []reports.Result{{ID: s.ID + "/a", Status: reports.Pass}}
		if name == "late" {
			s.Results = append(s.Results, reports.Result{ID: s.ID + "/b", Status: reports.Error})
		}
		if set == nil {
			s.NoCoverage = "the machine is lost"
		} else if s.Coverage, err = l.writeTracefile(b, s.ID, set); err != nil {
			t.Fatal(err)
		}
		j.SpecEnded(s)
	}
	j.RunEnded()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := reports.Write(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

func build() *kernels.Build {
	return &kernels.Build{Kind: kernels.UML, Spec: "linux", Release: "7.3.4", SHA256: "0123456789abcdef"}
}

func planFor(out string, names ...string) *Plan {
	p := &Plan{Config: Config{Out: out, Scripts: names}, Builds: []*kernels.Build{build()}, Rows: []string{}, Seconds: map[string]float64{}}
	for i, name := range names {
		p.Scripts = append(p.Scripts, regression.Script{Name: name})
		p.Seconds[name] = float64(10 * (i + 1))
	}
	return p
}

const patchOfF = "--- a/security/apparmor/file.c\n+++ b/security/apparmor/file.c\n@@ -1,4 +1,4 @@\n int f(int a)\n {\n-	return a;\n+	return a + 1;\n }\n"

func write(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "fix.patch")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// What reaches the changed lines, and what is not known, is run; the rest is named.
func TestSelectFor(t *testing.T) {
	out := t.TempDir()
	dir := mapped(t, out)
	for _, given := range []string{"", dir, filepath.Join(dir, reports.ResultsFile)} {
		p := planFor(out, "exec", "swap", "late", "mount", "new", "open")
		p.Config.SelectFor, p.Config.Map = write(t, patchOfF), given
		if err := p.selectFor(t.Context()); err != nil {
			t.Fatal(err)
		}
		s := p.Selection
		if want := []string{"regression/exec", "regression/open", "regression/late", "regression/mount", "regression/new"}; !slices.Equal(p.First, want) || s.Selected != 5 {
			t.Errorf("first %q, want %q", p.First, want)
		}
		if !slices.Equal(s.LeftOut, []string{"regression/swap"}) || !slices.Equal(s.Unknown, []string{"regression/late", "regression/mount", "regression/new"}) || s.For != "fix.patch" || s.Map != dir {
			t.Errorf("%+v", s)
		}
		if p.Has(build().ID(), "regression/swap") || !p.Has(build().ID(), "regression/open") {
			t.Error("the wrong specs would run")
		}
	}
	p := planFor(out, "exec", "swap")
	p.Config.SelectFor, p.Config.SelectRest = write(t, patchOfF), true
	if err := p.selectFor(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !p.Has(build().ID(), "regression/swap") || !p.Selection.Rest || !slices.Equal(p.First, []string{"regression/exec"}) {
		t.Errorf("with the rest: %+v, first %q", p.Selection, p.First)
	}
}

func TestSelectForRefused(t *testing.T) {
	out := t.TempDir()
	if err := func() error {
		p := planFor(out, "open")
		p.Config.SelectFor = write(t, patchOfF)
		return p.selectFor(t.Context())
	}(); exit.Status(err) != exit.Usage || !strings.Contains(err.Error(), "there is none in") {
		t.Errorf("without a map: %v", err)
	}
	dir := mapped(t, out)
	for name, c := range map[string]struct {
		config Config
		want   string
	}{
		"no patch":          {Config{SelectFor: filepath.Join(dir, "none.patch")}, "no such file"},
		"not a patch":       {Config{SelectFor: write(t, "hello\n")}, "not a patch"},
		"of other code":     {Config{SelectFor: write(t, strings.ReplaceAll(patchOfF, "int f", "int h"))}, "does not have the lines of the hunk"},
		"not AppArmor's":    {Config{SelectFor: write(t, strings.ReplaceAll(patchOfF, "security/apparmor", "security/selinux"))}, "no test of the map"},
		"a map only":        {Config{Map: dir}, "are for --select-for"},
		"the rest only":     {Config{SelectRest: true}, "are for --select-for"},
		"a map that is not": {Config{SelectFor: write(t, patchOfF), Map: out}, "read the run of --map"},
	} {
		p := planFor(out, "open")
		c.config.Out = out
		p.Config = c.config
		if err := p.selectFor(t.Context()); exit.Status(err) != exit.Usage || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// A range of commits is read from the tree, whatever its configuration says.
func TestGitRange(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git not found on this host")
	}
	tree := t.TempDir()
	git := func(args ...string) {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-C", tree, "-c", "user.name=x", "-c", "user.email=x@example.com"}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v: %s", args, err, out)
		}
	}
	file := filepath.Join(tree, "security/apparmor/file.c")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	git("init", "-q")
	for _, text := range []string{fileC, strings.Replace(fileC, "return a;", "return a + 1;", 1)} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		git("add", "-A")
		git("commit", "-q", "-m", "x")
	}
	ran := filepath.Join(t.TempDir(), "ran")
	program := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(program, []byte("#!/bin/sh\ntouch "+ran+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"diff.external", "core.fsmonitor", "diff.c.textconv", "core.pager"} {
		git("config", key, program)
	}
	git("config", "diff.noprefix", "true")
	if err := os.WriteFile(filepath.Join(tree, ".gitattributes"), []byte("*.c diff=c\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	p, err := readPatch(t.Context(), "HEAD~1..HEAD", tree)
	if err != nil || len(p.Hunks) != 1 || p.Hunks[0].File != "security/apparmor/file.c" {
		t.Fatalf("%+v, %v", p, err)
	}
	if _, err := os.Stat(ran); !errors.Is(err, os.ErrNotExist) {
		t.Error("a program of the repository's configuration was run")
	}
	// A blob that is missing is not fetched: the remote of a partial clone is a program.
	for key, value := range map[string]string{
		"core.repositoryformatversion": "1", "extensions.partialclone": "origin", "remote.origin.promisor": "true",
		"remote.origin.url": "ext::" + program, "protocol.ext.allow": "always",
	} {
		git("config", key, value)
	}
	blob, err := exec.Command("git", "-C", tree, "rev-parse", "HEAD~1:security/apparmor/file.c").Output()
	if err != nil {
		t.Fatal(err)
	}
	id := strings.TrimSpace(string(blob))
	if err := os.Remove(filepath.Join(tree, ".git/objects", id[:2], id[2:])); err != nil {
		t.Fatal(err)
	}
	if p, err := readPatch(t.Context(), "HEAD~1..HEAD", tree); exit.Status(err) != exit.Usage {
		t.Errorf("a partial clone: %+v, %v", p, err)
	}
	if _, err := os.Stat(ran); !errors.Is(err, os.ErrNotExist) {
		t.Error("the remote of a partial clone was run")
	}
	for _, name := range []string{"HEAD..none", "--output=/tmp/x..y", "a b..c"} {
		if _, err := readPatch(t.Context(), name, tree); exit.Status(err) != exit.Usage {
			t.Errorf("%q: %v", name, err)
		}
	}
	if _, err := readPatch(t.Context(), "HEAD~1..HEAD", ""); exit.Status(err) != exit.Usage {
		t.Errorf("without a tree: %v", err)
	}
}

func TestCoverageRefused(t *testing.T) {
	tree := t.TempDir()
	if err := os.MkdirAll(filepath.Join(tree, coverage.Dir), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		config Config
		builds int
		want   string
	}{
		"no tree":        {Config{Coverage: true}, 1, "needs its build tree"},
		"no notes":       {Config{CoverageTree: tree}, 1, "CONFIG_GCOV_KERNEL"},
		"patch, no tree": {Config{Patch: "x.patch"}, 1, "needs its build tree"},
		"two kernels":    {Config{CoverageTree: tree}, 2, "for one kernel"},
	} {
		p := &Plan{Config: c.config}
		for range c.builds {
			p.Builds = append(p.Builds, build())
		}
		if err := p.coverage(t.Context()); exit.Status(err) != exit.Usage || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	p := &Plan{Builds: []*kernels.Build{build()}}
	if err := p.coverage(t.Context()); err != nil || p.Measured != nil {
		t.Errorf("without --coverage: %v", err)
	}
}

// The tracefile of a test has a name that cannot lead out of its directory.
func TestWriteTracefile(t *testing.T) {
	l := &Bench{Dir: t.TempDir()}
	b := build()
	for range 2 { // a run that is repeated
		name, err := l.writeTracefile(b, "isolation/../../x", coverage.Set{{Name: "security/apparmor/a.c", Lines: []coverage.Line{{Number: 1, Count: 2}}}})
		if err != nil || filepath.Dir(name) != filepath.Join(b.ID(), coverageDir) {
			t.Fatalf("%q, %v", name, err)
		}
		f, err := os.Open(filepath.Join(l.Dir, name))
		if err != nil {
			t.Fatal(err)
		}
		z, err := gzip.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		if set, err := coverage.ReadLCOV(z); err != nil || set.Totals().ReachedLines != 1 {
			t.Errorf("%v, %v", set, err)
		}
		_ = f.Close()
	}
}

// counting is a machine that answers every command with the same bytes.
type counting struct {
	machines.Machine
	printed []byte
	status  int
	err     error
}

func (c counting) Info() machines.Info { return machines.Info{Slowness: 1} }

func (c counting) Run(_ context.Context, cmd machines.Command) (machines.Result, error) {
	if cmd.Stdout != nil {
		_, _ = cmd.Stdout.Write(c.printed)
	}
	return machines.Result{Status: c.status}, c.err
}

// A guest that sends what are no counters loses the coverage of the test, which is
// said, and nothing else; the next test gets another machine.
func TestCountTest(t *testing.T) {
	for _, p := range []string{"gcc", "gcov"} {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("%s not found on this host", p)
		}
	}
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, coverage.Dir), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, coverage.Dir, "file.c"), []byte("int main(void)\n{\n\treturn 0;\n}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"gcc", "--coverage", "-c", "-o", coverage.Dir + "/file.o", coverage.Dir + "/file.c"}, {"gcc", "--coverage", "-o", "program", coverage.Dir + "/file.o"}, {"./program"}} {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", args, err, out)
		}
	}
	good, err := exec.Command("tar", "-C", filepath.Join(dir, coverage.Dir), "-cf", "-", "./file.gcda").Output()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		machine counting
		want    string // "" = counts
	}{
		"counters":      {counting{printed: good}, ""},
		"not counting":  {counting{printed: good}, "could not be read before the test"},
		"none":          {counting{}, "no counters of file.o"},
		"no gcov":       {counting{status: 4}, "exit status 4"},
		"lost":          {counting{err: machines.ErrLost}, "the machine is lost"},
		"too much":      {counting{printed: append(slices.Clone(good), make([]byte, maxCounters)...)}, "more than 8 MiB"},
		"a lot of junk": {counting{printed: bytes.Repeat([]byte("x"), 3*maxCounters)}, "more than 8 MiB"},
	} {
		b := build()
		l := &Bench{Plan: &Plan{Measured: map[string]*measuredBuild{b.ID(): {Tree: dir}}}, Dir: t.TempDir(), say: func(string) {}}
		m := &bench{Machine: c.machine, build: b, counts: name != "not counting", log: slog.New(slog.DiscardHandler)}
		spec := reports.Spec{ID: "regression/open"}
		before := coverage.Set{{Name: "security/apparmor/file.c", Lines: []coverage.Line{{Number: 3, Count: 4}}}}
		l.countTest(t.Context(), m, &spec, before)
		l.closeTrees()
		if c.want != "" {
			if spec.Coverage != "" || !strings.Contains(spec.NoCoverage, c.want) || m.counts {
				t.Errorf("%s: %+v, counts %v", name, spec, m.counts)
			}
			continue
		}
		if spec.Coverage == "" || spec.NoCoverage != "" || !m.counts {
			t.Fatalf("%s: %+v", name, spec)
		}
		f, err := os.Open(filepath.Join(l.Dir, spec.Coverage))
		if err != nil {
			t.Fatal(err)
		}
		z, err := gzip.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		set, err := coverage.ReadLCOV(z)
		if err != nil {
			t.Fatal(err)
		}
		if n, _ := set.File("security/apparmor/file.c").Count(3); n != 5 {
			t.Errorf("line 3 ran %d times, want 5 with what was counted before", n)
		}
		_ = f.Close()
	}
}

// A stored run tells what reached the lines of a patch, too.
func TestPatchReach(t *testing.T) {
	dir := mapped(t, t.TempDir())
	run, err := reports.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	covered, err := reports.OpenCoverage(dir, &run.Kernels[0])
	if err != nil {
		t.Fatal(err)
	}
	there := strings.NewReplacer("return a;", "return 0;", "return a + 1;", "return a;").Replace(patchOfF)
	r, err := PatchReach(covered, write(t, there))
	if err != nil || len(r.Lines) != 1 || r.Lines[0].State != coverage.ByTest || !slices.Equal(r.Lines[0].By, []string{"regression/exec", "regression/open"}) {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := PatchReach(covered, write(t, patchOfF)); exit.Status(err) != exit.Usage || !strings.Contains(err.Error(), "not applied to the tree") {
		t.Errorf("a patch that is not applied: %v", err)
	}
}

// A test of a part of the run without coverage is named: what it reached is unknown,
// not nothing.
func TestCoverageOfAPart(t *testing.T) {
	dir := mapped(t, t.TempDir())
	run, err := reports.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	missing := func() (ids []string) {
		reports.Measure(dir)(run)
		for _, m := range run.Kernels[0].Coverage.Missing {
			ids = append(ids, m.ID)
		}
		slices.Sort(ids)
		return ids
	}
	if got := missing(); !slices.Equal(got, []string{SpecID("mount")}) {
		t.Errorf("measured: missing %q", got)
	}
	for i := range run.Kernels[0].Specs {
		if s := &run.Kernels[0].Specs[i]; s.ID == SpecID("swap") {
			s.Coverage, s.Seconds = "", 1
		}
	}
	if got := missing(); !slices.Equal(got, []string{SpecID("mount"), SpecID("swap")}) {
		t.Errorf("swap not measured: missing %q", got)
	}
}
