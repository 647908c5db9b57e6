package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"proofhouse/internal/exit"
	"proofhouse/kernels"
	"proofhouse/reports"
	"proofhouse/runs"
	"proofhouse/runs/progress"
	"proofhouse/runs/runner"
)

// machineFlags are those of every command that boots a kernel.
func machineFlags(f *pflag.FlagSet, cfg *runs.Config) {
	f.StringVar(&cfg.Guest, "guest", runs.DefaultGuest, "Debian `suite` of the guest")
	f.StringVar(&cfg.Source, "apparmor-src", runs.DefaultSource, "source of the upstream suite, `SPEC`: debian:SUITE, a folder, a tarball")
	f.StringVar(&cfg.Accelerator, "accel", "auto", "QEMU's accelerator: auto, kvm or tcg")
	f.IntVar(&cfg.Memory, "memory", 0, "memory of a machine in `MiB` (default 1024)")
	f.BoolVar(&cfg.Plain, "plain", false, "boot with no words on the command line that make it faster")
	f.BoolVar(&cfg.PlainGuest, "plain-guest", false, "run upstream's scripts without the programs that make them faster")
}

func kernelFlag(f *pflag.FlagSet, specs *[]string) {
	// Not a comma-separated list: a spec has commas of its own.
	f.StringArrayVarP(specs, "kernel", "k", nil, "kernel, `SPEC`: "+kernels.Forms()+" (default "+runs.DefaultKernel+")")
}

func runCommand() *cobra.Command {
	var o runner.Options
	var scripts, shard string
	var smoke, verbose bool
	c := &cobra.Command{
		Use:   "run",
		Short: "Run the suite on one kernel or more, and say what holds",
		Example: `  proofhouse run --smoke
  proofhouse run -k debian:trixie -k path/to/bzImage,modules=path/to/modules.tgz
  proofhouse run -k uml:debian:forky --script open,stackprofile`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if o.Config.Scripts = runs.SplitNames(scripts); smoke {
				o.LabelFilter = and(o.LabelFilter, "smoke")
			}
			if c.Flags().Changed("script") && len(o.Config.Scripts) == 0 {
				return exit.BadInputf("--script %q: no name in it; without --script, all run", scripts)
			}
			if c.Flags().Changed("procs") && o.Procs < 1 || o.Repeat < 0 {
				return exit.BadInputf("--procs wants at least 1 and --repeat at least 0")
			}
			var err error
			if o.Config.Shard, err = runs.ParseShard(shard); err != nil {
				return err
			}
			return run(c.Context(), o, verbose)
		},
	}
	f := c.Flags()
	kernelFlag(f, &o.Config.Kernels)
	machineFlags(f, &o.Config)
	f.IntVar(&o.Procs, "procs", 0, "`machines` side by side (default: one for each processor, as far as there is memory)")
	f.StringArrayVar(&o.Config.Expectations, "expectations", nil, "`file` with failures that are expected, beside those that come along")
	f.StringVar(&scripts, "script", "", "only these upstream scripts, `NAME[,NAME]...`")
	f.StringVar(&o.LabelFilter, "label-filter", "", "only specs whose labels fit, Ginkgo's `EXPR`")
	f.StringVar(&o.Focus, "focus", "", "only specs whose text matches `RE`")
	f.BoolVar(&smoke, "smoke", false, "a verdict in a minute: only the specs labelled smoke")
	f.StringVar(&shard, "shard", "", "only a part of the run, `INDEX/COUNT`: proofhouse merge joins the parts")
	f.StringVar(&o.Config.Durations, "durations", "", "expect what took how long in an earlier `run`: its folder, or its results.json")
	f.StringVar(&o.Dir, "out", "", "`folder` of this run (default: a new one under out/)")
	f.IntVar(&o.Repeat, "repeat", 0, "run it all `N` times more: what differs is flaky")
	f.BoolVarP(&verbose, "verbose", "v", false, "a line for every test, also for those that passed")
	o.Config.Out = runs.DefaultOut()
	return c
}

// and joins label filters.
func and(a, b string) string {
	if a == "" {
		return b
	}
	return "(" + a + ") && " + b
}

func run(ctx context.Context, o runner.Options, verbose bool) error {
	display := progress.New(os.Stderr)
	result, files, err := runner.Run(ctx, o, display)
	display.Close()
	if result == nil {
		return err
	}
	return verdict(result, files, verbose, err)
}

// verdict shows what a run found; runErr is why it has no end, if so.
func verdict(run *reports.Run, files []string, verbose bool, runErr error) error {
	style := reports.StyleOf(os.Stdout)
	style.Verbose = verbose
	if err := reports.Terminal(os.Stdout, run, style, files...); err != nil {
		return err
	}
	if runErr != nil {
		return runErr
	}
	status, _ := reports.Verdict(run)
	if status == exit.OK {
		return nil
	}
	return exit.With(status, errSaid)
}

// errSaid is for what stands on the terminal already.
var errSaid = fmt.Errorf("")
