// SPDX-License-Identifier: Apache-2.0

// Package kmsg reads the kernel log of this host, /dev/kmsg. What a message
// means is for its callers to decide.
//
//	log, err := kmsg.Open(kmsg.Path, true)
//	…
//	for m, err := log.Read(); err == nil; m, err = log.Read() { … }
package kmsg

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"proofhouse/internal/exit"
)

// Path is where the kernel log is.
const Path = "/dev/kmsg"

// ErrNone is the error of a host without a kernel log: a container.
var ErrNone = errors.New("this host has no kernel log")

// Message is one message of the kernel log.
type Message struct {
	Kernel    bool          // the kernel wrote it, not a program
	Sequence  uint64        // its number since boot
	SinceBoot time.Duration // when it was logged, without the time asleep
	Text      string        // on one line; the kernel escapes characters (see [Unescape])
}

// Parse parses what one read of /dev/kmsg returns:
// "6,339,5140900,-;audit: type=1400 …\n KEY=VALUE\n"
// (Documentation/ABI/testing/dev-kmsg).
func Parse(b []byte) (m Message, ok bool) {
	head, text, ok := strings.Cut(string(b), ";")
	prefix := strings.Split(head, ",")
	if !ok || len(prefix) < 3 {
		return m, false
	}
	priority, err1 := strconv.ParseUint(prefix[0], 10, 32)
	sequence, err2 := strconv.ParseUint(prefix[1], 10, 64)
	micros, err3 := strconv.ParseInt(prefix[2], 10, 64)
	if errors.Join(err1, err2, err3) != nil {
		return m, false
	}
	// Programs can write to the kernel log as well, but not with the kernel's
	// facility, 0.
	line, _, _ := strings.Cut(text, "\n")
	return Message{priority < 8, sequence, time.Duration(micros) * time.Microsecond, strings.TrimSpace(line)}, true
}

// Unescape returns the text that was logged: in /dev/kmsg, the kernel writes a
// backslash and every character outside of ASCII as \xNN. The result may have
// line breaks and control characters.
func Unescape(s string) string {
	if !strings.Contains(s, `\x`) {
		return s
	}
	var b strings.Builder
	for {
		before, after, ok := strings.Cut(s, `\x`)
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		if n, err := strconv.ParseUint(after[:min(2, len(after))], 16, 8); err == nil && len(after) >= 2 {
			b.WriteByte(byte(n))
			s = after[2:]
			continue
		}
		b.WriteString(`\x`)
		s = after
	}
}

// LostRecords reports whether a message of the kernel says that it dropped audit
// records (kernel/audit.c, audit_log_lost).
func LostRecords(text string) bool {
	for _, sign := range []string{"audit_lost=", "audit: backlog limit exceeded", "audit: rate limit exceeded", "kauditd hold queue overflow"} {
		if strings.Contains(text, sign) {
			return true
		}
	}
	return false
}

// Log is an open kernel log. Its methods are not safe for concurrent use.
type Log struct {
	fd int
	b  [16 << 10]byte // a message; the kernel's limit is 8 KiB
}

// Open opens the kernel log at path, usually [Path]: at its end, so that only new
// messages are read, or at its beginning. The error is [ErrNone] if there is none.
func Open(path string, end bool) (*Log, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return nil, exit.BadInputf("open the kernel log %s: %w: run as root, or with CAP_SYSLOG", path, err)
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENXIO), errors.Is(err, unix.ENODEV):
		return nil, ErrNone
	case err != nil:
		return nil, fmt.Errorf("open the kernel log %s: %w", path, err)
	}
	// In a container it may be a link to /dev/null or to /dev/console.
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != unix.Mkdev(1, 11) {
		_ = unix.Close(fd)
		return nil, ErrNone
	}
	if end {
		if _, err := unix.Seek(fd, 0, unix.SEEK_END); err != nil {
			_ = unix.Close(fd)
			return nil, fmt.Errorf("seek to the end of the kernel log %s: %w", path, err)
		}
	}
	return &Log{fd: fd}, nil
}

// Close closes the log.
func (l *Log) Close() { _ = unix.Close(l.fd) }

// FD is readable when there is a message to read.
func (l *Log) FD() int { return l.fd }

// Read returns the next message, without waiting: the error is EAGAIN if there
// is none yet. Messages that were overwritten before they were read are missing
// from the sequence.
func (l *Log) Read() (Message, error) {
	for {
		n, err := unix.Read(l.fd, l.b[:])
		if errors.Is(err, unix.EPIPE) || errors.Is(err, unix.EINTR) {
			continue // EPIPE: messages were overwritten
		}
		if err == nil && n <= 0 {
			err = unix.EAGAIN
		}
		if err != nil {
			return Message{}, err
		}
		if m, ok := Parse(l.b[:n]); ok {
			return m, nil
		}
	}
}

// Wait waits until there is a message to read, or until the timeout.
func (l *Log) Wait(timeout time.Duration) {
	fds := []unix.PollFd{{Fd: int32(l.fd), Events: unix.POLLIN}}
	_, _ = unix.Poll(fds, int(timeout.Milliseconds())+1)
}

// Follow calls tell with each message until ctx ends or reading fails.
func (l *Log) Follow(ctx context.Context, tell func(Message)) {
	for ctx.Err() == nil {
		m, err := l.Read()
		switch {
		case err == nil:
			tell(m)
		case errors.Is(err, unix.EAGAIN):
			l.Wait(100 * time.Millisecond) // how late the end of ctx is seen
		default:
			return
		}
	}
}
