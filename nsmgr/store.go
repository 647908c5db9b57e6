package nsmgr

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"syscall"
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
	Name      Name      `json:"name"`
	State     string    `json:"state"`
	Inode     uint64    `json:"inode,omitempty"` // of its folder: another one of the same name has another
	Made      time.Time `json:"made,omitzero"`   // zero: others made it
	Container string    `json:"container,omitempty"`
	Declared  bool      `json:"declared,omitempty"` // by apply
}

func (v *View) notePath(ns Name) string {
	sum := sha256.Sum256([]byte(ns))
	// A name can be as long as a file's may be, and has more levels.
	return filepath.Join(v.state, "namespaces", hex.EncodeToString(sum[:12])+".json")
}

// write puts the note in place of what was there, whole or not at all.
func (v *View) write(n note) error {
	b, err := json.Marshal(n)
	if err != nil {
		return err
	}
	path := v.notePath(n.Name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return exit.BadInputf("write down what becomes of namespace %q: %w", n.Name, err)
	}
	// The lock makes us the only writer of this note: no other name is needed.
	if err := os.WriteFile(path+".new", append(b, '\n'), 0o644); err != nil {
		return exit.BadInputf("write down what becomes of namespace %q: %w", n.Name, err)
	}
	return os.Rename(path+".new", path)
}

func (v *View) forget(ns Name) {
	_ = os.Remove(v.notePath(ns))
}

// read returns the note on a namespace, and whether there is one that speaks
// of the namespace of that name that is there now.
func (v *View) read(ns Name) (note, bool) {
	b, err := os.ReadFile(v.notePath(ns))
	var n note
	if err != nil || json.Unmarshal(b, &n) != nil || n.Name != ns {
		return note{}, false
	}
	if n.Inode != 0 && n.Inode != v.inode(ns) {
		return n, false
	}
	return n, true
}

// Mine says whether nsmgr made the namespace.
func (v *View) Mine(ns Name) bool {
	n, ok := v.read(ns)
	return ok && !n.Made.IsZero()
}

// Container is the LXC container that the namespace was made for, or "".
func (v *View) Container(ns Name) string {
	n, _ := v.read(ns)
	return n.Container
}

// Declared says whether the namespace was made as declared in a file.
func (v *View) Declared(ns Name) bool {
	n, ok := v.read(ns)
	return ok && n.Declared
}

func (v *View) inode(ns Name) uint64 {
	st, err := os.Stat(v.path(ns))
	if err != nil {
		return 0
	}
	if s, ok := st.Sys().(*syscall.Stat_t); ok {
		return s.Ino
	}
	return 0
}

// notes reads all notes.
func (v *View) notes() ([]note, error) {
	dir := filepath.Join(v.state, "namespaces")
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read what was made: %w", err)
	}
	var all []note
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		var n note
		if err == nil && filepath.Ext(e.Name()) == ".json" && json.Unmarshal(b, &n) == nil {
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

// lockFor makes this process the only one of ours that changes the namespace, or
// any that hang together with it: those of the same top one. The lock is one
// byte of a file, at a place that the name gives, so that no file is left
// behind; the kernel gives it back when the process dies. Two names at the
// same place merely wait for each other.
func (v *View) lockFor(ctx context.Context, ns Name) (unlock func(), err error) {
	if err := os.MkdirAll(v.state, 0o755); err != nil {
		return nil, exit.BadInputf("make %s: %w", v.state, err)
	}
	f, err := os.OpenFile(filepath.Join(v.state, "lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, exit.BadInputf("open nsmgr's lock: %w", err)
	}
	place := fnv.New64a()
	if parts := ns.Parts(); len(parts) > 0 {
		_, _ = place.Write([]byte(parts[0]))
	}
	at := unix.Flock_t{Type: unix.F_WRLCK, Start: int64(place.Sum64() & (math.MaxInt64 >> 1)), Len: 1}
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		// OFD locks belong to the open file, so two goroutines exclude each
		// other as well.
		err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &at)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EACCES) && !errors.Is(err, unix.EINTR) {
			_ = f.Close()
			return nil, fmt.Errorf("lock namespace %q: %w", ns, err)
		}
		select {
		case <-ctx.Done():
			_ = f.Close()
			return nil, fmt.Errorf("another nsmgr is at work on namespace %q: %w", ns, context.Cause(ctx))
		case <-time.After(wait):
		}
	}
}
