// SPDX-License-Identifier: Apache-2.0

package isolation

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Plan is what the probe has to do. It reads it from its standard input, as
// JSON.
type Plan struct {
	// Namespaces are created before anything is loaded, and removed at the end:
	// "a" before "a//b".
	Namespaces []string `json:"namespaces,omitempty"`
	// Policy is compiled before the first cell, all at once.
	Policy []Policy `json:"policy,omitempty"`
	// Container is the name of the LXC container whose init's namespaces the
	// tasks "in the container" enter; "" where no task does.
	Container string `json:"container,omitempty"`
	// Unprivileged is true where the container has a user namespace: its tasks
	// are root there.
	Unprivileged bool   `json:"unprivileged,omitempty"`
	Cells        []Cell `json:"cells"`
	// Timeout is the timeout of one system call, in seconds.
	Timeout float64 `json:"timeout"`
}

// Policy is a text of one or more profiles.
type Policy struct {
	// Name is the name by which a step loads it ("@: load NAME"). Policy without
	// a name is loaded before the first cell; its profiles are removed at the
	// end.
	Name      string `json:"name,omitempty"`
	Namespace string `json:"namespace,omitempty"` // "" is the host's
	Text      string `json:"text"`
}

// Cell is one experiment: its tasks start and enter their namespaces, the Prepare
// steps are done, each task gets its label, and the Do steps are done.
type Cell struct {
	Key     string   `json:"key"`
	Tasks   []Task   `json:"tasks"`
	Prepare []string `json:"prepare,omitempty"`
	Do      []string `json:"do"`
	// Stop ends Do at the first step that fails.
	Stop bool `json:"stop,omitempty"`
	// Clean are steps of the manager, done in any case.
	Clean []string `json:"clean,omitempty"`
}

// Task is a process of a cell.
type Task struct {
	Name string `json:"name"`
	// Where is OnHost, InContainer (the namespaces of the container's init), or
	// InMounts (the same without its PID namespace, so that the task can name
	// the host's tasks).
	Where string `json:"where"`
	// Label is the label that it changes to, such as "h//&:iso:p"; with "" it
	// stays unconfined.
	Label string `json:"label,omitempty"`
}

// Manager is the name by which a step asks the manager, not a task.
const Manager = "@"

// The places of a task.
const (
	OnHost      = "host"
	InContainer = "container"
	InMounts    = "container-mnt"
)

// Done is the outcome of a step.
type Done struct {
	Step  string `json:"step"`
	Errno string `json:"errno,omitempty"` // "EACCES"; "" where it succeeded
	// Value is what it returned: a text that was read, a label.
	Value string `json:"value,omitempty"`
}

// Found is the probe's report of a cell.
type Found struct {
	Key string `json:"key"`
	// PIDs are the process ids of the tasks as the host sees them, and as the
	// kernel's records have them.
	PIDs map[string]int `json:"pids"`
	// Prepared is the Prepare step that failed, if any; nothing was done after
	// it.
	Prepared *Done `json:"prepared,omitempty"`
	// Refused are the tasks that did not get their label, with the errno;
	// nothing was done then.
	Refused map[string]string `json:"refused,omitempty"`
	Done    []Done            `json:"done,omitempty"`
	// Labels are those of the tasks as the host sees them at the end.
	Labels map[string]string `json:"labels,omitempty"`
	// Trouble is an error of the probe itself: no verdict on the kernel.
	Trouble string `json:"trouble,omitempty"`
	// Init is the label of the container's init as the host sees it.
	Init string `json:"init,omitempty"`
}

// ReadFound reads what the probe wrote. It also returns what it read before an
// error: a line that is cut, damaged, or has a field that is unknown.
func ReadFound(r io.Reader) ([]Found, error) {
	var list []Found
	dec := json.NewDecoder(r)
	dec.DisallowUnknownFields()
	for {
		var f Found
		if err := dec.Decode(&f); errors.Is(err, io.EOF) {
			return list, nil
		} else if err != nil {
			return list, fmt.Errorf("read the report of the probe: %w", err)
		}
		list = append(list, f)
	}
}
