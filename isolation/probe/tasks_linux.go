// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

func cloneFlags(words []string) (flags uintptr) {
	for _, w := range words {
		flags |= map[string]uintptr{
			"user": unix.CLONE_NEWUSER, "mnt": unix.CLONE_NEWNS, "net": unix.CLONE_NEWNET, "uts": unix.CLONE_NEWUTS,
			"ipc": unix.CLONE_NEWIPC, "pid": unix.CLONE_NEWPID,
		}[w]
	}
	return flags
}

// file reads a file whole, and closes it.
func (c *call) file(path string) (int, string, syscall.Errno) {
	fd, e := c.open(path, "r")
	if e != 0 {
		return 0, "", e
	}
	text, e := c.readAll(fd)
	_, _ = c.sys(unix.SYS_CLOSE, fd)
	return 0, text, e
}

// open opens with flags such as "r", "w", "rw", "a" (append), "c" (create),
// "t" (truncate), "p" (O_PATH), "d" (a directory).
func (c *call) open(path, how string) (uintptr, syscall.Errno) {
	flags := 0
	switch {
	case strings.Contains(how, "r") && strings.Contains(how, "w"):
		flags = unix.O_RDWR
	case strings.ContainsAny(how, "wact"):
		flags = unix.O_WRONLY
	}
	for letter, f := range map[string]int{"a": unix.O_APPEND, "c": unix.O_CREAT | unix.O_EXCL, "t": unix.O_CREAT | unix.O_TRUNC, "p": unix.O_PATH, "d": unix.O_DIRECTORY, "n": unix.O_NONBLOCK} {
		if strings.Contains(how, letter) {
			flags |= f
		}
	}
	return c.sys(unix.SYS_OPENAT, at, c.str(path), uintptr(flags), 0o644)
}

func (c *call) readAll(fd uintptr) (string, syscall.Errno) {
	p, b := c.room(16 << 10)
	n, e := c.sys(unix.SYS_READ, fd, p, uintptr(len(b)))
	if e != 0 {
		return "", e
	}
	return trim(string(b[:n])), 0
}

func (c *call) read() (int, string, syscall.Errno) {
	text, e := c.readAll(c.n(0))
	return 0, text, e
}

func (c *call) write(fd uintptr, text string) (uintptr, syscall.Errno) {
	return c.sys(unix.SYS_WRITE, fd, c.str(text), uintptr(len(text)))
}

func (c *call) place(path string, content []byte, mode uintptr) syscall.Errno {
	fd, e := c.sys(unix.SYS_OPENAT, at, c.str(path), unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC, mode)
	if e != 0 {
		return e
	}
	if _, e = c.sys(unix.SYS_WRITE, fd, c.bytes(content), uintptr(len(content))); e == 0 {
		_, e = c.sys(unix.SYS_FCHMOD, fd, mode)
	}
	_, _ = c.sys(unix.SYS_CLOSE, fd)
	return e
}

// say writes to an existing file, such as one of /proc.
func (c *call) say() (int, string, syscall.Errno) {
	fd, e := c.open(c.word(0), "w")
	if e != 0 {
		return 0, "", e
	}
	_, e = c.write(fd, strings.Join(c.words[1:], " "))
	_, _ = c.sys(unix.SYS_CLOSE, fd)
	return 0, "", e
}

func (c *call) elf() (int, string, syscall.Errno) {
	program, ok := sleeper(runtime.GOARCH)
	if !ok {
		panic(badStep("there is no program that sleeps for the architecture " + runtime.GOARCH))
	}
	return 0, "", c.place(c.word(0), program, 0o755)
}

// clear removes files and directories, if they exist.
func (c *call) clear() (int, string, syscall.Errno) {
	for _, path := range c.words {
		_, e := c.sys(unix.SYS_UNLINKAT, at, c.str(path), 0)
		if e == unix.EISDIR {
			_, e = c.sys(unix.SYS_UNLINKAT, at, c.str(path), unix.AT_REMOVEDIR)
		}
		if e != 0 && e != unix.ENOENT {
			return 0, "", e
		}
	}
	return 0, "", 0
}

