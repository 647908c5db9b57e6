// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// loadNamed loads the policy of the plan that has the name.
func (x *experiment) loadNamed(name string) error {
	for i, p := range x.plan.Policy {
		if p.Name == name {
			return x.load(i)
		}
	}
	panic(badStep("no policy " + name))
}

// churn replaces policy in the background until settle.
func (c *call) churn() (int, string, syscall.Errno) {
	x, one, two := c.x, c.word(0), c.word(1)
	if x.churned != nil {
		panic(badStep("churn without settle"))
	}
	// Its first round is before the task's next step.
	if err := errors.Join(x.loadNamed(one), x.loadNamed(two)); err != nil {
		return failed(err)
	}
	stop, done := make(chan struct{}), make(chan error, 1)
	x.churned = func() error { close(stop); return <-done }
	go func() {
		for {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			if err := errors.Join(x.loadNamed(one), x.loadNamed(two)); err != nil {
				done <- err
				return
			}
		}
	}()
	return 0, "", 0
}

// settle ends what churn began, if anything.
func (c *call) settle() (int, string, syscall.Errno) {
	if c.x.churned == nil {
		return 0, "", 0
	}
	err := c.x.churned()
	c.x.churned = nil
	return failed(err)
}

// secure is AT_SECURE of the program that a task executes: whether it is told to
// distrust its environment.
func (c *call) secure() (int, string, syscall.Errno) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/auxv", c.x.taskNamed(c.word(0)).child.pid))
	if err != nil {
		return failed(err)
	}
	const atSecure = 23
	for ; len(b) >= 16; b = b[16:] {
		if binary.NativeEndian.Uint64(b) == atSecure {
			return 0, strconv.FormatUint(binary.NativeEndian.Uint64(b[8:]), 10), 0
		}
	}
	return 0, "", unix.ENODATA
}

func errnoOf(err error) syscall.Errno {
	var e syscall.Errno
	switch {
	case err == nil:
		return 0
	case errors.As(err, &e):
		return e
	}
	return unix.EIO
}

// hashes lists the profiles of a namespace with their hashes.
func hashes(dir string) (string, error) {
	entries, err := os.ReadDir(filepath.Join(dir, "profiles"))
	if err != nil {
		return "", err
	}
	var list []string
	for _, e := range entries {
		name, err := os.ReadFile(filepath.Join(dir, "profiles", e.Name(), "name"))
		if err != nil {
			return "", err
		}
		sum := ""
		for _, kind := range []string{"sha256", "sha1"} {
			if b, err := os.ReadFile(filepath.Join(dir, "profiles", e.Name(), kind)); err == nil {
				sum = trim(string(b))
				break
			}
		}
		list = append(list, fmt.Sprintf("%s=%s", trim(string(name)), sum))
	}
	slices.Sort(list)
	return strings.Join(list, " "), nil
}

// policyNamed is the compiled policy of that name.
func (x *experiment) policyNamed(name string) []byte {
	for i, p := range x.plan.Policy {
		if p.Name == name {
			return x.compiled[i]
		}
	}
	panic(badStep("no policy " + name))
}

// nest creates namespaces in each other until one fails, and removes them.
func (c *call) nest() (int, string, syscall.Errno) {
	deepest, made := "deep", 0
	var err error
	for range c.n(0) {
		if err = os.Mkdir(policyDir(deepest), 0o755); err != nil {
			break
		}
		deepest, made = deepest+"//deep", made+1
	}
	if made > 0 {
		err = errors.Join(err, os.Remove(policyDir("deep")))
	}
	return 0, strconv.Itoa(made), errnoOf(err)
}

// longName creates and removes a namespace with a long name.
func (c *call) longName() (int, string, syscall.Errno) {
	dir := policyDir(strings.Repeat("n", int(c.n(0))))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return failed(err)
	}
	return failed(os.Remove(dir))
}

// many creates many namespaces with a policy each, and removes them.
func (c *call) many() (int, string, syscall.Errno) {
	policy, made := c.x.policyNamed(c.word(1)), 0
	var err error
	for i := range int(c.n(0)) {
		name := fmt.Sprintf("many%d", i)
		if err = os.Mkdir(policyDir(name), 0o755); err != nil {
			break
		}
		if err = write(filepath.Join(policyDir(name), ".load"), policy); err != nil {
			break
		}
		made++
	}
	for i := range int(c.n(0)) {
		if e := os.Remove(policyDir(fmt.Sprintf("many%d", i))); e != nil && !errors.Is(e, os.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return 0, strconv.Itoa(made), errnoOf(err)
}

// round creates a namespace, loads policy and removes the namespace.
func round(name string, policy []byte) error {
	if err := os.Mkdir(policyDir(name), 0o755); err != nil {
		return err
	}
	return errors.Join(write(filepath.Join(policyDir(name), ".load"), policy), os.Remove(policyDir(name)))
}

// race has three writers, each with a namespace of its own and one that all
// share, and a reader of all raw_data.
func (c *call) race() (int, string, syscall.Errno) {
	rounds, policy := int(c.n(0)), c.x.policyNamed(c.word(1))
	stop := make(chan struct{})
	var readers, writers sync.WaitGroup
	readers.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			_ = filepath.WalkDir(apparmor("policy", "namespaces"), func(path string, d os.DirEntry, err error) error {
				if err == nil && d.Name() == "raw_data" && !d.IsDir() {
					_, _ = os.ReadFile(path)
				}
				return nil
			})
		}
	})
	errs := make(chan error, 3)
	for w := range 3 {
		writers.Go(func() {
			var err error
			for range rounds / 3 {
				err = errors.Join(err, round(fmt.Sprintf("race%d", w), policy))
				_ = round("race", policy) // another writer may have created or removed it
			}
			errs <- err
		})
	}
	writers.Wait()
	close(stop)
	readers.Wait()
	close(errs)
	var err error
	for e := range errs {
		err = errors.Join(err, e)
	}
	_ = os.Remove(policyDir("race"))
	return 0, "done", errnoOf(err)
}

