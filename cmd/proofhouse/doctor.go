// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"

	"github.com/fatih/color"
	"github.com/spf13/cobra"

	"proofhouse/internal/exit"
	"proofhouse/runs/doctor"
)

func doctorCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "doctor", Short: "Show what this host can do, what is missing, and how to fix it", Args: noArgs,
		Example: "  proofhouse doctor\n  proofhouse doctor --json",
		RunE: func(c *cobra.Command, _ []string) error {
			findings := doctor.Examine(c.Context())
			if asJSON {
				return printJSON(findings)
			}
			return printFindings(findings)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
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
	c := &cobra.Command{
		Use: "setup", Short: "Install what is missing on this host, or print the command for root", Args: noArgs,
		Example: "  proofhouse setup --qemu backports",
		RunE: func(c *cobra.Command, _ []string) error {
			purpose := doctor.Run
			switch qemu {
			case "":
			case "yes", "1", "backports":
				purpose = doctor.QEMU
			default:
				return exit.BadInputf("--qemu %q: want yes or backports", qemu)
			}
			return doctor.Setup(c.Context(), purpose, qemu == "backports", func(line string) { fmt.Fprintln(os.Stderr, line) })
		},
	}
	c.Flags().StringVar(&qemu, "qemu", "", "install QEMU too: `yes`, or backports for the version in the backports of this release")
	return c
}
