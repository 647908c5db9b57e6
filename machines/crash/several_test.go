// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"slices"
	"testing"
)

// A report without an end marker does not hide the next complaint: the first may
// be expected, or the fault of a busy host.
func TestComplaintAfterReportWithoutEnd(t *testing.T) {
	kasan := "[ 1.0] ==================================================================\n[ 1.0] BUG: KASAN: slab-use-after-free in aa_label_match+0x1/0x2\n" +
		"[ 1.0] Read of size 8 at addr ffff by task a/1\n[ 1.0] Call Trace:\n[ 1.0]  dump_stack+0x1/0x2\n[ 1.0] ==================================================================\n"
	const first = "KASAN: slab-use-after-free in aa_label_match"
	for _, c := range []struct {
		console string
		titles  []string
	}{
		{kasan + "[ 2.0] BUG: KASAN: double-free in aa_other+0x1/0x2\n", []string{first, "KASAN: double-free in aa_other"}},
		{kasan + "[ 2.0] UBSAN: array-index-out-of-bounds in security/apparmor/match.c:1:2\n", []string{first, "UBSAN: array-index-out-of-bounds in security/apparmor/match.c:1:2"}},
		{kasan + "[ 2.0] WARNING: CPU: 0 PID: 1 at security/apparmor/policy.c:77 aa_put_profile+0x1f/0x30\n", []string{first, "WARNING in aa_put_profile"}},
		{kasan + "[ 2.0] BUG: kernel NULL pointer dereference, address: 0010\n[ 2.0] Oops: 0000 [#1] SMP\n", []string{first, "NULL pointer dereference"}},
		{"[ 1.0] rcu: INFO: rcu_sched self-detected stall on CPU\n[ 1.1] x\n[ 2.0] kernel BUG at fs/dcache.c:2041!\n", []string{"RCU stall", "kernel BUG at fs/dcache.c:2041"}},
		// One report, in which several lines look like the start of one.
		{"[ 2.0] refcount_t: underflow; use-after-free.\n[ 2.0] WARNING: CPU: 0 PID: 1 at lib/refcount.c:28 refcount_warn_saturate+0x1/0x2\n", []string{"refcount_t: underflow"}},
		{"[ 2.0] kernel BUG at fs/dcache.c:2041!\n[ 2.0] Oops: invalid opcode: 0000 [#1] SMP\n[ 2.0] BUG: unable to handle page fault for address: 1\n", []string{"kernel BUG at fs/dcache.c:2041"}},
		{kasan + "[ 1.1] BUG: KASAN: slab-use-after-free in aa_label_match+0x5/0x9\n", []string{first}},
	} {
		var got []string
		for _, found := range All(c.console) {
			got = append(got, found.Title)
		}
		if !slices.Equal(got, c.titles) {
			t.Errorf("%q: %q, want %q", c.console, got, c.titles)
		}
	}
}
