// SPDX-License-Identifier: Apache-2.0

package machines

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"

	"proofhouse/machines/wire"
)

// Log is text that grows while a machine runs: its console, its audit records.
// The zero value is an empty log.
//
// What the machine writes is not trusted to end, so memory and file are bounded:
// of a long text there remain the head of all, the heads behind the last marks,
// and the tail; a line says where some was cut, and how much. The zero value is
// an empty log.
type Log struct {
	mu      sync.Mutex
	spans   []span // in order; the last one ends at the end of the text
	size    int    // of the text, with what was cut
	marks   []int  // the last ones
	cutLine string // begins the line in place of what was cut
	closed  bool
	changed chan struct{} // closed and replaced whenever the text grows

	file struct {
		*os.File
		size int // written so far
	}
}

// span is a part of the text that is kept.
type span struct {
	from int
	text []byte
}

func (s span) end() int { return s.from + len(s.text) }

// The bounds, in bytes.
const (
	headKept  = 1 << 20 // of all, and behind each of the last marks
	marksKept = 8
	tailKept  = 4 << 20
	fileKept  = 64 << 20 // in the file, beside the tail
)

// LogCut begins the line of a console log in place of what was cut.
const LogCut = "proofhouse: the log is too long"

// newLog makes a log that also goes to the file at path, where that is not "".
func newLog(path string) (*Log, error) {
	l := &Log{changed: make(chan struct{}), spans: []span{{}}, cutLine: LogCut}
	if path == "" {
		return l, nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	l.file.File = f
	return l, nil
}

// openLogs opens the logs of a machine.
func openLogs(o Options) (console, audit *Log, err error) {
	if console, err = newLog(o.ConsoleFile); err != nil {
		return nil, nil, fmt.Errorf("record the console: %w", err)
	}
	if audit, err = newLog(""); err != nil {
		console.close()
		return nil, nil, err
	}
	// Whoever judges by the records must know that there were more.
	audit.cutLine = wire.RecordsLost + ": the log is too long"
	return console, audit, nil
}

// Write appends p. It does not fail for a full disk: what the run needs is in
// memory.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.spans) == 0 {
		l.spans = []span{{}}
	}
	last := &l.spans[len(l.spans)-1]
	last.text = append(last.text, p...)
	l.size += len(p)
	if len(last.text) > headKept+2*tailKept {
		l.trim()
	}
	if l.file.File != nil {
		n := min(len(p), fileKept-l.file.size)
		_, _ = l.file.Write(p[:n])
		l.file.size += n
	}
	l.wake()
	return len(p), nil
}

// trim drops what is neither in a head nor in the tail.
func (l *Log) trim() {
	heads := append([]int{0}, l.marks...)
	tail := l.size - tailKept
	var kept []span
	for _, s := range l.spans {
		for from := s.from; from < s.end(); {
			// The part of the span that is kept, or dropped, from here on.
			to, keep := s.end(), from >= tail
			if !keep {
				to = min(to, tail)
			}
			for _, h := range heads {
				switch {
				case from >= h && from < h+headKept:
					if !keep {
						to, keep = min(s.end(), h+headKept), true
					}
					to = max(to, min(s.end(), h+headKept))
				case from < h && !keep:
					to = min(to, h)
				}
			}
			part := s.text[from-s.from : to-s.from]
			switch n := len(kept); {
			case !keep:
			case n > 0 && kept[n-1].end() == from:
				kept[n-1].text = append(kept[n-1].text, part...)
			default:
				kept = append(kept, span{from, slices.Clone(part)})
			}
			from = to
		}
	}
	l.spans = kept
}

// cut is the line that stands for n bytes.
func (l *Log) cut(n int) string {
	return fmt.Sprintf("\n%s: %d bytes were cut here\n", cmp.Or(l.cutLine, LogCut), n)
}

// wake wakes whoever waits for the log to grow. The mutex is held.
func (l *Log) wake() {
	if l.changed != nil {
		close(l.changed)
	}
	l.changed = make(chan struct{})
}

func (l *Log) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.closed = true
	if f := l.file.File; f != nil {
		if l.file.size < l.size {
			from := max(l.file.size, l.size-tailKept)
			if from > l.file.size {
				_, _ = f.WriteString(l.cut(from - l.file.size))
			}
			_, _ = f.WriteString(l.since(from))
		}
		_ = f.Close()
		l.file.File = nil
	}
	l.wake()
}

// Mark is the log's length now, in bytes, to be given to Since. The head of what
// comes after one of the last eight marks is kept, however much follows.
func (l *Log) Mark() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.marks); n == 0 || l.marks[n-1] != l.size {
		l.marks = append(l.marks, l.size)
		l.marks = l.marks[max(0, len(l.marks)-marksKept):]
	}
	return l.size
}

// Since is the text that came after the mark.
func (l *Log) Since(mark int) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.since(mark)
}

func (l *Log) since(mark int) string {
	var b strings.Builder
	at := mark
	for _, s := range l.spans {
		if s.end() <= at {
			continue
		}
		if s.from > at {
			b.WriteString(l.cut(s.from - at))
			at = s.from
		}
		b.Write(s.text[at-s.from:])
		at = s.end()
	}
	return b.String()
}

// Lines are the complete lines since the mark, without their ends.
func (l *Log) Lines(mark int) []string {
	var lines []string
	for line := range strings.Lines(l.Since(mark)) {
		if text, whole := strings.CutSuffix(line, "\n"); whole {
			lines = append(lines, strings.TrimRight(text, "\r"))
		}
	}
	return lines
}

// await waits until the log has text after the mark.
func (l *Log) await(ctx context.Context, mark int, text string) error {
	for {
		l.mu.Lock()
		found := l.contains(mark, text)
		if l.changed == nil {
			l.changed = make(chan struct{})
		}
		changed, closed := l.changed, l.closed
		l.mu.Unlock()
		if found {
			return nil
		}
		if closed {
			return io.ErrUnexpectedEOF
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-changed:
		}
	}
}

// contains reports whether text is in what is kept of the log after the mark. It
// looks at the last span only: text was written a moment ago.
func (l *Log) contains(mark int, text string) bool {
	s := l.spans[len(l.spans)-1]
	return bytes.Contains(s.text[min(max(0, mark-s.from), len(s.text)):], []byte(text))
}
