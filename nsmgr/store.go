// SPDX-License-Identifier: Apache-2.0

package nsmgr

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"proofhouse/internal/exit"
)

// The states of a namespace that this package changes: what is not ready was
// cut short, and is finished or undone by the next [View.Collect].
const (
	stateMaking   = "making"   // being created
	stateReady    = "ready"    // created, with its policy
	stateRemoving = "removing" // being removed; its profiles may be gone already
)

// note is what is kept of a namespace, one file each. It is written before
// the kernel is asked, so that nothing of ours is ever without one.
type note struct {
	Name  Name
	State string
	Inode uint64    // of its directory: another namespace of the same name has another
	Made  time.Time // zero: others made it
	// Booted is how long the system had been up then, suspended or not: clocks
	// are set. Zero in a note of an older nsmgr.
	Booted    time.Duration
	Container string
	Declared  bool   // by apply
	Source    string // the path of the declaration, as apply was given it; "" in a note of an older nsmgr
}

// noteHead begins a note. A note is lines of a word and its value: every nsmgr
// reads one for each namespace, and package json takes its time to start.
const noteHead = "nsmgr 1\n"

// MarshalText never fails.
func (n note) MarshalText() ([]byte, error) {
	b := []byte(noteHead)
	put := func(word, value string) {
		b = append(append(append(append(b, word...), ' '), value...), '\n')
	}
	put("name", strconv.Quote(string(n.Name)))
	put("state", n.State)
	put("inode", strconv.FormatUint(n.Inode, 10))
	if !n.Made.IsZero() {
		put("made", strconv.FormatInt(n.Made.UnixNano(), 10))
	}
	if n.Booted != 0 {
		put("booted", strconv.FormatInt(int64(n.Booted), 10))
	}
	put("container", strconv.Quote(n.Container))
	put("declared", strconv.FormatBool(n.Declared))
	if n.Source != "" {
		put("source", strconv.Quote(n.Source))
	}
	return append(b, "end\n"...), nil
}

// UnmarshalText reads what MarshalText wrote, and all of it.
func (n *note) UnmarshalText(text []byte) error {
	rest, ok := strings.CutPrefix(string(text), noteHead)
	lines, whole := strings.CutSuffix(rest, "\nend\n")
	if !ok || !whole {
		return errors.New("not a complete record of nsmgr")
	}
	*n = note{}
	for line := range strings.SplitSeq(lines, "\n") {
		word, value, _ := strings.Cut(line, " ")
		var err error
		switch word {
		case "name":
			var s string
			s, err = strconv.Unquote(value)
			n.Name = Name(s)
		case "state":
			n.State = value
		case "inode":
			n.Inode, err = strconv.ParseUint(value, 10, 64)
		case "made":
			var ns int64
			ns, err = strconv.ParseInt(value, 10, 64)
			n.Made = time.Unix(0, ns)
		case "booted":
			var ns int64
			ns, err = strconv.ParseInt(value, 10, 64)
			n.Booted = time.Duration(ns)
		case "container":
			n.Container, err = strconv.Unquote(value)
		case "declared":
			n.Declared, err = strconv.ParseBool(value)
		case "source":
			n.Source, err = strconv.Unquote(value)
		}
		if err != nil {
			return fmt.Errorf("line %q of a record: %w", line, err)
		}
	}
	return nil
}

// uptime is the time since the system booted, with the time that it was
// suspended: no setting of the clock changes it.
func uptime() time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &t) != nil {
		return 0
	}
	return time.Duration(t.Nano())
}

// age is how long ago the namespace was made.
func (n note) age() time.Duration {
	if n.Booted != 0 {
		return uptime() - n.Booted
	}
	return time.Since(n.Made)
}

func (v *View) notePath(ns Name) string {
	sum := sha256.Sum256([]byte(ns))
	// A name can be as long as a file's may be, and has more levels.
	return v.state + "/namespaces/" + hex.EncodeToString(sum[:12]) + noteEnd
}

const noteEnd = ".note"

// write puts the note in place of what was there, whole or not at all.
func (v *View) write(n note) error {
	b, err := n.MarshalText()
	if err != nil {
		return err
	}
	path := v.notePath(n.Name)
	// The lock makes us the only writer of this note: no other name is needed.
	put := func() error { return writeWith(path+".new", unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC, b) }
	err = put()
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(filepath.Dir(path), 0o755); err == nil {
			err = put()
		}
	}
	if err == nil {
		err = unix.Rename(path+".new", path)
	}
	if err != nil {
		return exit.BadInputf("record the state of namespace %q in %s: %w", n.Name, v.state, err)
	}
	return nil
}

