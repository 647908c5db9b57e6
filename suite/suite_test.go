// Package suite says what must hold on a kernel build. Its specs run on the
// host and reach the kernel only through a machine, so that one that dies
// takes nothing along.
//
//	ginkgo ./suite                             # the default kernel
//	ginkgo -p ./suite -- -kernel debian:trixie
package suite

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	"github.com/onsi/ginkgo/v2/types"
	. "github.com/onsi/gomega"
	"github.com/spf13/pflag"

	"proofhouse/internal/child"
	"proofhouse/internal/exit"
	"proofhouse/isolation"
	"proofhouse/reports"
	"proofhouse/reports/page"
	"proofhouse/runs"
)

func init() {
	// A ginkgo that is killed takes its processes along, and these their
	// machines.
	if err := child.DieWithParent(); err != nil {
		panic(err)
	}
}

var (
	config   = flags(flag.CommandLine)
	planFile = flag.String("plan", "", "`file` with the prepared plan of the run; overrides all other flags")
	runDir   = flag.String("run", "", "`directory` of this run (default: a new one under -out)")
	shell    = flag.String("shell", "", "unix `socket` on which somebody waits for a shell on a machine on which something failed")
	listFile = flag.String("list", "", "write the specs that would run to this `file`, as JSON, and run nothing")

	plan  *runs.Plan
	bench *runs.Bench // of this process
)

// flags defines the flags of a run, which proofhouse has as pflag's, for the
// flag package.
func flags(to *flag.FlagSet) *runs.Config {
	c := &runs.Config{}
	fs := pflag.NewFlagSet("suite", pflag.ContinueOnError)
	runs.Flags(fs, c)
	fs.StringVar(&c.Out, "out", runs.DefaultOut(), "`directory` of all runs")
	fs.VisitAll(func(f *pflag.Flag) { to.Var(f.Value, f.Name, f.Usage) })
	return c
}

// asked says whether somebody wants the suite itself, and not just all tests
// of the module: it boots kernels, for many minutes.
func asked() bool {
	yes := false
	flag.Visit(func(f *flag.Flag) { yes = yes || !strings.HasPrefix(f.Name, "test.") })
	return yes
}

func TestSuite(t *testing.T) {
	if !asked() {
		t.Skip("it boots kernels: ginkgo ./suite")
	}
	suiteConfig, reporterConfig := GinkgoConfiguration()
	first := suiteConfig.ParallelProcess == 1
	say := func(line string) {
		if first {
			fmt.Fprintln(os.Stderr, line)
		}
	}
	var err error
	if plan, err = prepare(say); err != nil {
		refuse(err)
	}
	// A spec ends at the deadlines of what it runs; the suite as a whole has
	// none of its own unless somebody asks for it.
	if suiteConfig.Timeout == time.Hour {
		suiteConfig.Timeout = 24 * time.Hour
	}
	// Ginkgo would start specs in the order of their names. Every spec here
	// stands alone, and has a priority: the longest is first.
	suiteConfig.RandomizeAllSpecs = true
	RegisterFailHandler(Fail)
	preview := func() []reports.Planned {
		return planOf(PreviewSpecs("AppArmor on a kernel build", suiteConfig, reporterConfig))
	}
	if plan.Config.Shard.Count > 0 {
		if err := takeShard(preview); err != nil {
			refuse(err)
		}
	}
	if first && !suiteConfig.DryRun {
		if planned = preview(); len(planned) == 0 {
			refuse(exit.BadInputf("no spec matches the label filter and focus that were given"))
		}
	}
	if *listFile != "" {
		if err := list(*listFile, planned); err != nil {
			refuse(err)
		}
		return
	}
	watchInterrupts()
	RunSpecs(t, "AppArmor on a kernel build", suiteConfig, reporterConfig)
}

// list writes the specs in the order in which they would start.
func list(file string, specs []reports.Planned) error {
	b, err := json.Marshal(append([]reports.Planned{}, specs...))
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(b, '\n'), 0o644)
}

func prepare(say func(string)) (*runs.Plan, error) {
	if *planFile != "" {
		return runs.Load(*planFile)
	}
	return runs.Prepare(context.Background(), *config, say)
}

// mine are the specs of this shard; nil for a run that is the whole.
var mine map[runs.SpecKey]bool

// ours says whether a spec is this run's. Whoever defines specs asks.
func ours(kernel, id string) bool {
	return plan.Has(kernel, id) && (mine == nil || mine[runs.SpecKey{Kernel: kernel, ID: id}])
}

// takeShard narrows the suite to one part of what the filters let through.
func takeShard(preview func() []reports.Planned) error {
	shard := plan.Config.Shard
	plan.Whole = preview()
	if shard.Count > len(plan.Whole) {
		return exit.BadInputf("shard %s: there are only %d specs to divide", shard, len(plan.Whole))
	}
	part := runs.Split(plan.Whole, shard.Count)[shard.Index-1]
	mine = map[runs.SpecKey]bool{}
	for _, p := range part {
		mine[runs.KeyOf(p)] = true
	}
	// A spec that does not ask would run in every shard.
	for _, p := range preview() {
		if !mine[runs.KeyOf(p)] {
			return fmt.Errorf("shard %s: %s does not keep to it", shard, p.ID)
		}
	}
	return nil
}

