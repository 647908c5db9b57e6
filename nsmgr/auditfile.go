// SPDX-License-Identifier: Apache-2.0

package nsmgr

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"proofhouse/internal/exit"
	"proofhouse/internal/kmsg"
)

// auditPath is auditd's log: log_file of its configuration (auditd.conf(5)).
func (f logFiles) auditPath() string {
	b, err := os.ReadFile(f.auditConf)
	if err != nil {
		return f.auditLog
	}
	path := f.auditLog
	for line := range strings.Lines(string(b)) {
		key, value, ok := strings.Cut(line, "=")
		value = strings.TrimSpace(value)
		if ok && strings.EqualFold(strings.TrimSpace(key), "log_file") && strings.HasPrefix(value, "/") {
			path = value
		}
	}
	return path
}

// auditPaths are the places of auditd's log: where it is now, and where it is
// by default, as it may have been moved.
func (f logFiles) auditPaths() []string {
	if now := f.auditPath(); now != f.auditLog {
		return []string{f.auditLog, now}
	}
	return []string{f.auditLog}
}

// readAudit reads auditd's log with those that were rotated. found is whether
// there is one.
func (f logFiles) readAudit(c hostClock) (all []Record, gaps []Gap, found bool, err error) {
	var latest time.Time
	for _, path := range f.auditPaths() {
		files, openErr := openRotated(path)
		err = errors.Join(err, openErr)
		found = found || len(files) > 0
		for _, file := range files {
			records, scanGaps, scanErr := scanRecords(file, file.Name(), parseAudit)
			_ = file.Close()
			if scanErr != nil {
				err = errors.Join(err, exit.BadInputf("read audit records: %w", scanErr))
			}
			gaps = append(gaps, scanGaps...)
			// A log grows at its end: what stands behind a later record was logged
			// later, whatever the clock was then.
			for _, r := range records {
				if r.Time.After(latest) {
					latest = r.Time
				}
				r.logged = latest
				if latest.After(c.wall) {
					r.logged = c.wall
				}
				all = append(all, r)
			}
		}
	}
	return all, gaps, found, err
}

// maxRotated is more than auditd's largest num_logs, 999.
const maxRotated = 1000

// openRotated opens a log and those that were rotated, path.1 and so on, oldest
// first. A file that could not be opened is in the error.
func openRotated(path string) (files []*os.File, err error) {
	var had []os.FileInfo
	for n := range maxRotated {
		file, openErr := openLog(path, n)
		if errors.Is(openErr, fs.ErrNotExist) {
			if n > 0 { // the first one is missing for a moment during a rotation
				break
			}
			continue
		}
		if openErr != nil {
			why := ""
			if errors.Is(openErr, fs.ErrPermission) {
				why = " (it takes root)"
			}
			err = errors.Join(err, exit.BadInputf("read the log of auditd: %w%s", openErr, why))
			break
		}
		// From the newest to the oldest: one that is rotated meanwhile comes again.
		st, statErr := file.Stat()
		again := statErr == nil && sameAsAny(st, had)
		if statErr != nil || !st.Mode().IsRegular() || again {
			_ = file.Close()
			if again {
				continue
			}
			err = errors.Join(err, exit.BadInputf("read the log of auditd: %s is not a regular file", file.Name()))
			break
		}
		had = append(had, st)
		files = append([]*os.File{file}, files...)
	}
	return files, err
}

func sameAsAny(st os.FileInfo, had []os.FileInfo) bool {
	for _, h := range had {
		if os.SameFile(st, h) {
			return true
		}
	}
	return false
}

// openLog opens the n-th log, also where logrotate compressed it.
func openLog(path string, n int) (*os.File, error) {
	if n > 0 {
		path += "." + strconv.Itoa(n)
	}
	open := func(path string) (*os.File, error) {
		return os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	}
	file, err := open(path)
	if n > 0 && errors.Is(err, fs.ErrNotExist) {
		return open(path + ".gz")
	}
	return file, err
}

// The bounds of what others wrote: of a line, and of a compressed log.
const (
	maxLine     = 1 << 20
	maxUnpacked = 4 << 30
)

// scanRecords reads the records of a log, as scan does.
func scanRecords(in io.Reader, name string, parse func(line string) (Record, bool)) (all []Record, gaps []Gap, err error) {
	gaps, err = scan(in, name, parse, func(r Record) error {
		all = append(all, r)
		return nil
	})
	return all, gaps, err
}

