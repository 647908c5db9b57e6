// SPDX-License-Identifier: Apache-2.0

package compare

import (
	"math"
	"slices"
	"sort"

	"proofhouse/reports"
)

// Duration is a script that takes much longer or shorter than it did, by the
// measure of all others.
type Duration struct {
	Spec string  `json:"spec"`
	Base float64 `json:"base"` // seconds
	New  float64 `json:"new"`
	// Factor is New by Base, with what all scripts have in common taken out:
	// one machine may be slower than the other as a whole.
	Factor float64 `json:"factor"`
}

// The rule for outliers. Timings on a shared machine vary by half without any
// reason.
const (
	fewest      = 8   // scripts that a common pace can be told from
	deviations  = 4.0 // from the common pace, in robust standard deviations
	leastFactor = 1.7
	leastMargin = 3.0 // seconds
)

// durations finds scripts whose time changed by more than those of the others:
// a median and a median absolute deviation, which one slow script does not
// move. Only scripts that did the same on both sides, on machines of one kind.
func durations(base, next *reports.Kernel) []Duration {
	found := []Duration{}
	if base.MachineKind() != next.MachineKind() {
		return found
	}
	before := map[string]reports.Outcome{}
	for _, o := range base.Outcomes() {
		before[o.ID] = o
	}
	var list []Duration
	var logs []float64
	for _, o := range next.Outcomes() {
		b, ok := before[o.ID]
		if !ok || ran(b) != ran(o) || ran(o) == 0 {
			continue
		}
		d := Duration{Spec: o.ID, Base: typical(b), New: typical(o)}
		if d.Base <= 0 || d.New <= 0 {
			continue
		}
		list = append(list, d)
		logs = append(logs, math.Log(d.New/d.Base))
	}
	if len(list) < fewest {
		return found
	}
	pace := median(logs)
	var off []float64
	for _, l := range logs {
		off = append(off, math.Abs(l-pace))
	}
	sigma := 1.4826 * median(off) // of a normal distribution with that MAD
	for i, d := range list {
		l := logs[i] - pace
		d.Factor = math.Exp(l)
		expected := d.Base * math.Exp(pace)
		if math.Abs(l) > max(deviations*sigma, math.Log(leastFactor)) && math.Abs(d.New-expected) > leastMargin {
			found = append(found, d)
		}
	}
	slices.SortStableFunc(found, func(a, b Duration) int {
		return int(math.Copysign(1, math.Abs(math.Log(b.Factor))-math.Abs(math.Log(a.Factor))))
	})
	return found
}

// ran is how many subtests ran; -1 if any ended in an ERROR, which takes any
// time.
func ran(o reports.Outcome) (n int) {
	for _, t := range o.Subtests {
		switch t.Status {
		case reports.Error:
			return -1
		case reports.Skip:
		default:
			n++
		}
	}
	return n
}

// typical is the median over the attempts.
func typical(o reports.Outcome) float64 {
	var list []float64
	for _, a := range o.Attempts {
		one := reports.Outcome{Attempts: []reports.Spec{a}}
		list = append(list, one.Seconds())
	}
	if len(list) == 0 {
		return 0
	}
	return median(list)
}

func median(list []float64) float64 {
	list = slices.Clone(list)
	sort.Float64s(list)
	n := len(list)
	if n%2 == 1 {
		return list[n/2]
	}
	return (list[n/2-1] + list[n/2]) / 2
}
