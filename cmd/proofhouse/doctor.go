// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"

	"github.com/fatih/color"
	"github.com/spf13/cobra"

	"proofhouse/internal/exit"
	"proofhouse/kernels"
	"proofhouse/runs/doctor"
)

// arches returns the architectures of kernels, as Debian names them, and of those
// that need QEMU. None given: that of this host.
func arches(ctx context.Context, specs []string) (all, qemu []string, err error) {
	for _, spec := range specs {
		b, err := kernels.Resolve(ctx, spec, func(line string) { fmt.Fprintln(os.Stderr, line) })
		if err != nil {
			return nil, nil, err
		}
		if a := b.DebianArch(); !slices.Contains(all, a) {
			all = append(all, a)
		}
		if a := b.DebianArch(); (b.Kind == kernels.BzImage || b.Kind == kernels.Image) && !slices.Contains(qemu, a) {
			qemu = append(qemu, a)
		}
	}
	if all == nil {
		all = []string{runtime.GOARCH}
	}
	return all, qemu, nil
}

func doctorCommand() *cobra.Command {
	var asJSON bool
	var specs []string
	c := &cobra.Command{
		Use: "doctor", Short: "Show what this host can do, what is missing, and how to fix it", Args: noArgs,
		Example: "  proofhouse doctor\n  proofhouse doctor --kernel debian:trixie:arm64\n  proofhouse doctor --json",
		RunE: func(c *cobra.Command, _ []string) error {
			all, _, err := arches(c.Context(), specs)
			if err != nil {
				return err
			}
			findings := doctor.Examine(c.Context(), all)
			if asJSON {
				return printJSON(findings)
			}
			return printFindings(findings)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().StringArrayVarP(&specs, "kernel", "k", nil, "examine for kernels of the architecture of this `SPEC`; may be repeated")
	return c
}

func printFindings(findings []doctor.Finding) error {
	paint := map[doctor.State]*color.Color{
		doctor.OK: color.New(color.FgGreen), doctor.Advice: color.New(color.FgYellow), doctor.Missing: color.New(color.FgRed, color.Bold),
	}
	missing := 0
	for _, f := range findings {
		fmt.Printf("%s %-20s %s\n", paint[f.State].Sprintf("%-8s", f.State), f.Name, f.Text)
		if f.Fix != "" {
			fmt.Printf("%-8s %-20s %s\n", "", "", f.Fix)
		}
		if f.State == doctor.Missing {
			missing++
		}
	}
	if missing > 0 {
		return exit.Fail(fmt.Errorf("%d required items missing; make setup installs them", missing))
	}
	return nil
}

func setupCommand() *cobra.Command {
	var qemu string
	var specs []string
	c := &cobra.Command{
		Use: "setup", Short: "Install what is missing on this host, or print the command for root", Args: noArgs,
		Example: "  proofhouse setup --qemu backports\n  proofhouse setup --kernel debian:trixie:arm64",
		RunE: func(c *cobra.Command, _ []string) error {
			if !slices.Contains([]string{"", "yes", "1", "backports"}, qemu) {
				return exit.BadInputf("--qemu %q: want yes or backports", qemu)
			}
			say := func(line string) { fmt.Fprintln(os.Stderr, line) }
			var need []string
			if len(specs) == 0 && qemu != "" {
				need = []string{runtime.GOARCH}
			}
			if len(specs) > 0 {
				// To find out what a kernel is, takes programs that every run needs.
				err := doctor.Setup(c.Context(), nil, false, say)
				if err != nil {
					return err
				}
				if _, need, err = arches(c.Context(), specs); err != nil {
					return err
				}
			}
			return doctor.Setup(c.Context(), need, qemu == "backports", say)
		},
	}
	c.Flags().StringVar(&qemu, "qemu", "", "install QEMU too: `yes|backports`, from this Debian release or from its backports")
	c.Flags().StringArrayVarP(&specs, "kernel", "k", nil, "install the QEMU that the kernel of this `SPEC` needs, if it needs one; may be repeated")
	return c
}
