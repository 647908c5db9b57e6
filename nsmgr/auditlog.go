// SPDX-License-Identifier: Apache-2.0

package nsmgr

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"proofhouse/internal/exit"
)

// logFiles are where this host's records are: the kernel log, and where auditd
// runs, its log in place of that.
type logFiles struct {
	kmsg      string
	auditConf string // names auditd's log
	auditLog  string // where that is by default
}

var hostLogs = logFiles{"/dev/kmsg", "/etc/audit/auditd.conf", "/var/log/audit/audit.log"}

// Log is what this host still has of its AppArmor records.
type Log struct {
	Records []Record // oldest first
	Gaps    []Gap    // why more records may be missing
}

// Gap is a reason why records are missing, or may be.
type Gap struct {
	Source string `json:"source"` // the log
	Reason string `json:"reason"`
}

func (g Gap) String() string { return g.Source + ": " + g.Reason }

// Records returns the AppArmor records that this host still has, logged at a
// time or later, oldest first. It is [ReadLog] without the gaps.
func Records(since time.Time) ([]Record, error) {
	l, err := ReadLog(since)
	return l.Records, err
}

// ReadLog returns the AppArmor records that this host still has, logged at a
// time or later: of the kernel log and of auditd's, with those that it rotated.
// An error means that a log could not be read, which takes rights; the records
// of the other are returned with it.
//
// The time is by the present clock: a record that was stamped while the clock
// was wrong is found by the time since boot, or by its place in the log.
func ReadLog(since time.Time) (Log, error) { return hostLogs.read(since, now()) }

func (f logFiles) read(since time.Time, c hostClock) (Log, error) {
	var l Log
	audited, gaps, found, auditErr := f.readAudit(c)
	l.Gaps = append(l.Gaps, gaps...)
	kernel, err := openKmsg(f.kmsg, false)
	var fromKernel []Record
	switch {
	case err == nil:
		fromKernel = kernel.pending(c)
		l.Gaps = append(l.Gaps, kernel.gaps(since, found)...)
		kernel.Close()
	case errors.Is(err, errNoKernelLog):
		l.Gaps = append(l.Gaps, Gap{f.kmsg, errNoKernelLog.Error()})
		err = nil
		if !found && auditErr == nil {
			err = exit.BadInputf("read records: %s: %w, and there is no log of auditd at %s: run this on the host", f.kmsg, errNoKernelLog, f.auditPath())
		}
	}
	l.Records = slices.DeleteFunc(merge(fromKernel, audited), func(r Record) bool { return r.logged.Before(since) })
	slices.SortStableFunc(l.Records, func(a, b Record) int { return a.logged.Compare(b.logged) })
	return l, errors.Join(err, auditErr)
}

// merge joins the records of two logs. One that is in both is one record; but
// several of one log are several, however much alike.
func merge(a, b []Record) []Record {
	had := map[string]int{}
	for _, r := range a {
		had[r.same()]++
	}
	all := slices.Clone(a)
	for _, r := range b {
		if k := r.same(); r.Serial != 0 && had[k] > 0 {
			had[k]--
			continue
		}
		all = append(all, r)
	}
	return all
}

// hostClock is the time of the host's clocks.
type hostClock struct {
	wall      time.Time
	boot      time.Duration // since boot, with the time asleep
	monotonic time.Duration // without it: what the kernel log's stamps are of
}

func now() hostClock {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) // it cannot fail: the clock is always there
	return hostClock{time.Now(), uptime(), time.Duration(ts.Nano())}
}

// clockSlack is how far the clock may be corrected without a jump.
const clockSlack = time.Minute

// logged is when the kernel logged a record, by the present clock. If its stamp
// is from before boot or from the future, the clock was set since: a board has
// 1970 until NTP answers. Then the time since boot tells.
func (c hostClock) logged(stamp time.Time, sinceBoot time.Duration) time.Time {
	if stamp.Before(c.wall.Add(-c.boot-clockSlack)) || stamp.After(c.wall.Add(clockSlack)) {
		return c.wall.Add(sinceBoot - c.monotonic)
	}
	return stamp
}

// errNoKernelLog is the error of a host without a kernel log: a container.
var errNoKernelLog = errors.New("there is no kernel log here")

// kernelLog is /dev/kmsg: each read is one message of the log.
type kernelLog struct {
	fd      int
	path    string
	begun   bool
	first   time.Time // when the oldest message was logged
	older   uint64    // how many messages were overwritten before that
	next    uint64    // the sequence number that should follow; 0 if unknown
	missing uint64    // messages that were overwritten since it was opened
	lost    []loss
}

// loss is a message of the kernel that it lost audit records.
type loss struct {
	at   time.Time
	text string
}

