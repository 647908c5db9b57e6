package machines

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The samples are consoles of real kernels; the first line says what must be
// found in the rest.
func TestFindCrashSamples(t *testing.T) {
	files, err := filepath.Glob("testdata/crashes/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no samples", err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txt"), func(t *testing.T) {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			want, console, _ := strings.Cut(string(b), "\n")
			want = strings.TrimPrefix(want, "title: ")
			c, ok := FindCrash(console)
			if ok != (want != "") || c.Title != want {
				t.Errorf("found %v %q, want %q", ok, c.Title, want)
			}
			if ok && !strings.Contains(console, strings.Split(c.Text, "\n")[0]) {
				t.Errorf("the report is not from the console: %q", c.Text)
			}
		})
	}
}

// One complaint does not hide the next, and what follows a death is its
// consequence.
func TestFindCrashes(t *testing.T) {
	const warning = "------------[ cut here ]------------\nrefcount_t: underflow; use-after-free.\nWARNING: CPU: 0 PID: 1 at lib/refcount.c:28 refcount_warn_saturate+0xbe/0x110\n---[ end trace 0000000000000000 ]---\n"
	const other = "------------[ cut here ]------------\nWARNING: CPU: 0 PID: 2 at security/apparmor/label.c:78 aa_put_label+0x30/0x50\n"
	const bug = "kernel BUG at fs/dcache.c:1904!\nOops: invalid opcode: 0000 [#1] SMP\n---[ end trace 0000000000000000 ]---\nnote: rmdir[1] exited with irqs disabled\nBUG: scheduling while atomic: rmdir/1/0x2\n"
	for text, want := range map[string][]string{
		"all is well\n":                         nil,
		warning + warning:                       {"refcount_t: underflow"},
		warning + "mount: ok\n" + other:         {"refcount_t: underflow", "WARNING in aa_put_label"},
		other + warning + bug + other + "end\n": {"WARNING in aa_put_label", "refcount_t: underflow", "kernel BUG at fs/dcache.c:1904"},
	} {
		var got []string
		for _, c := range FindCrashes(text) {
			got = append(got, c.Title)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q of\n%s", got, text)
		}
	}
}