// list returns the sorted names in a directory.
func (c *call) list() (int, string, syscall.Errno) {
	fd, e := c.open(c.word(0), "rd")
	if e != 0 {
		return 0, "", e
	}
	var names []string
	for {
		p, b := c.room(16 << 10)
		n, errno := c.sys(unix.SYS_GETDENTS64, fd, p, uintptr(len(b)))
		if errno != 0 || n == 0 {
			e = errno
			break
		}
		_, _, names = unix.ParseDirent(b[:n], -1, names)
	}
	_, _ = c.sys(unix.SYS_CLOSE, fd)
	return 0, strings.Join(sorted(names), " "), e
}

func (c *call) lock() (int, string, syscall.Errno) {
	p, b := c.room(32)
	binary.NativeEndian.PutUint16(b, unix.F_WRLCK)
	return c.num(c.sys(unix.SYS_FCNTL, c.n(0), unix.F_SETLK, p))
}

// mmap maps a page of the descriptor with the rights named, such as "rx".
func (c *call) mmap() (int, string, syscall.Errno) {
	prot := 0
	for letter, p := range map[string]int{"r": unix.PROT_READ, "w": unix.PROT_WRITE, "x": unix.PROT_EXEC} {
		if strings.Contains(c.word(1), letter) {
			prot |= p
		}
	}
	share := unix.MAP_PRIVATE
	if strings.Contains(c.word(1), "s") {
		share = unix.MAP_SHARED
	}
	return c.num(c.sys(unix.SYS_MMAP, 0, 4096, uintptr(prot), uintptr(share), c.n(0), 0))
}

// attr writes a command to a file of the task's attributes.
func (c *call) attr(file, command string) syscall.Errno {
	fd, e := c.open("/proc/thread-self/attr/apparmor/"+file, "w")
	if e != 0 {
		return e
	}
	_, e = c.write(fd, command)
	_, _ = c.sys(unix.SYS_CLOSE, fd)
	return e
}

// exec executes a file that "elf" made, and waits until it sleeps there.
func (c *call) exec() (int, string, syscall.Errno) {
	before := exe(c.pid)
	path := c.str(c.word(0))
	p, b := c.room(24)
	binary.NativeEndian.PutUint64(b, uint64(path))
	env, _ := c.room(8)
	c.start(unix.SYS_EXECVE, path, p, env)
	end := time.Now().Add(c.timeout)
	for looks := 0; ; looks++ {
		if _, e := c.finish(2 * time.Millisecond); e != errHangs {
			return 0, "", e // execve returned, so it failed; or the task is dead
		}
		if now := exe(c.pid); now != "" && now != before && asleep(c.pid) {
			c.executed = true
			return 0, "", 0
		}
		if looks >= enough(c.timeout) && time.Now().After(end) {
			return 0, "", errHangs
		}
	}
}

// exe identifies the file that the process executes.
func exe(pid int) string {
	var st unix.Stat_t
	if unix.Stat(fmt.Sprintf("/proc/%d/exe", pid), &st) != nil {
		return ""
	}
	return fmt.Sprintf("%d %d", st.Dev, st.Ino)
}

func asleep(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, ok := strings.Cut(string(b[strings.LastIndexByte(string(b), ')')+1:]), " ")
	return ok && strings.HasPrefix(rest, "S")
}

// pidOf is a task's process id as the calling task sees it.
func (c *call) pidOf(name string) uintptr {
	t := c.x.taskNamed(name)
	if c.here.spec.Where != t.spec.Where || c.here.spec.Where == "host" {
		return uintptr(t.child.pid)
	}
	return uintptr(innerPID(t.child.pid))
}

// innerPID is the process id in the innermost PID namespace.
func innerPID(pid int) int {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return pid
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "NSpid:"); ok {
			f := strings.Fields(rest)
			if n, err := strconv.Atoi(f[len(f)-1]); err == nil {
				return n
			}
		}
	}
	return pid
}

func (c *call) kill() (int, string, syscall.Errno) {
	sig := unix.SignalNum("SIG" + strings.ToUpper(c.word(1)))
	if c.word(1) == "0" {
		sig = 0
	} else if sig == 0 {
		panic(badStep("no signal " + c.word(1)))
	}
	return c.num(c.sys(unix.SYS_KILL, c.pidOf(c.word(0)), uintptr(sig)))
}

