package main

import "golang.org/x/sys/unix"

// calm lets the threads that this process has by now sleep up to 5 ms longer
// than they ask for. One is the Go runtime's monitor, which wakes every 20 µs
// to look at the others: where timers and changes of threads are dear, as on
// User Mode Linux, that is a sixth of a removal's time. A program that is
// started would inherit it: it is for commands that start none.
func calm() {
	dir, err := unix.Open("/proc/self/task", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer func() { _ = unix.Close(dir) }()
	var list [1 << 10]byte
	n, err := unix.ReadDirent(dir, list[:])
	if err != nil {
		return
	}
	_, _, threads := unix.ParseDirent(list[:n], -1, nil)
	for _, t := range threads {
		// A thread has the file in a folder of its own, which no list shows.
		fd, err := unix.Open("/proc/"+t+"/timerslack_ns", unix.O_WRONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		_, _ = unix.Write(fd, []byte("5000000"))
		_ = unix.Close(fd)
	}
}
