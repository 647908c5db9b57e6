package machines

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
)

// Log is text that grows while a machine runs: its console, its audit records.
// The zero value is an empty log.
type Log struct {
	mu      sync.Mutex
	buf     []byte
	file    *os.File
	closed  bool
	changed chan struct{} // closed and replaced whenever the text grows
}

// newLog makes a log that also goes to the file at path, where that is not "".
func newLog(path string) (*Log, error) {
	l := &Log{changed: make(chan struct{})}
	if path == "" {
		return l, nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return nil, err
	}
	l.file = f
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
	return console, audit, nil
}

// Write appends p. It does not fail for a full disk: what the run needs is in
// memory.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf = append(l.buf, p...)
	if l.file != nil {
		_, _ = l.file.Write(p)
	}
	l.wake()
	return len(p), nil
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
	if l.file != nil {
		_ = l.file.Close()
		l.file = nil
	}
	l.wake()
}

// Mark is the log's length now, to be given to Since.
func (l *Log) Mark() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.buf)
}

// Since is the text that came after the mark.
func (l *Log) Since(mark int) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.buf[min(mark, len(l.buf)):])
}

// Lines are the whole lines since the mark, without their ends.
func (l *Log) Lines(mark int) []string {
	var lines []string
	for line := range strings.Lines(l.Since(mark)) {
		if text, whole := strings.CutSuffix(line, "\n"); whole {
			lines = append(lines, strings.TrimRight(text, "\r"))
		}
	}
	return lines
}

// await waits until text stands in the log behind the mark.
func (l *Log) await(ctx context.Context, mark int, text string) error {
	for {
		l.mu.Lock()
		found := bytes.Contains(l.buf[min(mark, len(l.buf)):], []byte(text))
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
