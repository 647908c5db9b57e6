// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// asProgram makes the test binary the program to confine: what follows is the
// path of its victims.
const asProgram = "try-to-escape"

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == asProgram {
		escape(os.Args[2])
		return
	}
	os.Exit(m.Run())
}

// victims are what attempts aim at, all below dir.
type victims struct {
	Dir    string // of others: "secret" and "socket" are in it
	Own    string // the program's own directory
	TCP    string // an address that listens
	Parent int
}

const throughInt80 = "call the kernel through its 32-bit entry"

const signalByKernel = "have the kernel signal another process"

// attempts are what a hostile program would do. Each must succeed outside of a
// sandbox, or it proves nothing.
var attempts = []struct {
	name string
	try  func(v victims) error
}{
	{"read a file", func(v victims) error { _, err := os.ReadFile(v.Dir + "/secret"); return err }},
	{"list a directory", func(v victims) error { _, err := os.ReadDir(v.Dir); return err }},
	{"read a file through a link of its own", func(v victims) error {
		link := v.Own + "/link"
		_ = os.Remove(link)
		if err := os.Symlink(v.Dir+"/secret", link); err != nil {
			return err
		}
		_, err := os.ReadFile(link)
		return err
	}},
	{"read a file through /proc/self/root", func(v victims) error { _, err := os.ReadFile("/proc/self/root" + v.Dir + "/secret"); return err }},
	{"hard link a file into its own directory", func(v victims) error { return os.Link(v.Dir+"/secret", v.Own+"/hard") }},
	{"write a file", func(v victims) error {
		f, err := os.OpenFile(v.Dir+"/secret", os.O_WRONLY, 0)
		if err == nil {
			_ = f.Close()
		}
		return err
	}},
	{"create a file", func(v victims) error { return os.WriteFile(v.Dir+"/planted", nil, 0o644) }},
	{"create a directory", func(v victims) error { return os.Mkdir(v.Dir+"/planted-dir", 0o755) }},
	{"create a symbolic link", func(v victims) error { return os.Symlink("x", v.Dir+"/planted-link") }},
	{"create a FIFO", func(v victims) error { return unix.Mkfifo(v.Dir+"/planted-fifo", 0o644) }},
	{"remove a file", func(v victims) error { return os.Remove(v.Dir + "/removable") }},
	{"rename a file", func(v victims) error { return os.Rename(v.Dir+"/renamable", v.Dir+"/renamed") }},
	{"truncate a file", func(v victims) error { return os.Truncate(v.Dir+"/other", 0) }},
	{"change a mode", func(v victims) error { return os.Chmod(v.Dir+"/secret", 0o604) }},
	{"change an owner", func(v victims) error { return os.Chown(v.Dir+"/secret", os.Getuid(), os.Getgid()) }},
	{"change times", func(v victims) error { return os.Chtimes(v.Dir+"/secret", time.Unix(1, 0), time.Unix(1, 0)) }},
	{"execute another program", func(victims) error { return exec.Command("/bin/true").Run() }},
	{"connect to a UNIX socket", func(v victims) error { return dial("unix", v.Dir+"/socket") }},
	{"connect to an abstract UNIX socket", func(v victims) error { return dial("unix", "@"+v.Dir) }},
	{"connect to a TCP port", func(v victims) error { return dial("tcp", v.TCP) }},
	{"send a datagram", func(v victims) error { return dial("udp", v.TCP) }},
	{"make a datagram socket pair", func(victims) error { return pair(unix.SOCK_DGRAM) }},
	{"open a netlink socket", func(victims) error { return socket(unix.AF_NETLINK, unix.SOCK_RAW) }},
	{"signal another process", func(v victims) error { return unix.Kill(v.Parent, 0) }},
	{"open another process", func(v victims) error {
		fd, err := unix.PidfdOpen(v.Parent, 0)
		if err == nil {
			_ = unix.Close(fd)
		}
		return err
	}},
	{"read the environment of another process", func(v victims) error {
		_, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", v.Parent))
		return err
	}},
	{"limit another process", func(v victims) error {
		var l unix.Rlimit
		return unix.Prlimit(v.Parent, unix.RLIMIT_NOFILE, nil, &l)
	}},
	{"leave its process group", func(victims) error { return unix.Setpgid(0, unix.Getppid()) }},
	{"survive the process that started it", func(victims) error { return unix.Prctl(unix.PR_SET_PDEATHSIG, 0, 0, 0, 0) }},
	{"start a process that is not its child", func(victims) error {
		return withAttr(&syscall.SysProcAttr{Cloneflags: unix.CLONE_PARENT})
	}},
	{"write to an inherited descriptor", func(v victims) error {
		for fd := 3; fd < 1024; fd++ {
			if to, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd)); err == nil && strings.HasPrefix(to, v.Dir) {
				_, err := unix.Pwrite(fd, []byte("x"), 0)
				return err
			}
		}
		return unix.EBADF
	}},
	{"change the attributes of a file that it was given", func(v victims) error {
		f, err := os.Open(v.Dir + "/given")
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		flags, err := unix.IoctlGetInt(int(f.Fd()), unix.FS_IOC_GETFLAGS)
		if err != nil {
			return err
		}
		return unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags|0x40) // FS_NODUMP_FL
	}},
	{"trace another process", func(v victims) error {
		_, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(v.Parent), 0, 0, 0, 0)
		if errno == 0 {
			// It ends with this process.
			return nil
		}
		return errno
	}},
	{"read the memory of another process", func(v victims) error {
		f, err := os.Open(fmt.Sprintf("/proc/%d/mem", v.Parent))
		if err == nil {
			_ = f.Close()
		}
		return err
	}},
	{signalByKernel, func(v victims) error { return sigio(v.Parent) }},
	{"take a lease on a file that it was given", func(v victims) error {
		f, err := os.Open(v.Dir + "/given")
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		_, err = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_RDLCK)
		return err
	}},
	{"list the mounts of the host", func(victims) error {
		// struct mnt_id_req, for LSMT_ROOT
		request := [4]uint64{24, 1<<64 - 1, 0}
		var ids [8]uint64
		_, _, errno := unix.Syscall6(unix.SYS_LISTMOUNT, uintptr(unsafe.Pointer(&request)), uintptr(unsafe.Pointer(&ids)), uintptr(len(ids)), 0, 0, 0)
		if errno == unix.ENOSYS {
			return nil // before Linux 6.8
		}
		if errno != 0 {
			return errno
		}
		return nil
	}},
	{"get a handle of a file", func(v victims) error {
		_, _, err := unix.NameToHandleAt(unix.AT_FDCWD, v.Dir+"/secret", 0)
		return err
	}},
	{"make a userfaultfd", func(victims) error {
		fd, _, errno := unix.Syscall(unix.SYS_USERFAULTFD, unix.O_CLOEXEC, 0, 0)
		if errno != 0 {
			return errno
		}
		return unix.Close(int(fd))
	}},
	{"write a large file", func(v victims) error {
		f, err := os.Create(v.Own + "/large")
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		return f.Truncate(64 << 20)
	}},
}

