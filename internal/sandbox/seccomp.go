// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// refused are the system calls that reach what Landlock does not mediate
// (Documentation/userspace-api/landlock.rst, "Current limitations"), or do so
// only on newer kernels: sockets, the mode, owner, times and attributes of files,
// other processes, keys, IPC, namespaces and kernel interfaces.
//
// Each fails with EPERM. None kills: where a User Mode Linux kernel runs its
// processes under a filter of its own, their calls go through this filter, too,
// and the more severe action wins.
var refused = append([]uint32{
	unix.SYS_SOCKET, unix.SYS_CONNECT, unix.SYS_BIND, unix.SYS_LISTEN, unix.SYS_ACCEPT, unix.SYS_ACCEPT4,
	unix.SYS_TRUNCATE, unix.SYS_FCHMODAT, unix.SYS_FCHMODAT2, unix.SYS_FCHOWN, unix.SYS_FCHOWNAT, unix.SYS_UTIMENSAT,
	unix.SYS_SETXATTR, unix.SYS_LSETXATTR, unix.SYS_FSETXATTR, unix.SYS_REMOVEXATTR, unix.SYS_LREMOVEXATTR, unix.SYS_FREMOVEXATTR,
	463, 466, // setxattrat, removexattrat: Linux 6.13
	469, // file_setattr: Linux 6.17
	unix.SYS_NAME_TO_HANDLE_AT, unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_MKNODAT,
	unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_PROCESS_MADVISE, unix.SYS_PIDFD_GETFD,
	unix.SYS_PIDFD_OPEN, unix.SYS_PIDFD_SEND_SIGNAL, unix.SYS_PROCESS_MRELEASE, unix.SYS_KCMP,
	unix.SYS_RT_SIGQUEUEINFO, unix.SYS_RT_TGSIGQUEUEINFO, unix.SYS_MIGRATE_PAGES, unix.SYS_MOVE_PAGES,
	unix.SYS_SETPRIORITY, unix.SYS_IOPRIO_SET,
	unix.SYS_SETSID, unix.SYS_SETPGID, // its process group is how all of it is killed
	unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY, unix.SYS_KEYCTL,
	unix.SYS_SHMGET, unix.SYS_SHMAT, unix.SYS_SHMCTL, unix.SYS_SEMGET, unix.SYS_SEMOP, unix.SYS_SEMTIMEDOP, unix.SYS_SEMCTL,
	unix.SYS_MSGGET, unix.SYS_MSGSND, unix.SYS_MSGRCV, unix.SYS_MSGCTL,
	unix.SYS_MQ_OPEN, unix.SYS_MQ_UNLINK,
	unix.SYS_UNSHARE, unix.SYS_SETNS, unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_CHROOT,
	unix.SYS_OPEN_TREE, unix.SYS_MOVE_MOUNT, unix.SYS_FSOPEN, unix.SYS_FSPICK, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_MOUNT_SETATTR,
	467, // open_tree_attr: Linux 6.15
	unix.SYS_STATMOUNT, unix.SYS_LISTMOUNT, unix.SYS_USERFAULTFD,
	unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_FANOTIFY_INIT, unix.SYS_INOTIFY_ADD_WATCH,
	unix.SYS_LOOKUP_DCOOKIE, unix.SYS_QUOTACTL, unix.SYS_QUOTACTL_FD, unix.SYS_ACCT, unix.SYS_SYSLOG,
	unix.SYS_VHANGUP, unix.SYS_SWAPON, unix.SYS_SWAPOFF, unix.SYS_REBOOT,
	unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE,
	unix.SYS_KEXEC_LOAD, unix.SYS_KEXEC_FILE_LOAD,
}, refusedHere...)

// absent are answered with ENOSYS, on which the C library takes the older way:
// a filter cannot see what clone3's memory says, nor what io_uring does.
var absent = []uint32{unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER, unix.SYS_CLONE3}

// pretended succeed and do nothing: User Mode Linux makes its own memory file
// accessible to all, and gives up if it cannot; on a file that is only read, the
// call would change the host.
var pretended = []uint32{unix.SYS_FCHMOD}

// others take a process as an argument: 0, this one, is the only one allowed.
// It is the first argument.
var others = []uint32{
	unix.SYS_PRLIMIT64, unix.SYS_SCHED_SETAFFINITY, unix.SYS_SCHED_SETSCHEDULER,
	unix.SYS_SCHED_SETPARAM, unix.SYS_SCHED_SETATTR,
}

// noClone are the flags of clone that make a namespace, or a child of the parent,
// which would have to wait for it.
const noClone = unix.CLONE_PARENT | unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC |
	unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET

// frequent are the calls with which a User Mode Linux kernel and QEMU spend their
// time. They are allowed first: behind a filter that looks at more than the number,
// as User Mode Linux has for its processes, the kernel caches no answer.
var frequent = []uint32{
	unix.SYS_FUTEX, unix.SYS_RT_SIGRETURN, unix.SYS_TGKILL, unix.SYS_READ, unix.SYS_WRITE, unix.SYS_MMAP, unix.SYS_MUNMAP,
	unix.SYS_CLOSE, unix.SYS_RECVMSG, unix.SYS_PPOLL, unix.SYS_CLOCK_NANOSLEEP, unix.SYS_TIMER_SETTIME, unix.SYS_EPOLL_PWAIT,
}

