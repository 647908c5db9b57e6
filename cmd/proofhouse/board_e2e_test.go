// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"proofhouse/machines"
	"proofhouse/machines/testboard"
	"proofhouse/reports"
	"proofhouse/runs"
)

// boardRig is a test board with a configuration of proofhouse for it.
type boardRig struct {
	*testboard.Board
	dir string // XDG_CONFIG_HOME
}

// newRig makes a test board whose disk has the guest's root, as after an earlier run.
func newRig(t *testing.T, o testboard.Options, settings string) *boardRig {
	t.Helper()
	if os.Getenv("PROOFHOUSE_E2E") == "" {
		t.Skip("boots a machine: make test-e2e")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	say := func(line string) { t.Log(line) }
	d, err := testboard.Get(ctx, say)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := runs.Prepare(ctx, runs.Config{}, say)
	if err != nil {
		t.Fatal(err)
	}
	if o.Files == nil {
		image := plan.Guest(plan.Builds[0]).Image
		hash, err := machines.RootHash(image)
		if err != nil {
			t.Fatal(err)
		}
		o.Files = map[string]string{"/var/cache/proofhouse/root-" + hash[:32]: image}
	}
	// A short path: that of a socket has 107 bytes at most.
	dir, err := os.MkdirTemp("", "board")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	b, err := d.New(ctx, dir, o)
	if err != nil {
		t.Fatal(err)
	}
	r := &boardRig{Board: b, dir: dir}
	t.Setenv("XDG_CONFIG_HOME", dir)
	r.configure(t, "test", settings)
	if err := b.PowerOn(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			c, _ := os.ReadFile(filepath.Join(dir, "console.log"))
			t.Logf("console: %s", c[max(0, len(c)-4000):])
		}
		b.PowerOff()
	})
	if o.Unknown {
		return r
	}
	begun := time.Now()
	if err := b.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	t.Logf("the board was up after %v", time.Since(begun).Round(time.Second))
	return r
}

