// SPDX-License-Identifier: Apache-2.0

// Package wire defines the protocol of a machine's channel, for both ends: SSH with a
// few extensions, and the configuration file of guest-init. An ordinary sshd refuses
// the extensions, as RFC 4254 requires. The package sends and reads nothing itself.
package wire

import (
	"errors"
	"strings"
	"time"
)

// The extensions' names, in the form that RFC 4251 section 6 requires.
const (
	// ProcessRequest goes before exec and carries a [Process].
	ProcessRequest = "process@proofhouse"
	// UsageRequest goes from the guest to the host before exit-status and
	// carries a [Usage].
	UsageRequest = "usage@proofhouse"
	// AuditChannel is opened by the guest; on it come the kernel's audit
	// records, one a line.
	AuditChannel = "audit@proofhouse"
	// AuditSync is a global request: its payload comes back as a line of the
	// audit channel, behind every record the kernel logged before.
	AuditSync = "audit-sync@proofhouse"
	// TaintRequest is a global request; the answer carries what stands in
	// /proc/sys/kernel/tainted. It also shows that the agent is alive.
	TaintRequest = "taint@proofhouse"
)

// InitFile is where the initramfs has the [Init], as JSON.
const InitFile = "/proofhouse.json"

// BinDir is the directory of our programs in the running guest; it is on the PATH.
const BinDir = "/run/proofhouse/bin"

// Process is how a command is to run.
type Process struct {
	Dir string   `json:"dir,omitempty"` // working directory; "" = /root
	Env []string `json:"env,omitempty"` // NAME=VALUE, over the guest's own
	// Detach leaves the processes that the command started running when it
	// ends; otherwise they are killed with it.
	Detach bool `json:"detach,omitempty"`
	// Merge sends stderr with stdout, in the order they were written.
	Merge bool `json:"merge,omitempty"`
}

// Usage is the time a command took, as its machine measured it.
type Usage struct {
	Wall time.Duration `json:"wall"`
	User time.Duration `json:"user"`
	Sys  time.Duration `json:"sys"`
}

// Disk is a block device of the guest.
type Disk struct {
	Device string `json:"device"` // "/dev/vda"
	Type   string `json:"type"`   // file system: "ext4"
}

// Init is the configuration of guest-init, in InitFile.
type Init struct {
	Root    Disk  `json:"root"`
	Modules *Disk `json:"modules,omitempty"` // mounted read-only on /usr/lib/modules
	// Load are the kernel modules to insert first, in this order, as paths
	// in the initramfs.
	Load []string `json:"load,omitempty"`
	// Channel is the device of the command channel: a virtio port's name
	// ("virtio:proofhouse") or a terminal's path ("/dev/ttyS0").
	Channel string `json:"channel"`
	HostKey []byte `json:"hostKey"` // seed of the SSH host key, ed25519
	// Tools are the programs in the initramfs to put into BinDir.
	Tools []string `json:"tools,omitempty"`
	// Prepare are programs to run once before the channel opens, such as
	// services that a test suite needs. A failure is written to the console.
	Prepare [][]string `json:"prepare,omitempty"`
	// Systemd makes the root's own systemd the init. Prepare is then not run.
	Systemd bool `json:"systemd,omitempty"`
	// Wait is how long to wait for devices to appear.
	Wait time.Duration `json:"wait"`
}

// Quote joins words to one line that a POSIX shell, and [Split], read as these words.
func Quote(words []string) string {
	var b strings.Builder
	for i, w := range words {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteByte('\'')
		b.WriteString(strings.ReplaceAll(w, "'", `'\''`))
		b.WriteByte('\'')
	}
	return b.String()
}

// errNotQuoted is the error for a line that Quote did not write.
var errNotQuoted = errors.New("not a line of quoted words")

// Split is the reverse of [Quote]. It takes single quotes, backslashes before
// one character, and plain words without any of the shell's special
// characters; everything else is an error: there is no shell here.
func Split(line string) ([]string, error) {
	var words []string
	var word strings.Builder
	started := false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == ' ':
			if started {
				words = append(words, word.String())
				word.Reset()
				started = false
			}
		case c == '\'':
			end := strings.IndexByte(line[i+1:], '\'')
			if end < 0 {
				return nil, errNotQuoted
			}
			word.WriteString(line[i+1 : i+1+end])
			i += end + 1
			started = true
		case c == '\\':
			if i+1 == len(line) {
				return nil, errNotQuoted
			}
			i++
			word.WriteByte(line[i])
			started = true
		case strings.IndexByte("|&;<>()$`\"*?[#~=%!{}\t\n", c) >= 0:
			return nil, errNotQuoted
		default:
			word.WriteByte(c)
			started = true
		}
	}
	if started {
		words = append(words, word.String())
	}
	return words, nil
}

// RecordsLost begins the line on the audit channel that says that the kernel
// logged faster than its records could be read.
const RecordsLost = "records were lost"