// vmread reads a word of a task's memory. The window is at the same place in
// both.
func (c *call) vmread() (int, string, syscall.Errno) {
	t := c.x.taskNamed(c.word(0))
	pid := c.pidOf(c.word(0))
	to, _ := c.room(8)
	iov := func(base uintptr) uintptr {
		p, b := c.room(16)
		binary.NativeEndian.PutUint64(b, uint64(base))
		binary.NativeEndian.PutUint64(b[8:], 8)
		return p
	}
	return c.num(c.sys(unix.SYS_PROCESS_VM_READV, pid, iov(to), 1, iov(uintptr(unsafe.Pointer(t.child.w))), 1, 0))
}

// proc reads a file of a task's directory in /proc.
func (c *call) proc() (int, string, syscall.Errno) {
	return c.file(fmt.Sprintf("/proc/%d/%s", c.pidOf(c.word(0)), c.word(1)))
}

var families = map[string]uintptr{"unix": unix.AF_UNIX, "inet": unix.AF_INET, "inet6": unix.AF_INET6, "netlink": unix.AF_NETLINK, "packet": unix.AF_PACKET}

var kinds = map[string]uintptr{"stream": unix.SOCK_STREAM, "dgram": unix.SOCK_DGRAM, "raw": unix.SOCK_RAW, "seqpacket": unix.SOCK_SEQPACKET}

func (c *call) socket() (int, string, syscall.Errno) {
	proto := uintptr(0)
	if c.word(2) != "" {
		proto = c.n(2)
	}
	return c.num(c.sys(unix.SYS_SOCKET, families[c.word(0)], kinds[c.or(1, "stream")], proto))
}

// pair creates two connected sockets, in the variables NAME0 and NAME1.
func (c *call) pair() (int, string, syscall.Errno) {
	p, b := c.room(8)
	_, e := c.sys(unix.SYS_SOCKETPAIR, unix.AF_UNIX, kinds[c.or(1, "stream")], 0, p)
	if e == 0 {
		c.vars[c.word(0)+"0"] = int(int32(binary.NativeEndian.Uint32(b)))
		c.vars[c.word(0)+"1"] = int(int32(binary.NativeEndian.Uint32(b[4:])))
	}
	return 0, "", e
}

// address binds or connects.
func (c *call) address(nr uintptr) (int, string, syscall.Errno) {
	b := c.sockaddr(1)
	return c.num(c.sys(nr, c.n(0), c.bytes(b), uintptr(len(b))))
}

// sockaddr is parameter i as an address: a path, "@abstract", or a port of
// 127.0.0.1.
func (c *call) sockaddr(i int) []byte {
	to := c.word(i)
	switch {
	case strings.HasPrefix(to, "@"):
		return append(binary.NativeEndian.AppendUint16(nil, unix.AF_UNIX), append([]byte{0}, to[1:]...)...)
	case strings.HasPrefix(to, "/"):
		return append(binary.NativeEndian.AppendUint16(nil, unix.AF_UNIX), append([]byte(to), 0)...)
	}
	return c.loopback(i)
}

// sendTo sends to an address, without a connection.
func (c *call) sendTo() (int, string, syscall.Errno) {
	fd, to, text := c.n(0), c.sockaddr(1), "text"
	return c.num(c.sys(unix.SYS_SENDTO, fd, c.str(text), uintptr(len(text)), unix.MSG_NOSIGNAL, c.bytes(to), uintptr(len(to))))
}

// recv receives what is there. It does not wait: local sockets deliver at once.
func (c *call) recv() (int, string, syscall.Errno) {
	p, b := c.room(256)
	n, e := c.sys(unix.SYS_RECVFROM, c.n(0), p, uintptr(len(b)), unix.MSG_DONTWAIT, 0, 0)
	if e != 0 {
		return 0, "", e
	}
	return 0, string(b[:n]), 0
}

// resources are the names of resource limits, as the parser has them.
var resources = map[string]int{"nofile": unix.RLIMIT_NOFILE, "core": unix.RLIMIT_CORE, "nproc": unix.RLIMIT_NPROC}

func resource(name string) int {
	r, ok := resources[name]
	if !ok {
		panic(badStep("no resource " + strconv.Quote(name)))
	}
	return r
}

