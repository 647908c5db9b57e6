package nsmgr

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"proofhouse/internal/exit"
)

// What keeps AppArmor away is said in one line. Everything else about a view
// is tested on kernels: see kernel_test.go.
func TestOpenElsewhere(t *testing.T) {
	for name, c := range map[string]struct {
		enabled string // "" = no such file
		folders string
		want    string
	}{
		"no AppArmor":   {"", "", "has no AppArmor"},
		"switched off":  {"N\n", "", "security=apparmor"},
		"not mounted":   {"Y\n", "", "mount -t securityfs"},
		"no namespaces": {"Y\n", "aa/policy", "before 4.11"},
		"all there":     {"Y\n", "aa/policy/namespaces", ""},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			if c.folders != "" {
				if err := os.MkdirAll(filepath.Join(root, c.folders), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			if c.enabled != "" {
				if err := os.WriteFile(filepath.Join(root, "enabled"), []byte(c.enabled), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			v := &View{dir: filepath.Join(root, "aa"), parameters: root, proc: procfs, state: root}
			err := v.check()
			if c.want == "" && err != nil || c.want != "" && (exit.Status(err) != exit.Usage || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

func TestLock(t *testing.T) {
	v := &View{state: t.TempDir()}
	ctx := t.Context()
	unlock, err := v.lockFor(ctx, "a")
	if err != nil {
		t.Fatal(err)
	}
	other, err := v.lockFor(ctx, "b")
	if err != nil {
		t.Fatalf("another namespace waits: %v", err)
	}
	other()
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if _, err := v.lockFor(short, "a//below"); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "another nsmgr") {
		t.Errorf("one below a locked one: %v", err)
	}
	got := make(chan error)
	go func() {
		unlock, err := v.lockFor(ctx, "a")
		if err == nil {
			unlock()
		}
		got <- err
	}()
	select {
	case err := <-got:
		t.Fatalf("it did not wait: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	unlock()
	if err := <-got; err != nil {
		t.Error(err)
	}
}

func TestFeatures(t *testing.T) {
	f := Features{"domain/stack": "yes", "namespaces/profile": "no", "signal/mask": "hup int\nkill", "mount/mask": "umount"}
	for _, c := range []struct {
		file, word string
		want       bool
	}{
		{"domain/stack", "", true}, {"namespaces/profile", "", false}, {"signal/mask", "kill", true},
		{"mount/mask", "mount", false}, {"dbus/mask", "", false},
	} {
		if got := f.Has(c.file, c.word); got != c.want {
			t.Errorf("Has(%q, %q) = %v", c.file, c.word, got)
		}
	}
	err := f.CheckStacking()
	var missing *FeatureError
	if !errors.Is(err, ErrFeature) || !errors.As(err, &missing) || missing.Feature != "namespaces/profile" {
		t.Errorf("CheckStacking: %v", err)
	}
	if f.Digest() == (Features{"domain/stack": "yes"}).Digest() || len(f.Digest()) != 64 {
		t.Errorf("Digest: %s", f.Digest())
	}
}

// A process reads its own tasks on any kernel.
func TestThreads(t *testing.T) {
	v := &View{proc: procfs}
	ids, err := v.threads(os.Getpid())
	if err != nil || len(ids) < 2 {
		t.Errorf("the Go runtime has several threads: %v, %v", ids, err)
	}
	if v.dead(os.Getpid(), os.Getpid()) || v.bodiless(os.Getpid()) {
		t.Error("this process counts as dead, or as the kernel's")
	}
	if hasCapability("/proc/self/status", 63) {
		t.Error("there is no capability 63")
	}
}
