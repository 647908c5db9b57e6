// SPDX-License-Identifier: Apache-2.0

package compare

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"slices"
	"strings"

	"proofhouse/reports"
)

// Evidence is what two kernels said while the same script ran.
type Evidence struct {
	Spec string `json:"spec"`
	Base Said   `json:"base"`
	New  Said   `json:"new"`
}

// Said is one kernel's part of the [Evidence].
type Said struct {
	// Denials is the number of audit records about denials, in all attempts.
	Denials int `json:"denials"`
	// Only are the records that the other kernel has none like. What differs
	// from run to run, such as times and process numbers, does not count.
	Only []string `json:"only,omitempty"`
	// More is how many of those are not in Only.
	More    int    `json:"more,omitempty"`
	Crash   string `json:"crash,omitempty"`
	Console string `json:"console,omitempty"`
	Output  string `json:"output,omitempty"` // file with all that the script printed
	Audit   string `json:"audit,omitempty"`  // file with all records
	// Incomplete says why there may be more records than were seen.
	Incomplete string `json:"incomplete,omitempty"`
}

// maxOnly bounds the records that a comparison holds of one script.
const maxOnly = 20

// evidence reads what both sides kept of the spec; false if they kept nothing.
func evidence(base, next *Side, p pair) (Evidence, bool) {
	e := Evidence{Spec: p.id}
	var records [2]*records
	for i, s := range []struct {
		side *Side
		o    *reports.Outcome
		said *Said
	}{{base, p.before, &e.Base}, {next, p.after, &e.New}} {
		records[i] = newRecords()
		if s.o == nil {
			continue
		}
		for n := range s.o.Attempts {
			s.said.take(s.side, &s.o.Attempts[n], records[i])
		}
		s.said.Denials = records[i].n
	}
	e.Base.Only, e.Base.More = records[0].without(records[1])
	e.New.Only, e.New.More = records[1].without(records[0])
	return e, e.Base.anything() || e.New.anything()
}

func (s *Said) anything() bool {
	return s.Denials > 0 || s.Crash != "" || s.Console != "" || s.Output != ""
}

func (s *Said) take(side *Side, a *reports.Spec, r *records) {
	if s.Crash == "" {
		s.Crash = a.Crash
	}
	if s.Console == "" {
		s.Console = a.Console
	}
	if a.Output != "" {
		s.Output = a.Output
	}
	if a.Audit != "" {
		s.Audit = a.Audit
		err := r.read(side.Dir, a.Audit)
		if err == nil {
			return
		}
		s.Incomplete = "the audit records are not there"
		if !errors.Is(err, fs.ErrNotExist) {
			s.Incomplete = err.Error()
		}
	}
	for _, d := range a.Denials {
		r.add(d)
	}
}

// records are denials, without what differs from run to run.
type records struct {
	n     int
	order []string
	text  map[string]string // by its stable part, the first as it was
	seen  map[string]bool   // events as they were
}

func newRecords() *records { return &records{text: map[string]string{}, seen: map[string]bool{}} }

// maxRecords bounds how many different ones are kept: a script makes some
// thousand.
const maxRecords = 20_000

func (r *records) add(line string) {
	if !strings.Contains(line, `apparmor="DENIED"`) && !strings.Contains(line, `apparmor="ALLOWED"`) {
		return
	}
	r.n++
	line = strings.TrimSpace(line)
	e := event(line)
	if r.seen[e] { // link_subset repeats itself 130,000 times
		return
	}
	if len(r.seen) < maxRecords {
		r.seen[e] = true
	}
	key := stable(line)
	if _, ok := r.text[key]; !ok && len(r.order) < maxRecords {
		r.text[key] = line
		r.order = append(r.order, key)
	}
}

// read takes the records of a file in the run's directory. Its name comes from
// the run: it must not lead anywhere else.
func (r *records) read(dir, name string) error {
	if dir == "" {
		return fs.ErrNotExist
	}
	f, err := reports.OpenFile(dir, name)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	var in io.Reader = f
	if strings.HasSuffix(name, ".gz") {
		if in, err = gzip.NewReader(f); err != nil {
			return err
		}
	}
	limited := &io.LimitedReader{R: in, N: maxLog + 1}
	lines := bufio.NewReaderSize(limited, maxRecord)
	for {
		line, more, err := lines.ReadLine()
		r.add(string(line))
		for more && err == nil { // no record is that long
			_, more, err = lines.ReadLine()
		}
		switch {
		case limited.N == 0:
			return fmt.Errorf("the audit records are cut after %d MiB", maxLog>>20)
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// What is read of one log at most: it may be compressed, and made by somebody
// else.
const (
	maxLog    = reports.MaxFile // bytes, not compressed
	maxRecord = 64 << 10
)

// without are the records that o has none like, the telling ones first.
func (r *records) without(o *records) (only []string, more int) {
	for _, key := range r.order {
		if _, ok := o.text[key]; !ok {
			only = append(only, r.text[key])
		}
	}
	slices.SortStableFunc(only, func(a, b string) int { return telling(a) - telling(b) })
	if len(only) > maxOnly {
		only, more = only[:maxOnly], len(only)-maxOnly
	}
	return only, more
}

// telling ranks records by how likely they explain a failure: those in which
// the kernel names an error of its own come first, then what it denied.
func telling(record string) int {
	switch {
	case strings.Contains(record, " error="):
		return 0
	case strings.Contains(record, `="DENIED"`):
		return 1
	}
	return 2
}

// unstable is what differs between two records of the same event; a record
// without the hint in it has none of it.
var unstable = []struct {
	hint string
	re   *regexp.Regexp
	by   string
}{
	{"=", regexp.MustCompile(`\b(pid|peer_pid|opid|ino|fsuid|ouid|auid|ses)=\d+`), "$1=N"},
	{"sdtest.", regexp.MustCompile(`sdtest\.\d+-\d+-[A-Za-z0-9]{6}`), "sdtest"},
	{"/proc/", regexp.MustCompile(`/proc/\d+/(?:task/\d+/)?`), "/proc/N/"},
	{"/dev/", regexp.MustCompile(`/dev/(loop|pts/)\d+`), "/dev/$1"},
	{"test_namespaces_", regexp.MustCompile(`test_namespaces_[A-Za-z0-9]{6}`), "test_namespaces"},
	{"/tmp/dbus-", regexp.MustCompile(`/tmp/dbus-[A-Za-z0-9]{6,}`), "/tmp/dbus"},
	{`addr="@`, regexp.MustCompile(`(addr=)"@[0-9A-Fa-f]{5,}"`), "$1N"},
	{"port=", regexp.MustCompile(`\b([ls]?(?:fport|lport|port))=\d+`), "$1=N"},
	{"src=", regexp.MustCompile(`\bsrc=\d+`), "src=N"},
	{"dest=", regexp.MustCompile(`\bdest=\d+`), "dest=N"},
	// 6.12 and later say the class, 6.1 does not; the class says nothing that
	// the operation does not.
	{` class="`, regexp.MustCompile(` class="[a-z_]*"`), ""},
}

// event is a record without its time and number: "audit(1.2:3): ".
func event(record string) string {
	if i := strings.Index(record, "audit("); i >= 0 {
		if _, rest, ok := strings.Cut(record[i:], "): "); ok {
			return rest
		}
	}
	return record
}

func stable(record string) string {
	record = event(record)
	for _, u := range unstable {
		if strings.Contains(record, u.hint) {
			record = u.re.ReplaceAllString(record, u.by)
		}
	}
	return record
}
