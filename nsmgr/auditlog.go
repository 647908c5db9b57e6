package nsmgr

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"proofhouse/internal/exit"
)

const (
	kmsg     = "/dev/kmsg"
	auditLog = "/var/log/audit/audit.log" // where auditd runs, it has the records, and the kernel log none
)

// Records are the AppArmor records that this machine still has, since a time,
// oldest first: of the kernel log and of auditd's.
func Records(since time.Time) ([]Record, error) {
	log, err := openKmsg(false)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	all := log.pending()
	f, err := os.Open(auditLog)
	if err == nil {
		more, scanErr := scanRecords(f)
		_ = f.Close()
		if scanErr != nil {
			return nil, fmt.Errorf("read %s: %w", auditLog, scanErr)
		}
		all = append(all, more...)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the audit daemon's log: %w", err)
	}
	all = slices.DeleteFunc(all, func(r Record) bool { return r.Time.Before(since) })
	slices.SortStableFunc(all, func(a, b Record) int { return a.Time.Compare(b.Time) })
	// A record can be in both: it has the same time and serial.
	return slices.CompactFunc(all, func(a, b Record) bool {
		return a.Serial != 0 && a.Serial == b.Serial && a.Time.Equal(b.Time)
	}), nil
}

func scanRecords(r io.Reader) (all []Record, err error) {
	s := bufio.NewScanner(r)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		if rec, ok := ParseRecord(s.Text()); ok {
			all = append(all, rec)
		}
	}
	return all, s.Err()
}

// kernelLog is /dev/kmsg: each read is one record of the log.
type kernelLog struct{ fd int }

// openKmsg opens the kernel log, at its end or at its beginning.
func openKmsg(end bool) (*kernelLog, error) {
	fd, err := unix.Open(kmsg, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return nil, exit.BadInputf("read the kernel log: %w (it takes root, or CAP_SYSLOG)", err)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", kmsg, err)
	}
	if end {
		if _, err := unix.Seek(fd, 0, unix.SEEK_END); err != nil {
			_ = unix.Close(fd)
			return nil, fmt.Errorf("go to the end of %s: %w", kmsg, err)
		}
	}
	return &kernelLog{fd}, nil
}

func (l *kernelLog) Close() { _ = unix.Close(l.fd) }

// pending reads what is in the log now.
func (l *kernelLog) pending() (all []Record) {
	var b [16 << 10]byte
	for {
		n, err := unix.Read(l.fd, b[:])
		if errors.Is(err, unix.EPIPE) || errors.Is(err, unix.EINTR) {
			continue // EPIPE: records were overwritten before we came to them
		}
		if err != nil || n <= 0 {
			return all
		}
		if r, ok := parseKmsg(b[:n]); ok {
			all = append(all, r)
		}
	}
}

// parseKmsg reads "6,339,5140900,-;audit: type=1400 …\n KEY=VALUE\n". The
// kernel writes what is no plain character as \xNN.
func parseKmsg(b []byte) (Record, bool) {
	_, text, ok := bytes.Cut(b, []byte(";"))
	if !ok {
		return Record{}, false
	}
	line, _, _ := bytes.Cut(text, []byte("\n"))
	// User space can write to the kernel log as well; the kernel's records
	// have facility 0, and user space cannot set that.
	prefix, _, _ := bytes.Cut(b, []byte(","))
	if len(prefix) != 1 || prefix[0] < '0' || prefix[0] > '7' {
		return Record{}, false
	}
	return ParseRecord(strings.TrimSpace(string(line)))
}

// Event is something that happened in a watched namespace.
type Event struct {
	Revision int     `json:"revision,omitempty"` // the policy has changed; what it is now
	Removed  bool    `json:"removed,omitempty"`  // the namespace is gone
	Record   *Record `json:"record,omitempty"`
}

// Watch tells the changes of a namespace's policy and its audit records as
// they happen, until ctx ends, the namespace is removed, or tell fails. The
// first event is the present revision. Where auditd takes the records, only
// the changes come.
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
	log, err := openKmsg(true)
	if err != nil {
		return err
	}
	defer log.Close()
	fds := []unix.PollFd{{Fd: int32(rev), Events: unix.POLLIN}, {Fd: int32(log.fd), Events: unix.POLLIN}}
	last := -1
	for ctx.Err() == nil {
		n, err := readRevisionNow(rev)
		if err == nil && n != last {
			last = n
			if err := tell(Event{Revision: n}); err != nil {
				return err
			}
		}
		for _, r := range log.pending() {
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
		// The removal of a namespace wakes nobody: look twice a second.
		if _, err := unix.Poll(fds, 500); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for a change of namespace %q: %w", ns, err)
		}
	}
	return nil
}

// readRevisionNow is readRevision for a file opened with O_NONBLOCK, which
// says EAGAIN where nothing has changed.
func readRevisionNow(fd int) (int, error) {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	if n, err := unix.Poll(fds, 0); err != nil || n == 0 {
		return 0, unix.EAGAIN
	}
	return readRevision(fd)
}
