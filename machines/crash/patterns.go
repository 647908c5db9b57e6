// SPDX-License-Identifier: Apache-2.0

package crash

import "regexp"

// pattern recognises one kind of complaint by its first line. $1 and $2 in the
// title are the expression's groups.
type pattern struct {
	re    *regexp.Regexp
	title string
}

// The first pattern that matches a line gives its title, so specific patterns
// come first. The comments name the kernel file that prints the text.
var patterns = []pattern{
	// mm/kasan/report.c
	{regexp.MustCompile(`BUG: KASAN: (.+?) in ([^+\s]+)`), "KASAN: $1 in $2"},
	{regexp.MustCompile(`BUG: KASAN: (\S+) on address`), "KASAN: $1"},
	// mm/kmsan/report.c
	{regexp.MustCompile(`BUG: KMSAN: (\S+) in ([^+\s]+)`), "KMSAN: $1 in $2"},
	// mm/kfence/report.c
	{regexp.MustCompile(`BUG: KFENCE: (.+) in ([^+\s]+)`), "KFENCE: $1 in $2"},
	// kernel/kcsan/report.c
	{regexp.MustCompile(`BUG: KCSAN: (.+?) in (.+)`), "KCSAN: $1 in $2"},
	// lib/ubsan.c
	{regexp.MustCompile(`UBSAN: (\S+|Undefined behaviour) in (\S+)`), "UBSAN: $1 in $2"},
	// mm/kmemleak.c
	{regexp.MustCompile(`kmemleak: (\d+) new suspected memory leaks`), "kmemleak: suspected memory leaks"},
	// lib/debugobjects.c
	{regexp.MustCompile(`ODEBUG: (\w+) .*object type: (\S+)`), "ODEBUG: $1 $2"},
	// kernel/locking/lockdep.c; older kernels frame some of these in brackets
	{regexp.MustCompile(`(?:BUG|INFO|WARNING): (possible circular locking dependency|possible recursive locking|inconsistent lock state|bad unlock balance|bad contention|held lock freed|Nested lock was not taken|possible irq lock inversion dependency|Invalid wait context|lock held when returning to user space|suspicious RCU usage)`), "lockdep: $1"},
	{regexp.MustCompile(`(?:\S+-safe -> \S+-unsafe|\S+-order) lock(?:ing)?\S* (?:order|dependency) detected`), "lockdep: unsafe lock order"},
	{regexp.MustCompile(`(?:BUG|WARNING): \S+/\d+ still has locks held`), "lockdep: a task still has locks held"},
	{regexp.MustCompile(`INFO: trying to register non-static key`), "lockdep: non-static key"},
	{regexp.MustCompile(`BUG: (MAX_LOCK\w+ too low|MAX_STACK\w+ too low|key \S+ not in \.data)`), "lockdep: $1"},
	// kernel/rcu/tree_stall.h
	{regexp.MustCompile(`(?:INFO: )?rcu\S*:? (?:INFO: )?(?:rcu_\w+ )?(?:self-)?detected (?:expedited )?stalls?`), "RCU stall"},
	{regexp.MustCompile(`\brcu\w* kthread (?:starved for|timer wakeup didn't happen for)`), "RCU stall"},
	// kernel/watchdog.c
	{regexp.MustCompile(`BUG: soft lockup - CPU#\d+ stuck for`), "soft lockup"},
	{regexp.MustCompile(`(?:Watchdog detected hard LOCKUP|watchdog: CPU\d+: Watchdog detected hard LOCKUP)`), "hard lockup"},
	// kernel/hung_task.c
	{regexp.MustCompile(`INFO: task (.+?):\d+ (?:<.*> )?(?:is )?blocked (?:in I/O wait )?for more than`), "task $1 hung"},
	{regexp.MustCompile(`INFO: task (.+?):\d+ can't die for more than`), "task $1 cannot die"},
	// kernel/cfi.c
	{regexp.MustCompile(`CFI failure at ([^+\s]+)`), "CFI failure in $1"},
	// arch/x86/mm/fault.c, arch/powerpc/mm/fault.c
	{regexp.MustCompile(`kernel tried to execute NX-protected page`), "execution of a page that is data"},
	{regexp.MustCompile(`unable to execute userspace code \(SMEP`), "execution of user memory"},
	{regexp.MustCompile(`BUG: [kK]ernel NULL pointer dereference`), "NULL pointer dereference"},
	{regexp.MustCompile(`BUG: [uU]nable to handle (?:kernel )?(?:page fault|paging request|NULL pointer|data access|instruction fetch)`), "bad page fault"},
	// arch/arm64/mm/fault.c, arch/arm/mm/fault.c, arch/riscv/mm/fault.c
	{regexp.MustCompile(`Unable to handle kernel (.+?) at (?:virtual )?address`), "$1"},
	// arch/x86/kernel/traps.c; a fault of a process reads "general protection fault ip:"
	{regexp.MustCompile(`general protection fault(?:, (?:probably|maybe) for|:| for non-canonical)`), "general protection fault"},
	{regexp.MustCompile(`^(?:traps: )?PANIC: double fault|^(?:Oops: )?double fault: [0-9a-f]+ \[#`), "double fault"},
	{regexp.MustCompile(`^(?:Oops: )?divide[ _]error: [0-9a-f]+ \[#`), "divide error"},
	{regexp.MustCompile(`[kK]ernel BUG at ([^+\s]+)\+0x`), "kernel BUG in $1"}, // lib/bug.c, without CONFIG_DEBUG_BUGVERBOSE
	{regexp.MustCompile(`kernel BUG at (\S+?)[!\s]`), "kernel BUG at $1"},
	{regexp.MustCompile(`kernel stack overflow|stack guard page was hit|corrupted stack end detected`), "stack overflow"},
	// die() of arch/*/kernel/{dumpstack,traps}.c: "Oops: 0002 [#1]", "Internal error: Oops: 96000004 [#1]",
	// "Internal error: Oops - BUG: f2000800 [#1]", "Oops: Kernel access of bad area, sig: 11 [#1]",
	// "invalid opcode: 0000 [#1]", "Oops [#1]"
	{regexp.MustCompile(`^(?:Oops|Internal error: Oops): ([0-9a-f]+) \[#`), "oops $1"},
	{regexp.MustCompile(`^(?:Oops: |Internal error: (?:Oops - )?|)([a-zA-Z][\w /-]*?)(?:: [0-9a-f]+|, sig: \d+) \[#`), "oops $1"},
	{regexp.MustCompile(`^Oops \[#`), "oops"},
	{regexp.MustCompile(`^(?:Oops|Internal error): (\S+)`), "oops $1"},
	// mm/slab_common.c and mm/slab.c, which 6.8 removed
	{regexp.MustCompile(`slab error in \w+\(\)`), "slab error"},
	// mm/slub.c, mm/memory.c, kernel/workqueue.c and others
	{regexp.MustCompile(`^BUG (\S+) \(.*\): (.+)`), "BUG: $2 ($1)"},
	{regexp.MustCompile(`BUG: (Bad page map|rwlock bad magic|workqueue leaked (?:lock|atomic|RCU)|memory leak)`), "BUG: $1"},
	// net/core/dev.c
	{regexp.MustCompile(`unregister_netdevice: waiting for (\S+) to become free`), "unregister_netdevice: $1 does not become free"},
	// fs/super.c, fs/open.c
	{regexp.MustCompile(`VFS: Busy inodes after unmount`), "VFS: busy inodes after unmount"},
	{regexp.MustCompile(`VFS: Close: file count is`), "VFS: close of a file with count 0"},
	// arch/x86/kernel/unwind_frame.c
	{regexp.MustCompile(`WARNING: kernel stack (regs|frame pointer) at`), "WARNING: kernel stack $1 has a bad value"},
	{regexp.MustCompile(`BUG: (sleeping function called from invalid context|scheduling while atomic|workqueue lockup|Bad page state|Bad rss-counter state|spinlock \S+|using \S+ in preemptible)`), "BUG: $1"},
	// lib/refcount.c, then kernel/panic.c
	{regexp.MustCompile(`(refcount_t: [a-z0-9 -]+[a-z0-9])`), "$1"},
	{regexp.MustCompile(`WARNING: CPU: \d+ PID: \d+ at \S+ ([^+\s]+)\+`), "WARNING in $1"},
	{regexp.MustCompile(`WARNING: (?:\[.*\] )?\S+:\d+ at ([^+\s,]+)[+,]`), "WARNING in $1"}, // since 6.18
	// without CONFIG_DEBUG_BUGVERBOSE
	{regexp.MustCompile(`WARNING: (?:\[.*\] )?(?:CPU: \d+ PID: \d+ )?at ([^+\s,]+)`), "WARNING in $1"},
	// mm/oom_kill.c: no test causes this; the machine has too little memory
	{regexp.MustCompile(`Out of memory: Killed process \d+ \((.+?)\)`), "out of memory, killed $1"},
	{regexp.MustCompile(`Kernel panic - not syncing: (.+)`), "panic: $1"},
}
