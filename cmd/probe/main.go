// The probe carries out a plan of the isolation matrix on the machine it runs
// on: the plan comes on standard input, what came of it goes to standard
// output, a line of JSON for each cell.
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
