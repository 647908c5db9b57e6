// SPDX-License-Identifier: Apache-2.0

package compare

import (
	"encoding/json"
	"io"
	"strings"
	"testing"

	"proofhouse/reports"
)

// A results.json is a file like any other: whatever is in it, a comparison
// comes to an end and can be written.
func FuzzDiff(f *testing.F) {
	one, err := json.Marshal(side("6.12", attempts("PFC")...).Kernel)
	if err != nil {
		f.Fatal(err)
	}
	two, err := json.Marshal(side("7.3", spec("a", "x FAIL", "x FAIL", "(script) SKIP kernel: x")).Kernel)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(one, two, false)
	f.Add(two, one, true)
	f.Add([]byte(`{"specs":[{"id":""},{"id":"b"},{"id":"a","seconds":-1}],"not_run":["z","a"]}`), []byte(`{}`), false)
	f.Fuzz(func(t *testing.T, a, b []byte, common bool) {
		var base, next reports.Kernel
		if json.Unmarshal(a, &base) != nil || json.Unmarshal(b, &next) != nil {
			return
		}
		c := Diff(&Side{Kernel: &base}, &Side{Kernel: &next}, Options{Common: common, History: []reports.Kernel{base}})
		for _, write := range []func(io.Writer) error{
			func(w io.Writer) error { return Text(w, c, reports.Style{Width: 40}) },
			func(w io.Writer) error { return Markdown(w, c) },
			func(w io.Writer) error { return HTML(w, c) },
			func(w io.Writer) error { return JSON(w, c) },
		} {
			if err := write(io.Discard); err != nil {
				t.Fatal(err)
			}
		}
		var m strings.Builder
		if err := Markdown(&m, c); err != nil || m.Len() > MarkdownLimit {
			t.Errorf("%d bytes of Markdown", m.Len())
		}
		same := Diff(&Side{Kernel: &base}, &Side{Kernel: &base}, Options{})
		if base.ID != "" && len(same.Fixes) > 0 {
			t.Errorf("against itself: %+v", same.Fixes)
		}
	})
}
