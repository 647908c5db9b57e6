// SPDX-License-Identifier: Apache-2.0

package runs

import (
	"bytes"
	"fmt"
	"io"
)

// maxOutput is how much of a command's output is kept, in bytes. The longest
// script of upstream's prints some hundred KiB.
const maxOutput = 8 << 20

// output keeps what a command prints in memory and in a file. Of more than
// maxOutput it keeps the first half and the last half, and cut tells. It never
// refuses to take more: a command whose output is not read hangs. A file that
// cannot be written, on a full disk, does not change what is in memory.
type output struct {
	file io.WriteCloser // may be nil
	err  error          // of the file

	limit      int // maxOutput; less in tests
	head, tail []byte
	seen       int64 // bytes printed
}

func newOutput(file io.WriteCloser) *output { return &output{file: file, limit: maxOutput} }

func (o *output) Write(p []byte) (int, error) {
	n := len(p)
	o.seen += int64(n)
	half := o.limit / 2
	if room := half - len(o.head); room > 0 {
		first := p[:min(room, len(p))]
		o.head = append(o.head, first...)
		o.toFile(first)
		p = p[len(first):]
	}
	if len(p) > half {
		p = p[len(p)-half:]
		o.tail = o.tail[:0]
	}
	o.tail = append(o.tail, p...)
	if len(o.tail) > 2*half {
		o.tail = append(o.tail[:0], o.tail[len(o.tail)-half:]...)
	}
	return n, nil
}

func (o *output) toFile(p []byte) {
	if o.file == nil || o.err != nil {
		return
	}
	_, o.err = o.file.Write(p)
}

// cut returns how many bytes were not kept.
func (o *output) cut() int64 {
	return o.seen - int64(len(o.head)) - int64(min(len(o.tail), o.limit/2))
}

// ends returns the head and the tail. Where something between them was cut,
// they are whole lines.
func (o *output) ends() (head, notice, tail []byte) {
	head, tail = o.head, o.tail
	if half := o.limit / 2; len(tail) > half {
		tail = tail[len(tail)-half:]
	}
	n := o.cut()
	if n == 0 {
		return head, nil, tail
	}
	whole := head[:bytes.LastIndexByte(head, '\n')+1]
	n += int64(len(head) - len(whole))
	if i := bytes.IndexByte(tail, '\n'); i >= 0 {
		n += int64(i + 1)
		tail = tail[i+1:]
	}
	return whole, fmt.Appendf(nil, "[proofhouse cut %d bytes here]\n", n), tail
}

// bytes returns what was kept.
func (o *output) bytes() []byte {
	head, notice, tail := o.ends()
	return bytes.Join([][]byte{head, notice, tail}, nil)
}

func (o *output) String() string { return string(o.bytes()) }

// close writes what the file lacks and closes it.
func (o *output) close() error {
	if o.file == nil {
		return nil
	}
	_, notice, tail := o.ends()
	if notice != nil {
		o.toFile([]byte("\n"))
	}
	o.toFile(notice)
	o.toFile(tail)
	if err := o.file.Close(); o.err == nil {
		o.err = err
	}
	return o.err
}