// openKmsg opens the kernel log, at its end or at its beginning.
func openKmsg(path string, end bool) (*kernelLog, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return nil, exit.BadInputf("read the kernel log: %w (it takes root, or CAP_SYSLOG)", err)
	}
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENXIO) || errors.Is(err, unix.ENODEV) {
		return nil, errNoKernelLog
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	// In a container it may be a link to /dev/null or to /dev/console.
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != unix.Mkdev(1, 11) {
		_ = unix.Close(fd)
		return nil, errNoKernelLog
	}
	if end {
		if _, err := unix.Seek(fd, 0, unix.SEEK_END); err != nil {
			_ = unix.Close(fd)
			return nil, fmt.Errorf("seek to the end of %s: %w", path, err)
		}
	}
	return &kernelLog{fd: fd, path: path, begun: end}, nil
}

func (l *kernelLog) Close() { _ = unix.Close(l.fd) }

// pending reads what is in the log now.
func (l *kernelLog) pending(c hostClock) (all []Record) {
	var b [16 << 10]byte
	for {
		n, err := unix.Read(l.fd, b[:])
		if errors.Is(err, unix.EPIPE) || errors.Is(err, unix.EINTR) {
			continue // EPIPE: messages were overwritten before they were read
		}
		if err != nil || n <= 0 {
			return all
		}
		m, ok := parseKmsg(b[:n])
		if !ok {
			continue
		}
		at := c.wall.Add(m.sinceBoot - c.monotonic)
		if !l.begun {
			l.begun, l.first, l.older = true, at, m.sequence
		} else if l.next > 0 && m.sequence > l.next {
			l.missing += m.sequence - l.next
		}
		l.next = m.sequence + 1
		if !m.kernels {
			continue
		}
		if saysLost(m.text) && len(l.lost) < maxLosses {
			l.lost = append(l.lost, loss{at, m.text})
		}
		if r, ok := parseKernels(m.text); ok {
			r.logged = c.logged(r.Time, m.sinceBoot)
			all = append(all, r)
		}
	}
}

// gaps says what the log does not have, since a time. audited means that auditd
// has a log of its own, which goes back further.
func (l *kernelLog) gaps(since time.Time, audited bool) (gaps []Gap) {
	if l.older > 0 && !audited && since.Before(l.first) {
		gaps = append(gaps, Gap{l.path, fmt.Sprintf("it goes back to %s: %d older messages were overwritten", l.first.Local().Format(time.DateTime), l.older)})
	}
	if l.missing > 0 {
		gaps = append(gaps, Gap{l.path, fmt.Sprintf("%d messages were overwritten before they could be read", l.missing)})
	}
	n, last := 0, ""
	for _, s := range l.lost {
		if !s.at.Before(since) {
			n, last = n+1, s.text
		}
	}
	if n > 0 {
		gaps = append(gaps, Gap{l.path, fmt.Sprintf("%d messages report lost or suppressed audit records; the last: %q", n, last)})
	}
	return gaps
}

// maxLosses is how many messages about lost records are kept.
const maxLosses = 10_000

// saysLost reports whether a message of the kernel is about audit records that
// it did not write (kernel/audit.c, and printk's rate limit).
func saysLost(text string) bool {
	for _, sign := range []string{"audit_lost=", "audit: backlog limit exceeded", "audit: rate limit exceeded", "kauditd hold queue overflow", "audit_printk_skb: ", "kauditd_printk_skb: "} {
		if strings.Contains(text, sign) {
			return true
		}
	}
	return false
}

// kmsgMessage is one message of the kernel log.
type kmsgMessage struct {
	kernels   bool // the kernel wrote it, not a program
	sequence  uint64
	sinceBoot time.Duration
	text      string
}

// parseKmsg reads "6,339,5140900,-;audit: type=1400 …\n KEY=VALUE\n".
func parseKmsg(b []byte) (m kmsgMessage, ok bool) {
	head, text, ok := strings.Cut(string(b), ";")
	prefix := strings.Split(head, ",")
	if !ok || len(prefix) < 3 {
		return m, false
	}
	priority, err1 := strconv.ParseUint(prefix[0], 10, 32)
	sequence, err2 := strconv.ParseUint(prefix[1], 10, 64)
	micros, err3 := strconv.ParseInt(prefix[2], 10, 64)
	if errors.Join(err1, err2, err3) != nil {
		return m, false
	}
	// Programs can write to the kernel log as well, but not with the kernel's
	// facility, 0.
	line, _, _ := strings.Cut(text, "\n")
	return kmsgMessage{priority < 8, sequence, time.Duration(micros) * time.Microsecond, unescape(strings.TrimSpace(line))}, true
}

