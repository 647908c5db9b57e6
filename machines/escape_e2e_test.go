// SPDX-License-Identifier: Apache-2.0

package machines_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"proofhouse/internal/sandbox"
	"proofhouse/kernels"
	"proofhouse/machines"
	"proofhouse/runs"
)

// hostfsAttempts is a script that has root in a User Mode Linux guest reach for
// the host's directory $1 through hostfs, and says what it could do.
const hostfsAttempts = `
mkdir -p /h; mount -t hostfs none /h -o hostfs="$1" || mount -t hostfs none /h -o "$1" || exit 0
echo mounted
cat /h/secret && echo "could read a file"
ls /h/ && [ -n "$(ls /h/)" ] && echo "could list a directory"
echo x > /h/planted && echo "could create a file"
mkdir /h/planted-directory && echo "could create a directory"
echo x >> /h/secret && echo "could append to a file"
: > /h/secret && echo "could truncate a file"
truncate -s 0 /h/secret && echo "could truncate a file"
chmod 777 /h/secret && [ "$(stat -c %a /h/secret)" = 777 ] && echo "could change a mode"
touch -d 1990-01-01 /h/secret && echo "could change times"
ln /h/secret /h/linked && echo "could create a hard link"
ln -s /etc/passwd /h/planted-link && echo "could create a symbolic link"
mv /h/secret /h/moved && echo "could rename a file"
rm -f /h/secret && [ ! -e /h/secret ] && echo "could remove a file"
mknod /h/planted-node c 1 3 && echo "could create a device"
true
`

// Root in a guest reads and writes nothing of the host's: not through hostfs, also
// where the kernel's own limit on it is lifted, and not through a disk.
func TestE2EEscape(t *testing.T) {
	if os.Getenv("PROOFHOUSE_E2E") == "" {
		t.Skip("boots kernels: make test-e2e")
	}
	if s := sandbox.Supported(); s.Landlock < 6 || !s.Seccomp {
		t.Skipf("this host has %v; the test wants Landlock ABI 6 and seccomp", s)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Minute)
	defer cancel()
	plan, err := runs.Prepare(ctx, runs.Config{Kernels: []string{kernels.Default, "debian:trixie"}}, func(s string) { t.Log(s) })
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range plan.Builds {
		t.Run(string(b.Kind), func(t *testing.T) {
			victim := t.TempDir()
			secret := filepath.Join(victim, "secret")
			if err := os.WriteFile(secret, []byte("secret"), 0o644); err != nil {
				t.Fatal(err)
			}
			before := identity(t, secret)
			o := plan.Options(b)
			image := identity(t, o.Root)
			// The last one wins: hostfs begins at the host's root again, and only
			// the sandbox is left.
			o.Parameters = append(o.Parameters, "hostfs=/")
			m, err := machines.Open(ctx, o)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = m.Close() }()
			confined(t)
			var out strings.Builder
			try := func(script string, args ...string) string {
				t.Helper()
				out.Reset()
				res, err := m.Run(ctx, machines.Command{Args: append([]string{"sh", "-c", script, "sh"}, args...), Stdout: &out, Stderr: &out, Deadline: 5 * time.Minute})
				if err != nil || res.Deadline {
					t.Fatalf("%v, %v: %s", res, err, out.String())
				}
				return out.String()
			}
			if said := try(hostfsAttempts, victim); strings.Contains(said, "could ") || b.Kind == kernels.UML && !strings.Contains(said, "mounted") {
				t.Errorf("hostfs: %s", said)
			}
			// What the guest writes to its disks stays with it.
			try(`cat /sys/class/net/*/address; for d in /dev/ubda /dev/ubdb /dev/vda /dev/vdb; do
				[ -b $d ] && dd if=/dev/urandom of=$d bs=1k seek=64 count=1 conv=fsync; done; sync`)
			if said := try(`ls /sys/class/net | grep -Ev '^(lo|sit0|tunl0|dummy.*|erspan0|gre0|gretap0|ip6.*|ip_vti0)$'`); said != "" {
				t.Errorf("it has a network interface: %s", said)
			}
			if err := m.Close(); err != nil {
				t.Error(err)
			}
			if after := identity(t, secret); after != before {
				t.Errorf("a file of the host's was changed: %s, before %s", after, before)
			}
			if after := identity(t, o.Root); after != image {
				t.Errorf("the root image was changed: %s, before %s", after, image)
			}
			if list, err := os.ReadDir(victim); err != nil || len(list) != 1 {
				t.Errorf("in the host's directory: %v, %v", list, err)
			}
		})
	}
}

// identity is what would tell that a file was changed.
func identity(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	fi, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	h := sha256.New()
	if _, err := io.Copy(h, io.LimitReader(f, 64<<20)); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%v %v %d %x", fi.Mode(), fi.ModTime(), fi.Size(), h.Sum(nil))
}

// confined wants the child processes of this one to be under a filter, without
// privileges.
func confined(t *testing.T) {
	t.Helper()
	found := 0
	files, _ := filepath.Glob("/proc/[0-9]*/status")
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		status := string(b)
		if !strings.Contains(status, fmt.Sprintf("\nPPid:\t%d\n", os.Getpid())) {
			continue
		}
		found++
		for _, want := range []string{"\nNoNewPrivs:\t1\n", "\nSeccomp:\t2\n"} {
			if !strings.Contains(status, want) {
				t.Errorf("%s lacks %q:\n%s", f, want, status)
			}
		}
		// CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH, or less.
		if !strings.Contains(status, "\nCapEff:\t0000000000000006\n") && !strings.Contains(status, "\nCapEff:\t0000000000000000\n") {
			t.Errorf("%s has capabilities:\n%s", f, status)
		}
	}
	if found == 0 {
		t.Error("no process of a machine was found")
	}
}
