// SPDX-License-Identifier: Apache-2.0

package machines

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// maxEntries is how many files a machine's process may make; it has reason to make
// a few.
const maxEntries = 10000

// space is what is free on the file systems of some directories.
type space struct{ bytes, files uint64 }

func freeSpace(dirs []string) (free space) {
	for _, d := range dirs {
		var st unix.Statfs_t
		if unix.Statfs(d, &st) == nil {
			free.bytes += st.Bavail * uint64(st.Bsize)
			free.files += st.Ffree
		}
	}
	return free
}

// watchUsage calls over when the files of the process group pid, in dirs or open
// without a name, occupy more than limit bytes, or are too many. A limit on the
// size of each file bounds neither.
//
// To count them takes time, so it does so only after the free space of the file
// systems has fallen that much, whoever took it.
func watchUsage(pid int, dirs []string, limit uint64, exited <-chan struct{}, interval time.Duration, over func(reason string)) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	most := freeSpace(dirs)
	for {
		select {
		case <-exited:
			return
		case <-tick.C:
		}
		free := freeSpace(dirs)
		most.bytes, most.files = max(most.bytes, free.bytes), max(most.files, free.files)
		if most.bytes-free.bytes <= limit && most.files-free.files <= maxEntries {
			continue
		}
		if reason := excess(pid, dirs, limit); reason != "" {
			over(reason)
			return
		}
		most = free
	}
}

// excess is what is too much, or "".
func excess(pid int, dirs []string, limit uint64) string {
	type inode struct{ dev, ino uint64 }
	seen := map[inode]bool{}
	entries, used := 0, uint64(0)
	add := func(st *unix.Stat_t) {
		if id := (inode{st.Dev, st.Ino}); !seen[id] {
			seen[id] = true
			used += uint64(st.Blocks) * 512
		}
	}
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			var st unix.Stat_t
			if err == nil {
				err = unix.Lstat(path, &st)
			}
			if errors.Is(err, os.ErrNotExist) {
				return nil // removed meanwhile
			}
			if err != nil {
				return err
			}
			if entries++; entries > maxEntries {
				return fs.SkipAll
			}
			add(&st)
			return nil
		})
		if err != nil {
			// Too deep, or not to be listed: no honest machine does that.
			return fmt.Sprintf("made files on the host that cannot be counted (%v)", errors.Unwrap(err))
		}
	}
	for _, member := range groupMembers(pid) {
		dir := filepath.Join("/proc", strconv.Itoa(member), "fd")
		fds, err := os.ReadDir(dir)
		if err != nil {
			continue // it ended
		}
		for _, fd := range fds {
			var st unix.Stat_t
			if unix.Stat(filepath.Join(dir, fd.Name()), &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG && st.Nlink == 0 {
				add(&st)
			}
		}
	}
	switch {
	case entries > maxEntries:
		return fmt.Sprintf("made more than %d files on the host", maxEntries)
	case used > limit:
		return fmt.Sprintf("wrote %d MiB to files on the host, more than the limit of %d MiB", used>>20, limit>>20)
	}
	return ""
}

// groupMembers are the processes of a process group that this process may see.
func groupMembers(group int) []int {
	var members []int
	procs, _ := os.ReadDir("/proc")
	for _, p := range procs {
		pid, err := strconv.Atoi(p.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile(filepath.Join("/proc", p.Name(), "stat"))
		if err != nil {
			continue
		}
		// pid (name) state ppid pgrp …; the name may have anything in it.
		_, rest, _ := strings.Cut(string(stat[strings.LastIndexByte(string(stat), ')')+1:]), " ")
		fields := strings.Fields(rest)
		if len(fields) > 2 && fields[2] == strconv.Itoa(group) {
			members = append(members, pid)
		}
	}
	return members
}
