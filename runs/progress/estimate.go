package progress

import "slices"

// job is a spec that runs or ran: how many seconds were expected (0: unknown)
// and how many it took so far, or in all.
type job struct{ expected, took float64 }

// trust is how many seconds of work weigh as much as the expectation itself
// when the speed of this machine is learned.
const trust = 20

// overrun is how much longer, of what it took already, a spec is thought to
// take that should have ended.
const overrun = 0.2

// remaining estimates the seconds until all specs of the queue (their expected
// seconds, in order; 0: unknown) and those that run have ended, with procs
// running side by side. It is false if nothing is known to estimate from.
//
// Expectations are those of another run, perhaps on a faster machine: their
// ratio to what is seen scales the rest.
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
	for _, expected := range queue { // each to the process that is free first
		first := slices.Index(load, slices.Min(load))
		load[first] += scaled(expected)
	}
	return slices.Max(load), true
}

// factor is how much slower this run is than what was expected.
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

// typical is the time of a spec without an expectation: the mean of those that
// finished, else of what is expected of the others.
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
