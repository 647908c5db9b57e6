// SPDX-License-Identifier: Apache-2.0

package machines

import (
	"os"
	"path/filepath"
	"strings"

	"proofhouse/internal/cache"
)

// kvmState is the file that remembers whether KVM works, until the host reboots.
type kvmState struct{ file string }

func kvmMemory() (kvmState, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return kvmState{}, err
	}
	return kvmState{filepath.Join(cache.Root(), "kvm-"+strings.TrimSpace(string(id)))}, nil
}

// possible reports whether /dev/kvm can be opened.
func (k kvmState) possible() bool {
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return false
	}
	_ = f.Close()
	return true
}

// recall returns "works", "fails", or "" if it was not tried.
func (k kvmState) recall() string {
	b, err := os.ReadFile(k.file)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// remember stores the answer and removes those of earlier boots.
func (k kvmState) remember(answer string) {
	old, _ := filepath.Glob(filepath.Join(filepath.Dir(k.file), "kvm-*"))
	for _, f := range old {
		_ = os.Remove(f)
	}
	_ = os.MkdirAll(filepath.Dir(k.file), 0o755)
	_ = os.WriteFile(k.file, []byte(answer+"\n"), 0o644)
}

// KVM is the state of KVM on this host: "works", "fails", "untried" or "none".
func KVM() string {
	k, err := kvmMemory()
	if err != nil || !k.possible() {
		return "none"
	}
	if s := k.recall(); s != "" {
		return s
	}
	return "untried"
}