// allowed must work in a sandbox, too.
var allowed = []struct {
	name string
	try  func(v victims) error
}{
	{"write its own directory", func(v victims) error { return os.WriteFile(v.Own+"/mine", []byte("x"), 0o644) }},
	{"read its own directory", func(v victims) error { _, err := os.ReadFile(v.Own + "/mine"); return err }},
	{"read a file that it was given", func(v victims) error { _, err := os.ReadFile(v.Dir + "/given"); return err }},
	{"make a pair of streams", func(victims) error { return pair(unix.SOCK_STREAM) }},
	{"signal itself", func(victims) error { return unix.Kill(os.Getpid(), 0) }},
	{"execute itself", func(victims) error { return exec.Command("/proc/self/exe", "-test.run=^$").Run() }},
	{"make a file for all, or pretend to", func(v victims) error {
		f, err := os.Open(v.Own + "/mine")
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		return unix.Fchmod(int(f.Fd()), 0o777)
	}},
}

// withAttr starts a program with attr.
func withAttr(attr *syscall.SysProcAttr) error {
	cmd := exec.Command("/proc/self/exe", "-test.run=^$")
	cmd.SysProcAttr = attr
	return cmd.Start()
}

// sigio has SIGUSR1 sent to the process. The call itself works: whether the signal
// came is for the process to say.
func sigio(pid int) error {
	var fds [2]int
	if err := unix.Pipe(fds[:]); err != nil {
		return err
	}
	if _, err := unix.FcntlInt(uintptr(fds[0]), unix.F_SETSIG, int(unix.SIGUSR1)); err != nil {
		return err
	}
	if _, err := unix.FcntlInt(uintptr(fds[0]), unix.F_SETOWN, pid); err != nil {
		return err
	}
	if _, err := unix.FcntlInt(uintptr(fds[0]), unix.F_SETFL, unix.O_ASYNC); err != nil {
		return err
	}
	_, err := unix.Write(fds[1], []byte("x"))
	return err
}

