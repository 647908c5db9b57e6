// SPDX-License-Identifier: Apache-2.0

//go:build cgo && lxc

package containers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lxc/go-lxc"

	"proofhouse/internal/child"
	"proofhouse/internal/exit"
	"proofhouse/nsmgr"
	"proofhouse/profiles"
)

// These tests start containers and change policy. They run on a kernel that
// was booted for them: TestE2EKernel carries them there.
const (
	onKernel = "CONTAINERS_KERNEL_TESTS" // set: this is such a kernel
	actAs    = "CONTAINERS_TEST_CHILD"   // what this process is to do instead of testing
)

func TestMain(m *testing.M) {
	if what, rest, ok := strings.Cut(os.Getenv(actAs), " "); ok {
		if err := act(what, strings.Fields(rest)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// act does one operation: create NAME LABEL TEMPLATE, or start, stop or
// destroy NAME.
func act(what string, args []string) error {
	ct := Container{Name: args[0]}
	switch what {
	case "create":
		l, err := nsmgr.ParseLabel(args[1])
		if err != nil {
			return err
		}
		return ct.Create(context.Background(), Making{Label: l, Template: args[2], Unprivileged: true})
	case "start":
		return ct.Start(context.Background())
	case "stop":
		return ct.Stop(context.Background(), 0)
	case "destroy":
		return ct.Destroy(context.Background())
	}
	return fmt.Errorf("nothing is called %s", what)
}

// operation is a process of ours that does it.
func operation(t *testing.T, what string) *exec.Cmd {
	cmd := child.Command(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), actAs+"="+what)
	return cmd
}

// kernel makes the namespace with the policy ("" = the shipped one), which is
// removed behind the test.
func kernel(t *testing.T, ns nsmgr.Name, policy string) *nsmgr.View {
	t.Helper()
	if os.Getenv(onKernel) == "" {
		t.Skip("starts containers: make test-e2e")
	}
	v, err := nsmgr.Open()
	if err != nil {
		t.Fatal(err)
	}
	f, err := v.Features()
	if err != nil {
		t.Fatal(err)
	}
	comp, err := profiles.NewCompiler(f)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	host, err := comp.Shipped(ctx, profiles.Host, profiles.Parameters{Name: profiles.Host})
	if err == nil {
		err = v.Load(ctx, "", host, nsmgr.LoadOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
	var p nsmgr.Policy
	if policy == "" {
		p, err = comp.Shipped(ctx, profiles.Privileged, profiles.Parameters{Name: profiles.DefaultName})
	} else {
		var b nsmgr.Blob
		b, err = comp.Text(ctx, "the test's policy", []byte(policy))
		p = nsmgr.Policy{b}
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Create(ctx, ns, nsmgr.Making{Policy: p}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err := v.Delete(context.Background(), ns, nsmgr.Deletion{})
		var held *nsmgr.HeldError
		if errors.As(err, &held) {
			// 6.1 keeps a reference where an execution changed the profile
			// (TestKernelAstray), for ever; there is no task.
			t.Log(err)
			if tasks, _ := v.Tasks(ns); len(tasks) == 0 {
				err = v.Delete(context.Background(), ns, nsmgr.Deletion{Force: true})
			}
		}
		if err != nil && !errors.Is(err, nsmgr.ErrNotExist) {
			t.Error(err)
		}
	})
	return v
}

func labelIn(ns nsmgr.Name) nsmgr.Label {
	return nsmgr.Target{Namespace: ns, Profile: profiles.DefaultName, Host: profiles.Host}.Label()
}

// container makes one in the namespace, which is removed behind the test.
func container(t *testing.T, name string, m Making) Container {
	t.Helper()
	ct := Container{Name: name}
	if err := ct.Create(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := ct.Destroy(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return ct
}

// base is a root file system for the tests that are not about making one.
var base = filepath.Join(os.TempDir(), "containers-test-root")

// root makes it the first time.
func root(t *testing.T) string {
	t.Helper()
	if exists(base) {
		return base
	}
	kernel(t, "base", "")
	made := container(t, "base", Making{Label: labelIn("base")})
	if out, err := exec.CommandContext(t.Context(), "cp", "-a", filepath.Join(made.dir(), "rootfs"), base).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return base
}

// started makes one of base and starts it.
func started(t *testing.T, name string, m Making) Container {
	t.Helper()
	m.Rootfs = root(t)
	ct := container(t, name, m)
	if err := ct.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return ct
}

// output runs a shell command in the container.
func output(t *testing.T, ct Container, sh string) (string, End, error) {
	t.Helper()
	return outputOf(t, ct, "sh", "-c", sh)
}

func outputOf(t *testing.T, ct Container, args ...string) (string, End, error) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	said := make(chan string)
	go func() {
		var b bytes.Buffer
		_, _ = b.ReadFrom(r)
		_ = r.Close()
		said <- b.String()
	}()
	end, err := ct.Run(t.Context(), Command{Args: args, Stdout: w, Stderr: w})
	_ = w.Close()
	return <-said, end, err
}

// How a command ended is known exactly. go-lxc's own way has the traps that the
// last column shows: if it is fixed there, this says so.
func TestKernelEnd(t *testing.T) {
	kernel(t, "ends", "")
	ct := started(t, "ends", Making{Label: labelIn("ends")})
	theirs, err := ct.there()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = theirs.Release() }()
	for _, c := range []struct {
		sh     string
		want   End
		golxc  int
		trapOf string
	}{
		{"exit 0", End{}, 0, ""},
		{"exit 137", End{Status: 137}, 137, ""},
		{"exit 255", End{Status: 255}, -1, "255 is an error"},
		{"kill -KILL $$", End{Signal: syscall.SIGKILL}, 0, "a signal is success"},
		{"kill -SEGV $$", End{Signal: syscall.SIGSEGV}, 0, "a signal is success"},
	} {
		if _, got, err := output(t, ct, c.sh); err != nil || got != c.want {
			t.Errorf("%s: %v, %v; want %v", c.sh, got, err, c.want)
		}
		o, closeFiles, err := attachOptions(Command{})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := theirs.RunCommandStatus([]string{"sh", "-c", c.sh}, o); err != nil || got != c.golxc {
			t.Errorf("go-lxc's RunCommandStatus of %q is %d, %v, and was %d: %s", c.sh, got, err, c.golxc, c.trapOf)
		}
		closeFiles()
	}
	if _, end, err := output(t, ct, "exec /nosuch"); err != nil || end.Status != 127 {
		t.Errorf("a shell's own 127: %v, %v", end, err)
	}
	for _, program := range []string{"/nosuch", "/etc/passwd"} {
		_, err := ct.Run(t.Context(), Command{Args: []string{program}})
		if exit.Status(err) != exit.Usage || !strings.Contains(fmt.Sprint(err), "could not be executed") {
			t.Errorf("%s: %v", program, err)
		}
	}
}

// go-lxc's AttachOptions has no label, and with Groups it drops every flag of
// LXC's: the command would run outside of the container's label. It is found
// out and killed.
func TestKernelGroups(t *testing.T) {
	kernel(t, "groups", "")
	ct := started(t, "groups", Making{Label: labelIn("groups")})
	theirs, err := ct.there()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = theirs.Release() }()
	o, closeFiles, err := attachOptions(Command{})
	if err != nil {
		t.Fatal(err)
	}
	defer closeFiles()
	if o.Groups != nil {
		t.Error("Run sets Groups")
	}
	o.Groups = []int{0, 5}
	const command = "until test -e /go; do sleep 0.1; done; echo > /escaped"
	_, err = ct.attach(t.Context(), theirs, []string{"sh", "-c", command}, o, labelIn("groups"), nil)
	var wrong *LabelError
	if !errors.As(err, &wrong) || exit.Status(err) != exit.Failed || wrong.Got.In("groups") {
		t.Fatalf("a command without the label: %v", err)
	}
	t.Log(err)
	// One that is over before anybody can look is found out as well.
	if _, err = ct.attach(t.Context(), theirs, []string{"true"}, o, labelIn("groups"), nil); !errors.As(err, &wrong) {
		t.Errorf("a command without the label that is short: %v", err)
	}
	if _, end, err := output(t, ct, "echo > /go; sleep 2; rm /go; test ! -e /escaped"); err != nil || end != (End{}) {
		t.Errorf("the command went on: %v, %v", end, err)
	}
}

// go-lxc holds one lock for a Container while a command runs in it. Every
// operation here has a Container of its own.
func TestKernelTogether(t *testing.T) {
	kernel(t, "together", "")
	ct := started(t, "together", Making{Label: labelIn("together")})
	slow := make(chan error, 1)
	go func() {
		end, err := ct.Run(t.Context(), Command{Args: []string{"sleep", "300"}})
		if end.Signal != syscall.SIGKILL {
			err = errors.Join(err, fmt.Errorf("it ended: %v", end))
		}
		slow <- err
	}()
	for try := 0; ; try++ {
		if said, _, err := output(t, ct, "ps"); err != nil {
			t.Fatal(err)
		} else if strings.Contains(said, "sleep 300") {
			break
		} else if try == 200 {
			t.Fatalf("the command is not running:\n%s", said)
		}
		time.Sleep(50 * time.Millisecond)
	}
	begin := time.Now()
	if s, err := ct.Status(t.Context()); err != nil || s.State != "RUNNING" || !s.AsAsked {
		t.Errorf("status: %+v, %v", s, err)
	}
	if _, end, err := output(t, ct, "exit 3"); err != nil || end.Status != 3 {
		t.Errorf("a second command: %v, %v", end, err)
	}
	if err := ct.Stop(t.Context(), 0); err != nil {
		t.Error(err)
	}
	if took := time.Since(begin); took > 2*time.Minute {
		t.Errorf("it all waited for the first command: %v", took)
	}
	if err := <-slow; err != nil {
		t.Errorf("the first command: %v", err)
	}
}

// strict allows no signal: the Go runtime sends itself SIGURG, which would be a
// denial of our own making if it reached anything that the policy confines.
const strict = `abi <kernel>,
profile container flags=(attach_disconnected,mediate_deleted) {
  file,
  capability,
  network,
  unix,
  mount,
  umount,
  pivot_root,
  deny ptrace,
}
`

func TestKernelStrict(t *testing.T) {
	kernel(t, "strict", strict)
	root(t)
	time.Sleep(10 * time.Millisecond)
	begin := time.Now()
	ct := started(t, "strict", Making{Label: labelIn("strict")})
	for range 5 {
		// Without a shell, which may ignore signals itself.
		said, end, err := outputOf(t, ct, "grep", "-hE", "container|Sig(Blk|Ign)", "/proc/self/attr/current", "/proc/self/status")
		if err != nil || end != (End{}) || !strings.HasPrefix(said, "container (enforce)\n") || strings.Count(said, "\t0000000000000000\n") != 2 {
			t.Fatalf("%q, %v, %v", said, end, err)
		}
	}
	if s, err := ct.Status(t.Context()); err != nil || !s.AsAsked {
		t.Errorf("%+v, %v", s, err)
	}
	for _, r := range records(t, begin) {
		// getty signals its own process group.
		if (r.Operation == "signal" || r.Operation == "ptrace") && r.Command != "getty" {
			t.Errorf("a denial of our own making: %v", r)
		}
	}
	// The policy keeps even root's signals from init; the container is ended
	// all the same.
	if err := ct.Stop(t.Context(), 0); err != nil {
		t.Error(err)
	}
	if left := ct.leftovers(base).describe(); left != nil {
		t.Errorf("it left %q", left)
	}
}

func records(t *testing.T, since time.Time) []nsmgr.Record {
	t.Helper()
	// A record's time has milliseconds.
	all, err := nsmgr.Records(since.Truncate(time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// A policy that has init leave the label that was asked for: the container is
// ended.
const astray = `abi <kernel>,
profile container flags=(attach_disconnected,mediate_deleted) {
  file,
  /{,usr/}{,s}bin/init px -> other,
  /{,usr/}bin/busybox px -> other,
  capability, network, unix, mount, umount, pivot_root, signal, ptrace,
}
profile other flags=(attach_disconnected,mediate_deleted) {
  file, capability, network, unix, mount, umount, pivot_root, signal, ptrace,
}
`

func TestKernelAstray(t *testing.T) {
	kernel(t, "astray", strings.Replace(astray, "  file,\n  /", "  /** rwmlk,\n  /", 1))
	ct := container(t, "astray", Making{Label: labelIn("astray"), Rootfs: root(t)})
	err := ct.Start(t.Context())
	var wrong *LabelError
	if !errors.As(err, &wrong) || exit.Status(err) != exit.Failed {
		t.Fatalf("an init that has another label: %v", err)
	}
	t.Log(err)
	if s, err := ct.Status(t.Context()); err != nil || s.State != "STOPPED" || s.Leftovers != nil {
		t.Errorf("it was not ended: %+v, %v", s, err)
	}
}

// A container whose init has not the label of the configuration gets no
// command: LXC would run it under the label that init has.
func TestKernelOtherLabel(t *testing.T) {
	v := kernel(t, "other", "")
	ct := started(t, "other", Making{Label: labelIn("other")})
	b, err := os.ReadFile(ct.config())
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(b), ":other:container", ":other:unconfined", 1)
	if err := os.WriteFile(ct.config(), []byte(changed), 0o640); err != nil {
		t.Fatal(err)
	}
	if _, _, err := output(t, ct, "true"); exit.Status(err) != exit.Failed || !strings.Contains(fmt.Sprint(err), "nothing is run") {
		t.Errorf("%v", err)
	}
	if s, err := ct.Status(t.Context()); err != nil || s.AsAsked {
		t.Errorf("%+v, %v", s, err)
	}
	if err := ct.Start(t.Context()); exit.Status(err) != exit.Failed {
		t.Errorf("start again: %v", err)
	}
	if err := os.WriteFile(ct.config(), b, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := ct.Start(t.Context()); exit.Status(err) != exit.Usage || !strings.Contains(fmt.Sprint(err), "is already running") {
		t.Errorf("start again: %v", err)
	}
	// Of a namespace that has gone, nothing can be entered any more.
	if err := v.Delete(t.Context(), "other", nsmgr.Deletion{Force: true}); err != nil {
		t.Fatal(err)
	}
	if said, end, err := output(t, ct, "cat /proc/self/attr/current"); err == nil {
		t.Errorf("a command in a container whose namespace was removed: %q, %v", said, end)
	} else {
		t.Log(err)
	}
	if err := ct.Stop(t.Context(), 0); err != nil {
		t.Error(err)
	}
}

func TestKernelNotBound(t *testing.T) {
	kernel(t, "bound", "")
	ct := container(t, "bound", Making{Label: labelIn("bound"), Rootfs: root(t)})
	b, err := os.ReadFile(ct.config())
	if err != nil {
		t.Fatal(err)
	}
	for _, label := range []string{"generated", "unconfined", "unchanged", "host-ct", ""} {
		changed := strings.Replace(string(b), labelIn("bound").String(), label, 1)
		if err := os.WriteFile(ct.config(), []byte(changed), 0o640); err != nil {
			t.Fatal(err)
		}
		if err := ct.Start(t.Context()); exit.Status(err) != exit.Usage || !strings.Contains(fmt.Sprint(err), "names no namespace") {
			t.Errorf("start with %q: %v", label, err)
		}
	}
	if err := ct.Create(t.Context(), Making{Label: labelIn("bound")}); err != nil {
		t.Error(err)
	}
	if err := ct.Start(t.Context()); err != nil {
		t.Error(err)
	}
}

// world is all that a container may leave behind.
func world(t *testing.T) (all []string) {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	all = strings.Split(strings.TrimSpace(string(mounts)), "\n")
	for _, dir := range below(cgroupfs) {
		if strings.Contains(dir, "lxc.") {
			all = append(all, "cgroup "+dir)
		}
	}
	v, err := nsmgr.Open()
	if err != nil {
		t.Fatal(err)
	}
	names, err := v.Below("")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		all = append(all, "namespace "+string(n))
	}
	tasks, err := v.Tasks("")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		all = append(all, "task "+task.String())
	}
	dirs, err := os.ReadDir(DefaultPath)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		all = append(all, "container "+d.Name())
	}
	slices.Sort(all)
	return all
}

func sameWorld(t *testing.T, when string, before []string) {
	t.Helper()
	after := world(t)
	for _, what := range after {
		if !slices.Contains(before, what) {
			t.Errorf("%s: it left %s", when, what)
		}
	}
}

// However far a start came before its caller was killed, the next one starts
// the container, and when that is removed, nothing is left.
func TestKernelKilledStart(t *testing.T) {
	kernel(t, "killed", "")
	root(t)
	before := world(t)
	begin := time.Now()
	ct := Container{Name: "killed"}
	if err := ct.Create(t.Context(), Making{Label: labelIn("killed"), Rootfs: root(t)}); err != nil {
		t.Fatal(err)
	}
	clock := time.Now()
	if out, err := operation(t, "start killed").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	took := time.Since(clock)
	t.Logf("a start takes %v", took)
	if err := ct.Stop(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	const rounds = 8
	for i := range rounds {
		cmd := operation(t, "start killed")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(took * time.Duration(i) / rounds)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		when := fmt.Sprintf("killed after %d/%d of a start", i, rounds)
		// The monitor that it started may continue for a while.
		if err := ct.Start(t.Context()); err != nil && !strings.Contains(err.Error(), "is already running") {
			t.Fatalf("%s: %v", when, err)
		}
		if said, _, err := output(t, ct, "cat /proc/1/attr/current"); err != nil || !strings.HasPrefix(said, "container (enforce)") {
			t.Errorf("%s: %q, %v", when, said, err)
		}
		if inits := initsOf(t, "killed"); inits != 1 {
			t.Errorf("%s: %d containers run", when, inits)
		}
		if err := ct.Stop(t.Context(), 0); err != nil {
			t.Fatalf("%s: %v", when, err)
		}
	}
	if err := ct.Destroy(t.Context()); err != nil {
		t.Fatal(err)
	}
	sameWorld(t, "starts that were killed", before)
	t.Logf("%d starts in %v", rounds, time.Since(begin))
}

// initsOf counts the first processes of pid namespaces among the tasks that
// the namespace confines.
func initsOf(t *testing.T, ns nsmgr.Name) (n int) {
	t.Helper()
	v, err := nsmgr.Open()
	if err != nil {
		t.Fatal(err)
	}
	tasks, err := v.Tasks(ns)
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		if len(task.Inside) == 1 && task.Inside[0] == 1 {
			n++
		}
	}
	return n
}

// template is one of several steps, as the real ones are, and quicker.
func template(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "template")
	const script = `#!/bin/sh
for word; do case $word in --rootfs=*) root=${word#--rootfs=};; --path=*) path=${word#--path=};; esac; done
for dir in $(ls BASE); do cp -a "BASE/$dir" "$root/"; sleep 0.02; done
printf 'lxc.uts.name = made\nlxc.mount.entry = /lib lib none ro,bind 0 0\nlxc.mount.auto = proc:mixed sys:ro\n' >>"$path/config"
`
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(script, "BASE", root(t))), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// killWithin kills an operation after a part of the time that one takes. One
// that is over by then takes less than was measured: other work held it up.
func killWithin(t *testing.T, what string, took *time.Duration, part, of int) (when string) {
	t.Helper()
	cmd := operation(t, what)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	wait := *took * time.Duration(part) / time.Duration(of)
	when = fmt.Sprintf("%s, killed after %v of %v", what, wait, *took)
	time.Sleep(wait)
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if cmd.ProcessState.Exited() {
		*took = wait
	}
	return when
}

// A create that was killed leaves what the next one removes.
func TestKernelKilledCreate(t *testing.T) {
	kernel(t, "half", "")
	template := template(t)
	before := world(t)
	ct := Container{Name: "half"}
	create := "create half " + labelIn("half").String() + " " + template
	clock := time.Now()
	if out, err := operation(t, create).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	took := time.Since(clock)
	t.Logf("a create takes %v", took)
	if err := ct.Destroy(t.Context()); err != nil {
		t.Fatal(err)
	}
	const rounds = 5
	half := 0
	for i := 0; i < rounds || half == 0 && i < 4*rounds; i++ {
		when := killWithin(t, create, &took, i%rounds+1, rounds+1)
		if ct.cutShort() {
			half++
		} else if s, err := ct.Status(t.Context()); err == nil && !s.Mapped {
			t.Errorf("%s: it was to be unprivileged, and is not: %+v", when, s)
		}
		// An incomplete container is removed by whoever comes next: here a start,
		// which then has nothing to start, unless the making was complete.
		err := ct.Start(t.Context())
		if err != nil && !strings.Contains(err.Error(), "no such container") && !strings.Contains(err.Error(), "names no namespace") {
			t.Errorf("%s: %v", when, err)
		}
		if exists(ct.config()) {
			err = ct.Destroy(t.Context())
		}
		if exists(ct.dir()) {
			t.Errorf("%s: %s is left: %v", when, ct.dir(), err)
		}
	}
	if half == 0 {
		t.Error("no making was cut short: the test shows nothing")
	}
	if err := ct.Create(t.Context(), Making{Label: labelIn("half"), Template: template}); err != nil {
		t.Fatal(err)
	}
	if err := ct.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := ct.Destroy(t.Context()); err != nil {
		t.Fatal(err)
	}
	sameWorld(t, "creates that were killed", before)
}

// A removal that was killed is finished by the next operation.
func TestKernelKilledDestroy(t *testing.T) {
	kernel(t, "gone", "")
	template := template(t)
	before := world(t)
	ct := Container{Name: "gone"}
	create := func() {
		t.Helper()
		if err := ct.Create(t.Context(), Making{Label: labelIn("gone"), Template: template}); err != nil {
			t.Fatal(err)
		}
		// Many files, which take their time.
		for i := range 300 {
			if err := os.WriteFile(filepath.Join(ct.dir(), "rootfs", "tmp", fmt.Sprint(i)), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	create()
	clock := time.Now()
	if out, err := operation(t, "destroy gone").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	took := time.Since(clock)
	t.Logf("a destroy takes %v", took)
	const rounds = 4
	half := 0
	for i := 0; i < rounds || half == 0 && i < 4*rounds; i++ {
		create()
		when := killWithin(t, "destroy gone", &took, i%rounds+1, rounds+1)
		if ct.cutShort() {
			half++
			if err := ct.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "no such container") {
				t.Errorf("start what is half removed: %v", err)
			}
		} else if exists(ct.config()) {
			if err := ct.Destroy(t.Context()); err != nil {
				t.Error(err)
			}
		}
		if exists(ct.dir()) || exists(ct.half()) {
			t.Errorf("%s: %s is left", when, ct.dir())
		}
	}
	if half == 0 {
		t.Error("no removal was cut short: the test shows nothing")
	}
	sameWorld(t, "removals that were killed", before)
}

// Whoever of a container is killed, the next start cleans up.
func TestKernelKilledContainer(t *testing.T) {
	kernel(t, "dead", "")
	root(t)
	before := world(t)
	ct := Container{Name: "dead"}
	if err := ct.Create(t.Context(), Making{Label: labelIn("dead"), Rootfs: root(t)}); err != nil {
		t.Fatal(err)
	}
	for _, who := range []string{"monitor", "init", "both"} {
		if err := ct.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		s, err := ct.Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if who != "init" {
			kill(t, parent(t, s.PID))
		}
		if who != "monitor" {
			kill(t, s.PID)
		}
		time.Sleep(300 * time.Millisecond)
		// The monitor may notice later that init was killed.
		for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
			if s, err = ct.Status(t.Context()); err == nil && s.State == "STOPPED" {
				break
			}
		}
		t.Logf("%s killed: %+v, %v", who, s, err)
		if who == "monitor" && len(s.Leftovers) == 0 {
			t.Errorf("%s killed: nothing is left: the test shows nothing", who)
		}
		if err := ct.Start(t.Context()); err != nil {
			t.Errorf("%s killed: %v", who, err)
		}
		if n := initsOf(t, "dead"); n != 1 {
			t.Errorf("%s killed: %d containers run", who, n)
		}
		if err := ct.Stop(t.Context(), 0); err != nil {
			t.Errorf("%s killed: %v", who, err)
		}
	}
	if err := ct.Destroy(t.Context()); err != nil {
		t.Fatal(err)
	}
	sameWorld(t, "containers that were killed", before)
}

// Tasks that are left in the container's cgroups are ended if they are the
// container's, and no others: LXC calls the cgroups of another container so, if
// that has the same name in another directory.
func TestKernelOrphans(t *testing.T) {
	kernel(t, "orphans", "")
	ct := container(t, "orphans", Making{Label: labelIn("orphans"), Rootfs: root(t)})
	dir := filepath.Join(cgroupfs, payloadCgroup+"orphans")
	if !exists(filepath.Join(cgroupfs, "cgroup.procs")) {
		t.Skip("the cgroups are of version 1")
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.Remove(dir) }()
	sleeper := func(chroot string) (*exec.Cmd, chan error) {
		cmd := child.Command(t.Context(), "/bin/sleep", "600")
		cmd.SysProcAttr.Chroot = chroot
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), fmt.Append(nil, cmd.Process.Pid), 0); err != nil {
			t.Fatal(err)
		}
		over := make(chan error, 1)
		go func() { over <- cmd.Wait() }()
		return cmd, over
	}
	ours, oursOver := sleeper(base)
	theirs, theirsOver := sleeper("")
	s, err := ct.Status(t.Context())
	if want := fmt.Sprintf("process %d", ours.Process.Pid); err != nil || !slices.Equal(s.Leftovers, []string{want}) {
		t.Errorf("%q, %v, want %q", s.Leftovers, err, want)
	}
	if err := ct.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	select {
	case <-oursOver:
	case <-time.After(time.Minute):
		t.Error("what was left of the container goes on")
	}
	select {
	case err := <-theirsOver:
		t.Errorf("another's task was ended: %v", err)
	default:
	}
	_ = theirs.Process.Kill()
	<-theirsOver
	if said, _, err := output(t, ct, "cat /proc/1/attr/current"); err != nil || said != "container (enforce)\n" {
		t.Errorf("%q, %v", said, err)
	}
}

func kill(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatalf("kill %d: %v", pid, err)
	}
}

