// SPDX-License-Identifier: Apache-2.0

package images

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"proofhouse/internal/exit"
)

// foreign is an architecture that this host does not run.
func foreign() arch {
	for _, a := range arches {
		if !a.native() {
			return a
		}
	}
	panic("no other architecture")
}

// A registration is seen in the sandbox alone, and a sandbox without a binfmt_misc
// of its own registers nothing.
func TestPrivateRegistration(t *testing.T) {
	a := foreign()
	err := CanBuild(t.Context(), a.name)
	if err != nil {
		if exit.Status(err) != exit.Usage {
			t.Error(err)
		}
		t.Skip(err)
	}
	hosts := func() string {
		found, err := filepath.Glob("/proc/sys/fs/binfmt_misc/*")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(found, " ")
	}
	before := hosts()
	plain, err := sandboxFor(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	look := plain.emulating(a, "/bin/true").run(t.Context(), "sh", "-c", "ls /proc/sys/fs/binfmt_misc; cat /proc/sys/fs/binfmt_misc/true; id -u")
	out, err := look.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, want := range []string{"interpreter /bin/true", "flags: POCF", "\n0\n"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in %s", want, out)
		}
	}
	// A program of the architecture: /bin/true is what runs it.
	program := filepath.Join(t.TempDir(), "program")
	header := make([]byte, 4096)
	copy(header, strings.NewReplacer(`\x7f`, "\x7f", `\x00`, "\x00", `\x01`, "\x01", `\x02`, "\x02", `\x3e`, "\x3e", `\xb7`, "\xb7").Replace(a.magic))
	if err := os.WriteFile(program, header, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(program), 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := plain.emulating(a, "/bin/true").run(t.Context(), program).CombinedOutput(); err != nil {
		t.Errorf("run a program of %s: %v: %s", a.name, err, out)
	}
	if out, err := plain.emulating(a, "/bin/false").run(t.Context(), program).CombinedOutput(); err == nil {
		t.Errorf("its emulator failed, and the program did not: %s", out)
	}
	if after := hosts(); after != before {
		t.Errorf("the host's registrations are now %s, before: %s", after, before)
	}
	// Root, in the user namespace of the host: foreign.sh must not touch its register.
	if os.Geteuid() != 0 {
		return
	}
	host := plain.emulating(a, "/bin/true")
	host.ownUsers = false
	if out, err := host.run(t.Context(), "true").CombinedOutput(); err == nil || !strings.Contains(string(out), errNoBinfmt) {
		t.Errorf("in the host's user namespace: %v: %s", err, out)
	}
	if after := hosts(); after != before {
		t.Errorf("the host's registrations are now %s, before: %s", after, before)
	}
}