func dial(network, address string) error {
	c, err := net.DialTimeout(network, address, 10*time.Second)
	if err == nil {
		_ = c.Close()
	}
	return err
}

func pair(kind int) error {
	fds, err := unix.Socketpair(unix.AF_UNIX, kind, 0)
	if err == nil {
		_, _ = unix.Close(fds[0]), unix.Close(fds[1])
	}
	return err
}

func socket(family, kind int) error {
	fd, err := unix.Socket(family, kind, 0)
	if err == nil {
		_ = unix.Close(fd)
	}
	return err
}

// escape is the hostile program: it prints what worked.
func escape(text string) {
	var v victims
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		panic(err)
	}
	signalIgnored()
	worked := map[string]string{}
	for _, a := range attempts {
		worked[a.name] = outcome(a.try(v))
	}
	for _, a := range allowed {
		worked[a.name] = outcome(a.try(v))
	}
	var core unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &core); err != nil || core.Max != 0 {
		worked["core dumps"] = "ok"
	}
	nnp, _, _ := unix.Syscall6(unix.SYS_PRCTL, unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0, 0)
	if nnp != 1 {
		worked["gain privileges by execve"] = "ok"
	}
	for _, kv := range os.Environ() {
		if strings.HasPrefix(kv, "SECRET=") {
			worked["read this process's environment"] = "ok"
		}
	}
	_ = json.NewEncoder(os.Stdout).Encode(worked)
}

// signalIgnored has a write over the limit fail, in place of killing.
func signalIgnored() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGXFSZ)
}

func outcome(err error) string {
	if err == nil {
		return "ok"
	}
	return err.Error()
}

func TestSandbox(t *testing.T) {
	t.Setenv("SECRET", "x")
	s := Supported()
	for _, g := range s.Gaps() {
		t.Logf("this host: %s", g)
	}
	if s.Landlock < 6 || !s.Seccomp {
		t.Skipf("this host has %v; the test wants Landlock ABI 6 and seccomp", s)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	run := func(t *testing.T, confined bool) map[string]string {
		v := victims{Dir: t.TempDir(), Own: t.TempDir(), Parent: os.Getpid()}
		for _, f := range []string{"secret", "removable", "renamable", "other", "given"} {
			if err := os.WriteFile(filepath.Join(v.Dir, f), []byte(f), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		for network, address := range map[string]string{"unix": v.Dir + "/socket", "abstract": "@" + v.Dir, "tcp": "127.0.0.1:0"} {
			l, err := net.Listen(strings.Replace(network, "abstract", "unix", 1), address)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = l.Close() }()
			if network == "tcp" {
				v.TCP = l.Addr().String()
			}
		}
		signals := make(chan os.Signal, 2)
		signal.Notify(signals, unix.SIGUSR1, unix.SIGUSR2)
		defer signal.Stop(signals)
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), self, asProgram, string(text))
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if confined {
			spec := Spec{Program: self, ReadFiles: []string{v.Dir + "/given"}, WriteDirs: []string{v.Own}, MaxFile: 1 << 20}
			if cmd, err = spec.Command(t.Context(), asProgram, string(text)); err != nil {
				t.Fatal(err)
			}
		}
		// As a program leaves one open that starts this one.
		inherited, err := unix.Open(v.Dir+"/inherited", unix.O_RDWR|unix.O_CREAT, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = unix.Close(inherited) }()
		var errOut bytes.Buffer
		cmd.Stderr = &errOut
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v: %s", err, errOut.String())
		}
		worked := map[string]string{}
		if err := json.Unmarshal(out, &worked); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		// The signals of one process are handed on in the order of their numbers.
		if err := unix.Kill(os.Getpid(), unix.SIGUSR2); err != nil {
			t.Fatal(err)
		}
		if got := <-signals; got == unix.SIGUSR1 {
			<-signals
		} else {
			worked[signalByKernel] = "no signal came"
		}
		if confined {
			for _, f := range []string{"secret", "removable", "renamable", "other"} {
				if b, err := os.ReadFile(filepath.Join(v.Dir, f)); err != nil || string(b) != f {
					t.Errorf("%s was changed: %q, %v", f, b, err)
				}
			}
			if list, _ := filepath.Glob(v.Dir + "/planted*"); len(list) > 0 {
				t.Errorf("created %v", list)
			}
		}
		return worked
	}
	confined, free := run(t, true), run(t, false)
	for name, got := range confined {
		if isAllowed := slices.ContainsFunc(allowed, func(a struct {
			name string
			try  func(v victims) error
		}) bool {
			return a.name == name
		}); isAllowed != (got == "ok") {
			t.Errorf("in the sandbox: %s: %s", name, got)
		}
	}
	for name, got := range free {
		// A kernel without IA32 emulation kills for the second.
		if got != "ok" && name != "leave its process group" && name != throughInt80 {
			t.Errorf("without the sandbox, where it must work: %s: %s", name, got)
		}
	}
}