// Each kind by the kernel's own words.
func TestFindCrashLines(t *testing.T) {
	for _, c := range []struct{ line, title string }{
		{"[   12.345678] BUG: KASAN: slab-use-after-free in aa_label_free+0x12/0x40", "KASAN: slab-use-after-free in aa_label_free"},
		{"[   12.345678][  T123] BUG: KASAN: null-ptr-deref in foo+0x1", "KASAN: null-ptr-deref in foo"},
		{"BUG: kernel NULL pointer dereference, address: 0000000000000008", "NULL pointer dereference"},
		{"BUG: unable to handle page fault for address: ffffffffc0000000", "bad page fault"},
		{"Oops: general protection fault, probably for non-canonical address 0xdead: 0000 [#1] SMP", "general protection fault"},
		{"kernel BUG at security/apparmor/label.c:1234!", "kernel BUG at security/apparmor/label.c:1234"},
		{"WARNING: CPU: 0 PID: 1234 at security/apparmor/label.c:78 aa_put_label+0x30/0x50", "WARNING in aa_put_label"},
		{"WARNING: security/apparmor/policy.c:99 at aa_replace_profiles+0x1/0x2, CPU#0: x/12", "WARNING in aa_replace_profiles"},
		{"WARNING: at aafs_remove+0xa5/0xb0, CPU#0: probe/3462", "WARNING in aafs_remove"},
		{"WARNING: CPU: 0 PID: 12 at aa_put_label+0x30/0x50", "WARNING in aa_put_label"},
		{"Kernel BUG at aa_label_free+0x10/0x20 [verbose debug info unavailable]", "kernel BUG in aa_label_free"},
		{"kernel BUG at d_instantiate+0xf/0x20 [verbose debug info unavailable]", "kernel BUG in d_instantiate"},
		{"WARNING: possible circular locking dependency detected", "lockdep: possible circular locking dependency"},
		{"WARNING: suspicious RCU usage", "lockdep: suspicious RCU usage"},
		{"INFO: task apparmor_parser:123 blocked for more than 120 seconds.", "task apparmor_parser hung"},
		{"watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [bash:33]", "soft lockup"},
		{"rcu: INFO: rcu_preempt self-detected stall on CPU", "RCU stall"},
		{"rcu: INFO: rcu_sched detected stalls on CPUs/tasks:", "RCU stall"},
		{"refcount_t: underflow; use-after-free.", "refcount_t: underflow"},
		{"Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100", "panic: Attempted to kill init! exitcode=0x00000100"},
		{"BUG: sleeping function called from invalid context at mm/slab.h:1", "BUG: sleeping function called from invalid context"},
		{"Out of memory: Killed process 12 (perl) total-vm:1kB", "out of memory, killed perl"},
		{"UBSAN: array-index-out-of-bounds in security/apparmor/match.c:1:2", "UBSAN: array-index-out-of-bounds in security/apparmor/match.c:1:2"},
		{"[ INFO: possible circular locking dependency detected ]", "lockdep: possible circular locking dependency"},
		{"[ BUG: Invalid wait context ]", "lockdep: Invalid wait context"},
		{"[  826.525201][ T4398] WARNING: bash/4398 still has locks held!", "lockdep: a task still has locks held"},
		{"BUG: KASAN: wild-memory-access on address ffe7087450a17000", "KASAN: wild-memory-access"},
		{"BUG: KMSAN: uninit-value in aa_dfa_match+0x1/0x2", "KMSAN: uninit-value in aa_dfa_match"},
		{"ODEBUG: free active (active state 0) object: ffff88807b3c4490 object type: timer_list hint: f+0x0/0x1", "ODEBUG: free timer_list"},
		{"INFO: task udevd:5612 blocked in I/O wait for more than 143 seconds.", "task udevd hung"},
		{"BUG kmalloc-8 (Tainted: G    B         ): Object already free", "BUG: Object already free (kmalloc-8)"},
		{"divide error: 0000 [#1] SMP KASAN", "divide error"},
		{"WARNING: [time_after(jiffies, t)] fs/x.c:3026 at io_exit+0x44c/0xbc0, CPU#0: k/10", "WARNING in io_exit"},
		{"WARNING: fs/ext4/xattr.c:1058 at 0x0, CPU#0: bash/5982", "WARNING in 0x0"},
		{"VFS: Busy inodes after unmount of sda. Self-destruct in 5 seconds.", "VFS: busy inodes after unmount"},
		{"[    1.887427] EXT4-fs (sda1): INFO: recovery required on readonly filesystem", ""},
		{"[    1.2] EXT4-fs (vda): warning: mounting unchecked fs", ""},
		{"operation not supported error, dev ubda, sector 1 op 0x9:(WRITE_ZEROES) flags 0x800", ""},
		{"ok (pass): BUG in my bonnet", ""},
	} {
		got, ok := FindCrash(c.line + "\n")
		if ok != (c.title != "") {
			t.Errorf("%q: found %v %q", c.line, ok, got.Title)
		}
		if got.Title != c.title {
			t.Errorf("%q: got %q, want %q", c.line, got.Title, c.title)
		}
	}
}

func FuzzFindCrash(f *testing.F) {
	f.Add("[ 1.0] ------------[ cut here ]------------\n[ 1.0] WARNING: CPU: 0 PID: 1 at a.c:1 f+0x1/0x2\n---[ end trace ]---\n")
	f.Add("Kernel panic - not syncing: x")
	f.Fuzz(func(t *testing.T, console string) {
		c, ok := FindCrash(console)
		if ok && (c.Title == "" || strings.Contains(c.Title, "\n")) {
			t.Errorf("title %q", c.Title)
		}
	})
}