// unescape undoes what the kernel does to a backslash and to characters outside
// of ASCII in /dev/kmsg: it writes them as \xNN.
func unescape(s string) string {
	if !strings.Contains(s, `\x`) {
		return s
	}
	var b strings.Builder
	for {
		before, after, ok := strings.Cut(s, `\x`)
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		if n, err := strconv.ParseUint(after[:min(2, len(after))], 16, 8); err == nil && len(after) >= 2 {
			b.WriteByte(byte(n))
			s = after[2:]
			continue
		}
		b.WriteString(`\x`)
		s = after
	}
}

// parseKernels is [ParseRecord] for a message of the kernel, which may quote
// what a program chose: only an audit record of AppArmor's counts, or one that
// a program with CAP_AUDIT_WRITE sent, as dbus-daemon does.
func parseKernels(text string) (Record, bool) {
	rest, ok := strings.CutPrefix(strings.TrimPrefix(text, "audit: "), "type=")
	kind, rest, _ := strings.Cut(rest, " ")
	if !ok || !strings.HasPrefix(rest, "audit(") {
		return Record{}, false
	}
	_, rest, ok = strings.Cut(rest, "): ")
	if !ok || !appArmorType(kind, rest) {
		return Record{}, false
	}
	return ParseRecord(text)
}

// parseAudit is [ParseRecord] for a line of auditd's log: what other records
// quote does not count.
func parseAudit(line string) (Record, bool) {
	if strings.HasPrefix(line, "node=") {
		_, line, _ = strings.Cut(line, " ")
	}
	rest, ok := strings.CutPrefix(line, "type=")
	kind, rest, _ := strings.Cut(rest, " ")
	if !ok {
		return Record{}, false
	}
	_, rest, ok = strings.Cut(rest, "): ")
	if !ok || !appArmorType(kind, rest) {
		return Record{}, false
	}
	return ParseRecord(line)
}

// appArmorType reports whether an audit record of that type (include/uapi/linux
// /audit.h) and with that text is AppArmor's.
func appArmorType(kind, text string) bool {
	switch {
	case kind == "USER_AVC" || kind == "1107":
		return strings.Contains(text, `msg='apparmor="`)
	case kind == "AVC", strings.HasPrefix(kind, "APPARMOR"), strings.HasPrefix(kind, "UNKNOWN["), strings.HasPrefix(kind, "14"), strings.HasPrefix(kind, "15"):
		return strings.HasPrefix(strings.TrimLeft(text, " "), `apparmor="`)
	}
	return false
}

// Event is something that happened in a watched namespace.
type Event struct {
	Revision int     `json:"revision,omitempty"` // the policy has changed; this is its revision now
	Removed  bool    `json:"removed,omitempty"`  // the namespace was removed
	Record   *Record `json:"record,omitempty"`
	Gap      *Gap    `json:"gap,omitempty"` // records may be missing
}

// Watch tells the changes of a namespace's policy and its audit records as they
// happen, until ctx ends, the namespace is removed, or tell fails. The first
// event with a revision is the present one. Where there is no log to read, only
// the changes come, after an event that says so.
func (v *View) Watch(ctx context.Context, ns Name, tell func(Event) error) error {
	rev, err := v.openRevision(ns)
	if err != nil {
		return err
	}
	defer func() { _ = syscall.Close(rev) }()
	was, err := os.Stat(v.path(ns))
	if err != nil {
		return missing(ns)
	}
	log, gaps, err := hostLogs.follow()
	if err != nil {
		return err
	}
	defer log.close()
	fds := []unix.PollFd{{Fd: int32(rev), Events: unix.POLLIN}, {Fd: log.fd(), Events: unix.POLLIN}}
	last := -1
	for ctx.Err() == nil {
		n, err := readRevisionNow(rev)
		if err == nil && n != last {
			last = n
			if err := tell(Event{Revision: n}); err != nil {
				return err
			}
		}
		records, more := log.pending()
		for _, g := range append(gaps, more...) {
			if err := tell(Event{Gap: &g}); err != nil {
				return err
			}
		}
		gaps = nil
		for _, r := range records {
			if !r.In(ns) {
				continue
			}
			if err := tell(Event{Record: &r}); err != nil {
				return err
			}
		}
		if now, err := os.Stat(v.path(ns)); err != nil || !os.SameFile(was, now) {
			return tell(Event{Removed: true})
		}
		// The removal of a namespace, and a line in a file, wake nobody.
		if _, err := unix.Poll(fds, pollInterval); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for a change of namespace %q: %w", ns, err)
		}
	}
	return nil
}

// pollInterval is how often what wakes nobody is looked at, in milliseconds.
const pollInterval = 500

// readRevisionNow is readRevision for a file opened with O_NONBLOCK. It returns
// EAGAIN if nothing has changed.
func readRevisionNow(fd int) (int, error) {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	if n, err := unix.Poll(fds, 0); err != nil || n == 0 {
		return 0, unix.EAGAIN
	}
	return readRevision(fd)
}
