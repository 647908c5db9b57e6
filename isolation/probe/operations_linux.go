// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// operation is one word of the step language: what a step may ask for.
type operation struct {
	name string
	// usage are the parameters: PATH, [OPTIONAL], WORD….
	usage string
	// about is one line for the reference in package isolation's documentation,
	// which TestDocumented keeps in step.
	about string
	// do does it. It returns a descriptor or number for a variable, a value for
	// the judge to compare, and the errno. A task's operation is as few system
	// calls as possible, so that each record of the kernel is about the step.
	do func(c *call) (n int, value string, e syscall.Errno)
}

// A system call of a task is made by another process. Its arguments are numbers
// and addresses of the window that the two share: str, bytes and room put data
// there. The address of a Go variable is an EFAULT.

// call is one step: its parameters, and who does it.
type call struct {
	*child // of the task; nil for the manager
	x      *experiment
	vars   map[string]int
	words  []string // without the operation's name
	here   *task
}

// word is parameter i, or "".
func (c *call) word(i int) string {
	if i < len(c.words) {
		return c.words[i]
	}
	return ""
}

// or is parameter i, or a default.
func (c *call) or(i int, other string) string {
	if w := c.word(i); w != "" {
		return w
	}
	return other
}

// n is parameter i as a number: a variable that an earlier step set, or a
// literal.
func (c *call) n(i int) uintptr {
	w := c.word(i)
	if v, ok := c.vars[w]; ok {
		return uintptr(v)
	}
	v, err := strconv.ParseInt(w, 0, 64)
	if err != nil {
		panic(badStep("no variable or number " + strconv.Quote(w)))
	}
	return uintptr(v)
}

// ns is parameter i as a policy namespace, relative to the host's: "-" is the
// host's own.
func (c *call) ns(i int) string {
	if w := c.word(i); w != "-" {
		return w
	}
	return ""
}

// badStep is a step that the table of rows got wrong. It is the row's fault,
// never a verdict on the kernel.
type badStep string

// num gives the result of a system call to a variable.
func (c *call) num(r uintptr, e syscall.Errno) (int, string, syscall.Errno) { return int(r), "", e }

// failed is the result of a step of the manager.
func failed(err error) (int, string, syscall.Errno) { return 0, "", errnoOf(err) }

// path is a system call of the form nr(AT_FDCWD, PATH, …).
func (c *call) path(nr uintptr, more ...uintptr) (int, string, syscall.Errno) {
	return c.num(c.sys(nr, append([]uintptr{at, c.str(c.word(0))}, more...)...))
}

// ask asks for another label, through a file of the task's own attributes.
func (c *call) ask(file, command string) (int, string, syscall.Errno) {
	return 0, "", c.attr(file, command+" "+c.word(0))
}

// at is AT_FDCWD, which is negative.
const at = ^uintptr(99)

