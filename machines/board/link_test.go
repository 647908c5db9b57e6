// SPDX-License-Identifier: Apache-2.0

package board

import (
	"errors"
	"strings"
	"testing"

	"proofhouse/internal/bounded"
	"proofhouse/internal/exit"
	"proofhouse/kernels"
)

// What OpenSSH 9.2 says.
func TestRefusal(t *testing.T) {
	for _, c := range []struct {
		said, says string
		status     int
	}{
		{"No ED25519 host key is known for [127.0.0.1]:2222 and you have requested strict checking.\r\nHost key verification failed.\r\n", "host key is unknown", exit.Usage},
		{"@@@\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\n@@@\nHost key verification failed.\r\n", "host key has changed", exit.Usage},
		{"root@board: Permission denied (publickey,password).\r\n", "login refused", exit.Usage},
		{"ssh: Could not resolve hostname board: Name or service not known\r\n", "Could not resolve hostname", exit.Usage},
		{"ssh: connect to host 10.0.0.7 port 22: Connection refused\r\n", "Connection refused", exit.NoVerdict},
		{"ssh: connect to host 10.0.0.7 port 22: Connection timed out\r\n", "timed out", exit.NoVerdict},
		{"", "ssh said nothing", exit.NoVerdict},
	} {
		l := &Link{Board: &kernels.Board{Name: "board:x", SSH: "root@board"}, stderr: &bounded.Head{}}
		_, _ = l.stderr.Write([]byte(c.said))
		err := l.refusal()
		if !strings.Contains(err.Error(), c.says) || exit.Status(err) != c.status || errors.Is(err, ErrUnreachable) != (c.status == exit.NoVerdict) {
			t.Errorf("%q: %v (status %d)", c.said, err, exit.Status(err))
		}
	}
}

func TestComplaint(t *testing.T) {
	l := &Link{Board: &kernels.Board{Name: "board:x"}}
	for _, c := range []struct {
		said, says string
		status     int
	}{
		{"guest-init: busy: the board is in use by a@b since 2026-11-28T10:00:00Z\n", "board:x: the board is in use by a@b since", exit.Usage},
		{"guest-init: write /c/x: no space left on device\n", "no space left", exit.Usage},
		{"guest-init: mkdir /c: read-only file system\n", "read-only file system", exit.Usage},
		{"sh: 1: cannot create /run/x: No space left on device\n", "no space left", exit.Usage},
		{"proofhouse-error: mount an overlay: invalid argument\nguest-init: mount an overlay: invalid argument\nguest-init: exit status 1\n", "mount an overlay: invalid argument", exit.NoVerdict},
		{"guest-init: stuck: an earlier run left what cannot be removed: process 7 (x)\n", "process 7", exit.NoVerdict},
		{"", "no message", exit.NoVerdict},
	} {
		err := l.Complaint(c.said)
		if !strings.Contains(err.Error(), c.says) || exit.Status(err) != c.status || errors.Is(err, ErrStuck) != strings.Contains(c.said, "stuck") {
			t.Errorf("%q: %v (status %d)", c.said, err, exit.Status(err))
		}
	}
}

// The words that the agent starts with come from the board.
func TestAgentDir(t *testing.T) {
	for _, good := range []string{"/run/proofhouse-Ab3dEf9h", "/var/tmp/proofhouse-AAAAAAAA"} {
		if !agentDirRE.MatchString(good) {
			t.Errorf("%s is refused", good)
		}
	}
	for _, bad := range []string{"none", "", "/run/proofhouse-../../x", "/etc/proofhouse-AAAAAAAA", "/run/proofhouse-AAAA AAA", "/run/proofhouse-AAAAAAAA\n"} {
		if agentDirRE.MatchString(bad) {
			t.Errorf("%q is accepted", bad)
		}
	}
}
