// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"
)

// struct audit_status: mask, enabled, failure, pid, rate_limit, backlog_limit, lost, backlog.
func TestReadStatus(t *testing.T) {
	b := make([]byte, headerLen)
	binary.NativeEndian.PutUint16(b[4:], auditGet)
	for _, v := range []uint32{1, 2, 3, 4, 5, 6, 77, 8} {
		b = binary.NativeEndian.AppendUint32(b, v)
	}
	if lost, kind := readStatus(b); lost != 77 || kind != auditGet {
		t.Errorf("lost %d, kind %d", lost, kind)
	}
	for n := range b {
		_, _ = readStatus(b[:n])
	}
	binary.NativeEndian.PutUint16(b[4:], unix.NLMSG_ERROR)
	if _, kind := readStatus(b); kind != unix.NLMSG_ERROR {
		t.Errorf("kind %d", kind)
	}
}

func FuzzRecord(f *testing.F) {
	f.Add(make([]byte, headerLen))
	f.Fuzz(func(t *testing.T, b []byte) {
		if text, ok := record(b); ok && text != "" && len(b) < headerLen {
			t.Errorf("%q from %d bytes", text, len(b))
		}
		_, _ = readStatus(b)
	})
}
