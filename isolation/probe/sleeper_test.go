// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"bytes"
	"debug/elf"
	"runtime"
	"testing"
)

// TestSleeper holds the programs against what an ELF reader makes of them;
// TestChildExecutes runs the one of this machine.
func TestSleeper(t *testing.T) {
	for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		program, ok := sleeper(arch)
		if !ok {
			t.Errorf("%s has none", arch)
			continue
		}
		f, err := elf.NewFile(bytes.NewReader(program))
		if err != nil {
			t.Errorf("%s: %v", arch, err)
			continue
		}
		if f.Machine != machine || f.Type != elf.ET_EXEC || len(f.Progs) != 1 {
			t.Errorf("%s: %v, %v, %d segments", arch, f.Machine, f.Type, len(f.Progs))
			continue
		}
		p := f.Progs[0]
		code := program[f.Entry-p.Vaddr:]
		if p.Type != elf.PT_LOAD || p.Flags != elf.PF_R|elf.PF_X || p.Filesz != uint64(len(program)) || !bytes.Equal(code, sleepers[arch].code) {
			t.Errorf("%s: segment %+v, code % x", arch, p.ProgHeader, code)
		}
	}
	if _, ok := sleeper("none"); ok {
		t.Error("an architecture that is none has one")
	}
	if _, ok := sleeper(runtime.GOARCH); !ok {
		t.Errorf("this machine's architecture, %s, has none", runtime.GOARCH)
	}
}
