// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"bytes"
	"encoding/binary"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// The types of D-Bus messages, and the fields of their headers, that are used
// here (D-Bus specification, "Message Format").
const (
	busCall, busReturn, busError                   = 1, 2, 3
	busPath, busInterface, busMember, busErrorName = 1, 2, 3, 4
	busTo                                          = 6
)

// busMessage encodes a method call without arguments.
func busMessage(serial uint32, path, iface, member, to string) []byte {
	le := binary.LittleEndian
	pad := func(b []byte, n int) []byte {
		for len(b)%n != 0 {
			b = append(b, 0)
		}
		return b
	}
	var fields []byte
	for _, f := range []struct {
		code, kind byte
		value      string
	}{{busPath, 'o', path}, {busInterface, 's', iface}, {busMember, 's', member}, {busTo, 's', to}} {
		fields = append(pad(fields, 8), f.code, 1, f.kind, 0)
		fields = le.AppendUint32(pad(fields, 4), uint32(len(f.value)))
		fields = append(append(fields, f.value...), 0)
	}
	b := le.AppendUint32([]byte{'l', busCall, 0, 1}, 0) // no body
	b = le.AppendUint32(b, serial)
	b = le.AppendUint32(b, uint32(len(fields)))
	return pad(append(b, fields...), 8)
}

// busAnswer decodes the next message from a bus and returns its type, or 0 if it
// is incomplete. name is the name of an error.
func busAnswer(b []byte) (kind byte, name string, rest []byte) {
	if len(b) < 16 {
		return 0, "", b
	}
	var order binary.ByteOrder = binary.LittleEndian
	if b[0] == 'B' {
		order = binary.BigEndian
	}
	head := int(order.Uint32(b[12:]))
	end := (16+head+7)&^7 + int(order.Uint32(b[4:]))
	if head < 0 || end < 16 || len(b) < end {
		return 0, "", b
	}
	// The name is the header's only string of such a form.
	if b[1] == busError {
		if _, after, ok := bytes.Cut(b[16:16+head], []byte{busErrorName, 1, 's', 0}); ok && len(after) > 4 {
			if n := int(order.Uint32(after)); n <= len(after)-4 {
				name = string(after[4 : 4+n])
			}
		}
	}
	return b[1], name, b[end:]
}

// buscall connects to the bus at a path, says Hello and asks for its id, as any
// client does. The answer AccessDenied is EACCES.
func (c *call) buscall() (int, string, syscall.Errno) {
	sock, e := c.sys(unix.SYS_SOCKET, unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if e != 0 {
		return 0, "socket", e
	}
	defer func() { _, _ = c.sys(unix.SYS_CLOSE, sock) }()
	at := append(binary.NativeEndian.AppendUint16(nil, unix.AF_UNIX), append([]byte(c.word(0)), 0)...)
	if _, e := c.sys(unix.SYS_CONNECT, sock, c.bytes(at), uintptr(len(at))); e != 0 {
		return 0, "connect", e
	}
	send := func(b []byte) syscall.Errno {
		_, e := c.sys(unix.SYS_SENDTO, sock, c.bytes(b), uintptr(len(b)), unix.MSG_NOSIGNAL, 0, 0)
		return e
	}
	var got []byte
	receive := func() syscall.Errno {
		p, b := c.room(8 << 10)
		n, e := c.sys(unix.SYS_RECVFROM, sock, p, uintptr(len(b)), 0, 0, 0)
		if e == 0 && n == 0 {
			e = unix.ECONNRESET
		}
		if e == 0 {
			got = append(got, b[:n]...)
		}
		return e
	}
	// Without a user id, the bus takes the one that the kernel reports.
	if e := send([]byte("\x00AUTH EXTERNAL\r\nDATA\r\n")); e != 0 {
		return 0, "authenticate", e
	}
	for !strings.Contains(string(got), "OK ") || !bytes.HasSuffix(got, []byte("\r\n")) {
		if e := receive(); e != 0 {
			return 0, "authenticate", e
		}
		if bytes.HasPrefix(got, []byte("REJECTED")) {
			return 0, trim(string(got)), unix.EPERM
		}
	}
	got = nil
	const bus = "org.freedesktop.DBus"
	if e := send(append([]byte("BEGIN\r\n"), busMessage(1, "/org/freedesktop/DBus", bus, "Hello", bus)...)); e != 0 {
		return 0, "hello", e
	}
	for serial := uint32(1); serial <= 2; {
		kind, name, rest := busAnswer(got)
		switch kind {
		case 0:
			if e := receive(); e != 0 {
				return 0, "wait for an answer", e
			}
			continue
		case busError:
			if name == bus+".Error.AccessDenied" {
				return 0, name, unix.EACCES
			}
			return 0, name, unix.EPROTO
		case busReturn:
			if serial++; serial == 2 {
				if e := send(busMessage(serial, "/org/freedesktop/DBus", bus, "GetId", bus)); e != 0 {
					return 0, "call", e
				}
			}
		}
		got = rest // signals are ignored
	}
	return 0, "", 0
}
