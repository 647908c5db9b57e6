package probe

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// manage does a step of the manager: the host's administrator, unconfined.
// Words that are namespaces are "-" for the host's own.
func (x *experiment) manage(op string, words []string) (string, syscall.Errno) {
	word := func(i int) string {
		if i < len(words) && words[i] != "-" {
			return words[i]
		}
		return ""
	}
	switch op {
	case "load": // NAME of a policy of the plan
		for i, p := range x.plan.Policy {
			if p.Name == word(0) {
				return "", errnoOf(x.load(i))
			}
		}
		panic(badStep("no policy " + word(0)))
	case "remove": // NAMESPACE PROFILE
		return "", errnoOf(write(filepath.Join(policyDir(word(0)), ".remove"), []byte(word(1))))
	case "mkns":
		return "", errnoOf(os.Mkdir(policyDir(word(0)), 0o755))
	case "rmns":
		err := os.Remove(policyDir(word(0)))
		if word(1) == "-f" || len(words) > 1 && words[1] == "if" {
			err = nil
		}
		return "", errnoOf(err)
	case "revision":
		b, err := readOnce(filepath.Join(policyDir(word(0)), "revision"))
		return trim(string(b)), errnoOf(err)
	case "profiles": // the names and hashes of all profiles
		text, err := hashes(policyDir(word(0)))
		return text, errnoOf(err)
	case "trymkns":
		if err := os.Mkdir(policyDir(word(0)), 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return "", errnoOf(err)
		}
		return "", 0
	case "keep":
		var err error
		x.kept, err = hostPolicy()
		return "", errnoOf(err)
	case "unchanged":
		now, err := hostPolicy()
		if err == nil && now != x.kept {
			return "was " + x.kept + " and is " + now, 0
		}
		return "unchanged", errnoOf(err)
	case "sysctl": // NAME VALUE
		return "", errnoOf(os.WriteFile(filepath.Join("/proc/sys", word(0)), []byte(word(1)), 0))
	case "nest", "nestfails":
		n, _ := strconv.Atoi(word(0))
		made, err := nest(n)
		if op == "nest" {
			err = nil
		}
		return strconv.Itoa(made), errnoOf(err)
	case "longname":
		n, _ := strconv.Atoi(word(0))
		name := policyDir(strings.Repeat("n", n))
		err := os.Mkdir(name, 0o755)
		if err == nil {
			err = os.Remove(name)
		}
		return "", errnoOf(err)
	case "many":
		n, _ := strconv.Atoi(word(0))
		policy, made := x.policyNamed(word(1)), 0
		var err error
		for i := range n {
			name := fmt.Sprintf("many%d", i)
			if err = os.Mkdir(policyDir(name), 0o755); err != nil {
				break
			}
			if err = write(filepath.Join(policyDir(name), ".load"), policy); err != nil {
				break
			}
			made++
		}
		for i := range n {
			if e := os.Remove(policyDir(fmt.Sprintf("many%d", i))); e != nil && !errors.Is(e, os.ErrNotExist) {
				err = errors.Join(err, e)
			}
		}
		return strconv.Itoa(made), errnoOf(err)
	case "race":
		n, _ := strconv.Atoi(word(0))
		return "done", errnoOf(race(n, x.policyNamed(word(1))))
	case "leak":
		n, _ := strconv.Atoi(word(0))
		kib, err := leak(n, x.policyNamed(word(1)))
		if kib < 4*n {
			return "freed", errnoOf(err)
		}
		return fmt.Sprintf("%d KiB are not free again", kib), errnoOf(err)
	case "labelof":
		return x.task(word(0)).child.label(), 0
	case "sh":
		cmd := exec.CommandContext(x.ctx, "sh", "-c", strings.Join(words, " "))
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		err := cmd.Run()
		var ended *exec.ExitError
		if errors.As(err, &ended) {
			return strings.TrimSpace(out.String()), syscall.Errno(1)
		}
		return strings.TrimSpace(out.String()), errnoOf(err)
	}
	if step, ok := manager[op]; ok {
		return step(x, words)
	}
	panic(badStep("the manager has no operation " + op))
}

// secure is AT_SECURE of the program that a task executes: whether it was told
// to distrust its environment.
func (x *experiment) secure(words []string) (string, syscall.Errno) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/auxv", x.task(words[0]).child.pid))
	if err != nil {
		return "", errnoOf(err)
	}
	const atSecure = 23
	for ; len(b) >= 16; b = b[16:] {
		if binary.NativeEndian.Uint64(b) == atSecure {
			return strconv.FormatUint(binary.NativeEndian.Uint64(b[8:]), 10), 0
		}
	}
	return "", unix.ENODATA
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

// readOnce reads a file with one read: a second one of revision waits for a
// change.
func readOnce(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	b := make([]byte, 4096)
	n, err := f.Read(b)
	return b[:n], err
}

// hashes names all profiles of a namespace with their hashes.
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

// hostPolicy is all that tells whether the host's policy has changed.
func hostPolicy() (string, error) {
	revision, err := readOnce(filepath.Join(policyDir(""), "revision"))
	if err != nil {
		return "", err
	}
	profiles, err := hashes(policyDir(""))
	return trim(string(revision)) + " " + profiles, err
}

// nest makes namespaces in each other until one fails, and removes them again.
func nest(depth int) (int, error) {
	ns, made := "", 0
	var first string
	var err error
	for range depth {
		name := "deep"
		if ns != "" {
			name = ns + "//deep"
		} else {
			first = name
		}
		if err = os.Mkdir(policyDir(name), 0o755); err != nil {
			break
		}
		ns, made = name, made+1
	}
	if made > 0 {
		err = errors.Join(err, os.Remove(policyDir(first)))
	}
	return made, err
}

// round makes a namespace, loads policy and removes it.
func round(name string, policy []byte) error {
	if err := os.Mkdir(policyDir(name), 0o755); err != nil {
		return err
	}
	return errors.Join(write(filepath.Join(policyDir(name), ".load"), policy), os.Remove(policyDir(name)))
}

// race has three writers, each with a namespace of its own, and one that all
// want; and a reader of all raw_data that there is.
func race(rounds int, policy []byte) error {
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
				_ = round("race", policy) // another may be there, or take it away
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
	return err
}

// used is the kernel's memory in KiB that is not the page cache's.
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

// leak does rounds, after some that fill caches, and says how many KiB are not
// free again in the end. What is removed is freed after a grace period.
func leak(rounds int, policy []byte) (int, error) {
	for range 100 {
		if err := round("leak", policy); err != nil {
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
		if err := round("leak", policy); err != nil {
			return 0, err
		}
	}
	return settle() - before, nil
}