// It dies with the process that started it, and with its whole group.
func TestCommandDies(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cmd, err := Spec{Program: "/bin/sh", ReadFiles: []string{"/bin/sleep"}, LibraryDirs: true}.Command(ctx, "-c", "sleep 600 & sleep 600")
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := cmd.Wait(); err == nil {
		t.Error("it ended by itself")
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if errors.Is(unix.Kill(-cmd.Process.Pid, 0), unix.ESRCH) {
			return
		}
		if time.Now().After(end) {
			t.Fatal("a process of its group is still running")
		}
	}
}

// A program that is not trusted must not get a file by naming it as its library.
func TestLibraries(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(dir, "script")
	if err := os.WriteFile(script, []byte("#!"+secret+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if got := libraries(script); len(got) != 0 {
		t.Errorf("a script's interpreter that is no program: %q", got)
	}
	got := libraries("/bin/sh")
	if !slices.ContainsFunc(got, func(p string) bool { return strings.HasPrefix(filepath.Base(p), "libc.") }) {
		t.Errorf("the libraries of /bin/sh: %q", got)
	}
}

// What the host does not have is said.
func TestGaps(t *testing.T) {
	for _, c := range []struct {
		s    Support
		want []string
	}{
		{Support{Landlock: 7, Seccomp: true}, nil},
		{Support{Landlock: 2, Seccomp: true}, []string{"signals"}},
		{Support{Landlock: 2}, []string{"truncated", "signals", "network"}},
		{Support{Seccomp: true}, []string{"files of this user are not protected"}},
		{Support{}, []string{"files of this user are not protected", "network"}},
	} {
		got := c.s.Gaps()
		if len(got) != len(c.want) {
			t.Errorf("%v: %q, want %q", c.s, got, c.want)
			continue
		}
		for i, w := range c.want {
			if !strings.Contains(got[i], w) {
				t.Errorf("%v: %q, want %q", c.s, got[i], w)
			}
		}
	}
}

// The limit of memory is that of the program.
func TestMaxMemory(t *testing.T) {
	for _, c := range []struct {
		limit uint64
		want  string
	}{{0, "unlimited"}, {1 << 30, "1048576"}} {
		cmd, err := Spec{Program: "/bin/sh", MaxMemory: c.limit}.Command(t.Context(), "-c", "ulimit -v")
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.Output()
		if got := strings.TrimSpace(string(out)); err != nil || got != c.want {
			t.Errorf("%d: %q, %v; want %q", c.limit, got, err, c.want)
		}
	}
}
