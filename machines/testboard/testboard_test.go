// SPDX-License-Identifier: Apache-2.0

package testboard

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"
)

// The board boots, answers, and comes back after its power was cut.
func TestE2EBoardItself(t *testing.T) {
	if os.Getenv("PROOFHOUSE_E2E") == "" {
		t.Skip("boots a machine: make test-boards")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
	defer cancel()
	d, err := Get(ctx, func(s string) { t.Log(s) })
	if err != nil {
		t.Fatal(err)
	}
	b, err := d.New(ctx, t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.PowerOff()
	boots := map[string]bool{}
	for range 2 {
		if err := b.PowerOn(); err != nil {
			t.Fatal(err)
		}
		if err := b.Wait(ctx); err != nil {
			t.Fatal(err)
		}
		out, err := b.Run(ctx, "cat /proc/sys/kernel/random/boot_id /sys/module/apparmor/parameters/enabled; ls -d /sys/fs/pstore")
		if err != nil || !strings.HasSuffix(out, "\nY\n/sys/fs/pstore\n") {
			t.Fatalf("%v: %s", err, out)
		}
		boots[out] = true
		b.PowerOff()
	}
	if len(boots) != 2 {
		t.Errorf("it did not reboot: %v", boots)
	}
}
