// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/fatih/color"
	"github.com/spf13/cobra"

	"proofhouse/internal/exit"
	"proofhouse/internal/printable"
	"proofhouse/kernels"
	"proofhouse/machines"
	"proofhouse/runs"
)

func boardCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "board",
		Short: "List boards, and check what works on one",
		Long: `A board is a machine that proofhouse reaches over ssh. A kernel SPEC names it as
board:NAME, for a file NAME.yaml in the directory of boards, or as ssh://root@HOST.`,
		Example: "  proofhouse board check rpi4\n  proofhouse run --smoke -k board:rpi4",
		Args:    noArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(boardListCommand(), boardCheckCommand(), boardCleanCommand())
	return c
}

func boardListCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "list", Short: "List the boards of this user", Args: noArgs,
		Example: "  proofhouse board list",
		RunE: func(_ *cobra.Command, _ []string) error {
			names, err := kernels.BoardNames()
			if err != nil {
				return err
			}
			type row struct {
				Name    string `json:"name"`
				SSH     string `json:"ssh,omitempty"`
				Console string `json:"console,omitempty"`
				Power   string `json:"power,omitempty"`
				Error   string `json:"error,omitempty"`
			}
			rows := []row{}
			for _, n := range names {
				b, err := kernels.ParseBoard("board:" + n)
				if err != nil {
					rows = append(rows, row{Name: n, Error: err.Error()})
					continue
				}
				rows = append(rows, row{Name: n, SSH: b.SSH, Console: b.Console, Power: strings.Join(b.Power, " ")})
			}
			if asJSON {
				return printJSON(rows)
			}
			if len(rows) == 0 {
				dir, err := kernels.BoardsDir()
				if err != nil {
					return err
				}
				fmt.Fprintf(os.Stderr, "no boards: add %s/NAME.yaml (docs/boards.md has an example)\n", dir)
				return nil
			}
			w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
			_, _ = fmt.Fprintln(w, "BOARD\tSSH\tCONSOLE\tPOWER")
			for _, r := range rows {
				if r.Error != "" {
					_, _ = fmt.Fprintf(w, "%s\t%s\n", r.Name, printable.Text(r.Error))
					continue
				}
				_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", r.Name, printable.Text(r.SSH), orNone(r.Console), orNone(r.Power))
			}
			return w.Flush()
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return printable.Text(s)
}

// boardSpec is the spec of a board that is given by its name, or as a spec.
func boardSpec(name string) string {
	if strings.HasPrefix(name, "ssh://") || strings.HasPrefix(name, "board:") {
		return name
	}
	return "board:" + name
}

func boardCheckCommand() *cobra.Command {
	var asJSON, power bool
	c := &cobra.Command{
		Use: "check NAME", Short: "Check what works on a board, and say what to add",
		Long: `Connects to the board, and shows what a run needs there and can use: root, the
kernel's build ID, AppArmor, space, console, power. It writes nothing but the agent,
which it removes, and a line in the kernel's log.`,
		Example: "  proofhouse board check rpi4\n  proofhouse board check rpi4 --power",
		Args:    someArgs(1, "give the name of a board"),
		RunE: func(c *cobra.Command, args []string) error {
			items, err := runs.CheckBoard(c.Context(), boardSpec(args[0]), power)
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(items)
			}
			return printBoard(items)
		},
	}
	c.Flags().BoolVar(&power, "power", false, "cut the board's power once, and wait until it is back")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func printBoard(items []machines.BoardItem) error {
	var bad []string
	for _, i := range items {
		state := color.GreenString("%-8s", "ok")
		switch {
		case i.Bad:
			state = color.New(color.FgRed, color.Bold).Sprintf("%-8s", "bad")
			bad = append(bad, i.Name)
		case i.Fix != "":
			state = color.YellowString("%-8s", "advice")
		}
		fmt.Printf("%s %-10s %s\n", state, i.Name, printable.Text(i.Text))
		if i.Fix != "" {
			fmt.Printf("%-8s %-10s %s\n", "", "", i.Fix)
		}
	}
	if len(bad) > 0 {
		return exit.BadInputf("no run is possible on this board as it is configured: %s: see above", strings.Join(bad, ", "))
	}
	return nil
}

func boardCleanCommand() *cobra.Command {
	return &cobra.Command{
		Use: "clean NAME", Short: "Remove from a board all that runs left and keep there",
		Example: "  proofhouse board clean rpi4",
		Args:    someArgs(1, "give the name of a board"),
		RunE: func(c *cobra.Command, args []string) error {
			removed, err := runs.CleanBoard(c.Context(), boardSpec(args[0]))
			for _, r := range removed {
				fmt.Println("removed " + printable.Text(r))
			}
			return err
		},
	}
}
