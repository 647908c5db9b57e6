// SPDX-License-Identifier: Apache-2.0

// Package sandbox starts programs that are not trusted, such as a kernel that
// is an ordinary process, without any privilege: Landlock limits the files, a
// seccomp filter the system calls. A program sees what its [Spec] names and
// nothing else; it has no network, no capabilities and leaves no core dump.
//
//	spec := sandbox.Spec{Program: "/path/linux", WriteDirs: []string{dir}}
//	cmd, err := spec.Command(ctx, "mem=1G", …)
//	if err != nil { … }
//	err = cmd.Run()
//
// Both restrictions apply to the thread that sets them, and must be set between
// fork and exec, where Go runs no code. So the program that imports this package
// starts itself under another name: [init] sees the name, restricts itself and
// executes the program. Whatever imports the package has it built in, tests too.
//
// The package knows nothing of kernels and machines.
package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"proofhouse/internal/child"

	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
)

// Spec is what a program may reach. Files that do not exist are ignored.
type Spec struct {
	// Program is the path of the executable. It and the libraries that its ELF
	// header names may be read and executed.
	Program string
	// LibraryDirs allows whole directories of libraries in place of single
	// ones, for a program that loads more of them at run time.
	LibraryDirs bool `json:",omitempty"`
	// ReadFiles and ReadDirs may be read and executed; a directory with
	// everything below it.
	ReadFiles, ReadDirs []string `json:",omitempty"`
	// WriteDirs may be read and written, with everything below them.
	WriteDirs []string `json:",omitempty"`
	// Devices may be read, written and controlled.
	Devices []string `json:",omitempty"`
	// MaxFile is the largest size of a file that it writes, in bytes; 0 = not
	// limited.
	MaxFile uint64 `json:",omitempty"`
	// MaxMemory is the largest address space of the program, in bytes; 0 = not
	// limited.
	MaxMemory uint64 `json:",omitempty"`
	// Files is the number of the command's ExtraFiles. What else this process
	// has inherited is not handed on.
	Files int `json:",omitempty"`
}

// argv0 is the name by which [init] knows that it is the process between.
const argv0 = "proofhouse-sandbox"

// Command is the program as a process of its own process group, which dies with
// this process (see [child.Command]). Its environment is a short list of plain
// variables, not this process's, which may hold secrets; append to cmd.Env.
func (s Spec) Command(ctx context.Context, args ...string) (*exec.Cmd, error) {
	path, err := exec.LookPath(s.Program)
	if err != nil {
		return nil, err
	}
	if path, err = filepath.Abs(path); err != nil {
		return nil, err
	}
	s.Program = path
	libs := libraries(path)
	s.ReadFiles = append([]string{path, "/etc/ld.so.cache"}, append(libs, s.ReadFiles...)...)
	if s.LibraryDirs {
		s.ReadDirs = append(libraryDirs(path, libs), s.ReadDirs...)
	}
	for _, list := range [][]string{s.ReadFiles, s.ReadDirs, s.WriteDirs, s.Devices} {
		for i, p := range list {
			if list[i], err = filepath.Abs(p); err != nil {
				return nil, err
			}
		}
	}
	spec, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	cmd := child.Command(ctx, "/proc/self/exe")
	cmd.Args = append([]string{argv0, string(spec), path}, args...)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "HOME=/nonexistent"}
	return cmd, nil
}

// libraryDirs are the directories of the program's libraries, and where QEMU
// and others keep what they load at run time below the program's prefix.
func libraryDirs(program string, libs []string) []string {
	var dirs []string
	for _, l := range libs {
		dirs = append(dirs, filepath.Dir(l))
	}
	if real, err := filepath.EvalSymlinks(program); err == nil {
		prefix := filepath.Dir(filepath.Dir(real))
		dirs = append(dirs, filepath.Join(prefix, "lib"), filepath.Join(prefix, "lib64"))
	}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}

// Support is what this host's kernel offers.
type Support struct {
	Landlock int  // the ABI's version; 0 = none
	Seccomp  bool // filters
}

// Supported asks the kernel.
var Supported = sync.OnceValue(func() Support {
	var s Support
	if v, err := ll.LandlockGetABIVersion(); err == nil {
		s.Landlock = v
	}
	action := uint32(unix.SECCOMP_RET_ERRNO)
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_GET_ACTION_AVAIL, 0, uintptr(unsafe.Pointer(&action)))
	s.Seccomp = errno == 0 && seccompArch != 0
	return s
})

