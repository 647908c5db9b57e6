// SPDX-License-Identifier: Apache-2.0

// Package bounded keeps text that another program writes, and no more of it than
// there is room for. It does not parse it.
package bounded

import "bytes"

// Head keeps the first bytes that are written to it, and discards the rest. Its
// zero value keeps 4 MiB.
type Head struct {
	Limit int // in bytes; 0 = 4 MiB
	b     bytes.Buffer
	cut   bool
}

// Write never fails.
func (h *Head) Write(p []byte) (int, error) {
	limit := h.Limit
	if limit == 0 {
		limit = 4 << 20
	}
	keep := p[:min(len(p), max(0, limit-h.b.Len()))]
	h.b.Write(keep)
	h.cut = h.cut || len(keep) < len(p)
	return len(p), nil
}

// String is what was kept.
func (h *Head) String() string { return h.b.String() }

// Bytes is what was kept; it is valid until the next write.
func (h *Head) Bytes() []byte { return h.b.Bytes() }

// Cut reports whether something was discarded.
func (h *Head) Cut() bool { return h.cut }