// Of include/uapi: tiocLinux (asm-generic/ioctls.h) pastes into a console; kvmType
// is the type of KVM's ioctl numbers (linux/kvm.h).
const (
	tiocLinux = 0x541c
	kvmType   = 0xae
)

// Offsets in struct seccomp_data. Both architectures are little-endian, so the
// lower half of an argument stands first.
const (
	offNr   = 0
	offArch = 4
	offArgs = 16
)

func stmt(code uint16, k uint32) unix.SockFilter { return unix.SockFilter{Code: code, K: k} }

func jump(code uint16, k uint32, t, f uint8) unix.SockFilter {
	return unix.SockFilter{Code: code, K: k, Jt: t, Jf: f}
}

const (
	load    = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
	equal   = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	anyBit  = unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K
	bitAnd  = unix.BPF_ALU | unix.BPF_AND | unix.BPF_K
	ret     = unix.BPF_RET | unix.BPF_K
	refuse  = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	missing = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
	nothing = unix.SECCOMP_RET_ERRNO // errno 0: success
)

// program is the filter.
func program() []unix.SockFilter {
	p := []unix.SockFilter{
		stmt(load, offArch),
		jump(equal, seccompArch, 1, 0),
		stmt(ret, refuse), // another architecture's numbers mean other calls
		stmt(load, offNr),
	}
	p = append(p, seccompFirst...)
	answer := func(nrs []uint32, action uint32) {
		for _, nr := range nrs {
			p = append(p, jump(equal, nr, 0, 1), stmt(ret, action))
		}
	}
	answer(frequent, unix.SECCOMP_RET_ALLOW)
	answer(refused, refuse)
	answer(absent, missing)
	answer(pretended, nothing)
	// check runs the block for one system call; the block ends with a return.
	check := func(nr uint32, block ...unix.SockFilter) {
		p = append(p, jump(equal, nr, 0, uint8(len(block))))
		p = append(p, block...)
	}
	for _, nr := range others {
		check(nr, stmt(load, offArgs), jump(equal, 0, 1, 0), stmt(ret, refuse), stmt(ret, unix.SECCOMP_RET_ALLOW))
	}
	// All processes that can be reached (-1).
	check(unix.SYS_KILL, stmt(load, offArgs), jump(equal, 1<<32-1, 0, 1), stmt(ret, refuse), stmt(ret, unix.SECCOMP_RET_ALLOW))
	check(unix.SYS_CLONE, stmt(load, offArgs), jump(anyBit, noClone, 0, 1), stmt(ret, refuse), stmt(ret, unix.SECCOMP_RET_ALLOW))
	// A pair of connected streams can reach nobody else; a datagram socket can.
	check(unix.SYS_SOCKETPAIR,
		stmt(load, offArgs), jump(equal, unix.AF_UNIX, 1, 0), stmt(ret, refuse),
		stmt(load, offArgs+8), stmt(bitAnd, 0xf), jump(equal, unix.SOCK_STREAM, 1, 0), stmt(ret, refuse),
		stmt(ret, unix.SECCOMP_RET_ALLOW))
	// It dies with this process: the signal for that may be set, not cleared.
	check(unix.SYS_PRCTL,
		stmt(load, offArgs), jump(equal, unix.PR_SET_PDEATHSIG, 1, 0), stmt(ret, unix.SECCOMP_RET_ALLOW),
		stmt(load, offArgs+8), jump(equal, uint32(unix.SIGKILL), 1, 0), stmt(ret, refuse),
		stmt(ret, unix.SECCOMP_RET_ALLOW))
	// A lease has others wait for a file that this one may only read.
	check(unix.SYS_FCNTL, stmt(load, offArgs+8), jump(equal, unix.F_SETLEASE, 1, 0), jump(equal, unix.F_NOTIFY, 0, 1),
		stmt(ret, refuse), stmt(ret, unix.SECCOMP_RET_ALLOW))
	// Of ioctl, those of terminals and of KVM: a file system's change the
	// attributes of files that are open for reading, which Landlock does not see.
	// Characters pushed into a terminal are typed by whoever sits there.
	ioctls := []unix.SockFilter{stmt(load, offArgs+8)}
	for _, nr := range []uint32{unix.TIOCSTI, tiocLinux, unix.TIOCSETD, unix.TIOCSCTTY} {
		ioctls = append(ioctls, jump(equal, nr, 0, 1), stmt(ret, refuse))
	}
	ioctls = append(ioctls, stmt(bitAnd, 0xff00),
		jump(equal, 'T'<<8, 1, 0), jump(equal, kvmType<<8, 0, 1), stmt(ret, unix.SECCOMP_RET_ALLOW), stmt(ret, refuse))
	check(unix.SYS_IOCTL, ioctls...)
	return append(p, stmt(ret, unix.SECCOMP_RET_ALLOW))
}

// filter puts the filter on this thread, and on what it will execute. It needs
// no_new_privs.
func filter() error {
	p := program()
	fprog := unix.SockFprog{Len: uint16(len(p)), Filter: &p[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&fprog)))
	if errno != 0 {
		return errno
	}
	return nil
}
