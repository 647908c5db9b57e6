// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// window is the memory that a child shares with the probe, at the same address in
// both. The child makes the system calls that are written into it and nothing
// else: no allocation, scheduler or signal of the Go runtime reaches it, and no
// security module mediates the channel, which is a futex.
type window struct {
	state uint32 // idle, ready or done
	_     uint32
	nr    uintptr
	args  [6]uintptr
	ret   uintptr
	errno uintptr
	data  [windowSize - 80 - 2*largestPage]byte
	// After it are two pages that a step may use beyond one call.
}

const (
	windowSize  = 512 << 10
	largestPage = 64 << 10 // the largest page size of these architectures
)

const (
	idle = iota
	ready
	done
)

const (
	futexWait = 0
	futexWake = 1
)

// child is a forked process that waits for system calls to make.
type child struct {
	pid  int
	w    *window
	mem  []byte
	used int // of w.data, in this call
	// timeout is the timeout of one call.
	timeout  time.Duration
	dead     bool
	executed bool
	status   unix.WaitStatus
}

// fork starts a child, in the PID namespace for new children of this thread.
func fork(timeout time.Duration) (*child, error) {
	mem, err := unix.Mmap(-1, 0, windowSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, err
	}
	c := &child{w: (*window)(unsafe.Pointer(&mem[0])), mem: mem, timeout: timeout}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	// Block signals until the child has reset the handlers of the Go runtime.
	var all, old unix.Sigset_t
	for i := range all.Val {
		all.Val[i] = ^uint64(0)
	}
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, &old); err != nil {
		return nil, err
	}
	pid, errno := forkServe(c.w)
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil)
	if errno != 0 {
		_ = unix.Munmap(mem)
		return nil, errno
	}
	c.pid = int(pid)
	return c, nil
}

// noAction is a struct sigaction of the kernel with the default action.
var noAction [4]uintptr
var noSignals uint64

// forkServe forks; the child never returns from it. It must neither grow its
// stack nor allocate.
//
//go:nosplit
//go:norace
func forkServe(w *window) (uintptr, syscall.Errno) {
	pid, _, errno := syscall.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 || pid != 0 {
		return pid, errno
	}
	_, _, _ = syscall.RawSyscall6(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0, 0)
	for sig := uintptr(1); sig <= 64; sig++ {
		_, _, _ = syscall.RawSyscall6(unix.SYS_RT_SIGACTION, sig, uintptr(unsafe.Pointer(&noAction)), 0, 8, 0, 0)
	}
	_, _, _ = syscall.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&noSignals)), 0, 8, 0, 0)
	for {
		for atomic.LoadUint32(&w.state) != ready {
			s := atomic.LoadUint32(&w.state)
			if s != ready {
				_, _, _ = syscall.RawSyscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(&w.state)), futexWait, uintptr(s), 0, 0, 0)
			}
		}
		r, _, e := syscall.RawSyscall6(w.nr, w.args[0], w.args[1], w.args[2], w.args[3], w.args[4], w.args[5])
		w.ret, w.errno = r, uintptr(e)
		atomic.StoreUint32(&w.state, done)
		_, _, _ = syscall.RawSyscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(&w.state)), futexWake, 1, 0, 0, 0)
	}
}

// errDead is the errno of a call by a child that has ended.
const errDead = syscall.Errno(0x7fff)

// errHangs is the errno of a call that does not return in time.
const errHangs = syscall.Errno(0x7ffe)

// sys makes a system call in the child.
func (c *child) sys(nr uintptr, args ...uintptr) (uintptr, syscall.Errno) {
	if c.dead || c.executed {
		return 0, errDead
	}
	c.start(nr, args...)
	return c.finish(c.timeout)
}

// start begins a system call in the child, which may block.
func (c *child) start(nr uintptr, args ...uintptr) {
	c.w.nr = nr
	c.w.args = [6]uintptr{}
	copy(c.w.args[:], args)
	atomic.StoreUint32(&c.w.state, ready)
	futex(&c.w.state, futexWake, 1, 0)
}