// configure writes a board's file.
func (r *boardRig) configure(t *testing.T, name, settings string) {
	t.Helper()
	dir := filepath.Join(r.dir, "proofhouse", "boards")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("ssh: board\nssh_config: %s\nreboot_wait: 3m\n%s\n", r.Config, settings)
	if err := os.WriteFile(filepath.Join(dir, name+".yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (r *boardRig) console() string { return "console: unix:" + r.Console }

// power is a power command: a script that asks this process to cut the board's
// power, and waits until that is done.
func (r *boardRig) power(t *testing.T) string {
	t.Helper()
	script, asked := filepath.Join(r.dir, "power"), filepath.Join(r.dir, "cut")
	text := fmt.Sprintf("#!/bin/sh\ntouch %[1]s\nwhile [ -e %[1]s ]; do sleep 0.1; done\n", asked)
	if err := os.WriteFile(script, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	go func() {
		for ctx.Err() == nil {
			time.Sleep(100 * time.Millisecond)
			if _, err := os.Stat(asked); err == nil && ctx.Err() == nil {
				r.PowerOff()
				_ = r.PowerOn()
				_ = os.Remove(asked)
			}
		}
	}()
	return "power: " + script
}

// state is what a run could leave on the board, as its own programs show it.
func (r *boardRig) state(t *testing.T) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	if err := r.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	out, err := r.Run(ctx, `
ls -d /run/proofhouse* /dev/shm/proofhouse* /tmp/proofhouse* /sys/fs/cgroup/proofhouse* /sys/fs/cgroup/lxc* 2>/dev/null
ls /sys/kernel/security/apparmor/policy/namespaces
sort /sys/kernel/security/apparmor/profiles | md5sum
grep -l proofhouse /proc/[0-9]*/mountinfo 2>/dev/null | wc -l
ls /sys/fs/pstore
ls /sys/block/*/loop/backing_file 2>/dev/null
cat /proc/swaps /proc/sys/kernel/panic /proc/sys/kernel/printk
ls /var/cache/proofhouse | grep partial
true`)
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return out
}

// started waits until the run in dir has begun the spec.
func started(t *testing.T, dir, id string) {
	t.Helper()
	for end := time.Now().Add(8 * time.Minute); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		files, _ := filepath.Glob(filepath.Join(dir, "journal-*.jsonl"))
		for _, f := range files {
			text, _ := os.ReadFile(f)
			for line := range bytes.Lines(text) {
				var e struct {
					Event string        `json:"event"`
					Spec  *reports.Spec `json:"spec"`
				}
				if json.Unmarshal(line, &e) == nil && e.Event == "spec-started" && e.Spec != nil && e.Spec.ID == id {
					return
				}
			}
		}
	}
	t.Errorf("%s did not start", id)
}

// boardScripts run in this order, the longest first. Faults hit the second.
var boardScripts = []string{"open", "exec", "chdir"}

// outcome is what came of a run in which something broke.
type outcome struct {
	end
	run reports.Run
}

// runWith runs three scripts on a board, and calls fault while the second is running.
func (r *boardRig) runWith(t *testing.T, spec string, fault func()) outcome {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "run")
	done := make(chan struct{})
	go func() {
		defer close(done)
		if fault != nil {
			started(t, dir, secondSpec)
			time.Sleep(500 * time.Millisecond)
			fault()
		}
	}()
	e := proofhouse(t, "", "run", "-k", spec, "--script", strings.Join(boardScripts, ","), "--out", dir)
	<-done
	o := outcome{end: e}
	if _, err := os.Stat(filepath.Join(dir, reports.ResultsFile)); err == nil {
		o.run = readResults(t, dir)
	}
	t.Logf("exit status %d\n%s%s", e.status, e.stdout, e.stderr)
	return o
}

// secondSpec is the one that faults hit: --script sorts by duration.
var secondSpec = runs.SpecID("open")

// judge checks a run in which the kernel was not to blame: the script that was hit is
// an ERROR, and has no PASS for itself as a whole; the others are whole.
func (o outcome) judge(t *testing.T, hit string) (lost, wrong int) {
	t.Helper()
	if len(o.run.Kernels) != 1 {
		t.Fatalf("%d kernels", len(o.run.Kernels))
	}
	k := o.run.Kernels[0]
	lost = len(boardScripts) - len(k.Specs)
	for _, s := range k.Specs {
		errors := slices.ContainsFunc(s.Results, func(r reports.Result) bool { return r.Status == reports.Error })
		fails := slices.ContainsFunc(s.Results, func(r reports.Result) bool { return r.Status == reports.Fail })
		switch {
		case s.ID == hit && !errors, s.ID != hit && errors, fails:
			wrong++
			t.Errorf("%s: %+v", s.ID, s.Results)
		case s.ID != hit && len(s.Results) < 2:
			lost++
			t.Errorf("%s has %d results", s.ID, len(s.Results))
		}
	}
	return lost, wrong
}

// The short form: board check, and a panic in the middle of a script with a proved
// console.
func TestE2EBoardShort(t *testing.T) {
	r := newRig(t, testboard.Options{}, "")
	r.configure(t, "test", r.console())
	before := r.state(t)
	if e := proofhouse(t, "", "board", "check", "test"); e.status != 0 || !strings.Contains(e.stdout, "shows what this board") {
		t.Errorf("board check: %d\n%s%s", e.status, e.stdout, e.stderr)
	}
	o := r.runWith(t, "board:test", func() { r.sysrq(t, "c") })
	lost, wrong := o.judge(t, secondSpec)
	if lost+wrong > 0 || o.status != 3 && o.status != 1 {
		t.Errorf("lost %d, wrong %d, exit status %d", lost, wrong, o.status)
	}
	if !strings.Contains(o.stdout+fmt.Sprint(o.run), "sysrq triggered crash") {
		t.Error("the panic's text is not in the results")
	}
	if after := r.state(t); after != before {
		t.Errorf("left on the board:\n%s\nbefore:\n%s", after, before)
	}
}

// sysrq is a command of the kernel's; the connection does not survive all of them.
func (r *boardRig) sysrq(t *testing.T, c string) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, _ = r.Run(ctx, "echo 1 >/proc/sys/kernel/sysrq; sleep 1; echo "+c+" >/proc/sysrq-trigger")
}

// row is a line of the table of faults.
type row struct {
	fault, came string
	lost, wrong int
	left        string
}

