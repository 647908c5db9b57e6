// SPDX-License-Identifier: Apache-2.0

package progress

import "slices"

// job is a spec that runs or has ended: the expected seconds (0: unknown) and the
// seconds that it took so far or in total.
type job struct{ expected, took float64 }

// trust is the number of seconds of work that weigh as much as the expectation
// when the speed of this host is estimated.
const trust = 20

// overrun is the assumed remaining time of a spec that took longer than expected,
// as a fraction of the time that it took already.
const overrun = 0.2

// remaining estimates the seconds until all running specs and all specs of the
// queue (their expected seconds, in order; 0: unknown) have ended, with procs
// running side by side. It returns false if there is nothing to estimate from.
//
// The expectations come from another run, perhaps on a faster host. The ratio
// between expected and actual durations scales the rest.
func remaining(queue []float64, running, finished []job, procs int) (float64, bool) {
	speed := factor(running, finished)
	unknown, ok := typical(queue, running, finished, speed)
	if !ok {
		return 0, false
	}
	scaled := func(expected float64) float64 {
		if expected > 0 {
			return expected * speed
		}
		return unknown
	}
	load := make([]float64, max(procs, len(running), 1))
	for i, r := range running {
		load[i] = max(scaled(r.expected)-r.took, r.took*overrun)
	}
	for _, expected := range queue { // to the process that is idle first
		first := slices.Index(load, slices.Min(load))
		load[first] += scaled(expected)
	}
	return slices.Max(load), true
}

// factor is the ratio of actual to expected durations.
func factor(running, finished []job) float64 {
	took, expected := float64(trust), float64(trust)
	for _, j := range finished {
		if j.expected > 0 {
			took += j.took
			expected += j.expected
		}
	}
	for _, j := range running {
		if j.expected > 0 && j.took > j.expected*took/expected {
			took += j.took
			expected += j.expected
		}
	}
	return took / expected
}

// typical is the duration of a spec without an expectation: the mean of those
// that have ended, else the mean of the expectations.
func typical(queue []float64, running, finished []job, speed float64) (seconds float64, ok bool) {
	if len(finished) > 0 {
		for _, j := range finished {
			seconds += j.took
		}
		return seconds / float64(len(finished)), true
	}
	n := 0
	for _, j := range running {
		queue = append(queue[:len(queue):len(queue)], j.expected)
	}
	for _, expected := range queue {
		if expected > 0 {
			seconds += expected * speed
			n++
		}
	}
	if n == 0 {
		return 0, false
	}
	return seconds / float64(n), true
}
