package machines

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"proofhouse/internal/cache"

	"golang.org/x/sys/unix"
)

// pin keeps the process, and with it all that it will start, on one processor
// that no other machine of ours has. User Mode Linux has one processor, and
// its kernel and its processes take turns: a turn that goes to another
// processor of the host first has to wake that one up. Kept together, the same
// scripts take about three quarters of the time.
//
// Where each processor has a machine already, the process stays free. The
// claim ends with the folder's lock, so also when this process is killed.
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