// scan reads the records of a log, line by line, and hands each to take, whose
// error ends it. What cannot be read of the log is a gap. name is what gaps call
// the log.
func scan(in io.Reader, name string, parse func(line string) (Record, bool), take func(Record) error) (gaps []Gap, err error) {
	r := bufio.NewReaderSize(in, maxLine)
	packed := strings.HasSuffix(name, ".gz")
	if packed {
		z, err := gzip.NewReader(r)
		if err != nil {
			return []Gap{{name, "it is damaged: " + err.Error()}}, nil //nolint:nilerr // a gap is what the caller reports
		}
		r = bufio.NewReaderSize(io.LimitReader(z, maxUnpacked), maxLine)
	}
	var long, cut, lost int
	var lastLost string
	for err == nil {
		line, readErr := r.ReadSlice('\n')
		if errors.Is(readErr, bufio.ErrBufferFull) {
			long++
			for errors.Is(readErr, bufio.ErrBufferFull) {
				_, readErr = r.ReadSlice('\n')
			}
			line = nil
		}
		// A file system leaves zeros where a crash lost what was written.
		line = bytes.Trim(line, "\x00\r\n")
		if bytes.Contains(line, []byte("apparmor")) {
			rec, ok := parse(string(line))
			if ok && rec.cut {
				cut++
			}
			if ok {
				err = take(rec)
			}
		} else if bytes.Contains(line, []byte("audit")) && saysLost(string(line)) {
			lost, lastLost = lost+1, string(line)
		}
		if readErr == nil {
			continue
		}
		if !errors.Is(readErr, io.EOF) {
			gaps = append(gaps, Gap{name, "the rest of it cannot be read: " + readErr.Error()})
			if err == nil && !packed {
				err = fmt.Errorf("%s: %w", name, readErr)
			}
		}
		break
	}
	if long > 0 {
		gaps = append(gaps, Gap{name, fmt.Sprintf("%d lines of more than %d bytes are ignored", long, maxLine)})
	}
	if cut > 0 {
		gaps = append(gaps, Gap{name, fmt.Sprintf("%d records are truncated", cut)})
	}
	if lost > 0 {
		gaps = append(gaps, Gap{name, fmt.Sprintf("%d lines report lost or suppressed audit records; the last: %q", lost, lastLost)})
	}
	return gaps, err
}

// ReadRecords reads the records of a log of this or another host, in any form:
// auditd's log, the kernel log as dmesg prints it, syslog, the journal as
// journalctl prints it (also with -o json), and the JSON lines of this package's
// records. It hands each to take as it comes; an error of take ends it. Lines of
// other programs do not count, but a program may write a line that looks like
// the kernel's to syslog. name is what gaps call the log; one that ends in .gz
// is compressed.
func ReadRecords(in io.Reader, name string, take func(Record) error) ([]Gap, error) {
	return scan(in, name, parseAny, take)
}

// parseAny reads a line of a log in any form.
func parseAny(line string) (Record, bool) {
	if strings.HasPrefix(line, "{") {
		return parseJSON(line)
	}
	if strings.HasPrefix(line, "type=") && strings.Contains(line, "msg=audit(") || strings.HasPrefix(line, "node=") {
		return parseAudit(line)
	}
	at := strings.Index(line, `apparmor="`)
	if at < 0 || !trustedSender(line[:at]) {
		return Record{}, false
	}
	r, ok := ParseRecord(line)
	if ok && r.Time.IsZero() {
		r.Time = prefixTime(line, time.Now())
		r.logged = r.Time
	}
	return r, ok
}

// senders are the programs whose lines in syslog count.
var senders = []string{"kernel", "audit", "dbus-daemon", "dbus-broker", "dbus-broker-launch"}

