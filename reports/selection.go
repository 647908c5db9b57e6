// SPDX-License-Identifier: Apache-2.0

package reports

import (
	"maps"
	"slices"
	"strings"
)

// chosenPart is the selection of a part of a run, and the kernels of that part.
type chosenPart struct {
	selection *Selection
	kernels   []string
}

func kernelsOf(plans ...map[specKey]int) []string {
	ids := map[string]bool{}
	for _, plan := range plans {
		for key := range plan {
			ids[key.kernel] = true
		}
	}
	return slices.Sorted(maps.Keys(ids))
}

// selection is that of the whole run: a test that one part left out is left out,
// unless another part was to run it on each kernel of the first.
func (m *merger) selection() *Selection {
	if len(m.chosen) == 0 {
		return nil
	}
	whole := &Selection{}
	after, unknown := map[string]bool{}, map[string]bool{} // by ID
	left, planned := map[string]bool{}, map[string]bool{}
	for key := range m.planned {
		planned[key.id] = true
	}
	var patches, origins []string
	for _, c := range m.chosen {
		s := c.selection
		patches, origins = append(patches, s.For), append(origins, s.Map)
		for _, id := range s.Unknown {
			unknown[id] = true
		}
		for _, id := range s.LeftOut {
			after[id] = true
			if s.Partial() && !m.plannedOnAll(c.kernels, id) {
				left[id] = true
			}
		}
		whole.Selected, whole.Rest = max(whole.Selected, s.Selected), whole.Rest || s.Rest
	}
	if len(left) > 0 {
		whole.Rest, after = false, left
		if len(m.chosen) > 1 {
			for id := range left {
				delete(planned, id)
			}
			whole.Selected = len(planned)
		}
	} else if len(after) > 0 {
		whole.Rest = true
	}
	whole.For, whole.Map = together(patches), together(origins)
	whole.LeftOut, whole.Unknown = slices.Sorted(maps.Keys(after)), slices.Sorted(maps.Keys(unknown))
	return whole
}

func (m *merger) plannedOnAll(kernels []string, id string) bool {
	for _, k := range kernels {
		if m.planned[specKey{k, id}] == 0 {
			return false
		}
	}
	return len(kernels) > 0
}

// together are the names in their order, each once.
func together(names []string) string {
	var unique []string
	for _, n := range names {
		if !slices.Contains(unique, n) {
			unique = append(unique, n)
		}
	}
	return strings.Join(unique, ", ")
}