// String is for reports: "landlock ABI 7, seccomp".
func (s Support) String() string {
	l, f := "no landlock", "no seccomp"
	if s.Landlock > 0 {
		l = fmt.Sprintf("landlock ABI %d", s.Landlock)
	}
	if s.Seccomp {
		f = "seccomp"
	}
	return l + ", " + f
}

// Gaps are what a confined program can still do on this host, each with what
// closes it; none on a host that has everything.
func (s Support) Gaps() []string {
	var gaps []string
	switch {
	case s.Landlock == 0:
		gaps = append(gaps, "files of this user are not protected, nor are its processes: the host's kernel has no Landlock (CONFIG_SECURITY_LANDLOCK, and landlock in lsm=)")
	case s.Landlock < 3 && !s.Seccomp:
		gaps = append(gaps, "files of this user can be truncated: Landlock ABI 3 (Linux 6.2) or seccomp is missing")
	}
	if s.Landlock > 0 && s.Landlock < 6 {
		gaps = append(gaps, "processes of this user can be sent signals: Landlock ABI 6 (Linux 6.12) is missing")
	}
	if !s.Seccomp {
		gaps = append(gaps, "the network, and the mode and owner of this user's files, are not protected: the host's kernel has no seccomp filters (CONFIG_SECCOMP_FILTER)")
	}
	return gaps
}

func init() {
	if len(os.Args) < 3 || os.Args[0] != argv0 {
		return
	}
	// An init function runs on the process's first thread. It is the one that
	// is restricted, and the one that executes the program.
	err := become(os.Args[1], os.Args[2:])
	fmt.Fprintf(os.Stderr, "proofhouse: start %s in a sandbox: %v\n", os.Args[2], err)
	os.Exit(125)
}

// become restricts this thread and executes args. It returns only on failure.
func become(text string, args []string) error {
	var s Spec
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return err
	}
	if err := limits(s); err != nil {
		return err
	}
	if err := closeOthers(3 + s.Files); err != nil {
		return fmt.Errorf("close the inherited descriptors: %w", err)
	}
	if err := dropCapabilities(); err != nil {
		return fmt.Errorf("drop the capabilities: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	if err := fence(s); err != nil {
		return fmt.Errorf("landlock: %w", err)
	}
	if Supported().Seccomp {
		if err := filter(); err != nil {
			return fmt.Errorf("seccomp: %w", err)
		}
	}
	if s.MaxMemory > 0 {
		// Last: Go's runtime reserves much address space itself.
		if err := unix.Setrlimit(unix.RLIMIT_AS, &unix.Rlimit{Cur: s.MaxMemory, Max: s.MaxMemory}); err != nil && !errors.Is(err, unix.EPERM) {
			return fmt.Errorf("limit the memory: %w", err)
		}
	}
	return unix.Exec(s.Program, args, os.Environ())
}

func limits(s Spec) error {
	// Where memory runs out, this program is the first to go, not the one that
	// has the results. Without /proc nothing is lost.
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("500"), 0)
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("switch off core dumps: %w", err)
	}
	if s.MaxFile > 0 {
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: s.MaxFile, Max: s.MaxFile}); err != nil && !errors.Is(err, unix.EPERM) {
			return fmt.Errorf("limit the size of files: %w", err)
		}
	}
	return nil
}

// closeOthers has all descriptors from first on closed by execve. Go does so for
// those that it opens, but not for those that the process was started with: a
// shell's log, a lock, a terminal.
func closeOthers(first int) error {
	err := unix.CloseRange(uint(first), math.MaxInt32, unix.CLOSE_RANGE_CLOEXEC)
	if err == nil {
		return nil
	}
	// Linux before 5.11.
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, e := range list {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd >= first {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}

// keptCapabilities let root read a file of another user's, such as an image
// that someone else built. Landlock has to allow it, too.
const keptCapabilities = 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_DAC_READ_SEARCH

func dropCapabilities() error {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return err
	}
	if data[0].Permitted|data[1].Permitted == 0 {
		return nil
	}
	for c := uintptr(0); c <= 63; c++ {
		if keptCapabilities&(1<<c) == 0 {
			// EINVAL behind the last one, EPERM without CAP_SETPCAP: with
			// no_new_privs nothing gains by the bounding set anyway.
			_ = unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0)
		}
	}
	_ = unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
	data[0].Permitted &= keptCapabilities
	data[0].Effective &= keptCapabilities
	data[0].Inheritable = 0
	data[1] = unix.CapUserData{}
	return unix.Capset(&hdr, &data[0])
}
