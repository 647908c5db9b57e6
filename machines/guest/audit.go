// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
	"proofhouse/machines/wire"
)

// Message types and groups of include/uapi/linux/audit.h.
const (
	auditGet      = 1000
	auditUserAVC  = 1107
	auditFirstLSM = 1400 // AUDIT_AVC; AppArmor logs as 1400
	auditLastLSM  = 1599
	groupReadLog  = 1 // AUDIT_NLGRP_READLOG
	receiveBuffer = 32 << 20
	headerLen     = unix.SizeofNlMsghdr
	markPrefix    = "proofhouse-sync "
)

// auditLog reads the kernel's audit records from the multicast group. That leaves the
// kernel's own logging unchanged, and printk's rate limit (ten records in five
// seconds) does not apply.
type auditLog struct {
	mu sync.Mutex
	fd int
	// seq numbers the messages we send.
	seq uint32
	out io.Writer // the channel
	// lost is how many records the kernel has dropped, as it last said.
	lost uint32
}

var errNoAudit = errors.New("this kernel has no audit")

// startAudit opens the channel and streams every record of the security
// modules to the host. A kernel without audit gets an empty channel.
func startAudit(conn ssh.Conn) *auditLog {
	l := &auditLog{fd: -1}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_AUDIT)
	if err != nil {
		return l
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBuffer)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1 << (groupReadLog - 1)}); err != nil {
		_ = unix.Close(fd)
		return l
	}
	ch, reqs, err := conn.OpenChannel(wire.AuditChannel, nil)
	if err != nil {
		_ = unix.Close(fd) // the host does not read audit records
		return l
	}
	go ssh.DiscardRequests(reqs)
	l.fd, l.out = fd, ch
	l.lost, _ = lostRecords()
	go l.forward(ch)
	return l
}

func (l *auditLog) forward(w io.Writer) {
	buf := make([]byte, 64<<10)
	for {
		n, _, err := unix.Recvfrom(l.fd, buf, 0)
		if errors.Is(err, unix.ENOBUFS) {
			_, _ = io.WriteString(w, wire.RecordsLost+": the kernel logged faster than they could be read\n")
			continue
		}
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return
		}
		if line, ok := record(buf[:n]); ok {
			if _, err := io.WriteString(w, line+"\n"); err != nil {
				return
			}
		}
	}
}

// record reads one netlink message of the audit family: a record of a security
// module as the kernel's log has it, or a mark.
func record(b []byte) (string, bool) {
	if len(b) < headerLen {
		return "", false
	}
	// The kernel's audit messages have a length without the header's.
	kind := binary.NativeEndian.Uint16(b[4:])
	text := string(bytes.TrimRight(b[headerLen:], "\x00\n"))
	switch {
	case kind == auditUserAVC:
		if _, mark, ok := strings.Cut(text, markPrefix); ok {
			mark, _, _ = strings.Cut(mark, "'")
			return mark, true
		}
	case kind >= auditFirstLSM && kind <= auditLastLSM:
		return strings.ReplaceAll(text, "\n", " "), true
	}
	return "", false
}

// mark makes the kernel log text after every earlier record. User messages of the AVC
// kind are logged even if auditing is off.
func (l *auditLog) mark(text string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fd < 0 {
		return errNoAudit
	}
	// The kernel drops records, too, before any reader sees them: its backlog is
	// full, or it has no memory (kernel/audit.c: audit_log_lost).
	if n, err := lostRecords(); err == nil && n != l.lost {
		_, _ = fmt.Fprintf(l.out, "%s: the kernel dropped %d\n", wire.RecordsLost, n-l.lost)
		l.lost = n
	}
	l.seq++
	payload := append([]byte(markPrefix+text), 0)
	b := make([]byte, headerLen, headerLen+len(payload))
	binary.NativeEndian.PutUint32(b[0:], uint32(headerLen+len(payload)))
	binary.NativeEndian.PutUint16(b[4:], auditUserAVC)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_REQUEST)
	binary.NativeEndian.PutUint32(b[8:], l.seq)
	b = append(b, payload...)
	return unix.Sendto(l.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
}

// lostRecords asks the kernel how many records it has dropped since it booted.
func lostRecords() (uint32, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_AUDIT)
	if err != nil {
		return 0, err
	}
	defer func() { _ = unix.Close(fd) }()
	limit := unix.NsecToTimeval(int64(5 * time.Second))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit); err != nil {
		return 0, err
	}
	b := make([]byte, headerLen)
	binary.NativeEndian.PutUint32(b[0:], headerLen)
	binary.NativeEndian.PutUint16(b[4:], auditGet)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_REQUEST)
	if err := unix.Sendto(fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return 0, err
	}
	buf := make([]byte, 4<<10)
	for {
		n, _, err := unix.Recvfrom(fd, buf, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return 0, err
		}
		switch lost, kind := readStatus(buf[:n]); kind {
		case auditGet:
			return lost, nil
		case unix.NLMSG_ERROR:
			return 0, errNoAudit
		}
	}
}

// readStatus reads the field lost of struct audit_status (include/uapi/linux/audit.h),
// from a message of the kind auditGet.
func readStatus(b []byte) (lost uint32, kind uint16) {
	const offLost = headerLen + 6*4
	if len(b) < headerLen {
		return 0, 0
	}
	kind = binary.NativeEndian.Uint16(b[4:])
	if kind == auditGet && len(b) >= offLost+4 {
		lost = binary.NativeEndian.Uint32(b[offLost:])
	}
	return lost, kind
}
