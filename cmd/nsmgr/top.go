// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"proofhouse/internal/cli"
	"proofhouse/internal/printable"
	"proofhouse/nsmgr"
	"proofhouse/nsmgr/metrics"
)

func topCommand() *cobra.Command {
	interval, window, rounds := 2*time.Second, 5*time.Minute, 0
	c := &cobra.Command{
		Use: "top", Short: "Show what is denied now, by namespace", Args: noArgs,
		Long: `Shows which profiles denied something within the last --window, most denials
first, and the last object of each. On a terminal the screen is redrawn every
--interval, until the command is interrupted; otherwise one table is printed.`,
		Example: "  nsmgr top\n  nsmgr top --window 1h --rounds 1",
		RunE: func(c *cobra.Command, _ []string) error {
			if _, err := nsmgr.Open(); err != nil {
				return err
			}
			size, screen := terminal(c.OutOrStdout())
			if rounds == 0 && !screen {
				rounds = 1
			}
			for n := 1; ; n++ {
				now := time.Now()
				log, err := nsmgr.ReadLog(now.Add(-window))
				if err != nil {
					return err
				}
				var table bytes.Buffer
				width, height := size()
				drawTop(&table, log, now, window, width, height)
				if err := show(c.OutOrStdout(), table.Bytes(), screen); err != nil {
					return err
				}
				if rounds > 0 && n == rounds {
					return nil
				}
				select {
				case <-c.Context().Done():
					return nil
				case <-time.After(interval):
				}
			}
		},
	}
	c.Flags().Var(cli.Duration(&interval, 100*time.Millisecond), "interval", "redraw the screen every `DURATION`")
	c.Flags().Var(cli.Duration(&window, time.Second), "window", "count denials of the last `DURATION`")
	c.Flags().Var(cli.Count(&rounds, 0), "rounds", "print the table `N` times; 0 is until interrupted on a terminal, otherwise once")
	return c
}

// terminal reports whether the output is a terminal, and how large it is, in
// columns and lines; 0 is without limit.
func terminal(w io.Writer) (size func() (width, height int), ok bool) {
	f, isFile := w.(*os.File)
	if !isFile || !term.IsTerminal(int(f.Fd())) {
		return func() (int, int) { return 0, 0 }, false
	}
	return func() (int, int) {
		width, height, err := term.GetSize(int(f.Fd()))
		if err != nil {
			return 80, 24
		}
		return width, height
	}, true
}

// show writes a table. On a screen it goes over the last one in one write, line
// by line, so that nothing flickers.
func show(w io.Writer, table []byte, screen bool) error {
	if screen {
		table = append([]byte("\x1b[H"), bytes.ReplaceAll(table, []byte("\n"), []byte("\x1b[K\n"))...)
		table = append(table, "\x1b[J"...)
	}
	_, err := w.Write(table)
	return err
}

// drawTop draws the table, no wider and higher than the screen.
func drawTop(w io.Writer, log nsmgr.Log, now time.Time, window time.Duration, width, height int) {
	all := metrics.CountDenials(log.Records)
	sum := 0
	for _, d := range all {
		sum += d.Count
	}
	lines := []string{fmt.Sprintf("%s  %s in %s", now.Format(time.DateTime), printable.Count(sum, "denial"), strings.TrimSuffix(window.String(), "0s"))}
	if len(log.Gaps) > 0 {
		lines = append(lines, fmt.Sprintf("records may be missing: %s", log.Gaps[0]))
	}
	rows := [][]string{{"DENIED", "LAST", "NAMESPACE", "PROFILE", "CLASS", "OPERATION", "OBJECT"}}
	for _, d := range all {
		ns := string(d.Namespace)
		if ns == "" {
			ns = "(host part)"
		}
		object := d.Latest.Name
		if object == "" {
			object = d.Latest.Fields["capname"] + d.Latest.Fields["peer"] + d.Latest.Fields["family"]
		}
		rows = append(rows, []string{fmt.Sprint(d.Count), d.Last.Local().Format(time.TimeOnly), ns, d.Profile, d.Class, d.Latest.Operation, object})
	}
	if len(all) > 0 {
		for _, row := range rows {
			for i := range row {
				row[i] = printable.Text(row[i])
			}
		}
		var b bytes.Buffer
		_ = table(&b, rows)
		lines = append(lines, strings.Split(strings.TrimRight(b.String(), "\n"), "\n")...)
	}
	if height > 1 && len(lines) > height-1 {
		lines = append(lines[:height-2:height-2], fmt.Sprintf("… %d more", len(lines)-height+2))
	}
	for _, line := range lines {
		line = printable.Text(line)
		if runes := []rune(line); width > 0 && len(runes) > width {
			line = string(runes[:width-1]) + "…"
		}
		_, _ = fmt.Fprintln(w, line)
	}
}