// taskOperations are done by a task of the cell, with the task's label.
var taskOperations = []operation{
	// Files.
	{"open", "PATH [HOW]", "open a file; HOW are letters: r, w, a (append), c (create), t (truncate), p (O_PATH), d (directory), n (O_NONBLOCK); default r", func(c *call) (int, string, syscall.Errno) {
		return c.num(c.open(c.word(0), c.or(1, "r")))
	}},
	{"openat", "DIRFD PATH [w]", "open a file below an open directory, for reading or writing", (*call).openat},
	{"read", "FD", "read up to 16 KiB; the value is the text", (*call).read},
	{"write", "FD [TEXT]", "write a word", func(c *call) (int, string, syscall.Errno) { return c.num(c.write(c.n(0), c.or(1, "text"))) }},
	{"cat", "PATH", "open, read and close a file; the value is the text", func(c *call) (int, string, syscall.Errno) { return c.file(c.word(0)) }},
	{"put", "PATH [TEXT]", "create or overwrite a file", func(c *call) (int, string, syscall.Errno) {
		return 0, "", c.place(c.word(0), []byte(c.or(1, "text")), 0o666)
	}},
	{"say", "PATH WORD…", "write words to an existing file, such as one of securityfs", (*call).say},
	{"elf", "PATH", "create a program that sleeps, for exec", (*call).elf},
	{"clear", "PATH…", "remove files and empty directories, if they exist", (*call).clear},
	{"unlink", "PATH", "remove a file", func(c *call) (int, string, syscall.Errno) { return c.path(unix.SYS_UNLINKAT, 0) }},
	{"mkdir", "PATH", "create a directory", func(c *call) (int, string, syscall.Errno) { return c.path(unix.SYS_MKDIRAT, 0o755) }},
	{"mkdirat", "DIRFD PATH", "create a directory below an open directory", func(c *call) (int, string, syscall.Errno) {
		return c.num(c.sys(unix.SYS_MKDIRAT, c.n(0), c.str(c.word(1)), 0o755))
	}},
	{"rmdir", "PATH", "remove a directory", func(c *call) (int, string, syscall.Errno) { return c.path(unix.SYS_UNLINKAT, unix.AT_REMOVEDIR) }},
	{"rmdirat", "DIRFD PATH", "remove a directory below an open directory", func(c *call) (int, string, syscall.Errno) {
		return c.num(c.sys(unix.SYS_UNLINKAT, c.n(0), c.str(c.word(1)), unix.AT_REMOVEDIR))
	}},
	{"list", "PATH", "list a directory; the value is the sorted names", (*call).list},
	{"mkfifo", "PATH", "create a named pipe", func(c *call) (int, string, syscall.Errno) {
		return c.path(unix.SYS_MKNODAT, unix.S_IFIFO|0o644, 0)
	}},
	{"mknod", "PATH", "create a device node of /dev/null", func(c *call) (int, string, syscall.Errno) {
		return c.path(unix.SYS_MKNODAT, unix.S_IFCHR|0o600, 0x103)
	}},
	{"chmod", "PATH", "change a file's mode to 0600", func(c *call) (int, string, syscall.Errno) { return c.path(unix.SYS_FCHMODAT, 0o600) }},
	{"chown", "PATH [ID]", "change a file's user and group; default 1234", func(c *call) (int, string, syscall.Errno) {
		id := uintptr(1234)
		if c.word(1) != "" {
			id = c.n(1)
		}
		return c.path(unix.SYS_FCHOWNAT, id, id, 0)
	}},
	{"stat", "PATH", "read a file's attributes", func(c *call) (int, string, syscall.Errno) {
		path := c.str(c.word(0))
		p, _ := c.room(256)
		return c.num(c.sys(unix.SYS_NEWFSTATAT, at, path, p, 0))
	}},
	{"link", "OLD NEW", "create a hard link", func(c *call) (int, string, syscall.Errno) {
		return c.num(c.sys(unix.SYS_LINKAT, at, c.str(c.word(0)), at, c.str(c.word(1)), 0))
	}},
	{"linkat", "DIRFD OLD NEW", "create a hard link below an open directory", func(c *call) (int, string, syscall.Errno) {
		return c.num(c.sys(unix.SYS_LINKAT, c.n(0), c.str(c.word(1)), c.n(0), c.str(c.word(2)), 0))
	}},
	{"tmpfile", "PATH", "create a file without a name in a directory (O_TMPFILE)", func(c *call) (int, string, syscall.Errno) {
		return c.num(c.sys(unix.SYS_OPENAT, at, c.str(c.word(0)), unix.O_TMPFILE|unix.O_RDWR, 0o600))
	}},
	{"linkfd", "FD PATH", "give an open file a name", func(c *call) (int, string, syscall.Errno) {
		return c.num(c.sys(unix.SYS_LINKAT, at, c.str(fmt.Sprintf("/proc/thread-self/fd/%d", c.n(0))), at, c.str(c.word(1)), unix.AT_SYMLINK_FOLLOW))
	}},
	{"symlink", "TARGET PATH", "create a symbolic link", func(c *call) (int, string, syscall.Errno) {
		return c.num(c.sys(unix.SYS_SYMLINKAT, c.str(c.word(0)), at, c.str(c.word(1))))
	}},
	{"rename", "OLD NEW [exchange]", "rename a file; exchange swaps two files (RENAME_EXCHANGE)", func(c *call) (int, string, syscall.Errno) {
		flags := uintptr(0)
		if c.word(2) == "exchange" {
			flags = unix.RENAME_EXCHANGE
		}
		return c.num(c.sys(unix.SYS_RENAMEAT2, at, c.str(c.word(0)), at, c.str(c.word(1)), flags))
	}},
	{"trunc", "PATH", "truncate a file by its name", func(c *call) (int, string, syscall.Errno) {
		return c.num(c.sys(unix.SYS_TRUNCATE, c.str(c.word(0)), 0))
	}},
	{"lock", "FD", "lock a file for writing", (*call).lock},
	{"mmap", "FD PROT", "map a page; PROT are letters: r, w, x, s (shared)", (*call).mmap},
	{"chroot", "PATH", "change the root directory", func(c *call) (int, string, syscall.Errno) { return c.num(c.sys(unix.SYS_CHROOT, c.str(c.word(0)))) }},

	// Execution and labels.
	{"exec", "PATH", "execute a program that elf created, and wait until it sleeps", (*call).exec},
	{"nnp", "", "set no_new_privs", func(c *call) (int, string, syscall.Errno) {
		return c.num(c.sys(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
	}},
	{"label", "", "the value is the task's label as it reads it itself", func(c *call) (int, string, syscall.Errno) { return c.file("/proc/thread-self/attr/apparmor/current") }},
	{"changeprofile", "LABEL", "change_profile(2)", func(c *call) (int, string, syscall.Errno) { return c.ask("current", "changeprofile") }},
	{"stack", "LABEL", "stack a profile on the task's label", func(c *call) (int, string, syscall.Errno) { return c.ask("current", "stack") }},
	{"onexec", "LABEL", "change_onexec(2): the label at the next exec", func(c *call) (int, string, syscall.Errno) { return c.ask("exec", "exec") }},
	{"stackonexec", "LABEL", "stack a profile at the next exec", func(c *call) (int, string, syscall.Errno) { return c.ask("exec", "stack") }},
	{"changehat", "[HAT]", "change_hat(2); without HAT, back to the parent profile", func(c *call) (int, string, syscall.Errno) {
		return 0, "", c.attr("current", fmt.Sprintf("changehat %016x^%s", 0x1234, c.word(0)))
	}},
	{"hats", "HAT N", "change to a hat and back N times; the value is how many changes failed", (*call).hats},
	{"query", "TEXT", "ask a question of the file .access; \\x00 in TEXT is a zero byte; the value of a label's query is whether reading is allowed", (*call).query},
	{"loadpolicy", "POLICY PATH", "write a compiled policy of the row to a file such as .replace", (*call).loadPolicy},
	{"writepolicy", "FD POLICY", "write a compiled policy of the row to an open file", func(c *call) (int, string, syscall.Errno) {
		b := c.x.policyNamed(c.word(1))
		return c.num(c.sys(unix.SYS_WRITE, c.n(0), c.bytes(b), uintptr(len(b))))
	}},

	// Processes.
	{"kill", "TASK SIGNAL", "send a signal: urg, or 0", (*call).kill},
	{"seize", "TASK", "trace a task without stopping it (PTRACE_SEIZE)", func(c *call) (int, string, syscall.Errno) {
		return c.num(c.sys(unix.SYS_PTRACE, 0x4206, c.pidOf(c.word(0)), 0, 0))
	}},
	{"vmread", "TASK", "read a word of a task's memory (process_vm_readv)", (*call).vmread},
	{"proc", "TASK FILE", "read /proc/PID/FILE of a task; the value is the text", (*call).proc},
	{"tryproc", "TASK FILE", "the same, without the text, which differs each time", func(c *call) (int, string, syscall.Errno) {
		_, text, e := c.proc()
		if e == 0 {
			text = "read"
		}
		return 0, text, e
	}},
	{"exelink", "TASK", "read the link /proc/PID/exe of a task", func(c *call) (int, string, syscall.Errno) {
		p, b := c.room(256)
		return c.num(c.sys(unix.SYS_READLINKAT, at, c.str(fmt.Sprintf("/proc/%d/exe", c.pidOf(c.word(0)))), p, uintptr(len(b))))
	}},
	{"setuid", "ID", "set the real, effective and saved user id", func(c *call) (int, string, syscall.Errno) {
		return c.num(c.sys(unix.SYS_SETRESUID, c.n(0), c.n(0), c.n(0)))
	}},
	{"seteuid", "ID", "set the effective user id", func(c *call) (int, string, syscall.Errno) {
		return c.num(c.sys(unix.SYS_SETRESUID, ^uintptr(0), c.n(0), ^uintptr(0)))
	}},
	{"setgid", "ID", "set the group id", func(c *call) (int, string, syscall.Errno) { return c.num(c.sys(unix.SYS_SETGID, c.n(0))) }},
	{"nice", "", "raise the priority to -5", func(c *call) (int, string, syscall.Errno) {
		return c.num(c.sys(unix.SYS_SETPRIORITY, 0, 0, ^uintptr(4)))
	}},
	{"setrlimit", "RESOURCE SOFT HARD", "set a resource limit: nofile, core, nproc", func(c *call) (int, string, syscall.Errno) {
		p, b := c.room(16)
		binary.NativeEndian.PutUint64(b, uint64(c.n(1)))
		binary.NativeEndian.PutUint64(b[8:], uint64(c.n(2)))
		return c.num(c.sys(unix.SYS_PRLIMIT64, 0, uintptr(resource(c.word(0))), p, 0))
	}},
	{"tty", "", "start a session with a new pseudoterminal as its controlling terminal", (*call).tty},
	{"unshare", "KIND…", "enter new namespaces: user, mnt, net, uts, ipc, pid", func(c *call) (int, string, syscall.Errno) { return c.num(c.sys(unix.SYS_UNSHARE, cloneFlags(c.words))) }},
	{"userns", "", "enter a new user namespace in which the task is root", (*call).userns},
	{"sethostname", "", "set the host name", func(c *call) (int, string, syscall.Errno) { return c.num(c.sys(unix.SYS_SETHOSTNAME, c.str("iso"), 3)) }},

	// Sockets.
	{"socket", "FAMILY [TYPE [PROTOCOL]]", "create a socket: unix, inet, inet6, netlink, packet; stream, dgram, raw, seqpacket", (*call).socket},
	{"pair", "NAME [TYPE]", "create connected UNIX sockets, in the variables NAME0 and NAME1", (*call).pair},
	{"bind", "FD ADDRESS", "bind to a path, @ABSTRACT, or a port of 127.0.0.1", func(c *call) (int, string, syscall.Errno) { return c.address(unix.SYS_BIND) }},
	{"connect", "FD ADDRESS", "connect to a path, @ABSTRACT, or a port of 127.0.0.1", func(c *call) (int, string, syscall.Errno) { return c.address(unix.SYS_CONNECT) }},
	{"listen", "FD", "listen on a socket", func(c *call) (int, string, syscall.Errno) { return c.num(c.sys(unix.SYS_LISTEN, c.n(0), 8)) }},
	{"accept", "FD", "accept a connection", func(c *call) (int, string, syscall.Errno) { return c.num(c.sys(unix.SYS_ACCEPT4, c.n(0), 0, 0, 0)) }},
	{"send", "FD [TEXT]", "send a word", (*call).send},
	{"sendto", "FD ADDRESS", "send a word to a path, @ABSTRACT, or a port of 127.0.0.1", (*call).sendTo},
	{"recv", "FD", "receive what has been sent; the value is the text", (*call).recv},
	{"getsockname", "FD", "read a socket's address", func(c *call) (int, string, syscall.Errno) {
		p, b := c.room(128)
		n, l := c.room(4)
		binary.NativeEndian.PutUint32(l, uint32(len(b)))
		return c.num(c.sys(unix.SYS_GETSOCKNAME, c.n(0), p, n))
	}},
	{"getsockopt", "FD", "read a socket's option (SO_SNDBUF)", func(c *call) (int, string, syscall.Errno) {
		p, b := c.room(4)
		n, l := c.room(4)
		binary.NativeEndian.PutUint32(l, uint32(len(b)))
		return c.num(c.sys(unix.SYS_GETSOCKOPT, c.n(0), unix.SOL_SOCKET, unix.SO_SNDBUF, p, n))
	}},
	{"setsockopt", "FD", "set a socket's option (SO_SNDBUF)", func(c *call) (int, string, syscall.Errno) {
		p, b := c.room(4)
		binary.NativeEndian.PutUint32(b, 65536)
		return c.num(c.sys(unix.SYS_SETSOCKOPT, c.n(0), unix.SOL_SOCKET, unix.SO_SNDBUF, p, 4))
	}},
	{"shutdown", "FD", "shut a connection down in both directions", func(c *call) (int, string, syscall.Errno) {
		return c.num(c.sys(unix.SYS_SHUTDOWN, c.n(0), unix.SHUT_RDWR))
	}},
	{"fastopen", "FD PORT", "send to a port of 127.0.0.1 without connect (MSG_FASTOPEN)", (*call).fastOpen},
	{"sendfd", "SOCKET FD", "pass a descriptor (SCM_RIGHTS)", (*call).sendfd},
	{"recvfd", "SOCKET", "receive a descriptor; EACCES where the kernel took it out of the message", (*call).recvfd},
	{"peersec", "SOCKET", "the value is the label at the other end (SO_PEERSEC)", (*call).peersec},

	// Mounts.
	{"mount", "SOURCE TARGET TYPE FLAG,…", "mount: bind, rbind, remount, ro, move, private, shared, slave, unbindable, rec, nosuid, nodev, noexec, strictatime; '' is an empty SOURCE", (*call).mount},
	{"umount", "PATH", "unmount, at once", func(c *call) (int, string, syscall.Errno) {
		return c.num(c.sys(unix.SYS_UMOUNT2, c.str(c.word(0)), unix.MNT_DETACH))
	}},
	{"pivotroot", "NEW OLD", "pivot_root(2)", func(c *call) (int, string, syscall.Errno) {
		return c.num(c.sys(unix.SYS_PIVOT_ROOT, c.str(c.word(0)), c.str(c.word(1))))
	}},
	{"opentree", "PATH", "open a detached copy of a mount (open_tree)", func(c *call) (int, string, syscall.Errno) {
		return c.num(c.sys(unix.SYS_OPEN_TREE, at, c.str(c.word(0)), unix.OPEN_TREE_CLONE))
	}},
	{"movemount", "FD PATH", "attach an open mount (move_mount)", func(c *call) (int, string, syscall.Errno) {
		return c.num(c.sys(unix.SYS_MOVE_MOUNT, c.n(0), c.str(""), at, c.str(c.word(1)), unix.MOVE_MOUNT_F_EMPTY_PATH))
	}},

	// IPC and io_uring.
	{"mqopen", "NAME", "open or create a POSIX message queue", func(c *call) (int, string, syscall.Errno) {
		return c.num(c.sys(unix.SYS_MQ_OPEN, c.str(c.word(0)), unix.O_RDWR|unix.O_CREAT, 0o600, 0))
	}},
	{"mqunlink", "NAME", "remove a POSIX message queue", func(c *call) (int, string, syscall.Errno) { return c.num(c.sys(unix.SYS_MQ_UNLINK, c.str(c.word(0)))) }},
	{"msgget", "KEY", "open or create a SysV message queue", func(c *call) (int, string, syscall.Errno) {
		return c.num(c.sys(unix.SYS_MSGGET, c.n(0), 0o600|01000))
	}},
	{"iouring", "[sqpoll]", "create an io_uring, with a kernel thread that polls", (*call).iouring},
	{"uringcreds", "", "submit an io_uring request with registered credentials", (*call).uringcreds},
	{"dbussend", "", "ask the kernel whether the task's label may send a D-Bus message, as a bus does", (*call).dbussend},
	{"buscall", "PATH", "call a method of the D-Bus bus at a socket; AccessDenied is EACCES", (*call).buscall},
}

// managerOperations are done by "@", the probe itself: the host's
// administrator, unconfined. NS is a policy namespace, "-" the host's own.
var managerOperations = []operation{
	// Policy.
	{"load", "POLICY", "load or replace a named policy of the row", func(c *call) (int, string, syscall.Errno) { return failed(c.x.loadNamed(c.word(0))) }},
	{"churn", "POLICY POLICY", "load two named policies in turn, again and again, until settle", (*call).churn},
	{"settle", "", "end what churn began", (*call).settle},
	{"remove", "NS PROFILE", "remove a profile", func(c *call) (int, string, syscall.Errno) {
		return failed(write(filepath.Join(policyDir(c.ns(0)), ".remove"), []byte(c.word(1))))
	}},
	{"mkns", "NS", "create a policy namespace", func(c *call) (int, string, syscall.Errno) { return failed(os.Mkdir(policyDir(c.ns(0)), 0o755)) }},
	{"rmns", "NS", "remove a policy namespace", func(c *call) (int, string, syscall.Errno) { return failed(os.Remove(policyDir(c.ns(0)))) }},
	{"labelof", "TASK", "the value is a task's label as the host sees it", func(c *call) (int, string, syscall.Errno) { return 0, c.x.taskNamed(c.word(0)).child.label(), 0 }},
	{"secure", "TASK", "the value is AT_SECURE of the program that a task executes: 0 or 1", (*call).secure},
	{"limitof", "TASK RESOURCE", "the value is a task's resource limit: soft and hard", func(c *call) (int, string, syscall.Errno) {
		var l unix.Rlimit
		if err := unix.Prlimit(c.x.taskNamed(c.word(0)).child.pid, resource(c.word(1)), nil, &l); err != nil {
			return failed(err)
		}
		return 0, fmt.Sprintf("%d %d", l.Cur, l.Max), 0
	}},
	{"ttyof", "TASK", `the value is "tty" or "none": whether a task has a controlling terminal`, func(c *call) (int, string, syscall.Errno) {
		// The fields after the name: state, parent, group, session, terminal.
		f := statOf(c.x.taskNamed(c.word(0)).child.pid)
		if len(f) < 5 {
			return 0, "", unix.ESRCH
		}
		if f[4] == "0" {
			return 0, "none", 0
		}
		return 0, "tty", 0
	}},
	{"sysctl", "NAME VALUE", "set a sysctl, named by its path below /proc/sys", func(c *call) (int, string, syscall.Errno) {
		return failed(os.WriteFile(filepath.Join("/proc/sys", c.word(0)), []byte(c.word(1)), 0))
	}},
	{"hold", "NS", "remember all policy outside NS: revisions, profiles and their hashes", (*call).hold},
	{"held", "", `the value is "unchanged", or what changed since hold`, (*call).held},

	// Limits.
	{"nest", "N", "nest N namespaces and remove them; the value is how many the kernel allowed", (*call).nest},
	{"longname", "N", "create and remove a namespace with a name of N bytes", (*call).longName},
	{"many", "N POLICY", "create N namespaces with a policy each; the value is how many", (*call).many},
	{"race", "N POLICY", `create, load and remove namespaces in parallel, N rounds; the value is "done"`, (*call).race},
	{"leak", "N POLICY", `create, load and remove a namespace N times; the value is "freed" if less than 4 KiB a round remain allocated`, (*call).leak},
	{"leakinuse", "N POLICY PROFILE HAT", `load a profile, let a task use it, its capabilities and its hat, and remove it, N times; the value is "freed" as for leak`, (*call).leakInUse},

	// Containers and commands.
	{"run", "COMMAND…", `run a shell command; the value is its output, and a failure is "exit STATUS"`, (*call).run},
	{"init", "CONTAINER", "the value is the label of the container's init; ESRCH if it is not running", (*call).initLabel},
	{"mark", "CONTAINER", "remember the container's init, for reborn", (*call).mark},
	{"reborn", "CONTAINER", "wait until the container has another init; the value is its label", (*call).reborn},
	{"killinit", "CONTAINER", "kill the container's init", func(c *call) (int, string, syscall.Errno) { return c.killOf(false) }},
	{"killmonitor", "CONTAINER", "kill the container's monitor", func(c *call) (int, string, syscall.Errno) { return c.killOf(true) }},
	{"stopped", "CONTAINER", "wait until LXC reports the container as stopped", (*call).stopped},
	{"survey", "", "remember namespaces, profiles, mounts, cgroups, containers and confined tasks", func(c *call) (int, string, syscall.Errno) {
		c.x.surveyed = survey()
		return 0, "", 0
	}},
	{"left", "[NAME]", `the value is "nothing", or what differs from the survey; with NAME, what exists with NAME in it`, (*call).left},
}

// find is the operation of that name, or nil.
func find(list []operation, name string) *operation {
	for i := range list {
		if list[i].name == name {
			return &list[i]
		}
	}
	return nil
}

// reference documents the operations, as lines of a Go doc comment.
func reference(list []operation) string {
	width := 0
	for _, op := range list {
		width = max(width, len(strings.TrimSpace(op.name+" "+op.usage)))
	}
	var b strings.Builder
	for _, op := range list {
		fmt.Fprintf(&b, "//\t%-*s  %s\n", width, strings.TrimSpace(op.name+" "+op.usage), op.about)
	}
	return b.String()
}
