package compare

import (
	"encoding/json"
	"io"
)

// JSON writes the comparison for programs.
func JSON(w io.Writer, c *Comparison) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	return enc.Encode(c)
}
