package machines

import (
	"bufio"
	"errors"
	"os"
	"testing"
	"time"
)

// A machine that has stopped reading is found out, and its connection ends.
func TestWriteStalls(t *testing.T) {
	defer func(d time.Duration) { writePatience = d }(writePatience)
	writePatience = 50 * time.Millisecond
	ours, theirs, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = theirs.Close() }()
	c := bufferedConn{ours, bufio.NewReader(ours)}
	done := make(chan error, 1)
	go func() {
		_, err := c.Write(make([]byte, 8<<20))
		done <- err
	}()
	select {
	case err := <-done:
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("the write hangs")
	}
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("the connection is still open")
	}
}
