// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"proofhouse/machines/wire"
)

// stateFileBoard says what there was before, and outlives an agent that is killed.
// It is gone when the board boots, as all is that it is about.
const stateFileBoard = "/run/proofhouse.json"

// baseline is what there was on the board before a run.
type baseline struct {
	Profiles   []string          `json:"profiles"`
	Namespaces []string          `json:"namespaces"`
	Cgroups    []string          `json:"cgroups"`
	Swaps      []string          `json:"swaps"`
	Loops      []string          `json:"loops"`
	Sysctls    map[string]string `json:"sysctls"`
	Panic      string            `json:"panic"`
}

// sysctls are those that tests change.
var sysctls = []string{
	"kernel/unprivileged_userns_clone", "kernel/unprivileged_userns_apparmor_policy", "kernel/apparmor_restrict_unprivileged_userns",
	"kernel/apparmor_restrict_unprivileged_unconfined", "kernel/apparmor_display_secid_mode", "kernel/yama/ptrace_scope",
	"kernel/io_uring_disabled", "kernel/ns_last_pid", "kernel/printk", "kernel/printk_ratelimit", "user/max_user_namespaces",
}

func snapshot() baseline {
	b := baseline{
		Profiles: profiles(), Namespaces: namespaces(), Cgroups: cgroups(), Swaps: swaps(), Loops: loops(),
		Sysctls: map[string]string{}, Panic: text(panicCtl),
	}
	for _, s := range sysctls {
		if s == "kernel/ns_last_pid" {
			continue // it always changes
		}
		if v, err := os.ReadFile("/proc/sys/" + s); err == nil {
			b.Sysctls[s] = strings.TrimSpace(string(v))
		}
	}
	return b
}

func (b baseline) save() error {
	j, err := json.Marshal(b)
	if err != nil {
		return err
	}
	return os.WriteFile(stateFileBoard, j, 0o600)
}

func readBaseline() (b baseline, ok bool) {
	j, err := os.ReadFile(stateFileBoard)
	return b, err == nil && json.Unmarshal(j, &b) == nil
}

// profiles are the loaded profiles of the root namespace, without their modes.
func profiles() []string {
	f, err := os.Open(apparmorDir + "/profiles")
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }()
	var all []string
	for s := bufio.NewScanner(f); s.Scan(); {
		// "name (enforce)"; a name may hold anything, blanks too.
		if i := strings.LastIndex(s.Text(), " ("); i > 0 {
			all = append(all, s.Text()[:i])
		}
	}
	return all
}

