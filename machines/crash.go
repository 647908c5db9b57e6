package machines

import (
	"regexp"
	"strings"
)

// Crash is a complaint of the kernel: a panic, an oops, a warning.
type Crash struct {
	Title string // one line: "WARNING in aa_put_label"
	Text  string // the report, as it stands on the console
}

// pattern recognises one kind of complaint by the line it begins with. The
// title takes the expression's groups for $1, $2.
type pattern struct {
	re    *regexp.Regexp
	title string
}

// The first pattern that matches a line gives its title; more specific ones
// stand first. The texts are the kernel's own (named beside each).
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
	// kernel/watchdog.c
	{regexp.MustCompile(`BUG: soft lockup - CPU#\d+ stuck for`), "soft lockup"},
	{regexp.MustCompile(`(?:Watchdog detected hard LOCKUP|watchdog: CPU\d+: Watchdog detected hard LOCKUP)`), "hard lockup"},
	// kernel/hung_task.c
	{regexp.MustCompile(`INFO: task (\S+?):\d+ (?:<.*> )?(?:is )?blocked (?:in I/O wait )?for more than`), "task $1 hung"},
	{regexp.MustCompile(`INFO: task (\S+?):\d+ can't die for more than`), "task $1 cannot die"},
	// arch/x86/mm/fault.c
	{regexp.MustCompile(`BUG: kernel NULL pointer dereference`), "NULL pointer dereference"},
	{regexp.MustCompile(`BUG: unable to handle (?:kernel )?(?:page fault|paging request|NULL pointer)`), "bad page fault"},
	{regexp.MustCompile(`Unable to handle kernel (\S+ ?\S*)(?: to user memory without uaccess routines)? at`), "$1"},
	{regexp.MustCompile(`general protection fault(?:, probably for|:| for non-canonical)`), "general protection fault"},
	{regexp.MustCompile(`[kK]ernel BUG at ([^+\s]+)\+0x`), "kernel BUG in $1"}, // lib/bug.c, without CONFIG_DEBUG_BUGVERBOSE
	{regexp.MustCompile(`kernel BUG at (\S+?)[!\s]`), "kernel BUG at $1"},
	{regexp.MustCompile(`^PANIC: double fault`), "double fault"},
	{regexp.MustCompile(`^divide[ _]error: \d+ \[#`), "divide error"},
	{regexp.MustCompile(`kernel stack overflow|stack guard page was hit|corrupted stack end detected`), "stack overflow"},
	{regexp.MustCompile(`^(?:\[[^\]]*\] )?(?:Oops|Internal error): (\S+)`), "oops $1"},
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
	{regexp.MustCompile(`(refcount_t: [a-z -]+[a-z])`), "$1"},
	{regexp.MustCompile(`WARNING: CPU: \d+ PID: \d+ at \S+ ([^+\s]+)\+`), "WARNING in $1"},
	{regexp.MustCompile(`WARNING: (?:\[.*\] )?\S+:\d+ at ([^+\s,]+)[+,]`), "WARNING in $1"}, // since 6.18
	// without CONFIG_DEBUG_BUGVERBOSE
	{regexp.MustCompile(`WARNING: (?:\[.*\] )?(?:CPU: \d+ PID: \d+ )?at ([^+\s,]+)`), "WARNING in $1"},
	// mm/oom_kill.c: the machine has too little memory, which no test asked for.
	{regexp.MustCompile(`Out of memory: Killed process \d+ \((.+?)\)`), "out of memory, killed $1"},
	{regexp.MustCompile(`Kernel panic - not syncing: (.+)`), "panic: $1"},
}

// stamp is what stands before the text: a time, a task or a processor.
var stamp = regexp.MustCompile(`^(?:<\d+>)?(?:\[\s*\d+\.\d+\](?:\[\s*[TC]\d+\])? ?)?`)

// cutHere is the line that introduces a warning or an oops.
const cutHere = "------------[ cut here ]------------"

// reportLines is how many lines of a report are kept at most.
const reportLines = 120

// FindCrash looks for the kernel's first complaint in what stood on its
// console. A panic that follows it is its consequence and only mentioned.
func FindCrash(console string) (Crash, bool) {
	all := FindCrashes(console)
	if len(all) == 0 {
		return Crash{}, false
	}
	return all[0], true
}

// died is the count that die() prints when the kernel has ended a task
// (arch/x86/kernel/dumpstack.c, arch/arm64/kernel/traps.c), or its last word.
var died = regexp.MustCompile(`\[#\d+\]|Kernel panic - not syncing`)

// Died says whether the kernel has ended a task of its own accord, or itself. What
// locks the task had, it has for ever.
func Died(console string) bool { return died.MatchString(console) }

// FindCrashes looks for all complaints, of each title the first. What comes after
// one that ended a task or the kernel is its consequence, and left out.
func FindCrashes(console string) []Crash {
	var found []Crash
	known := map[string]bool{}
	lines := strings.Split(strings.ReplaceAll(console, "\r", ""), "\n")
	for i := 0; i < len(lines); i++ {
		title, ok := complaint(lines[i])
		if !ok {
			continue
		}
		c := Crash{Title: kernelTitle(title, lines[i+1:])}
		var end int
		c.Text, end = report(lines, i)
		if !known[c.Title] {
			known[c.Title] = true
			found = append(found, c)
		}
		if Died(c.Text) {
			break
		}
		i = end - 1
	}
	return found
}

// complaint is the title that a line gives, if a complaint begins with it.
func complaint(line string) (string, bool) {
	text := stamp.ReplaceAllString(line, "")
	for _, p := range patterns {
		if m := p.re.FindStringSubmatchIndex(text); m != nil {
			return string(p.re.ExpandString(nil, p.title, text, m)), true
		}
	}
	return "", false
}

// kernelTitle adds the panic that a complaint ended in.
func kernelTitle(title string, rest []string) string {
	if strings.HasPrefix(title, "panic: ") {
		return strings.TrimSpace(title)
	}
	for _, line := range rest {
		if strings.Contains(line, "Kernel panic - not syncing") {
			return title + " (then a panic)"
		}
	}
	return strings.TrimSpace(title)
}

// report cuts the complaint out of the console: from its introduction to the
// line that ends it, or before the next one's. end is the number of the line behind it.
func report(lines []string, i int) (text string, end int) {
	if i > 0 && strings.Contains(lines[i-1], cutHere) {
		i--
	}
	end = i + 1
	for end < len(lines) && end-i < reportLines {
		line := lines[end]
		if end > i+1 && strings.Contains(line, cutHere) {
			break // another's
		}
		end++
		if strings.Contains(line, "---[ end ") {
			break
		}
	}
	return strings.TrimRight(strings.Join(lines[i:end], "\n"), "\n"), end
}
