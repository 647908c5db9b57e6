// SPDX-License-Identifier: Apache-2.0

package machines

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"proofhouse/internal/cache"

	"golang.org/x/sys/unix"
)

// pin binds the process, and all that it will start, to one processor that no other
// machine uses. User Mode Linux has one processor: its kernel and its processes take
// turns, and a switch to another processor of the host has to wake that one up first.
// On one processor, the same scripts take about three quarters of the time.
//
// If every processor has a machine already, the process is not bound. The claim ends
// with the directory's lock, also if this process is killed.
func (d *runDir) pin(ctx context.Context, pid int) {
	var allowed unix.CPUSet
	if unix.SchedGetaffinity(pid, &allowed) != nil || allowed.Count() < 2 {
		return
	}
	for n := range len(allowed) * 64 {
		if !allowed.IsSet(n) {
			continue
		}
		now, cancel := context.WithTimeout(ctx, time.Nanosecond)
		unlock, err := cache.Lock(now, filepath.Join(filepath.Dir(d.path), fmt.Sprintf(".processor-%d.lock", n)))
		cancel()
		if err != nil {
			continue
		}
		var one unix.CPUSet
		one.Set(n)
		if unix.SchedSetaffinity(pid, &one) != nil {
			unlock()
			return
		}
		folder := d.unlock
		d.unlock = func() { unlock(); folder() }
		return
	}
}
