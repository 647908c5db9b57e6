// SPDX-License-Identifier: Apache-2.0

package printable_test

import (
	"fmt"

	"proofhouse/internal/printable"
)

// What a guest printed is text, whatever it is.
func ExampleLine() {
	fmt.Println(printable.Line("\x1b[31mFAIL\u202e\nok 1"))
	// Output:
	// \x1b[31mFAIL\u202e ok 1
}