// The full form: each fault of the table in docs/boards.md.
func TestE2EBoards(t *testing.T) {
	if os.Getenv("PROOFHOUSE_BOARDS") == "" {
		t.Skip("takes an hour: make test-boards")
	}
	r := newRig(t, testboard.Options{}, "")
	power := r.power(t)
	r.configure(t, "con", r.console()+"\n"+power)
	r.configure(t, "pow", power)
	before := r.state(t)
	var table []row
	add := func(t *testing.T, fault string, o outcome, hit string) {
		t.Helper()
		lost, wrong := o.judge(t, hit)
		came := fmt.Sprintf("exit status %d", o.status)
		for _, s := range o.run.Kernels[0].Specs {
			for _, x := range s.Results {
				if x.Status == reports.Error {
					came = fmt.Sprintf("%s is an ERROR: %s", s.ID, x.Reason)
				}
			}
		}
		left := "nothing"
		if after := r.state(t); after != before {
			left = "something"
			t.Errorf("left on the board:\n%s\nbefore:\n%s", after, before)
		}
		table = append(table, row{fault, came, lost, wrong, left})
	}
	t.Run("none", func(t *testing.T) {
		o := r.runWith(t, "board:con", nil)
		if o.status != 0 {
			t.Errorf("exit status %d", o.status)
		}
		add(t, "none", o, "")
	})
	t.Run("smoke", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "run")
		e := proofhouse(t, "", "run", "--smoke", "-k", "board:con", "--out", dir)
		t.Logf("exit status %d\n%s%s", e.status, e.stdout, e.stderr)
		if e.status != 0 {
			t.Error("not a PASS")
		}
		if after := r.state(t); after != before {
			t.Errorf("left on the board:\n%s\nbefore:\n%s", after, before)
		}
	})
	t.Run("the board's own root", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "run")
		e := proofhouse(t, "", "run", "-k", "board:con,root=board", "--guest", "trixie", "--script", "open,exec", "--row", "unprivileged/view,file/read", "--out", dir)
		t.Logf("exit status %d\n%s%s", e.status, e.stdout, e.stderr)
		if e.status != 0 {
			t.Error("not a PASS")
		}
		if after := r.state(t); after != before {
			t.Errorf("left on the board:\n%s\nbefore:\n%s", after, before)
		}
	})
	says := map[string]string{
		"panic, console and power":  "sysrq triggered crash",
		"panic, power only":         "sysrq triggered crash", // from pstore
		"silent reset":              "the board was reset",
		"hang that only power ends": "after a power cycle",
		"network gone for 60 s":     "the board was not reset",
	}
	for _, f := range []struct {
		name, spec string
		fault      func(t *testing.T)
	}{
		{"panic, console and power", "board:con", func(t *testing.T) { r.sysrq(t, "c") }},
		{"panic, power only", "board:pow", func(t *testing.T) { r.sysrq(t, "c") }},
		{"silent reset", "board:con", func(t *testing.T) { r.monitor(t, "system_reset") }},
		{"hang that only power ends", "board:con,reboot_wait=2m", func(t *testing.T) { r.monitor(t, "stop") }},
		{"network gone for 60 s", "board:con", func(t *testing.T) {
			r.monitor(t, "set_link nic off")
			time.Sleep(time.Minute)
			r.monitor(t, "set_link nic on")
		}},
	} {
		t.Run(f.name, func(t *testing.T) {
			o := r.runWith(t, f.spec, func() { f.fault(t) })
			if !strings.Contains(fmt.Sprint(o.run), says[f.name]) {
				t.Errorf("not in the results: %q", says[f.name])
			}
			add(t, f.name, o, secondSpec)
		})
	}
	t.Run("kill -9 of proofhouse", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "run")
		cmd := exec.Command(binary(t), "run", "-k", "board:con", "--script", strings.Join(boardScripts, ","), "--out", dir)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		started(t, dir, secondSpec)
		time.Sleep(time.Second)
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
		o := r.runWith(t, "board:con", nil)
		if o.status != 0 {
			t.Errorf("the next run: exit status %d", o.status)
		}
		add(t, "kill -9 of proofhouse, then another run", o, "")
	})
	for _, x := range table {
		t.Logf("| %s | %s | %d | %d | %s |", x.fault, x.came, x.lost, x.wrong, x.left)
	}
}

func (r *boardRig) monitor(t *testing.T, line string) {
	if err := r.Command(line); err != nil {
		t.Errorf("%s: %v", line, err)
	}
}

