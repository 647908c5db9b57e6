// SPDX-License-Identifier: Apache-2.0

// Probe carries out a plan of package isolation on the machine that it runs on. It
// reads the plan from standard input, as JSON compressed by gzip, and writes one
// line of JSON for each cell to standard output. It takes no arguments.
package main

import (
	"context"
	"fmt"
	"os"

	"proofhouse/isolation/probe"
)

func main() {
	if err := probe.Run(context.Background(), os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(1)
	}
}
