// SPDX-License-Identifier: Apache-2.0

package runs

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"

	"proofhouse/machines"
	"proofhouse/reports"
)

// A machine that is kept for a person is in the process that runs its specs;
// the terminal is that of another. They talk over a unix socket in a private
// directory: Kept and Terminal, a line of JSON each, then frames of input from
// the terminal, and the shell's output as it is.

// Kept is what the process with the machine says first.
type Kept struct {
	Spec    string   `json:"spec"`
	Machine string   `json:"machine"`
	Reasons []string `json:"reasons"` // why it is kept: what failed
}

// Terminal is the answer of the process with the terminal.
type Terminal struct {
	Term    string `json:"term"`
	Rows    int    `json:"rows"`
	Columns int    `json:"columns"`
}

// The kinds of frames. A frame is its kind, the length of its payload in two
// bytes, big endian, and the payload.
const (
	frameInput  = 'i' // bytes for the shell
	frameWindow = 'w' // rows and columns, two bytes each
)

// WriteInput sends a piece of the terminal's input, of at most 64 KiB - 1.
func WriteInput(w io.Writer, p []byte) error { return writeFrame(w, frameInput, p) }

// WriteWindow sends the terminal's new size.
func WriteWindow(w io.Writer, rows, columns int) error {
	return writeFrame(w, frameWindow, binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, uint16(rows)), uint16(columns)))
}

func writeFrame(w io.Writer, kind byte, payload []byte) error {
	if len(payload) > 1<<16-1 {
		return errors.New("frame too long")
	}
	_, err := w.Write(append(binary.BigEndian.AppendUint16([]byte{kind}, uint16(len(payload))), payload...))
	return err
}

// readFrames passes frames on until the connection ends.
func readFrames(r io.Reader, input io.Writer, resize func(rows, columns int)) error {
	for {
		var head [3]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return err
		}
		payload := make([]byte, binary.BigEndian.Uint16(head[1:]))
		if _, err := io.ReadFull(r, payload); err != nil {
			return err
		}
		switch {
		case head[0] == frameInput:
			if _, err := input.Write(payload); err != nil {
				return err
			}
		case head[0] == frameWindow && len(payload) == 4:
			resize(int(binary.BigEndian.Uint16(payload)), int(binary.BigEndian.Uint16(payload[2:])))
		default:
			return fmt.Errorf("unknown frame %q", head[0])
		}
	}
}

// keep offers a shell on the machine to whoever listens on Bench.Shell, and
// returns when that shell has ended. A machine that no longer answers is not
// offered.
func (l *Bench) keep(ctx context.Context, m *bench, spec *reports.Spec) {
	if l.Shell == "" || ctx.Err() != nil || !troubled(spec.Results) {
		return
	}
	if err := m.Sane(ctx); errors.Is(err, machines.ErrLost) {
		l.say(spec.ID + ": no shell: " + err.Error())
		return
	}
	if err := l.shell(ctx, m, spec); err != nil {
		l.say(fmt.Sprintf("%s: a shell on machine %s: %v", spec.ID, m.record.ID, err))
	}
}

func (l *Bench) shell(ctx context.Context, m *bench, spec *reports.Spec) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", l.Shell)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	kept := Kept{Spec: spec.ID, Machine: m.record.ID}
	for _, r := range spec.Results {
		if r.Status == reports.Fail || r.Status == reports.Error {
			kept.Reasons = append(kept.Reasons, fmt.Sprintf("%s %s: %s", r.Status, r.ID, r.Reason))
		}
	}
	if err := json.NewEncoder(conn).Encode(kept); err != nil {
		return err
	}
	in := bufio.NewReader(conn)
	line, err := in.ReadBytes('\n')
	if err != nil {
		return err
	}
	var t Terminal
	if err := json.Unmarshal(line, &t); err != nil {
		return err
	}
	input, typed := io.Pipe()
	resize := make(chan [2]int, 1)
	go func() {
		err := readFrames(in, typed, func(rows, columns int) {
			select {
			case resize <- [2]int{rows, columns}:
			default: // the next one will do
			}
		})
		_ = typed.CloseWithError(err)
	}()
	defer func() { _ = input.Close() }()
	_, err = m.Run(ctx, machines.Command{
		Args: []string{"/bin/bash", "-l"}, Stdin: input, Stdout: conn, Stderr: conn,
		TTY: &machines.TTY{Term: t.Term, Rows: t.Rows, Columns: t.Columns, Resize: resize},
	})
	return err
}

// Answer reads what is kept and why, and sends what the terminal is. It is for
// the process with the terminal.
func Answer(conn net.Conn, t Terminal) (Kept, error) {
	var kept Kept
	// The shell prints nothing before it has the answer, so nothing is read
	// beyond the line.
	line, err := bufio.NewReader(conn).ReadBytes('\n')
	if err != nil {
		return kept, err
	}
	if err := json.Unmarshal(line, &kept); err != nil {
		return kept, err
	}
	return kept, json.NewEncoder(conn).Encode(t)
}