func namespaces() []string {
	var all []string
	entries, _ := os.ReadDir(apparmorDir + "/policy/namespaces")
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

// cgroups are those below the root whose names are ours or a container's.
func cgroups() []string {
	var all []string
	entries, _ := os.ReadDir(cgroupRoot)
	for _, e := range entries {
		if e.IsDir() && (strings.HasPrefix(e.Name(), "proofhouse-") || strings.HasPrefix(e.Name(), "lxc.")) {
			all = append(all, e.Name())
		}
	}
	return all
}

func swaps() []string {
	var all []string
	for i, line := range strings.Split(text("/proc/swaps"), "\n") {
		if f := strings.Fields(line); i > 0 && len(f) > 0 {
			all = append(all, f[0])
		}
	}
	return all
}

func loops() []string {
	var all []string
	files, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	for _, f := range files {
		all = append(all, filepath.Base(filepath.Dir(filepath.Dir(f))))
	}
	return all
}

// sessionGroup is the cgroup of an agent, with all that it starts; "" where there
// are no cgroups of version 2.
func sessionGroup() string {
	if !exists(filepath.Join(cgroupRoot, "cgroup.procs")) {
		return ""
	}
	dir := filepath.Join(cgroupRoot, "proofhouse-agent-"+strconv.Itoa(os.Getpid()))
	if os.Mkdir(dir, 0o755) != nil {
		return ""
	}
	return dir
}

// clean removes what is on the board and was not before: processes, profiles,
// namespaces, swap, loop devices, cgroups; and sets the sysctls back. last also
// removes the record of what there was.
func clean(before baseline, last bool) (left wire.Leftovers) {
	killOurs(before, &left)
	tidy(before, &left)
	for _, s := range swaps() {
		if !slices.Contains(before.Swaps, s) {
			left.Note("swap "+s, swapoff(s))
		}
	}
	// The agent's own goes with its mount, a moment later.
	for range 20 {
		if !slices.ContainsFunc(loops(), func(l string) bool { return !slices.Contains(before.Loops, l) }) {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	for _, l := range loops() {
		if !slices.Contains(before.Loops, l) {
			left.Note("loop device "+l, freeLoop(l))
		}
	}
	for s, v := range before.Sysctls {
		if now := text("/proc/sys/" + s); now != v && strings.Join(strings.Fields(now), " ") != strings.Join(strings.Fields(v), " ") {
			left.Note("sysctl "+s+"="+now, os.WriteFile("/proc/sys/"+s, []byte(v), 0))
		}
	}
	if before.Panic != "" && text(panicCtl) != before.Panic {
		_ = os.WriteFile(panicCtl, []byte(before.Panic), 0)
	}
	_ = os.Remove(workDir)
	if last && len(left.Stuck) == 0 {
		_ = os.Remove(stateFileBoard)
	}
	if self, err := os.Executable(); last && err == nil {
		dir := filepath.Dir(self)
		if strings.HasPrefix(filepath.Base(dir), "proofhouse-") {
			_ = os.RemoveAll(dir)
		}
	}
	return left
}

// killOurs kills the processes of runs, and removes their cgroups.
func killOurs(before baseline, left *wire.Leftovers) {
	for range 50 {
		busy := false
		for _, g := range cgroups() {
			if slices.Contains(before.Cgroups, g) {
				continue
			}
			if err := removeGroup(filepath.Join(cgroupRoot, g)); err != nil {
				busy = true
			}
		}
		// What left the cgroup, or where there are none: by the mount namespace's root.
		for _, pid := range strangers() {
			busy = true
			_ = unix.Kill(pid, unix.SIGKILL)
		}
		if !busy {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	for _, g := range cgroups() {
		if !slices.Contains(before.Cgroups, g) {
			left.Stuck = append(left.Stuck, "cgroup "+g)
		}
	}
	for _, pid := range strangers() {
		left.Stuck = append(left.Stuck, fmt.Sprintf("process %d (%s)", pid, text(fmt.Sprintf("/proc/%d/comm", pid))))
	}
}

// removeGroup kills all in a cgroup and removes it, from the leaves up.
func removeGroup(dir string) error {
	_ = os.WriteFile(filepath.Join(dir, "cgroup.kill"), []byte("1"), 0)
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if e.IsDir() {
			err = errors.Join(err, removeGroup(filepath.Join(dir, e.Name())))
		}
	}
	if rmErr := os.Remove(dir); rmErr != nil && !errors.Is(rmErr, os.ErrNotExist) {
		err = errors.Join(err, rmErr)
	}
	return err
}

// strangers are the processes whose root is an overlay of an agent: its mount has
// workDir/upper among its options.
func strangers() []int {
	var all []int
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		b, err := os.ReadFile(filepath.Join("/proc", e.Name(), "mountinfo"))
		if err == nil && strings.Contains(string(b), "upperdir="+workDir+"/upper") {
			all = append(all, pid)
		}
	}
	return all
}

// tidy removes profiles and namespaces that were not there before.
func tidy(before baseline, left *wire.Leftovers) {
	for _, n := range namespaces() {
		if !slices.Contains(before.Namespaces, n) {
			left.Note("policy namespace "+n, unix.Rmdir(filepath.Join(apparmorDir, "policy/namespaces", n)))
		}
	}
	for range 2 { // a profile with children goes with them
		for _, p := range profiles() {
			if !slices.Contains(before.Profiles, p) && !strings.Contains(p, "//") {
				left.Note("profile "+p, removeProfile(p))
			}
		}
	}
	for _, p := range profiles() {
		if !slices.Contains(before.Profiles, p) {
			left.Note("profile "+p, removeProfile(p))
		}
	}
}

func removeProfile(name string) error {
	f, err := os.OpenFile(apparmorDir+"/.remove", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(name)
	err = errors.Join(err, f.Close())
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

func swapoff(path string) error {
	p, err := unix.BytePtrFromString(path)
	if err != nil {
		return err
	}
	return swapoffCall(p)
}

func freeLoop(name string) error {
	f, err := os.Open(filepath.Join("/dev", name))
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	return unix.IoctlSetInt(int(f.Fd()), unix.LOOP_CLR_FD, 0)
}