// used is the kernel's memory in KiB, without the page cache.
func used() int {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	total := 0
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) > 1 && slices.Contains([]string{"SUnreclaim:", "VmallocUsed:", "Percpu:"}, f[0]) {
			n, _ := strconv.Atoi(f[1])
			total += n
		}
	}
	return total
}

// leak measures how much memory rounds leave allocated.
func (c *call) leak() (int, string, syscall.Errno) {
	rounds, policy := int(c.n(0)), c.x.policyNamed(c.word(1))
	kib, err := remains(rounds, func() error { return round("leak", policy) })
	return freed(kib, rounds, err)
}

// freed is what an operation says of the memory that rounds leave allocated.
func freed(kib, rounds int, err error) (int, string, syscall.Errno) {
	switch {
	case err != nil:
		return failed(err)
	case kib >= 4*rounds:
		return 0, fmt.Sprintf("%d KiB remain allocated", kib), 0
	}
	return 0, "freed", 0
}

// leakInUse measures what remains of a profile of which a task uses the
// capabilities and a hat, beyond what remains of one that it only enters: a
// kernel keeps memory of tasks for later.
func (c *call) leakInUse() (int, string, syscall.Errno) {
	rounds, policy, profile, hat := int(c.n(0)), c.x.policyNamed(c.word(1)), c.word(2), c.word(3)
	round := func(use bool) func() error {
		return func() error {
			if err := write(filepath.Join(policyDir(""), ".replace"), policy); err != nil {
				return err
			}
			child, err := fork(c.x.timeout)
			if err != nil {
				return err
			}
			t := &call{child: child, x: c.x}
			e := t.attr("current", "changeprofile "+profile)
			if use && e == 0 {
				_, e = t.sys(unix.SYS_SETPRIORITY, 0, 0, ^uintptr(4))
			}
			for _, name := range []string{hat, ""} {
				if use && e == 0 {
					e = t.attr("current", fmt.Sprintf("changehat %016x^%s", 0x1234, name))
				}
			}
			child.end()
			if e != 0 {
				return e
			}
			return write(filepath.Join(policyDir(""), ".remove"), []byte(profile))
		}
	}
	idle, err := remains(rounds, round(false))
	if err != nil {
		return failed(err)
	}
	kib, err := remains(rounds, round(true))
	return freed(kib-max(0, idle), rounds, err)
}

// remains returns how many KiB rounds leave allocated, after some that fill caches.
// What is removed is freed after a grace period.
func remains(rounds int, round func() error) (int, error) {
	for range 100 {
		if err := round(); err != nil {
			return 0, err
		}
	}
	settle := func() int {
		least := used()
		for range 10 {
			time.Sleep(100 * time.Millisecond)
			least = min(least, used())
		}
		return least
	}
	before := settle()
	for range rounds {
		if err := round(); err != nil {
			return 0, err
		}
	}
	return settle() - before, nil
}

// hold remembers all policy outside a namespace: the revision and the profiles
// with their hashes of every namespace.
func (c *call) hold() (int, string, syscall.Errno) {
	c.x.free = c.word(0)
	var err error
	c.x.holds, err = c.x.outside()
	return failed(err)
}

// held compares it with what is there now.
func (c *call) held() (int, string, syscall.Errno) {
	x := c.x
	now, err := x.outside()
	if err != nil {
		return failed(err)
	}
	if x.holds == nil {
		panic(badStep("held without hold"))
	}
	var diff []string
	for _, ns := range slices.Sorted(maps.Keys(x.holds)) {
		if is, there := now[ns]; !there {
			diff = append(diff, fmt.Sprintf("namespace %q is gone", ns))
		} else if is != x.holds[ns] {
			diff = append(diff, fmt.Sprintf("policy of %q was %s and is %s", ns, x.holds[ns], is))
		}
	}
	for _, ns := range slices.Sorted(maps.Keys(now)) {
		if _, there := x.holds[ns]; !there {
			diff = append(diff, fmt.Sprintf("namespace %q is new", ns))
		}
	}
	if diff == nil {
		return 0, "unchanged", 0
	}
	return 0, strings.Join(diff, "; "), 0
}

// outside is the policy of all namespaces except x.free and those below it.
func (x *experiment) outside() (map[string]string, error) {
	all := map[string]string{}
	var walk func(ns string) error
	walk = func(ns string) error {
		if ns == x.free {
			return nil
		}
		revision, err := revisionOf(ns)
		if err != nil {
			return err
		}
		profiles, err := hashes(policyDir(ns))
		if err != nil {
			return err
		}
		all[ns] = "revision " + revision + ": " + profiles
		below, err := os.ReadDir(filepath.Join(policyDir(ns), "namespaces"))
		if err != nil {
			return err
		}
		for _, d := range below {
			name := d.Name()
			if ns != "" {
				name = ns + "//" + name
			}
			if err := walk(name); err != nil {
				return err
			}
		}
		return nil
	}
	return all, walk("")
}

// revisionOf is a namespace's revision. A read blocks until something was loaded
// into the namespace (apparmorfs.c, ns_revision_read).
func revisionOf(ns string) (string, error) {
	fd, err := unix.Open(filepath.Join(policyDir(ns), "revision"), unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer func() { _ = unix.Close(fd) }()
	b := make([]byte, 32)
	n, err := unix.Read(fd, b)
	if errors.Is(err, unix.EAGAIN) {
		return "0", nil
	}
	return trim(string(b[:max(0, n)])), err
}
