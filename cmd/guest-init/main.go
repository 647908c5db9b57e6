// SPDX-License-Identifier: Apache-2.0

// guest-init is the first process of a virtual machine that proofhouse boots:
// it mounts the guest's root and serves the command channel. It refuses to run as
// any other process.
package main

import (
	"fmt"
	"os"

	"proofhouse/machines/guest"
)

func main() {
	if err := guest.Main(os.Args); err != nil {
		fmt.Fprintln(os.Stderr, "guest-init:", err)
		os.Exit(1)
	}
}