// senderRE finds the sender of a line of syslog, "host sender[123]: text".
var senderRE = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^(?:\S+ +\d+ [\d:.]+|\d{4}-\d\d-\d\d[T ]\S+|\d+\.\d+)? *(?:\S+ +)?([\w.-]+)(?:\[\d+\])?: `)
})

// trustedSender reports whether what stands before a record is a kernel's, or
// names a sender that counts.
func trustedSender(before string) bool {
	// dmesg, also with -x, and the kernel's own text:
	// "kern  :notice: [    1.86] audit: type=1400 audit(…): ".
	bare := before
	if rest, ok := strings.CutPrefix(before, "kern "); ok {
		_, bare, _ = strings.Cut(strings.TrimLeft(rest, " :"), ": ")
	}
	if rest, ok := strings.CutPrefix(strings.TrimPrefix(bare, "<5>"), "["); ok {
		_, bare, _ = strings.Cut(rest, "]")
		bare = strings.TrimPrefix(bare, " ")
	}
	for _, start := range []string{"audit: type=", "type=", "audit("} {
		if strings.HasPrefix(bare, start) {
			return strings.Count(bare, "): ") <= 1
		}
	}
	if bare == "" {
		return true
	}
	m := senderRE().FindStringSubmatch(before)
	return m != nil && slices.Contains(senders, m[1])
}

// prefixTime is the time at the beginning of a line of syslog or of journalctl,
// or none. A date without a year is the latest such that is past.
func prefixTime(line string, now time.Time) time.Time {
	word, _, _ := strings.Cut(line, " ")
	for _, form := range []string{time.RFC3339Nano, "2006-01-02T15:04:05-0700", "2006-01-02T15:04:05.999999-0700"} {
		if t, err := time.Parse(form, word); err == nil {
			return t.UTC()
		}
	}
	if len(line) > len(time.StampMicro) {
		for _, form := range []string{time.StampMicro, time.StampMilli, time.Stamp} {
			if t, err := time.ParseInLocation(form, line[:len(form)], time.Local); err == nil {
				t = t.AddDate(now.Year(), 0, 0)
				if t.After(now.Add(24 * time.Hour)) {
					t = t.AddDate(-1, 0, 0)
				}
				return t.UTC()
			}
		}
	}
	return time.Time{}
}

// journalEntry is what "journalctl -o json" writes. A message that is not text
// is a list of bytes.
type journalEntry struct {
	Message   json.RawMessage `json:"MESSAGE"`
	Time      string          `json:"__REALTIME_TIMESTAMP"` // µs
	Source    string          `json:"_SOURCE_REALTIME_TIMESTAMP"`
	Transport string          `json:"_TRANSPORT"`
	Command   string          `json:"_COMM"`
	Kind      string          `json:"kind"` // of a record of this package
}

func parseJSON(line string) (Record, bool) {
	var e journalEntry
	if json.Unmarshal([]byte(line), &e) != nil {
		return Record{}, false
	}
	if e.Kind != "" {
		var r Record
		ok := json.Unmarshal([]byte(line), &r) == nil && r.Kind != "" && r.Fields != nil
		r.logged = r.Time
		return r, ok
	}
	if e.Transport != "" && e.Transport != "kernel" && e.Transport != "audit" && !slices.Contains(senders, e.Command) {
		return Record{}, false
	}
	var text string
	if json.Unmarshal(e.Message, &text) != nil {
		var each []int // into []byte, package json reads base64
		if json.Unmarshal(e.Message, &each) != nil {
			return Record{}, false
		}
		b := make([]byte, len(each))
		for i, n := range each {
			b[i] = byte(n)
		}
		text = string(b)
	}
	r, ok := ParseRecord(text)
	if !ok || !r.Time.IsZero() {
		return r, ok
	}
	stamp := e.Source
	if stamp == "" {
		stamp = e.Time
	}
	if micros, err := strconv.ParseInt(stamp, 10, 64); err == nil && micros >= 0 && micros/1e6 <= maxStamp {
		r.Time = time.UnixMicro(micros).UTC()
		r.logged = r.Time
	}
	return r, true
}

// follower reads records as they are logged.
type follower struct {
	kernel *kernelLog // nil: none
	audit  []*tail
	recent map[string]string // records that came, by what their copies share, and from which log
}

// follow begins at the ends of the host's logs.
func (f logFiles) follow() (*follower, []Gap, error) {
	w := &follower{recent: map[string]string{}}
	var gaps []Gap
	kernel, err := openKernelLog(f.kmsg, true)
	switch {
	case errors.Is(err, kmsg.ErrNone):
		gaps = append(gaps, Gap{f.kmsg, kmsg.ErrNone.Error()})
	case err != nil:
		return nil, nil, err
	default:
		w.kernel = kernel
	}
	for _, path := range f.auditPaths() {
		t := &tail{path: path}
		if err := t.open(true); err != nil && !errors.Is(err, fs.ErrNotExist) {
			gaps = append(gaps, Gap{path, err.Error()})
			continue
		}
		w.audit = append(w.audit, t)
	}
	return w, gaps, nil
}

func (w *follower) close() {
	if w.kernel != nil {
		w.kernel.Close()
	}
	for _, t := range w.audit {
		t.close()
	}
}

// fd is ready to read when the kernel log has more; -1 is never ready.
func (w *follower) fd() int32 {
	if w.kernel == nil {
		return -1
	}
	return int32(w.kernel.FD())
}

// maxRecent is how many records are kept to recognize copies.
const maxRecent = 4096

// pending reads what was logged since the last time.
func (w *follower) pending() (all []Record, gaps []Gap) {
	add := func(from string, records []Record) {
		for _, r := range records {
			k := r.same()
			if other, ok := w.recent[k]; ok && other != from && r.Serial != 0 {
				delete(w.recent, k)
				continue
			}
			if len(w.recent) >= maxRecent {
				clear(w.recent)
			}
			w.recent[k] = from
			all = append(all, r)
		}
	}
	if w.kernel != nil {
		add(w.kernel.path, w.kernel.pending(now()))
		gaps = append(gaps, w.kernel.gaps(time.Time{}, true)...)
		w.kernel.missing, w.kernel.lost = 0, nil
	}
	for _, t := range w.audit {
		records, more := t.pending()
		add(t.path, records)
		gaps = append(gaps, more...)
	}
	return all, gaps
}

// tail reads what is appended to a log that is rotated.
type tail struct {
	path string
	file *os.File // nil: it does not exist
	rest []byte   // the beginning of a line
}

// open opens the log, at its end or at its beginning.
func (t *tail) open(end bool) error {
	file, err := openLog(t.path, 0)
	if err != nil {
		return err
	}
	if st, err := file.Stat(); err != nil || !st.Mode().IsRegular() {
		_ = file.Close()
		return fmt.Errorf("%s is not a regular file", t.path)
	}
	if end {
		if _, err := file.Seek(0, io.SeekEnd); err != nil {
			_ = file.Close()
			return err
		}
	}
	t.file, t.rest = file, nil
	return nil
}

func (t *tail) close() {
	if t.file != nil {
		_ = t.file.Close()
		t.file = nil
	}
}

// pending reads the lines that are whole.
func (t *tail) pending() (all []Record, gaps []Gap) {
	if t.file == nil && t.open(false) != nil {
		return nil, nil
	}
	all, gaps = t.more()
	now, err := os.Stat(t.path)
	if err != nil {
		return all, gaps // between two steps of a rotation
	}
	was, err := t.file.Stat()
	at, seekErr := t.file.Seek(0, io.SeekCurrent)
	if err == nil && seekErr == nil && os.SameFile(was, now) && now.Size() >= at {
		return all, gaps
	}
	// It was rotated, or truncated. What was appended before is read first.
	rest, restGaps := t.more()
	t.close()
	all, gaps = append(all, rest...), append(gaps, restGaps...)
	if t.open(false) == nil {
		rest, restGaps = t.more()
		all, gaps = append(all, rest...), append(gaps, restGaps...)
	}
	return all, gaps
}

func (t *tail) more() (all []Record, gaps []Gap) {
	b, err := io.ReadAll(io.LimitReader(t.file, 64<<20))
	if err != nil {
		gaps = append(gaps, Gap{t.path, err.Error()})
	}
	b = append(t.rest, b...)
	end := bytes.LastIndexByte(b, '\n') + 1
	if len(b)-end > maxLine {
		end = len(b)
	}
	t.rest = bytes.Clone(b[end:])
	all, more, _ := scanRecords(bytes.NewReader(b[:end]), t.path, parseAudit)
	return all, append(gaps, more...)
}

// Follow tells this host's records as they are logged, and reasons why some may
// be missing, until ctx ends or tell fails. Either is given, the other is nil.
func Follow(ctx context.Context, tell func(*Record, *Gap) error) error {
	w, gaps, err := hostLogs.follow()
	if err != nil {
		return err
	}
	defer w.close()
	for ctx.Err() == nil {
		records, more := w.pending()
		for _, g := range append(gaps, more...) {
			if err := tell(nil, &g); err != nil {
				return err
			}
		}
		gaps = nil
		for _, r := range records {
			if err := tell(&r, nil); err != nil {
				return err
			}
		}
		fds := []unix.PollFd{{Fd: w.fd(), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, pollInterval); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for audit records: %w", err)
		}
	}
	return nil
}

// Concerning returns the records that are about the policy of the namespace,
// and those of the host part of its containers: of tasks that a record of the
// namespace names or that are in it now, and of host profiles that confine no
// other tasks.
func (v *View) Concerning(ns Name, records []Record) ([]Record, error) {
	c := v.census()
	defer c.close()
	tasks, err := c.lookAt(sight{match: func(l Label) bool { return len(l.Parts) > 0 }, own: true})
	if err != nil {
		return nil, err
	}
	pids, here, elsewhere := map[int]bool{}, map[string]bool{}, map[string]bool{}
	for _, t := range tasks {
		in := t.Label.In(ns)
		if in {
			pids[t.PID] = true
		}
		for _, p := range t.Label.Parts {
			if p.Namespace == "" && in {
				here[p.Profile] = true
			} else if p.Namespace == "" {
				elsewhere[p.Profile] = true
			}
		}
	}
	type call struct {
		serial int64
		time   int64
	}
	calls := map[call]bool{}
	for _, r := range records {
		if r.In(ns) {
			pids[r.PID] = true
			calls[call{r.Serial, r.Time.UnixMilli()}] = true
		}
	}
	var all []Record
	for _, r := range records {
		host := r.Namespace == "" && r.Label == "" && (pids[r.PID] || calls[call{r.Serial, r.Time.UnixMilli()}] || here[r.Profile] && !elsewhere[r.Profile])
		if r.In(ns) || host {
			all = append(all, r)
		}
	}
	return all, nil
}
