package probe

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

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
	panic(badStep("the manager has no operation " + op))
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
