// SPDX-License-Identifier: Apache-2.0

package reports

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// several is a run on n kernels: the first passes, each further one has a
// trouble of its own.
func several(n int, release func(i int) string) *Run {
	var kernels []Kernel
	for i := range n {
		k := trixie()
		k.ID, k.Release = fmt.Sprintf("%s-%08d", release(i), i), release(i)
		kernels = append(kernels, k)
	}
	s := newSample("v1", kernels, "capabilities", "complain", "dbus_message", "open", "a_script_whose_name_is_very_long")
	for i, k := range kernels {
		s.spec(1, k.ID, "a_script_whose_name_is_very_long", 1, passes(1)...)
		s.spec(1, k.ID, "capabilities", 300, passes(621)...)
		s.spec(2, k.ID, "dbus_message", 1, Result{ID: "(script)", Status: Skip, Lacks: "kernel: dbus"})
		if i != 2 {
			s.spec(2, k.ID, "open", 4, passes(9)...)
		}
		bad := Result{ID: "file exec cx permission entry", Status: Fail, Expected: "pass", Got: "fail"}
		switch i {
		case 1:
			s.spec(1, k.ID, "complain", 3, append(passes(3), bad)...)
		case 3:
			s.spec(1, k.ID, "complain", 3, Result{ID: "(script)", Status: Skip, Lacks: "guest: nothing"})
		default:
			s.spec(1, k.ID, "complain", 3, append(passes(3), Result{ID: bad.ID, Status: Pass})...)
		}
		if i == 4 { // and with another verdict
			s.spec(2, k.ID, "complain", 3, append(passes(3), bad)...)
		}
		for _, row := range []string{"host-to-stacked", "stacked-to-host"} {
			spec := s.begin(1, k.ID, "x")
			spec.ID, spec.Results = "isolation/signal/"+row, []Result{{ID: "isolation/signal/" + row, Status: Pass}}
			if i == 1 && row == "stacked-to-host" {
				spec.Results[0].Status = Error
			}
			s.journals[1][len(s.journals[1])-1].Spec.ID = spec.ID
			spec.End = at(s.clock[1])
			s.event(1, Event{Event: SpecEnded, Spec: spec})
		}
	}
	return s.end().run()
}

func TestMatrix(t *testing.T) {
	versions := []string{"6.1.0-50-cloud-amd64", "6.12.107+deb13-cloud-amd64", "7.0.4+deb13-cloud-amd64", "7.2.7", "7.3.4+deb13-cloud-amd64"}
	for name, c := range map[string]struct {
		run   *Run
		style Style
	}{
		"matrix":         {several(5, func(i int) string { return versions[i] }), Style{Unicode: true, Width: 80}},
		"matrix-wide":    {several(5, func(i int) string { return versions[i] }), Style{Unicode: true, Width: 120}},
		"matrix-ascii":   {several(2, func(i int) string { return versions[i] }), Style{}},
		"matrix-numbers": {several(3, func(int) string { return versions[1] }), Style{Width: 80}},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			if err := Terminal(&b, c.run, c.style); err != nil {
				t.Fatal(err)
			}
			head, rest, _ := strings.Cut(b.String(), "\n\n")
			_, rest, ok := strings.Cut(rest, "\nMATRIX\n")
			if !ok {
				t.Fatalf("no matrix:\n%s", b.String())
			}
			golden(t, "terminal/"+name+".txt", []byte(head+"\n\n"+rest))
			for line := range strings.Lines(rest) {
				if c.style.Width > 0 && len([]rune(line)) > c.style.Width+1 {
					t.Errorf("%d columns: %s", len([]rune(line)), line)
				}
			}
		})
	}
}

// What is not the same good on all kernels has a row, whatever its kind.
func TestMatrixTelling(t *testing.T) {
	rows := matrixRows(several(5, func(i int) string { return fmt.Sprintf("7.%d.0", i) }))
	var telling []string
	for _, r := range rows {
		if r.telling() {
			telling = append(telling, r.name)
		}
	}
	if want := []string{"isolation/signal", "regression/complain", "regression/open"}; !slices.Equal(telling, want) {
		t.Errorf("%q, want %q", telling, want)
	}
}
