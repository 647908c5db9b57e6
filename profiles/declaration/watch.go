// SPDX-License-Identifier: Apache-2.0

package declaration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"

	"proofhouse/internal/exit"
	"proofhouse/nsmgr"
	"proofhouse/profiles"
)

// Watcher waits for changes of a declaration and of the policy files that it names.
// Files that policy includes are not watched.
type Watcher struct {
	path   string
	notify *fsnotify.Watcher
	names  []string // of policy, in the last declaration that could be read
	seen   string   // the state of the files at the last reading

	// Settle is how long the files must not change before they are read.
	Settle time.Duration
	// Poll is the interval at which the files are examined without a notification:
	// network file systems send none, and a directory may be replaced.
	Poll time.Duration
	// Waiting is called once for each reading that is delayed for longer than Poll,
	// with the reason.
	Waiting func(reason string)
}

// NewWatcher returns a watcher of the declaration at path, a file or a directory.
func NewWatcher(path string) (*Watcher, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, exit.BadInputf("watch the declaration: %w", err)
	}
	n, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", path, err)
	}
	return &Watcher{path: path, notify: n, Settle: 500 * time.Millisecond, Poll: 10 * time.Second, Waiting: func(string) {}}, nil
}

// Close stops the watcher.
func (w *Watcher) Close() error { return w.notify.Close() }

// Wait returns when the files differ from those of the last Read, when again or reload
// is ready (either may be nil), or with the error of ctx.
func (w *Watcher) Wait(ctx context.Context, again <-chan time.Time, reload <-chan os.Signal) error {
	for {
		if state, _ := w.state(); state != w.seen {
			return nil
		}
		w.listen()
		// A change between the comparison and the subscription.
		if state, _ := w.state(); state != w.seen {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-again:
			return nil
		case <-reload:
			return nil
		case <-w.notify.Events:
			// A directory may be busy with other files.
			if err := sleep(ctx, w.Settle/2); err != nil {
				return err
			}
			w.drain()
		case <-w.notify.Errors: //nolint:errcheck // such as an overflow of the queue: the files are compared again
		case <-time.After(w.Poll):
		}
	}
}

// drain discards the notifications that are waiting.
func (w *Watcher) drain() {
	for {
		select {
		case <-w.notify.Events:
		default:
			return
		}
	}
}

// Read reads the declaration and compiles its policy. It waits until nobody writes to
// a file of it, and begins anew if one changes meanwhile: a partly written file
// is never returned. A declaration that is whole but cannot be used is an error.
func (w *Watcher) Read(ctx context.Context, comp *profiles.Compiler) (File, []nsmgr.Wanted, error) {
	told := time.Now()
	for {
		before, reason := w.state()
		if reason == "" {
			if err := sleep(ctx, w.Settle); err != nil {
				return File{}, nil, err
			}
			after, busy := w.state()
			if reason = busy; reason == "" && after != before {
				reason = "its files are changing"
			}
		}
		if reason == "" {
			f, wanted, err := w.compile(ctx, comp)
			if ctx.Err() != nil {
				return File{}, nil, context.Cause(ctx)
			}
			// The names of policy are known only now.
			after, busy := w.state()
			if reason = busy; reason == "" && after == before {
				w.seen = after
				return f, wanted, err
			}
			if reason == "" {
				reason = "its files are changing"
			}
		}
		if time.Since(told) > w.Poll {
			w.Waiting(reason)
			told = time.Now().Add(24 * time.Hour)
		}
		if err := sleep(ctx, w.Settle); err != nil {
			return File{}, nil, err
		}
	}
}

func (w *Watcher) compile(ctx context.Context, comp *profiles.Compiler) (File, []nsmgr.Wanted, error) {
	open := func() (File, error) { return openFile(w.path, syscall.O_NONBLOCK) }
	if info, err := os.Stat(w.path); err == nil && info.IsDir() {
		open = func() (File, error) { return openDir(w.path) }
	}
	f, err := open()
	if err != nil {
		return f, nil, err
	}
	w.names = f.Paths()
	wanted, err := f.Wanted(ctx, comp)
	return f, wanted, err
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// files are the files of the declaration, and the directories that have them.
func (w *Watcher) files() (files, dirs []string) {
	dirs = append(dirs, filepath.Dir(w.path))
	add := func(path string, wanted func(name string) bool) {
		files = append(files, path)
		list, err := os.ReadDir(path)
		if err != nil {
			dirs = append(dirs, filepath.Dir(path))
			return
		}
		dirs = append(dirs, path)
		for _, e := range list {
			if wanted(e.Name()) {
				files = append(files, filepath.Join(path, e.Name()))
			}
		}
	}
	add(w.path, isDeclaration)
	for _, name := range w.names {
		// An editor keeps its swap file open for writing, and nobody reads that.
		add(name, func(name string) bool { return !profiles.Ignored(name) })
	}
	// What a link points to is changed in its own directory.
	for _, f := range files {
		if target, err := filepath.EvalSymlinks(f); err == nil && target != f {
			dirs = append(dirs, filepath.Dir(target))
		}
	}
	slices.Sort(dirs)
	return files, slices.Compact(dirs)
}

// listen subscribes to the directories that have files of the declaration now.
// Where that fails, the poll finds the change.
func (w *Watcher) listen() {
	_, dirs := w.files()
	for _, old := range w.notify.WatchList() {
		if !slices.Contains(dirs, old) {
			_ = w.notify.Remove(old)
		}
	}
	for _, dir := range dirs {
		_ = w.notify.Add(dir)
	}
}

// state describes the files, so that two states are equal only if no file was
// changed or replaced. busy is why they must not be read now, or "".
func (w *Watcher) state() (state, busy string) {
	var b strings.Builder
	files, _ := w.files()
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			// A link to a file that is gone is as good as an error to come.
			fmt.Fprintf(&b, "%q %q\n", f, errors.Unwrap(err))
			continue
		}
		st, _ := info.Sys().(*syscall.Stat_t)
		if info.IsDir() { // its entries are in the list
			fmt.Fprintf(&b, "%q %d %d\n", f, st.Dev, st.Ino)
			continue
		}
		fmt.Fprintf(&b, "%q %v %d %d %d %v %v\n", f, info.Mode(), st.Dev, st.Ino, st.Size, st.Mtim, st.Ctim)
		if info.Mode().IsRegular() && beingWritten(f) {
			busy = fmt.Sprintf("%s is open for writing in another process", f)
		}
	}
	return b.String(), busy
}

// beingWritten reports whether a process has the file open for writing: the kernel
// then grants no read lease (fcntl(2)). Where a file system has no leases, the
// answer is false, and only Settle protects against a slow writer.
func beingWritten(path string) bool {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return false // the reading has the error
	}
	defer func() { _ = unix.Close(fd) }()
	if _, err = unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_RDLCK); err != nil {
		return errors.Is(err, unix.EAGAIN)
	}
	_, _ = unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_UNLCK)
	return false
}
