// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"proofhouse/internal/cli"
	"proofhouse/internal/exit"
	"proofhouse/internal/printable"
	"proofhouse/reports"
	"proofhouse/runs"
	"proofhouse/runs/progress"
	"proofhouse/runs/runner"
)

func runCommand() *cobra.Command {
	var o runner.Options
	var smoke, verbose, console, dryRun, asJSON bool
	c := &cobra.Command{
		Use:   "run",
		Short: "Run the suite on one or more kernels, and report what holds",
		Example: `  proofhouse run --smoke
  proofhouse run -k debian:trixie -k path/to/bzImage,modules=path/to/modules.tgz
  proofhouse run -k uml:debian:forky --script open,stackprofile`,
		Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if smoke {
				o.LabelFilter = and(o.LabelFilter, "smoke")
			}
			switch {
			case asJSON && !dryRun:
				return exit.BadInputf("--json is for --dry-run: the results of a run are in its results.json")
			case dryRun:
				return listRun(c.Context(), o, asJSON)
			}
			return run(c.Context(), o, verbose, console)
		},
	}
	f := c.Flags()
	runs.Flags(f, &o.Config)
	f.Var(cli.Count(&o.Procs, 1), "procs", "number of `machines` side by side (default: one for each processor, if there is enough memory)")
	f.StringVar(&o.LabelFilter, "label-filter", "", "run only specs whose labels match Ginkgo's `EXPR`")
	f.StringVar(&o.Focus, "focus", "", "run only specs whose text matches `RE`")
	f.BoolVar(&smoke, "smoke", false, "run only the specs labelled smoke: a verdict in a minute")
	f.StringVar(&o.Dir, "out", "", "`directory` of this run (default: a new one under out/)")
	f.Var(cli.Count(&o.Repeat, 0), "repeat", "repeat the run `N` times: a test whose results differ is flaky")
	f.BoolVarP(&verbose, "verbose", "v", false, "print a line for every test, also for those that passed")
	f.BoolVar(&console, "console", false, "show the consoles of the machines while they run")
	f.BoolVar(&o.Config.KeepFailed, "keep-failed", false, "when something failed, open a shell on that machine before it is closed")
	f.BoolVar(&dryRun, "dry-run", false, "list what would run, and run nothing")
	f.BoolVar(&asJSON, "json", false, "with --dry-run: print the list as JSON")
	completeNames(c)
	o.Config.Out = runs.DefaultOut()
	return c
}

// and returns a label filter that matches if both match.
func and(a, b string) string {
	if a == "" {
		return b
	}
	return "(" + a + ") && " + b
}

// listRun prints the specs that a run would run, in the order of their starts.
func listRun(ctx context.Context, o runner.Options, asJSON bool) error {
	display := progress.New(os.Stderr)
	specs, err := runner.List(ctx, o, display)
	display.Close()
	if err != nil {
		return err
	}
	if asJSON {
		return printJSON(specs)
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "SPEC\tKERNEL\tEXPECTED")
	var sum float64
	for _, s := range specs {
		sum += s.Seconds
		_, _ = fmt.Fprintf(w, "%s\t%s\t%.0f s\n", printable.Line(s.ID), printable.Line(s.Kernel), s.Seconds)
	}
	_, _ = fmt.Fprintf(w, "%s\t\t%.0f s on one machine\n", printable.Count(len(specs), "spec"), sum)
	return w.Flush()
}

func run(ctx context.Context, o runner.Options, verbose, console bool) error {
	if o.Config.KeepFailed && !term.IsTerminal(int(os.Stdin.Fd())) {
		return exit.BadInputf("--keep-failed needs a terminal on standard input")
	}
	display := progress.New(os.Stderr)
	o.Console = console
	if o.Config.KeepFailed {
		o.Shell = func(ctx context.Context, conn net.Conn) error { return attach(ctx, conn, display) }
	}
	result, files, err := runner.Run(ctx, o, display)
	display.Close()
	if result == nil {
		return err
	}
	return verdict(result, files, verbose, err)
}

// verdict shows the results of a run. runErr is the reason why it has no end, or
// nil.
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

// errSaid is the error of what is already on the terminal.
var errSaid = fmt.Errorf("")