func parent(t *testing.T, pid int) (ppid int) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscan(string(b[bytes.LastIndexByte(b, ')')+3:]), &ppid); err != nil {
		t.Fatal(err)
	}
	return ppid
}

// Of two starts at once, one starts the container and the other says so.
func TestKernelTwoStarts(t *testing.T) {
	kernel(t, "twice", "")
	ct := container(t, "twice", Making{Label: labelIn("twice"), Rootfs: root(t)})
	var out [2]bytes.Buffer
	var cmds [2]*exec.Cmd
	for i := range cmds {
		cmds[i] = operation(t, "start twice")
		cmds[i].Stderr = &out[i]
		if err := cmds[i].Start(); err != nil {
			t.Fatal(err)
		}
	}
	good := 0
	for i, cmd := range cmds {
		if err := cmd.Wait(); err == nil {
			good++
		} else if !strings.Contains(out[i].String(), "is already running") {
			t.Errorf("%v: %s", err, out[i].String())
		}
	}
	if good != 1 || initsOf(t, "twice") != 1 {
		t.Errorf("%d of two starts did it", good)
	}
	_ = ct
}

// Users are mapped, the files keep their owners, and two containers share no
// id.
func TestKernelUnprivileged(t *testing.T) {
	kernel(t, "users", "")
	a := container(t, "users1", Making{Label: labelIn("users"), Unprivileged: true, Template: template(t)})
	if err := a.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	b := started(t, "users2", Making{Label: labelIn("users"), Unprivileged: true})
	maps := map[string]bool{}
	for _, ct := range []Container{a, b} {
		said, _, err := output(t, ct, "cat /proc/self/uid_map; stat -c %u:%g /bin/busybox /etc/passwd; touch /new && stat -c %u:%g /new; id -u; cat /proc/self/attr/current")
		if err != nil {
			t.Fatal(err)
		}
		line, rest, _ := strings.Cut(said, "\n")
		if want := "0:0\n0:0\n0:0\n0\ncontainer (enforce)"; strings.TrimSpace(rest) != want {
			t.Errorf("%s: %q, want %q", ct.Name, rest, want)
		}
		maps[line] = true
		folder := base
		if ct == a {
			folder = filepath.Join(ct.dir(), "rootfs")
		}
		if st, err := os.Stat(filepath.Join(folder, "new")); err != nil || st.Sys().(*syscall.Stat_t).Uid != 0 {
			t.Errorf("%s: the file on disk: %v, %v", ct.Name, st, err)
		}
		s, err := ct.Status(t.Context())
		if err != nil || !s.Mapped || !s.AsAsked {
			t.Errorf("%+v, %v", s, err)
		}
		if st, err := os.Stat(fmt.Sprintf("/proc/%d", s.PID)); err != nil || st.Sys().(*syscall.Stat_t).Uid < 100000 {
			t.Errorf("%s: init belongs to %v, %v", ct.Name, st, err)
		}
	}
	if len(maps) != 2 {
		t.Errorf("they share ids: %v", maps)
	}
}

