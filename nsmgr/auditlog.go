// SPDX-License-Identifier: Apache-2.0

package nsmgr

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"proofhouse/internal/exit"
	"proofhouse/internal/kmsg"
)

// logFiles are where this host's records are: the kernel log, and where auditd
// runs, its log in place of that.
type logFiles struct {
	kmsg      string
	auditConf string // names auditd's log
	auditLog  string // where that is by default
}

var hostLogs = logFiles{kmsg.Path, "/etc/audit/auditd.conf", "/var/log/audit/audit.log"}

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
	kernel, err := openKernelLog(f.kmsg, false)
	var fromKernel []Record
	switch {
	case err == nil:
		fromKernel = kernel.pending(c)
		l.Gaps = append(l.Gaps, kernel.gaps(since, found)...)
		kernel.Close()
	case errors.Is(err, kmsg.ErrNone):
		l.Gaps = append(l.Gaps, Gap{f.kmsg, kmsg.ErrNone.Error()})
		err = nil
		if !found && auditErr == nil {
			err = exit.BadInputf("read audit records: %w at %s, and no log of auditd at %s: run this on the host", kmsg.ErrNone, f.kmsg, f.auditPath())
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

// kernelLog is the kernel log, with what is known of messages that it lacks.
type kernelLog struct {
	*kmsg.Log
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

// openKernelLog opens the kernel log, at its end or at its beginning.
func openKernelLog(path string, end bool) (*kernelLog, error) {
	log, err := kmsg.Open(path, end)
	if err != nil {
		return nil, err
	}
	return &kernelLog{Log: log, path: path, begun: end}, nil
}

// pending returns the records that are in the log now and were not read before.
func (l *kernelLog) pending(c hostClock) (all []Record) {
	for {
		m, err := l.Read()
		if err != nil {
			return all
		}
		at := c.wall.Add(m.SinceBoot - c.monotonic)
		if !l.begun {
			l.begun, l.first, l.older = true, at, m.Sequence
		} else if l.next > 0 && m.Sequence > l.next {
			l.missing += m.Sequence - l.next
		}
		l.next = m.Sequence + 1
		if !m.Kernel {
			continue
		}
		text := kmsg.Unescape(m.Text)
		if saysLost(text) && len(l.lost) < maxLosses {
			l.lost = append(l.lost, loss{at, text})
		}
		if r, ok := parseKernels(text); ok {
			r.logged = c.logged(r.Time, m.SinceBoot)
			all = append(all, r)
		}
	}
}

// gaps returns why the log may lack records since a time. audited means that auditd
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

// saysLost reports whether a message of the kernel says that the kernel log lacks
// audit records: dropped ones, or those that printk's rate limit suppressed.
func saysLost(text string) bool {
	return kmsg.LostRecords(text) || strings.Contains(text, "audit_printk_skb: ") || strings.Contains(text, "kauditd_printk_skb: ")
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