// tty starts a session and opens a new pseudoterminal, which becomes its
// controlling terminal (tty_jobctrl.c, tty_open_proc_set_tty).
func (c *call) tty() (int, string, syscall.Errno) {
	if _, e := c.sys(unix.SYS_SETSID); e != 0 && e != unix.EPERM {
		return 0, "setsid", e
	}
	master, e := c.sys(unix.SYS_OPENAT, at, c.str("/dev/ptmx"), unix.O_RDWR|unix.O_NOCTTY, 0)
	if e != 0 {
		return 0, "ptmx", e
	}
	unlock, _ := c.room(4)
	if _, e = c.sys(unix.SYS_IOCTL, master, unix.TIOCSPTLCK, unlock); e != 0 {
		return 0, "unlock", e
	}
	number, b := c.room(4)
	if _, e = c.sys(unix.SYS_IOCTL, master, unix.TIOCGPTN, number); e != 0 {
		return 0, "number", e
	}
	return c.num(c.sys(unix.SYS_OPENAT, at, c.str(fmt.Sprintf("/dev/pts/%d", binary.NativeEndian.Uint32(b))), unix.O_RDWR, 0))
}

// query writes a question to .access and reads the answer from the same
// descriptor, as libapparmor does.
func (c *call) query() (int, string, syscall.Errno) {
	text, err := strconv.Unquote(`"` + c.word(0) + `"`)
	if err != nil {
		panic(badStep("no text " + c.word(0)))
	}
	fd, e := c.open(apparmor(".access"), "rw")
	if e != 0 {
		return 0, "open", e
	}
	defer func() { _, _ = c.sys(unix.SYS_CLOSE, fd) }()
	if n, e := c.sys(unix.SYS_WRITE, fd, c.bytes([]byte(text)), uintptr(len(text))); e != 0 {
		return 0, "", e
	} else if int(n) != len(text) {
		return 0, fmt.Sprintf("wrote %d of %d bytes", n, len(text)), 0
	}
	p, b := c.room(1024)
	n, e := c.sys(unix.SYS_READ, fd, p, uintptr(len(b)))
	if e != 0 {
		return 0, "", e
	}
	var allow, deny uint32
	if _, err := fmt.Sscanf(string(b[:n]), "allow 0x%x\ndeny 0x%x", &allow, &deny); err != nil {
		return 0, trim(string(b[:n])), 0
	}
	if allow&unix.R_OK == 0 || deny&unix.R_OK != 0 {
		return 0, "denied", 0
	}
	return 0, "allowed", 0
}

// loopback is the address of 127.0.0.1 with parameter i as the port.
func (c *call) loopback(i int) []byte {
	b := binary.BigEndian.AppendUint16(binary.NativeEndian.AppendUint16(nil, unix.AF_INET), uint16(c.n(i)))
	return append(b, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0)
}

// fastOpen connects and sends in one call.
func (c *call) fastOpen() (int, string, syscall.Errno) {
	fd, to, text := c.n(0), c.loopback(1), "text"
	return c.num(c.sys(unix.SYS_SENDTO, fd, c.str(text), uintptr(len(text)), unix.MSG_FASTOPEN|unix.MSG_NOSIGNAL, c.bytes(to), uintptr(len(to))))
}

func (c *call) send() (int, string, syscall.Errno) {
	text := c.or(1, "text")
	return c.num(c.sys(unix.SYS_SENDTO, c.n(0), c.str(text), uintptr(len(text)), unix.MSG_NOSIGNAL, 0, 0))
}

// message builds a struct msghdr with one byte and room for one descriptor.
func (c *call) message(fd int) (hdr uintptr, control []byte) {
	text := c.str("x")
	iov, b := c.room(16)
	binary.NativeEndian.PutUint64(b, uint64(text))
	binary.NativeEndian.PutUint64(b[8:], 1)
	ctl, control := c.room(unix.CmsgSpace(4))
	binary.NativeEndian.PutUint64(control, uint64(unix.CmsgLen(4)))
	binary.NativeEndian.PutUint32(control[8:], unix.SOL_SOCKET)
	binary.NativeEndian.PutUint32(control[12:], unix.SCM_RIGHTS)
	binary.NativeEndian.PutUint32(control[16:], uint32(fd))
	hdr, h := c.room(56)
	binary.NativeEndian.PutUint64(h[16:], uint64(iov))
	binary.NativeEndian.PutUint64(h[24:], 1)
	binary.NativeEndian.PutUint64(h[32:], uint64(ctl))
	binary.NativeEndian.PutUint64(h[40:], uint64(len(control)))
	return hdr, control
}

func (c *call) sendfd() (int, string, syscall.Errno) {
	sock, fd := c.n(0), int(c.n(1))
	hdr, _ := c.message(fd)
	return c.num(c.sys(unix.SYS_SENDMSG, sock, hdr, 0))
}

