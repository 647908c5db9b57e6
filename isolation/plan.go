package isolation

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Plan is what the probe is to do, in one go. It is written to its standard
// input as JSON.
type Plan struct {
	// Namespaces are made before anything is loaded, and removed at the end:
	// "a" before "a//b".
	Namespaces []string `json:"namespaces,omitempty"`
	// Policy is compiled before the first cell, all in one go.
	Policy []Policy `json:"policy,omitempty"`
	// Container is the name of the LXC container whose init's namespaces the
	// tasks "in the container" enter; "" where no task does.
	Container string `json:"container,omitempty"`
	// Unprivileged is true where the container has a user namespace: its tasks
	// are that one's root.
	Unprivileged bool   `json:"unprivileged,omitempty"`
	Cells        []Cell `json:"cells"`
	// Patience is how long one system call may take, in seconds.
	Patience float64 `json:"patience"`
}

// Policy is profiles to be loaded.
type Policy struct {
	// Name is how a step loads it ("@: load NAME"). One without a name is
	// loaded before the first cell, and its profiles are removed at the end.
	Name      string `json:"name,omitempty"`
	Namespace string `json:"namespace,omitempty"` // "": the host's
	Text      string `json:"text"`
}

// Cell is one experiment: tasks are started and enter their namespaces, the
// Prepare steps are done, each task takes on its label, and then the Do steps
// are done.
type Cell struct {
	Key     string   `json:"key"`
	Tasks   []Task   `json:"tasks"`
	Prepare []string `json:"prepare,omitempty"`
	Do      []string `json:"do"`
	// Stop ends Do at the first step that fails.
	Stop bool `json:"stop,omitempty"`
	// Clean are steps of the manager, done whatever happened before.
	Clean []string `json:"clean,omitempty"`
}

// Task is a process of a cell.
type Task struct {
	Name string `json:"name"`
	// Where is "host", or "container": within the namespaces of the
	// container's init. "container-mnt" is the same without its PID
	// namespace: such a task can name the host's tasks.
	Where string `json:"where"`
	// Label is the transition that it asks for, such as "h//&:iso:p"; "" for
	// none: it stays unconfined.
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

// Done is what came of a step.
type Done struct {
	Step  string `json:"step"`
	Errno string `json:"errno,omitempty"` // "EACCES"; "" where it succeeded
	// Value is what it gave: what was read, a label.
	Value string `json:"value,omitempty"`
}

// Found is what came of a cell.
type Found struct {
	Key string `json:"key"`
	// PIDs are those of the tasks as the host sees them: the kernel's records
	// have them.
	PIDs map[string]int `json:"pids"`
	// Prepared has a step only if it failed; nothing was done after it.
	Prepared *Done `json:"prepared,omitempty"`
	// Refused are the tasks that did not get their label, by name, with the
	// errno; nothing was done then.
	Refused map[string]string `json:"refused,omitempty"`
	Done    []Done            `json:"done,omitempty"`
	// Labels are those of the tasks as the host sees them at the end.
	Labels map[string]string `json:"labels,omitempty"`
	// Trouble is the probe's own: no verdict on the kernel.
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
