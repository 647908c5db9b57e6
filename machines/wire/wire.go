// Package wire holds what the two ends of a machine's channel agree on: the
// SSH protocol with a few extensions, and the file that tells the guest's init
// what it finds. An ordinary sshd knows none of the extensions and refuses
// them, as RFC 4254 demands; the client then does without.
package wire

import (
	"errors"
	"strings"
	"time"
)

// The extensions' names, in the form RFC 4251 section 6 asks for.
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
	// /proc/sys/kernel/tainted. It is a sign of life, too.
	TaintRequest = "taint@proofhouse"
)

// InitFile is where the initramfs has the [Init], as JSON.
const InitFile = "/proofhouse.json"

// BinDir is where the running guest has our own programs; it is on the PATH.
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

// Usage is what a command took, as its machine measured it.
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

// Init is what the guest's init finds in InitFile.
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
	// Wait is how long to wait for devices to appear.
	Wait time.Duration `json:"wait"`
}

// Quote makes of words one line that a POSIX shell, and [Split], read as just
// these words.
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

// errNotQuoted is for a line that Quote did not write.
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
