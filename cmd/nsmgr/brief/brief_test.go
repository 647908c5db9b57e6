package brief

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// One thread is let sleep longer, and not the first, whose children inherit it.
func TestCalm(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may")
	}
	calm()
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, e := range threads {
		b, err := os.ReadFile("/proc/" + e.Name() + "/timerslack_ns")
		if err == nil && strings.TrimSpace(string(b)) == slack {
			found = append(found, e.Name())
		}
	}
	if len(found) == 0 || slices.Contains(found, strconv.Itoa(os.Getpid())) {
		t.Errorf("threads %v sleep longer", found)
	}
}

func TestCommand(t *testing.T) {
	if len(os.Args) > 1 && command() != os.Args[1] {
		t.Errorf("the first word is %q, want %q", command(), os.Args[1])
	}
}