// recvfd receives a descriptor. The kernel silently removes one that the receiver
// must not have (net/core/scm.c, scm_detach_fds): that counts as EACCES.
func (c *call) recvfd() (int, string, syscall.Errno) {
	hdr, control := c.message(-1)
	_, e := c.sys(unix.SYS_RECVMSG, c.n(0), hdr, unix.MSG_DONTWAIT)
	if e != 0 {
		return 0, "", e
	}
	fd := int32(binary.NativeEndian.Uint32(control[16:]))
	if fd < 0 {
		return 0, "no descriptor", unix.EACCES
	}
	return int(fd), "", 0
}

func (c *call) mount() (int, string, syscall.Errno) {
	flags := uintptr(0)
	for _, w := range strings.Split(c.word(3), ",") {
		flags |= map[string]uintptr{
			"bind": unix.MS_BIND, "rbind": unix.MS_BIND | unix.MS_REC, "remount": unix.MS_REMOUNT, "ro": unix.MS_RDONLY, "move": unix.MS_MOVE,
			"private": unix.MS_PRIVATE, "shared": unix.MS_SHARED, "slave": unix.MS_SLAVE, "unbindable": unix.MS_UNBINDABLE, "rec": unix.MS_REC,
			"nosuid": unix.MS_NOSUID, "nodev": unix.MS_NODEV, "noexec": unix.MS_NOEXEC, "strictatime": unix.MS_STRICTATIME,
		}[w]
	}
	source := c.word(0)
	if source == "''" {
		source = ""
	}
	return c.num(c.sys(unix.SYS_MOUNT, c.str(source), c.str(c.word(1)), c.str(c.word(2)), flags, c.str("")))
}

func (c *call) iouring() (int, string, syscall.Errno) {
	p, b := c.room(120)
	if c.word(0) == "sqpoll" {
		const sqpoll = 2
		binary.NativeEndian.PutUint32(b[8:], sqpoll)
	}
	return c.num(c.sys(unix.SYS_IO_URING_SETUP, 4, p))
}

// uringcreds submits an io_uring request with registered credentials, here the
// task's own: the kernel asks the security modules whether they may be used
// (io_uring.c, io_init_req).
func (c *call) uringcreds() (int, string, syscall.Errno) {
	const (
		noMmap, noArray     = 1 << 14, 1 << 16 // the rings are in the window; 6.5 and 6.6, before AppArmor mediates it
		registerPersonality = 9
		getEvents           = 1
	)
	// The two pages at the end of the window: the rings, and the requests.
	rings, requests := c.mem[windowSize-2*largestPage:windowSize-largestPage], c.mem[windowSize-largestPage:]
	clear(rings)
	clear(requests)
	p, b := c.room(120)
	ne := binary.NativeEndian
	ne.PutUint32(b[8:], noMmap|noArray)
	ne.PutUint64(b[72:], uint64(uintptr(unsafe.Pointer(&requests[0]))))
	ne.PutUint64(b[112:], uint64(uintptr(unsafe.Pointer(&rings[0]))))
	ring, e := c.sys(unix.SYS_IO_URING_SETUP, 4, p)
	if e != 0 {
		return 0, "setup", e
	}
	tail, done := ne.Uint32(b[44:]), ne.Uint32(b[100:]) // sq_off.tail, cq_off.cqes
	self, e := c.sys(unix.SYS_IO_URING_REGISTER, ring, registerPersonality, 0, 0)
	if e != 0 {
		return 0, "register", e
	}
	ne.PutUint16(requests[42:], uint16(self)) // of a request that does nothing
	ne.PutUint32(rings[tail:], 1)
	if _, e = c.sys(unix.SYS_IO_URING_ENTER, ring, 1, 1, getEvents, 0, 0); e != 0 {
		return 0, "enter", e
	}
	if res := int32(ne.Uint32(rings[done+8:])); res < 0 {
		return 0, "", syscall.Errno(-res)
	}
	return 0, "", 0
}