// look is the time between two looks of finish at the child.
const look = 5 * time.Millisecond

// enough is the least number of looks before a timeout: where the machine itself
// stood still, time passed and the child did not run.
func enough(timeout time.Duration) int { return int(timeout / look / 4) }

// finish waits for the system call that was started.
func (c *child) finish(timeout time.Duration) (uintptr, syscall.Errno) {
	end := time.Now().Add(timeout)
	for looks := 0; ; looks++ {
		if atomic.LoadUint32(&c.w.state) == done {
			c.used = 0
			return c.w.ret, syscall.Errno(c.w.errno)
		}
		futex(&c.w.state, futexWait, ready, look)
		if atomic.LoadUint32(&c.w.state) == done {
			continue
		}
		if c.reaped() {
			return 0, errDead
		}
		if looks >= enough(timeout) && time.Now().After(end) {
			return 0, errHangs
		}
	}
}

func futex(addr *uint32, op int, val uint32, timeout time.Duration) {
	var ts *unix.Timespec
	if timeout > 0 {
		t := unix.NsecToTimespec(int64(timeout))
		ts = &t
	}
	_, _, _ = syscall.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(addr)), uintptr(op), uintptr(val), uintptr(unsafe.Pointer(ts)), 0, 0)
}

// reaped reports whether the child has ended.
func (c *child) reaped() bool {
	if c.dead {
		return true
	}
	var st unix.WaitStatus
	pid, err := unix.Wait4(c.pid, &st, unix.WNOHANG, nil)
	if err == nil && pid == c.pid && (st.Exited() || st.Signaled()) {
		c.dead, c.status = true, st
	}
	if errors.Is(err, unix.ECHILD) {
		c.dead = true
	}
	return c.dead
}

// end kills the child and waits for it. Policy may deny the signal, so the child
// is also told to exit. One that does not end in time is left behind; it dies
// with the probe.
func (c *child) end() {
	_ = unix.Kill(c.pid, unix.SIGKILL)
	if !c.executed && !c.reaped() {
		c.start(unix.SYS_EXIT_GROUP, 0)
	}
	limit := time.Now().Add(c.timeout)
	// Polling would take the only processor from it.
	if !c.reaped() {
		if fd, err := unix.PidfdOpen(c.pid, 0); err == nil {
			_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(c.timeout.Milliseconds()))
			_ = unix.Close(fd)
		}
	}
	for ; !c.reaped(); time.Sleep(200 * time.Microsecond) {
		if time.Now().After(limit) {
			return // its memory stays mapped
		}
	}
	_ = unix.Munmap(c.mem)
}

// bytes copies b into the window for the next call, and returns its address,
// which is the same in the probe.
func (c *child) bytes(b []byte) uintptr {
	at := (c.used + 15) &^ 15
	if at+len(b) > len(c.w.data) {
		panic("a system call's arguments are larger than the window")
	}
	copy(c.w.data[at:], b)
	c.used = at + len(b)
	return uintptr(unsafe.Pointer(&c.w.data[at]))
}

// str copies a string with its terminator into the window.
func (c *child) str(s string) uintptr { return c.bytes(append([]byte(s), 0)) }

// room reserves n zero bytes in the window, and returns their address and the
// bytes.
func (c *child) room(n int) (uintptr, []byte) {
	p := c.bytes(make([]byte, n))
	at := p - uintptr(unsafe.Pointer(&c.w.data[0]))
	return p, c.w.data[at : int(at)+n]
}

func errnoName(e syscall.Errno) string {
	switch e {
	case 0:
		return ""
	case errDead:
		return "dead"
	case errHangs:
		return "hangs"
	}
	if e > errExit && e <= errExit+255 {
		return fmt.Sprintf("exit %d", int(e-errExit))
	}
	if n := unix.ErrnoName(e); n != "" {
		return n
	}
	return fmt.Sprintf("errno %d", int(e))
}

// label is the child's label as the host sees it.
func (c *child) label() string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/attr/apparmor/current", c.pid))
	if err != nil {
		return "?" + err.Error()
	}
	return trim(string(b))
}
