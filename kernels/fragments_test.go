// SPDX-License-Identifier: Apache-2.0

package kernels

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// A vendor's kernel with the fragment in docs/ has all that [Build.Check] asks for.
func TestFragments(t *testing.T) {
	// What both defconfigs have, by themselves or by the defaults of arm64.
	vendor := []string{
		"CONFIG_64BIT", "CONFIG_SERIAL_AMBA_PL011_CONSOLE", "CONFIG_BLK_DEV_INITRD", "CONFIG_PROC_FS", "CONFIG_SYSFS",
		"CONFIG_DEVTMPFS", "CONFIG_TMPFS", "CONFIG_UNIX98_PTYS", "CONFIG_BINFMT_SCRIPT", "CONFIG_FUTEX", "CONFIG_EPOLL", "CONFIG_EXT4_FS",
	}
	for _, name := range []string{"s32g.config", "raspberrypi.config"} {
		text, err := os.ReadFile(filepath.Join("..", "docs", name))
		if err != nil {
			t.Fatal(err)
		}
		config, _ := parseConfig(text)
		for _, r := range requirements {
			if slices.Contains(r.kinds, Image) && config[r.option] != "y" && !slices.Contains(vendor, r.option) {
				t.Errorf("%s lacks %s (%s)", name, r.option, r.lack)
			}
		}
		if len(config) < 15 {
			t.Errorf("%s has %d options", name, len(config))
		}
	}
}
