// SPDX-License-Identifier: Apache-2.0

package compare

import (
	"io"

	"proofhouse/internal/printable"
)

// JSON writes the comparison for programs.
func JSON(w io.Writer, c *Comparison) error {
	return printable.EncodeJSON(w, c, " ")
}