// A directory that the user gave stays when the container is removed, unprivileged
// containers included.
func TestKernelRootfs(t *testing.T) {
	kernel(t, "folder", "")
	_ = container(t, "source", Making{Label: labelIn("folder"), Rootfs: root(t)})
	for _, unprivileged := range []bool{false, true} {
		ct := Container{Name: fmt.Sprintf("folder-%v", unprivileged)}
		if err := ct.Create(t.Context(), Making{Label: labelIn("folder"), Rootfs: root(t), Unprivileged: unprivileged}); err != nil {
			t.Fatal(err)
		}
		if err := ct.Start(t.Context()); err != nil {
			t.Errorf("unprivileged %v: %v", unprivileged, err)
		}
		if said, _, err := output(t, ct, "cat /proc/1/attr/current; hostname"); err != nil || said != "container (enforce)\n"+ct.Name+"\n" {
			t.Errorf("unprivileged %v: %q, %v", unprivileged, said, err)
		}
		if err := ct.Destroy(t.Context()); err != nil {
			t.Error(err)
		}
		if !exists(filepath.Join(base, "bin/busybox")) {
			t.Fatal("it removed the user's folder")
		}
		if exists(ct.dir()) {
			t.Errorf("%s is left", ct.dir())
		}
	}
}

// A container that somebody else's tool made gets a label, and nothing else
// changes.
func TestKernelAdopt(t *testing.T) {
	kernel(t, "adopted", "")
	if out, err := exec.CommandContext(t.Context(), "lxc-create", "-n", "theirs", "-t", template(t)).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	ct := Container{Name: "theirs"}
	t.Cleanup(func() { _ = ct.Destroy(context.Background()) })
	f, err := os.OpenFile(ct.config(), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("lxc.net.0.type = empty\nlxc.uts.name = kept\n"); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	if err := ct.Start(t.Context()); exit.Status(err) != exit.Usage {
		t.Errorf("started before it was adopted: %v", err)
	}
	if err := ct.Create(t.Context(), Making{Label: labelIn("adopted"), Template: "busybox"}); exit.Status(err) != exit.Usage || !strings.Contains(fmt.Sprint(err), "already exists") {
		t.Errorf("made over it: %v", err)
	}
	if err := ct.Create(t.Context(), Making{Label: labelIn("adopted")}); err != nil {
		t.Fatal(err)
	}
	if err := ct.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if said, _, err := output(t, ct, "cat /proc/1/attr/current; hostname"); err != nil || said != "container (enforce)\nkept\n" {
		t.Errorf("%q, %v", said, err)
	}
	if err := ct.Create(t.Context(), Making{Label: labelIn("adopted")}); exit.Status(err) != exit.Usage || !strings.Contains(fmt.Sprint(err), "is running") {
		t.Errorf("adopted while it runs: %v", err)
	}
}

// What LXC says against a start is in the error.
func TestKernelReason(t *testing.T) {
	kernel(t, "reason", "")
	ct := container(t, "reason", Making{Label: labelIn("reason"), Rootfs: root(t)})
	f, err := os.OpenFile(ct.config(), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString("lxc.init.cmd = /nosuch\n"); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	if err := ct.Start(t.Context()); exit.Status(err) != exit.Failed || !strings.Contains(fmt.Sprint(err), "/nosuch") {
		t.Errorf("%v", err)
	} else {
		t.Log(err)
	}
	if _, err := (Container{Name: "bad"}).there(); exit.Status(err) != exit.Usage {
		t.Errorf("%v", err)
	}
	// A template that fails leaves nothing and is quoted.
	bad := filepath.Join(t.TempDir(), "template")
	if err := os.WriteFile(bad, []byte("#!/bin/sh\necho no luck today >&2\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	err = Container{Name: "bad"}.Create(t.Context(), Making{Label: labelIn("reason"), Template: bad})
	if err == nil || !strings.Contains(err.Error(), "no luck today") || exists(Container{Name: "bad"}.dir()) {
		t.Errorf("%v, left %v", err, exists(Container{Name: "bad"}.dir()))
	}
}

// LXC puts whoever starts a container into the monitor's cgroup; Start goes
// back.
func TestKernelHome(t *testing.T) {
	kernel(t, "home", "")
	cgroup := func() string {
		b, err := os.ReadFile("/proc/self/cgroup")
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	before := cgroup()
	ct := started(t, "home", Making{Label: labelIn("home")})
	if after := cgroup(); after != before || strings.Contains(after, "lxc.") {
		t.Errorf("it is in %q, and was in %q", after, before)
	}
	if err := ct.Stop(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	// Started by LXC's own means, this process stays there; nobody may take it
	// for a monitor and kill it.
	theirs, err := ct.there()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = theirs.Release() }()
	defer home()()
	if err := theirs.Start(); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(cgroup(), "lxc.monitor.home") {
		t.Logf("LXC leaves the caller where it is: %q", cgroup())
	}
	if out, err := operation(t, "stop home").CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func TestKernelVersion(t *testing.T) {
	kernel(t, "version", "")
	if Version() == "" || Version() != lxc.Version() {
		t.Error(Version())
	}
	t.Log("liblxc", Version())
}
