// SPDX-License-Identifier: Apache-2.0

package containers

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// redirect makes the file this process's standard output and error, for C code and
// child processes too, until restore is called.
func redirect(f *os.File) (restore func(), err error) {
	var kept [3]int
	for fd := 1; fd <= 2; fd++ {
		if kept[fd], err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3); err != nil {
			return nil, fmt.Errorf("keep file descriptor %d: %w", fd, err)
		}
	}
	for fd := 1; fd <= 2; fd++ {
		if err := unix.Dup3(int(f.Fd()), fd, 0); err != nil {
			return nil, fmt.Errorf("redirect file descriptor %d: %w", fd, err)
		}
	}
	return func() {
		for fd := 1; fd <= 2; fd++ {
			_ = unix.Dup3(kept[fd], fd, 0)
			_ = unix.Close(kept[fd])
		}
	}, nil
}

// "lxc-start web 20261124222013.512 ERROR    start - ../src/lxc/start.c:do_start:1273 - No such file …"
// Compiled on demand: otherwise each start of nsmgr pays for it.
var logRE = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?m) (?:ERROR|CRIT|ALERT|FATAL) +\S+ - (?:\S+:\S+:\d+ - )?(.*)$`)
})

// logErrors returns the errors in LXC's log as one line after ": ", the cause
// first, or "" if there are none.
func logErrors(log string) string {
	const most = 4
	var said []string
	for _, m := range logRE().FindAllStringSubmatch(log, most) {
		said = append(said, m[1])
	}
	if said == nil {
		return ""
	}
	return ": " + strings.Join(said, "; ")
}

// lastWords returns the last lines of a program's output as one line after ": ".
func lastWords(out string) string {
	const most = 3
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) > most {
		lines = lines[len(lines)-most:]
	}
	if text := strings.TrimSpace(strings.Join(lines, "; ")); text != "" {
		return ": " + text
	}
	return ""
}
