// SPDX-License-Identifier: Apache-2.0

package machines

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"proofhouse/internal/sandbox"
	"proofhouse/kernels"
)

// TestMain makes the test binary a hostile kernel, or a hostile QEMU, where it is
// started as one.
func TestMain(m *testing.M) {
	for _, a := range os.Args[1:] {
		if _, victim, ok := strings.Cut(a, "victim="); ok {
			hostile(strings.Fields(victim)[0])
			os.Exit(0)
		}
		if strings.Contains(a, "fill-the-host") {
			fill()
		}
	}
	os.Exit(m.Run())
}

// fill writes files of the largest size that it may, until it is killed.
func fill() {
	for i := 0; i < 16; i++ {
		f, err := os.Create(filepath.Join(os.Getenv("TMPDIR"), strconv.Itoa(i)))
		if err == nil {
			_ = os.Remove(f.Name())
			err = unix.Fallocate(int(f.Fd()), 0, 0, 128<<20)
		}
		if err != nil {
			fmt.Println("fill:", err)
			break
		}
	}
	time.Sleep(time.Hour)
}

// hostile tries to reach what is not the machine's, and says on its console what
// it could do.
func hostile(victim string) {
	report := func(name string, err error) {
		if err == nil {
			fmt.Printf("hostile: could %s\n", name)
		}
	}
	read := func(path string) error { _, err := os.ReadFile(path); return err }
	list := func(path string) error { _, err := os.ReadDir(path); return err }
	own, err := os.Getwd()
	if err != nil {
		panic(err)
	}
	report("read a file of the user", read(victim+"/secret"))
	report("list a directory of the user", list(victim))
	report("create a file", os.WriteFile(victim+"/planted", []byte("x"), 0o644))
	report("change a mode", os.Chmod(victim+"/secret", 0o604))
	report("read /etc/passwd", read("/etc/passwd"))
	report("list /", list("/"))
	report("list /dev/shm", list(shm))
	report("list the directory of the machine's directory", list(filepath.Dir(own)))
	report("list the directory of all machines", list(filepath.Dir(filepath.Dir(own))))
	report("signal its parent", unix.Kill(os.Getppid(), 0))
	report("read the environment of its parent", read(fmt.Sprintf("/proc/%d/environ", os.Getppid())))
	f, err := os.OpenFile(victim+"/root.ext4", os.O_WRONLY, 0)
	report("write to its image", err)
	if err == nil {
		_ = f.Close()
	}
	address, err := os.ReadFile(victim + "/image") // the kernel's image: given, so readable
	if err != nil {
		fmt.Println("hostile: cannot read what was given:", err)
	}
	c, err := net.DialTimeout("tcp", strings.TrimSpace(string(address)), 10*time.Second)
	report("connect to a TCP port of the host", err)
	if err == nil {
		_ = c.Close()
	}
	if err := os.WriteFile(own+"/mine", []byte("x"), 0o644); err != nil {
		fmt.Println("hostile: cannot write its own directory:", err)
	}
	for _, kv := range os.Environ() {
		if strings.HasPrefix(kv, "SECRET=") {
			report("read the environment of its parent", nil)
		}
	}
	fmt.Println("hostile: done")
}

// A kernel under test, which somebody else built, and a QEMU that a guest has
// taken over: neither reaches anything on the host.
func TestHostileProcess(t *testing.T) {
	if s := sandbox.Supported(); s.Landlock < 6 || !s.Seccomp {
		t.Skipf("this host has %v; the test wants Landlock ABI 6 and seccomp", s)
	}
	t.Setenv("PROOFHOUSE_CACHE", t.TempDir())
	t.Setenv("SECRET", "x")
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	for _, kind := range []kernels.Kind{kernels.UML, kernels.BzImage} {
		t.Run(string(kind), func(t *testing.T) {
			dir := t.TempDir()
			write := func(name string, text []byte) string {
				t.Helper()
				path := filepath.Join(dir, name)
				if err := os.WriteFile(path, text, 0o700); err != nil {
					t.Fatal(err)
				}
				return path
			}
			write("secret", []byte("secret"))
			build := &kernels.Build{Spec: "hostile", Kind: kind, Arch: "x86_64", Image: write("image", []byte(l.Addr().String())), Append: []string{"victim=" + dir}}
			if kind == kernels.UML {
				build.Image = write("linux", self)
				write("image", []byte(l.Addr().String()))
			} else {
				write("qemu-system-x86_64", self)
				t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
			}
			console := write("console", nil)
			_, err := Open(context.Background(), Options{
				Kernel: build, Root: write("root.ext4", []byte("x")), Init: write("init", []byte("x")),
				Accelerator: "tcg", ConsoleFile: console, BootTimeout: 2 * time.Minute,
			})
			if err == nil {
				t.Fatal("it booted")
			}
			b, rerr := os.ReadFile(console)
			if rerr != nil {
				t.Fatal(rerr)
			}
			said := strings.Split(string(b), "\n")
			if !slices.Contains(said, "hostile: done") {
				t.Fatalf("it did not run: %v: %s", err, b)
			}
			for _, line := range said {
				if kind == kernels.UML && strings.HasPrefix(line, "hostile: cannot read what was given") {
					continue // it was not given to this one
				}
				if strings.HasPrefix(line, "hostile: c") {
					t.Error(line)
				}
			}
			if _, err := os.Stat(filepath.Join(dir, "planted")); err == nil {
				t.Error("a file was created")
			}
			if left, _ := filepath.Glob(filepath.Join(os.Getenv("PROOFHOUSE_CACHE"), runRoom, "machine-*")); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}

// A kernel that writes more than a machine has reason to is killed, and says why.
func TestMachineFillsHost(t *testing.T) {
	t.Setenv("PROOFHOUSE_CACHE", t.TempDir())
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(t.TempDir(), "root.ext4")
	if err := os.WriteFile(root, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = Open(t.Context(), Options{
		Kernel: &kernels.Build{Spec: "hostile", Kind: kernels.UML, Arch: "x86_64", Image: self, Append: []string{"fill-the-host"}},
		Root:   root, Init: root, Memory: 1, BootTimeout: 2 * time.Minute,
	})
	if err == nil || !strings.Contains(err.Error(), "the machine was killed: its process wrote") {
		t.Errorf("%v", err)
	}
}
