// SPDX-License-Identifier: Apache-2.0

package wire

import "time"

// KmsgChannel is opened by a board's agent; on it come the records of the
// kernel's log, one a line, as "SEQUENCE TEXT".
const KmsgChannel = "kmsg@proofhouse"

// AliveRequest is a global request by which a board's agent knows that the host
// still wants it. An agent that gets none for [AgentTimeout] cleans up and ends.
const (
	AliveRequest = "alive@proofhouse"
	AgentTimeout = 2 * time.Minute
)

// TidyRequest is a global request to a board's agent: remove the profiles and the
// policy namespaces that were not there when the agent began. The answer is a
// [Leftovers], as JSON.
const TidyRequest = "tidy@proofhouse"

// CleanPrefix begins the line on a board's agent's stderr that has, as JSON, the
// [Leftovers] at its end; ErrorPrefix the one with the reason why it ended early.
const (
	CleanPrefix = "proofhouse-clean: "
	ErrorPrefix = "proofhouse-error: "
)

// BoardFacts is what a board's agent tells of the board.
type BoardFacts struct {
	Release string `json:"release"` // uname -r
	Version string `json:"version"` // uname -v
	Machine string `json:"machine"` // uname -m
	Boot    string `json:"boot"`    // /proc/sys/kernel/random/boot_id
	// BuildID is the kernel's GNU build ID, in hex; "" if it has none.
	BuildID string `json:"buildId"`
	Cmdline string `json:"cmdline"`
	Config  []byte `json:"config,omitempty"` // its .config, gzipped
	Model   string `json:"model,omitempty"`  // of the device tree, or of the DMI
	// AppArmor is /sys/module/apparmor/parameters/enabled: "Y", "N" or "".
	AppArmor string   `json:"appArmor"`
	Profiles int      `json:"profiles"` // loaded
	Taint    int64    `json:"taint"`
	Panic    int      `json:"panic"` // kernel.panic, in seconds
	Uptime   float64  `json:"uptime"`
	Memory   uint64   `json:"memory"` // MemTotal in bytes
	Pstore   []string `json:"pstore,omitempty"`
	// Cache is the directory that the guest's root is kept in.
	Cache BoardCache `json:"cache"`
	// Overlay and Loop report whether the kernel has them, perhaps as modules.
	Overlay bool       `json:"overlay"`
	Loop    bool       `json:"loop"`
	Owner   *BoardLock `json:"owner,omitempty"` // whoever uses the board
	// Programs are those of the board that a run with root=board needs, and their
	// paths; "" is not found.
	Programs map[string]string `json:"programs"`
}

// BoardCache describes a directory of the board.
type BoardCache struct {
	Dir      string   `json:"dir"`
	Free     uint64   `json:"free"` // bytes
	ReadOnly bool     `json:"readOnly,omitempty"`
	Files    []string `json:"files,omitempty"`
	Error    string   `json:"error,omitempty"`
}

// BoardLock says who uses a board.
type BoardLock struct {
	Owner string    `json:"owner"` // user@host
	Run   string    `json:"run"`   // random; the processes of one run have the same
	Since time.Time `json:"since"`
	PID   int       `json:"pid"` // of the agent, on the board
}

// BoardServe is what a board's agent has to do.
type BoardServe struct {
	HostKey []byte    `json:"hostKey"`
	Lock    BoardLock `json:"lock"`
	// Root is the file of the guest's root, in Cache; "": the board's own.
	Root  string `json:"root,omitempty"`
	Cache string `json:"cache"`
	// Tools are the files of the programs to put into BinDir, by name.
	Tools map[string]string `json:"tools,omitempty"`
	// Trees are files in tar format to unpack at /.
	Trees   []string   `json:"trees,omitempty"`
	Prepare [][]string `json:"prepare,omitempty"`
	// Panic is the value of kernel.panic while the agent runs.
	Panic int `json:"panic"`
	// After is the sequence number of the last record of the kernel's log that
	// the host has, in this boot; 0: it wants only what comes.
	After uint64 `json:"after,omitempty"`
}

// Leftovers are what a run left on the board, and what could not be removed.
type Leftovers struct {
	Removed []string `json:"removed,omitempty"`
	Stuck   []string `json:"stuck,omitempty"`
}

// Note adds what was removed, or could not be.
func (l *Leftovers) Note(what string, err error) {
	if err != nil {
		l.Stuck = append(l.Stuck, what+": "+err.Error())
		return
	}
	l.Removed = append(l.Removed, what)
}