// turn makes the i-th spec of the k-th kernel start after all before it. One
// kernel comes after the other, so that a machine serves many specs.
func turn(k, i int) SpecPriority {
	return SpecPriority((len(plan.Builds)-k)*(len(plan.Scripts)+len(isolation.Rows())) - i)
}

// refuse ends the process before anything has run, in one line. Whoever
// started it with -run finds the status there, which ginkgo does not pass on.
func refuse(err error) {
	if *runDir != "" {
		runs.Refuse(*runDir, err)
	}
	os.Exit(exit.Report(os.Stderr, "suite", err))
}

// interrupted is set when somebody ends the run: it is cut short then, whatever
// had been found.
var interrupted atomic.Bool

func watchInterrupts() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, os.Interrupt, syscall.SIGTERM)
	go func() {
		for range c {
			interrupted.Store(true)
		}
	}()
}

// planned is what this run is to do, in the first process.
var planned []reports.Planned

func planOf(preview Report) []reports.Planned {
	var specs []reports.Planned
	for _, s := range preview.SpecReports {
		script, row, kernel := labelled(s, scriptLabel), labelled(s, rowLabel), labelled(s, kernelLabel)
		if script == "" && row == "" || s.State.Is(types.SpecStateSkipped|types.SpecStatePending) {
			continue
		}
		planned := reports.Planned{ID: runs.SpecID(script), Kernel: kernel, Seconds: plan.Expected(kernel, script)}
		if row != "" {
			// A label can hold no slash.
			planned.ID, planned.Seconds = "isolation/"+strings.Replace(row, ".", "/", 1), runs.RowSeconds
		}
		specs = append(specs, planned)
	}
	return specs
}

// The labels by which a spec is known, beside "regression", "isolation" and
// "smoke".
const (
	rowLabel    = "row:"
	groupLabel  = "group:"
	scriptLabel = "script:"
	kernelLabel = "kernel:"
)

func labelled(s types.SpecReport, prefix string) string {
	for _, l := range s.Labels() {
		if v, ok := strings.CutPrefix(l, prefix); ok {
			return v
		}
	}
	return ""
}

var _ = SynchronizedBeforeSuite(func() []byte {
	dir := *runDir
	if dir == "" {
		var err error
		dir, err = runs.NewRunDir(plan.Config.Out, time.Now())
		Expect(err).NotTo(HaveOccurred())
	}
	dir, err := filepath.Abs(dir)
	Expect(err).NotTo(HaveOccurred())
	openBench(dir)
	suiteConfig, _ := GinkgoConfiguration()
	bench.RunStarted(planned, suiteConfig.ParallelTotal)
	return []byte(dir)
}, func(dir []byte) {
	if bench == nil {
		openBench(string(dir))
	}
	// A kernel that cannot be tested at all is said now, once, and not by
	// every spec.
	if len(plan.Builds) == 1 {
		if _, err := bench.Machine(context.Background(), plan.Builds[0]); err != nil {
			runs.Refuse(bench.Dir, err)
			AbortSuite(err.Error())
		}
	}
})

func openBench(dir string) {
	var err error
	bench, err = runs.Open(plan, dir, GinkgoParallelProcess(), func(line string) { GinkgoWriter.Println(line) })
	Expect(err).NotTo(HaveOccurred())
	bench.Shell = *shell
}

var _ = SynchronizedAfterSuite(func() {
	if bench != nil && GinkgoParallelProcess() != 1 {
		Expect(bench.Close()).To(Succeed())
	}
}, func() {
	if bench == nil {
		return
	}
	if !interrupted.Load() {
		bench.RunEnded()
	}
	Expect(bench.Close()).To(Succeed())
	run, files, err := page.Reports(bench.Dir, plan.Expectations.Review)
	Expect(err).NotTo(HaveOccurred())
	if *planFile == "" {
		// Whoever made the plan shows the verdict.
		Expect(reports.Terminal(os.Stdout, run, reports.StyleOf(os.Stdout), files...)).To(Succeed())
	}
})

// outcome turns what was found into the spec's own: a FAIL or an ERROR fails
// it, and a spec that has nothing but SKIPs is skipped.
func outcome(spec reports.Spec) {
	counts := reports.Counts{}
	var trouble, lacking []string
	for _, r := range spec.Results {
		counts[r.Status]++
		switch r.Status {
		case reports.Fail, reports.Error:
			trouble = append(trouble, fmt.Sprintf("%s %s: %s", r.Status, r.ID, r.Reason))
		case reports.Skip:
			lacking = append(lacking, r.Lacks)
		}
	}
	if len(spec.Results) == 0 {
		trouble = append(trouble, string(reports.Error)+" "+spec.ID+": it ended without a result")
	}
	AddReportEntry("counts", ReportEntryVisibilityNever, counts)
	if len(trouble) > 0 {
		Fail(strings.Join(trouble, "\n"))
	}
	if len(lacking) == len(spec.Results) {
		Skip("lacks " + strings.Join(lacking, ", "))
	}
}