// Each mistake is one line and exit status 2.
func TestE2EBoardBadInput(t *testing.T) {
	if os.Getenv("PROOFHOUSE_BOARDS") == "" {
		t.Skip("takes minutes: make test-boards")
	}
	r := newRig(t, testboard.Options{Files: map[string]string{}}, "")
	r.configure(t, "nopower", "console: exec:sleep 1000\npower: /bin/false")
	refused := func(t *testing.T, says string, args ...string) {
		t.Helper()
		e := proofhouse(t, "", args...)
		last := lastOf(e.stderr)
		if args[0] == "board" { // each item is a line
			last = e.stdout
		}
		if e.status != 2 || !strings.Contains(last, says) {
			t.Errorf("%q: exit status %d, want 2 and %q\n%s%s", args, e.status, says, e.stdout, e.stderr)
		}
	}
	run := func(spec string) []string { return []string{"exec", "-k", spec, "--", "true"} }
	t.Run("unknown host key", func(t *testing.T) {
		empty := filepath.Join(r.dir, "unknown")
		b, err := os.ReadFile(r.Config)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(empty, []byte(strings.ReplaceAll(string(b), "known_hosts\n", "no_hosts\n")), 0o600); err != nil {
			t.Fatal(err)
		}
		refused(t, "host key is unknown", run("board:test,ssh_config="+empty)...)
	})
	t.Run("no root", func(t *testing.T) {
		r.do(t, "rm -f /run/nologin; id plain || { useradd -m plain && mkdir -p /home/plain/.ssh && cp /root/.ssh/authorized_keys /home/plain/.ssh/ && chown -R plain /home/plain; }")
		refused(t, "is not root", run("ssh://plain@board,ssh_config="+r.Config)...)
	})
	t.Run("login refused", func(t *testing.T) {
		refused(t, "login refused", run("ssh://nobody2@board,ssh_config="+r.Config)...)
	})
	t.Run("wrong kernel", func(t *testing.T) {
		refused(t, "another kernel", run("board:test,kernel=debian:bookworm")...)
	})
	t.Run("no space", func(t *testing.T) {
		r.do(t, "mkdir -p /var/small && mount -t tmpfs -o size=50M small /var/small")
		refused(t, "no space", run("board:test,dir=/var/small")...)
	})
	t.Run("read-only", func(t *testing.T) {
		r.do(t, "mkdir -p /var/ro && mount -t tmpfs -o ro,size=5M ro /var/ro")
		refused(t, "read-only", run("board:test,dir=/var/ro/cache")...)
	})
	t.Run("a console of another board", func(t *testing.T) {
		other := filepath.Join(r.dir, "other")
		l, err := net.Listen("unix", other)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }()
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				for range 1000 {
					if _, err := c.Write([]byte("login: \n")); err != nil {
						break
					}
					time.Sleep(100 * time.Millisecond)
				}
			}
		}()
		refused(t, "not this board's console", run("board:test,root=board,console=unix:"+other)...)
		refused(t, "", "board", "check", "board:test,console=unix:"+other)
	})
	t.Run("in use", func(t *testing.T) {
		cmd := exec.Command(binary(t), "exec", "-k", "board:test,root=board", "--", "sh", "-c", "echo ready; sleep 1000")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Read(make([]byte, 6)); err != nil {
			t.Error(err)
		}
		refused(t, "in use by", run("board:test,root=board")...)
		_ = cmd.Process.Signal(syscall.SIGINT)
		_ = cmd.Wait()
	})
	t.Run("a power command that fails", func(t *testing.T) {
		refused(t, "power command /bin/false failed", "board", "check", "board:nopower", "--power")
	})
	t.Run("wrong architecture", func(t *testing.T) {
		r.do(t, `mv /usr/bin/uname /usr/bin/uname.real; printf '#!/bin/sh\necho riscv64\n' >/usr/bin/uname; chmod 755 /usr/bin/uname`)
		refused(t, "wrong architecture", run("board:test")...)
		r.do(t, "mv /usr/bin/uname.real /usr/bin/uname")
	})
	t.Run("no AppArmor", func(t *testing.T) {
		r.PowerOff()
		r.Params("apparmor=0")
		if err := r.PowerOn(); err != nil {
			t.Fatal(err)
		}
		if err := r.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		refused(t, "no AppArmor", run("board:test")...)
	})
}

func lastOf(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

// do runs a command on the board that must succeed.
func (r *boardRig) do(t *testing.T, line string) {
	t.Helper()
	if out, err := r.Run(t.Context(), line); err != nil {
		t.Fatalf("%s: %v: %s", line, err, out)
	}
}
