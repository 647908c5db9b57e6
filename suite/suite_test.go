// SPDX-License-Identifier: Apache-2.0

// Package suite has the specs: what must hold on a kernel build. They run on the
// host and reach the kernel only through a machine, so that a kernel that dies
// takes no result with it. How a spec is run is in package runs.
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
	"slices"
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
	"proofhouse/isolation/defects"
	"proofhouse/reports"
	"proofhouse/reports/page"
	"proofhouse/runs"
)

func init() {
	// When ginkgo is killed, its processes and their machines end too.
	if err := child.DieWithParent(); err != nil {
		panic(err)
	}
}

var (
	config   = flags(flag.CommandLine)
	planFile = flag.String("plan", "", "`file` with the prepared plan of the run; overrides all other flags")
	runDir   = flag.String("run", "", "`directory` of this run (default: a new one under -out)")
	shell    = flag.String("shell", "", "unix `socket` of a process that wants a shell on a machine on which something failed")
	listFile = flag.String("list", "", "write the specs that would run to this `file`, as JSON, and run nothing")

	plan  *runs.Plan
	bench *runs.Bench // of this process
)

// flags defines the flags of a run for the flag package: those of `proofhouse
// run` are defined for pflag.
func flags(to *flag.FlagSet) *runs.Config {
	c := &runs.Config{}
	fs := pflag.NewFlagSet("suite", pflag.ContinueOnError)
	runs.Flags(fs, c)
	fs.StringVar(&c.Out, "out", runs.DefaultOut(), "`directory` of all runs")
	fs.VisitAll(func(f *pflag.Flag) { to.Var(f.Value, f.Name, f.Usage) })
	return c
}

// asked reports whether the user wants to run the suite, and not only all tests
// of the module: it boots kernels and takes minutes.
func asked() bool {
	yes := false
	flag.Visit(func(f *flag.Flag) { yes = yes || !strings.HasPrefix(f.Name, "test.") })
	return yes
}

func TestSuite(t *testing.T) {
	if !asked() {
		t.Skip("boots kernels: run ginkgo ./suite")
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
	// Each spec has the deadlines of what it runs. The suite has no deadline
	// unless the user sets one.
	if suiteConfig.Timeout == time.Hour {
		suiteConfig.Timeout = 24 * time.Hour
	}
	// Ginkgo would start specs in the order of their names. Specs are
	// independent here, and have priorities: the longest one is first.
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
			refuse(exit.BadInputf("no spec matches the label filter and the focus"))
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

// list writes the specs to a file, in the order of their starts.
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

// mine has the specs of this shard; nil if the run is not a shard.
var mine map[runs.SpecKey]bool

// ours reports whether a spec belongs to this run. All definitions of specs must
// call it.
func ours(kernel, id string) bool {
	return plan.Has(kernel, id) && (mine == nil || mine[runs.SpecKey{Kernel: kernel, ID: id}])
}

// takeShard reduces the suite to one part of the specs that match the filters.
func takeShard(preview func() []reports.Planned) error {
	shard := plan.Config.Shard
	plan.Whole = preview()
	if shard.Count > len(plan.Whole) {
		return exit.BadInputf("shard %s: only %d specs to divide", shard, len(plan.Whole))
	}
	part := runs.Split(plan.Whole, shard.Count)[shard.Index-1]
	mine = map[runs.SpecKey]bool{}
	for _, p := range part {
		mine[runs.KeyOf(p)] = true
	}
	// A spec whose definition does not call ours would run in every shard.
	for _, p := range preview() {
		if !mine[runs.KeyOf(p)] {
			return fmt.Errorf("shard %s: %s belongs to another shard", shard, p.ID)
		}
	}
	return nil
}

// turn returns the priority of the i-th spec of the k-th kernel: specs start in
// this order, but for those that a patch selected, which come before them. All
// specs of a kernel run before those of the next kernel, so that one machine runs
// many specs.
func turn(k, i int, id string) SpecPriority {
	all := len(plan.Scripts) + len(isolation.Rows()) + len(defects.All())
	if n := slices.Index(plan.First, id); n >= 0 {
		i = n - len(plan.First)
	}
	return SpecPriority((len(plan.Builds)-k)*(all+len(plan.First)) - i)
}

// refuse prints one line and exits before anything has run. It writes the exit
// status to the directory of -run, as ginkgo does not pass it on.
func refuse(err error) {
	if *runDir != "" {
		runs.Refuse(*runDir, err)
	}
	os.Exit(exit.Report(os.Stderr, "suite", err))
}

// interrupted is set when the user interrupts the run: then it is cut short, even
// if every spec had started.
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

// planned has the specs that this run will run, in the first process.
var planned []reports.Planned

func planOf(preview Report) []reports.Planned {
	var specs []reports.Planned
	for _, s := range preview.SpecReports {
		script, row, defect, kernel := labelled(s, scriptLabel), labelled(s, rowLabel), labelled(s, defectLabel), labelled(s, kernelLabel)
		if script == "" && row == "" && defect == "" || s.State.Is(types.SpecStateSkipped|types.SpecStatePending) {
			continue
		}
		planned := reports.Planned{ID: runs.SpecID(script), Kernel: kernel, Seconds: plan.Expected(kernel, script)}
		if row != "" {
			// Labels cannot contain a slash.
			planned.ID, planned.Seconds = reports.NewID(reports.Isolation, strings.Replace(row, ".", "/", 1)).String(), runs.RowSeconds
		}
		if defect != "" {
			planned.ID, planned.Seconds = reports.NewID(reports.KnownDefects, defect).String(), runs.RowSeconds
		}
		specs = append(specs, planned)
	}
	return specs
}

// Prefixes of the labels of a spec. Other labels are "regression", "isolation"
// and "smoke".
const (
	rowLabel    = "row:"
	groupLabel  = "group:"
	defectLabel = "defect:"
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
	// If the only kernel cannot be tested at all, say so once, now, and not in
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
	run, files, err := page.Reports(bench.Dir, plan.Review)
	Expect(err).NotTo(HaveOccurred())
	if *planFile == "" {
		// With a plan, the process that made it shows the verdict.
		Expect(reports.Terminal(os.Stdout, run, reports.StyleOf(os.Stdout), files...)).To(Succeed())
	}
})

// outcome gives the Ginkgo spec the status of its results: a FAIL, an ERROR or no
// result fails it, and a spec with only SKIPs is skipped.
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
		trouble = append(trouble, string(reports.Error)+" "+spec.ID+": ended without a result")
	}
	AddReportEntry("counts", ReportEntryVisibilityNever, counts)
	if len(trouble) > 0 {
		Fail(strings.Join(trouble, "\n"))
	}
	if len(lacking) == len(spec.Results) {
		Skip("lacks " + strings.Join(lacking, ", "))
	}
}
