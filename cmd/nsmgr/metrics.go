// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"proofhouse/internal/exit"
	"proofhouse/nsmgr"
	"proofhouse/nsmgr/metrics"
)

func metricsCommand() *cobra.Command {
	var output, since string
	c := &cobra.Command{
		Use: "metrics", Short: "Print metrics of namespaces and denials for Prometheus", Args: noArgs,
		Long: `Prints, in the OpenMetrics text format: how many namespaces there are; the
profiles, tasks and the revision of each; and how often, and when last, each
profile denied something, by namespace, profile and class. Denials are counted in
this host's logs, back to --since.

With --output the file is replaced as a whole, and readable for everybody: the
textfile collector of node_exporter reads it. Run it by a timer.

Exit status 2: a log could not be read. The metrics then lack denials.`,
		Example: `  nsmgr metrics
  nsmgr metrics --output /var/lib/prometheus/node-exporter/nsmgr.prom`,
		RunE: func(c *cobra.Command, _ []string) error {
			from, err := parseSince(since, time.Now())
			if err != nil {
				return err
			}
			v, err := nsmgr.Open()
			if err != nil {
				return err
			}
			m, err := metrics.Read(v, from)
			if err != nil && exit.Status(err) != exit.Usage {
				return err
			}
			if output == "" || output == "-" {
				return errors.Join(err, m.Write(c.OutOrStdout()))
			}
			writeErr := replacePublic(output, m.Write)
			if writeErr != nil {
				writeErr = exit.BadInputf("write metrics: %w", writeErr)
			}
			return errors.Join(err, writeErr)
		},
	}
	c.Flags().StringVarP(&output, "output", "o", "", "write into `FILE` instead of the standard output")
	c.Flags().StringVar(&since, "since", "", "count denials since then: a `TIME` such as 24h or 2026-11-28")
	return c
}

// replacePublic writes a file that everybody may read, whole or not at all.
func replacePublic(path string, write func(io.Writer) error) error {
	if err := replaceable(path); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".nsmgr-")
	if err != nil {
		return err
	}
	err = write(f)
	if err == nil {
		err = f.Chmod(0o644)
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}
