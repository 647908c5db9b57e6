// SPDX-License-Identifier: Apache-2.0

package runs

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"proofhouse/machines/crash"
	"proofhouse/reports"
)

// A probe is given up when the kernel has ended a task, and for nothing less.
func TestUnlessOops(t *testing.T) {
	for console, given := range map[string]bool{
		"": false,
		"WARNING: lib/refcount.c:28 at refcount_warn_saturate+0x59/0x90, CPU#0: init/107\n":                  false,
		"[   12.3] kernel BUG at fs/dcache.c:2041!\n[   12.3] invalid opcode: 0000 [#1] PREEMPT SMP NOPTI\n": true,
		"Internal error: Oops - BUG: 00000000f2000800 [#1]  SMP\n":                                           true,
	} {
		ctx, cancel := unlessOops(t.Context(), func() string { return console }, time.Millisecond)
		wait := 100 * time.Millisecond
		if given {
			wait = time.Minute // at most: it is over after some looks
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		if err := context.Cause(ctx); errors.Is(err, errOops) != given {
			t.Errorf("%q: %v", console, err)
		}
		cancel()
	}
}

// What a kernel did not bear is a verdict, and no cell that was never tried; but
// where it only warned, what went wrong beside that is told.
func TestBears(t *testing.T) {
	for _, c := range []struct {
		crashes []string
		cut     bool
		want    []string
	}{
		{[]string{"kernel BUG at fs/dcache.c:1904"}, true, []string{"first PASS", "(kernel-log) kernel BUG at fs/dcache.c FAIL"}},
		{[]string{"kernel BUG at fs/dcache.c:1904 (then a panic)"}, true, []string{"first PASS", "(kernel-log) kernel BUG at fs/dcache.c (then a panic) FAIL"}},
		{[]string{"UBSAN: array-index-out-of-bounds in security/apparmor/match.c:12:5", "UBSAN: array-index-out-of-bounds in security/apparmor/match.c:13:5"}, true, []string{"first PASS", "(kernel-log) UBSAN: array-index-out-of-bounds in security/apparmor/match.c FAIL"}},
		{[]string{"WARNING in aafs_remove"}, false, []string{"first PASS", "parallel ERROR", "(kernel-log) WARNING in aafs_remove FAIL"}},
		{[]string{"WARNING in aafs_remove", "WARNING in aa_put_label"}, true, []string{"first PASS", "(kernel-log) WARNING in aafs_remove FAIL", "(kernel-log) WARNING in aa_put_label FAIL"}},
	} {
		results := crashResults("isolation/limits/races", titled(c.crashes), c.cut, []reports.Result{
			{ID: "isolation/limits/races/first", Status: reports.Pass},
			{ID: "isolation/limits/races/parallel", Status: reports.Error, Reason: "the probe ended before this cell"},
		})
		var got []string
		for _, r := range results {
			got = append(got, strings.TrimPrefix(r.ID, "isolation/limits/races/")+" "+string(r.Status))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%q", got)
		}
	}
}

func titled(titles []string) (list []crash.Crash) {
	for _, t := range titles {
		list = append(list, crash.Crash{Title: t})
	}
	return list
}

// The kernel says on its console that it dropped audit records.
func TestLostNotice(t *testing.T) {
	for console, want := range map[string]string{
		"": "", "audit: type=1400 audit(1.1:2): apparmor=\"DENIED\"\n": "",
		"x\n[    9.1] audit: audit_lost=1 audit_rate_limit=0 audit_backlog_limit=64\n": "[    9.1] audit: audit_lost=1 audit_rate_limit=0 audit_backlog_limit=64",
		"[    9.1] audit: backlog limit exceeded\n":                                    "[    9.1] audit: backlog limit exceeded",
	} {
		if got := lostNotice(console); got != want {
			t.Errorf("%q: %q", console, got)
		}
	}
}
