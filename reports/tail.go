// SPDX-License-Identifier: Apache-2.0

package reports

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Tail follows the journals in a run's directory while other processes write them.
type Tail struct {
	dir    string
	offset map[string]int64
}

// NewTail returns a Tail that follows the run in dir from its beginning; dir need
// not exist yet.
func NewTail(dir string) *Tail { return &Tail{dir: dir, offset: map[string]int64{}} }

// Next returns what was written since the last call, by process and then in
// order. Lines that are no events are left out: [Read] reports them.
func (t *Tail) Next() ([]Event, error) {
	root, err := os.OpenRoot(t.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("follow the run in %s: %w", t.dir, err)
	}
	defer func() { _ = root.Close() }()
	names, err := journalNames(root)
	if err != nil {
		return nil, fmt.Errorf("follow the run in %s: %w", t.dir, err)
	}
	var events []Event
	for _, p := range names {
		text, err := t.lines(root, p.name)
		if err != nil {
			return events, fmt.Errorf("follow the run in %s: %w", t.dir, err)
		}
		j, err := decode(p.process, text)
		if err != nil {
			return events, fmt.Errorf("%s: %w", filepath.Join(t.dir, p.name), err)
		}
		events = append(events, j.events...)
	}
	return events, nil
}

// lines are the whole lines of the file that were not read yet.
func (t *Tail) lines(root *os.Root, path string) ([]byte, error) {
	f, err := openFile(root, path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.NewSectionReader(f, t.offset[path], MaxFile))
	if err != nil {
		return nil, err
	}
	text = text[:bytes.LastIndexByte(text, '\n')+1]
	t.offset[path] += int64(len(text))
	return text, nil
}