// userns creates a user namespace in which the task's user is root.
func (c *call) userns() (int, string, syscall.Errno) {
	uid, _ := c.sys(unix.SYS_GETUID)
	if _, e := c.sys(unix.SYS_UNSHARE, unix.CLONE_NEWUSER); e != 0 {
		return 0, "", e
	}
	for _, f := range [][2]string{{"setgroups", "deny"}, {"uid_map", fmt.Sprintf("0 %d 1", uid)}, {"gid_map", fmt.Sprintf("0 %d 1", uid)}} {
		fd, e := c.open("/proc/self/"+f[0], "w")
		if e == 0 {
			_, e = c.write(fd, f[1])
			_, _ = c.sys(unix.SYS_CLOSE, fd)
		}
		if e != 0 && f[0] != "setgroups" { // a nested one has that already
			return 0, f[0], e
		}
	}
	return 0, "", 0
}

// dbussend asks the kernel, as a bus does, whether the task's label may send a
// message; a denial is EACCES. The query is that of libapparmor's aa_query_label:
// "label", the label, the class, and what the rules are matched against.
func (c *call) dbussend() (int, string, syscall.Errno) {
	label := strings.TrimSuffix(c.label(), " (enforce)")
	query := "label\x00" + label + "\x00" + string(rune(32)) + strings.Join([]string{"session", "iso.test", "unconfined", "/iso", "iso.test", "Ping"}, "\x00")
	f, err := os.OpenFile(apparmor(".access"), os.O_RDWR, 0)
	if err != nil {
		return 0, "", errnoOf(err)
	}
	defer func() { _ = f.Close() }()
	if _, err := f.Write([]byte(query)); err != nil {
		return 0, "", errnoOf(err)
	}
	b := make([]byte, 1024)
	n, err := f.Read(b)
	if err != nil {
		return 0, "", errnoOf(err)
	}
	const send = 2
	var allow, deny, audit, quiet uint32
	if _, err := fmt.Sscanf(string(b[:n]), "allow 0x%x\ndeny 0x%x\naudit 0x%x\nquiet 0x%x", &allow, &deny, &audit, &quiet); err != nil {
		return 0, string(b[:n]), unix.EIO
	}
	if allow&send == 0 || deny&send != 0 {
		return 0, string(b[:n]), unix.EACCES
	}
	return 0, string(b[:n]), 0
}

// hats changes to a hat and back, again and again. After a first success no change
// may fail: the hat is in every version of the profile.
func (c *call) hats() (int, string, syscall.Errno) {
	const token = 0x1234
	bad := 0
	var last syscall.Errno
	for range int(c.n(1)) {
		e := c.attr("current", fmt.Sprintf("changehat %016x^%s", token, c.word(0)))
		if e == 0 {
			e = c.attr("current", fmt.Sprintf("changehat %016x^", token))
		}
		if e == errDead || e == errHangs {
			return 0, "", e
		}
		if e != 0 {
			bad, last = bad+1, e
		}
	}
	if bad > 0 {
		return 0, fmt.Sprintf("%d failed, the last with %s", bad, errnoName(last)), 0
	}
	return 0, "0 failed", 0
}

// openat opens a file below an open directory.
func (c *call) openat() (int, string, syscall.Errno) {
	flags := uintptr(unix.O_RDONLY)
	if c.word(2) == "w" {
		flags = unix.O_WRONLY
	}
	return c.num(c.sys(unix.SYS_OPENAT, c.n(0), c.str(c.word(1)), flags, 0))
}

// loadPolicy opens a file of securityfs, writes policy and closes it.
func (c *call) loadPolicy() (int, string, syscall.Errno) {
	fd, e := c.open(c.word(1), "w")
	if e != 0 {
		return 0, "", e
	}
	b := c.x.policyNamed(c.word(0))
	_, e = c.sys(unix.SYS_WRITE, fd, c.bytes(b), uintptr(len(b)))
	_, _ = c.sys(unix.SYS_CLOSE, fd)
	return 0, "", e
}

// peersec is the label at a socket's other end.
func (c *call) peersec() (int, string, syscall.Errno) {
	p, b := c.room(512)
	n, l := c.room(4)
	binary.NativeEndian.PutUint32(l, uint32(len(b)))
	if _, e := c.sys(unix.SYS_GETSOCKOPT, c.n(0), unix.SOL_SOCKET, unix.SO_PEERSEC, p, n); e != 0 {
		return 0, "", e
	}
	return 0, trim(string(b[:min(len(b), int(binary.NativeEndian.Uint32(l)))])), 0
}

func trim(s string) string { return strings.TrimRight(s, "\n\x00") }

func apparmor(parts ...string) string {
	return filepath.Join(append([]string{"/sys/kernel/security/apparmor"}, parts...)...)
}
