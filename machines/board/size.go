// SPDX-License-Identifier: Apache-2.0

package board

import (
	"os"
	"syscall"
)

// allocated is how many bytes of the disk a file takes: an image has holes.
func allocated(file string) (int64, error) {
	st, err := os.Stat(file)
	if err != nil {
		return 0, err
	}
	if s, ok := st.Sys().(*syscall.Stat_t); ok {
		return s.Blocks * 512, nil
	}
	return st.Size(), nil
}