func (v *View) forget(ns Name) {
	_ = unix.Unlink(v.notePath(ns))
}

// read returns the note on a namespace, and whether there is one that speaks
// of the namespace of that name that is there now.
func (v *View) read(ns Name) (note, bool) {
	b, err := readSmall(v.notePath(ns))
	var n note
	if err != nil || n.UnmarshalText(b) != nil || n.Name != ns {
		return note{}, false
	}
	if n.Inode != 0 && n.Inode != v.inode(ns) {
		return n, false
	}
	return n, true
}

// Mine reports whether nsmgr created the namespace.
func (v *View) Mine(ns Name) bool {
	n, ok := v.read(ns)
	return ok && !n.Made.IsZero()
}

// Container returns the LXC container that the namespace was created for, or "".
func (v *View) Container(ns Name) string {
	n, _ := v.read(ns)
	return n.Container
}

// Declared reports whether the namespace was created from a declaration.
func (v *View) Declared(ns Name) bool {
	n, ok := v.read(ns)
	return ok && n.Declared
}

func (v *View) inode(ns Name) uint64 {
	var st unix.Stat_t
	if unix.Stat(v.path(ns), &st) != nil {
		return 0
	}
	return st.Ino
}

// notes reads all records.
func (v *View) notes() ([]note, error) {
	dir := filepath.Join(v.state, "namespaces")
	list, err := entries(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the records of namespaces that nsmgr created: %w", err)
	}
	var all []note
	for _, file := range list {
		if !strings.HasSuffix(file, noteEnd) {
			continue
		}
		var n note
		if b, err := readSmall(dir + "/" + file); err == nil && n.UnmarshalText(b) == nil {
			all = append(all, n)
		}
	}
	return all, nil
}

// lock is lockFor for a process that may change policy.
func (v *View) lock(ctx context.Context, ns Name) (unlock func(), err error) {
	if err := v.MayAdminister(); err != nil {
		return nil, fmt.Errorf("change namespace %q: %w", ns, err)
	}
	return v.lockFor(ctx, ns)
}

// lockPath is in a directory that only root can enter: a user who can open the
// lock file, even for reading, can hold a lock that blocks nsmgr for ever.
func (v *View) lockPath() string { return v.state + "/private/lock" }

func (v *View) openLock() (int, error) {
	open := func() (int, error) {
		return unix.Open(v.lockPath(), unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	}
	fd, err := retry(open)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(v.state, 0o755); err == nil {
			err = os.MkdirAll(filepath.Dir(v.lockPath()), 0o700)
		}
		if err == nil {
			fd, err = retry(open)
		}
	}
	if err != nil {
		return -1, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Uid != uint32(os.Geteuid()) || st.Mode&0o077 != 0 {
		_ = unix.Close(fd)
		return -1, errors.Join(errors.New("it must belong to this user, with mode 0600"), err)
	}
	return fd, nil
}

// lockFor locks the namespace, and all others with the same top-level namespace,
// against other nsmgr processes. The lock is one byte of a file, at an offset that
// the name determines, so no file is left behind, and the kernel releases it when
// the process dies. Two names with the same offset only wait for each other.
func (v *View) lockFor(ctx context.Context, ns Name) (unlock func(), err error) {
	fd, err := v.openLock()
	if err != nil {
		return nil, exit.BadInputf("open the lock file %s: %w", v.lockPath(), err)
	}
	unlock = func() { _ = unix.Close(fd) }
	place := fnv.New64a()
	if parts := ns.Parts(); len(parts) > 0 {
		_, _ = place.Write([]byte(parts[0]))
	}
	at := unix.Flock_t{Type: unix.F_WRLCK, Start: int64(place.Sum64() & (math.MaxInt64 >> 1)), Len: 1}
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		// OFD locks belong to the open file, so two goroutines exclude each
		// other as well.
		err := unix.FcntlFlock(uintptr(fd), unix.F_OFD_SETLK, &at)
		if err == nil {
			return unlock, nil
		}
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EACCES) && !errors.Is(err, unix.EINTR) {
			unlock()
			return nil, fmt.Errorf("lock namespace %q: %w", ns, err)
		}
		select {
		case <-ctx.Done():
			unlock()
			return nil, fmt.Errorf("lock namespace %q: another nsmgr is changing it: %w", ns, context.Cause(ctx))
		case <-time.After(wait):
		}
	}
}
