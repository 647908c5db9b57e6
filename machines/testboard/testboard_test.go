// SPDX-License-Identifier: Apache-2.0

package testboard

import (
	"context"
	"os"
	"testing"
	"time"
)

func TestE2EBoard(t *testing.T) {
	if os.Getenv("PROOFHOUSE_E2E") == "" {
		t.Skip("boots a machine: make test-e2e")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	begun := time.Now()
	d, err := Get(ctx, func(s string) { t.Log(s) })
	if err != nil {
		t.Fatal(err)
	}
	t.Log("disk", time.Since(begun))
	dir := t.TempDir()
	if k := os.Getenv("BOARD_DIR"); k != "" {
		dir = k
	}
	b, err := d.New(ctx, dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	begun = time.Now()
	if err := b.PowerOn(); err != nil {
		t.Fatal(err)
	}
	defer b.PowerOff()
	err = b.Wait(ctx)
	t.Log("up", time.Since(begun), err)
	out, err := b.Run(ctx, "uname -a; cat /sys/module/apparmor/parameters/enabled; df -h /; free -m; systemctl --failed; systemd-analyze blame | head; cat /proc/mounts | head -40")
	t.Log(out, err)
	c, _ := os.ReadFile(dir + "/console.log")
	t.Logf("%s", c)
	if os.Getenv("BOARD_DIR") != "" {
		<-ctx.Done()
	}
}

// The disk is made without a machine.
func TestE2EDisk(t *testing.T) {
	if os.Getenv("PROOFHOUSE_E2E") == "" {
		t.Skip("fetches packages: make test-e2e")
	}
	if _, err := Get(t.Context(), func(s string) { t.Log(s) }); err != nil {
		t.Fatal(err)
	}
}
