// SPDX-License-Identifier: Apache-2.0

package reports

import "testing"

func TestID(t *testing.T) {
	for _, c := range []struct {
		id                                    ID
		root                                  Root
		spec, group, rest, brief, noun, whole string
	}{
		{"regression/open/OPEN RW", Regression, "regression/open", "regression/open", "open/OPEN RW", "open/OPEN RW", "script", "regression/open/OPEN RW/(script)"},
		{"regression/open/a/b", Regression, "regression/open", "regression/open", "open/a/b", "open/a/b", "script", "regression/open/a/b/(script)"},
		{"regression/open", Regression, "regression/open", "regression/open", "open", "open", "script", "regression/open/(script)"},
		{"isolation/file/read", Isolation, "isolation/file/read", "isolation/file", "file/read", "isolation/file/read", "row", "isolation/file/read/(row)"},
		{"isolation/file/read/host", Isolation, "isolation/file/read", "isolation/file", "file/read/host", "isolation/file/read/host", "row", "isolation/file/read/host/(row)"},
		{"known-defects/x/y", KnownDefects, "known-defects/x", "known-defects/x", "x/y", "known-defects/x/y", "defect", "known-defects/x/y/(defect)"},
		{"other/x/y", "other", "other/x/y", "other/x", "x/y", "other/x/y", "test", "other/x/y/(script)"},
		{"regression", Regression, "regression", "regression", "regression", "regression", "test", "regression/(script)"},
		{"", "", "", "", "", "", "test", "/(script)"},
	} {
		got := []string{c.id.Spec().String(), c.id.Group().String(), c.id.Rest(), c.id.Brief(), c.id.Noun(), c.id.Whole().String()}
		want := []string{c.spec, c.group, c.rest, c.brief, c.noun, c.whole}
		for i := range want {
			if got[i] != want[i] {
				t.Errorf("%q: part %d is %q, want %q", c.id, i, got[i], want[i])
			}
		}
		if c.id.Root() != c.root {
			t.Errorf("%q: root %q, want %q", c.id, c.id.Root(), c.root)
		}
		if !c.id.Whole().IsWhole() && c.id != "" || c.id.IsWhole() {
			t.Errorf("%q: whole is %v", c.id, c.id.Whole())
		}
	}
	if id := NewID(Regression, "open", "OPEN RW"); id != "regression/open/OPEN RW" || !id.In(Regression) || id.In(Isolation) || ID("regression").In(Regression) {
		t.Errorf("%q", id)
	}
	if n := Noun("regression/open", "isolation/file/read"); n != "test" {
		t.Errorf("several groups: %q", n)
	}
}
