// SPDX-License-Identifier: Apache-2.0

package compare

import (
	"io"

	"proofhouse/reports"
)

// JSON writes the comparison for programs.
func JSON(w io.Writer, c *Comparison) error {
	return reports.EncodeJSON(w, c, " ")
}
