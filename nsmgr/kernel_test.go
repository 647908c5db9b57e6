// SPDX-License-Identifier: Apache-2.0

package nsmgr_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"proofhouse/internal/child"
	"proofhouse/nsmgr"
	"proofhouse/profiles"
)

// These tests change the policy of the kernel that they run on. TestE2EKernel
// boots one for them.
const (
	onKernel = "NSMGR_KERNEL_TESTS" // set if the tests may change this kernel's policy
	actAs    = "NSMGR_TEST_CHILD"   // what this process does instead of testing
)

func TestMain(m *testing.M) {
	switch what, args, _ := strings.Cut(os.Getenv(actAs), " "); what {
	case "exec": // NAMESPACE PROFILE HOST: sleep there; HOST "-" is flat
		w := strings.Fields(args)
		t := nsmgr.Target{Namespace: nsmgr.Name(w[0]), Profile: w[1], Host: w[2]}
		if w[2] == "-" {
			t.Host, t.Flat = "", true
		}
		v, err := nsmgr.Open()
		if err == nil {
			err = v.Exec(t, "/bin/sleep", []string{"sleep", "60"}, nil)
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	case "ask": // LABEL: request it for the next exec, report that, wait for a byte, sleep
		ask(args)
	case "storm": // start threads, one after another, each of which ends at once
		for {
			done := make(chan struct{})
			go func() {
				runtime.LockOSThread() // its thread ends with it
				close(done)
			}()
			<-done
		}
	case "churn": // NAMESPACE FILE: create and remove it until killed, and report each round
		w := strings.Fields(args)
		churn(nsmgr.Name(w[0]), w[1])
	case "rounds": // TIMES FILE CACHE: time rounds in this process
		w := strings.Fields(args)
		times, _ := strconv.Atoi(w[0])
		if err := timeRounds(times, w[1], w[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func ask(label string) {
	runtime.LockOSThread()
	err := os.WriteFile("/proc/thread-self/attr/apparmor/exec", []byte("exec "+label), 0)
	if err == nil {
		_, err = os.Stdout.WriteString("asked\n")
	}
	if err == nil {
		_, err = os.Stdin.Read(make([]byte, 1))
	}
	if err == nil {
		err = syscall.Exec("/bin/sleep", []string{"sleep", "60"}, nil)
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func churn(ns nsmgr.Name, file string) {
	v, err := nsmgr.Open()
	if err != nil {
		panic(err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		panic(err)
	}
	policy := nsmgr.Policy{{Origin: file, Data: data}}
	ctx := context.Background()
	for {
		if err := v.Create(ctx, ns, nsmgr.Making{Policy: policy}); err != nil && !errors.Is(err, nsmgr.ErrExist) {
			panic(err)
		}
		if err := v.Delete(ctx, ns, nsmgr.Deletion{}); err != nil && !errors.Is(err, nsmgr.ErrNotExist) {
			panic(err)
		}
		if _, err := os.Stdout.WriteString("round\n"); err != nil {
			panic(err)
		}
	}
}

func kernel(t *testing.T) (context.Context, *nsmgr.View) {
	t.Helper()
	if os.Getenv(onKernel) == "" {
		t.Skip("changes the kernel's policy: make test-e2e")
	}
	v, err := nsmgr.Open()
	if err != nil {
		t.Fatal(err)
	}
	before := taint(t)
	t.Cleanup(func() {
		if now := taint(t); now != before {
			t.Errorf("the kernel's taint was %s and is %s: it warned of something", before, now)
		}
		if left, err := v.Below(""); err != nil || len(left) > 0 {
			t.Errorf("left behind: %q, %v", left, err)
		}
		if notes, err := os.ReadDir("/run/nsmgr/namespaces"); err == nil && len(notes) > 0 {
			t.Errorf("notes left behind: %v", notes)
		}
	})
	return t.Context(), v
}

func taint(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("/proc/sys/kernel/tainted")
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(b))
}

// compile compiles text for this kernel.
func compile(t *testing.T, v *nsmgr.View, text string) nsmgr.Policy {
	t.Helper()
	f, err := v.Features()
	if err != nil {
		t.Fatal(err)
	}
	c, err := profiles.NewCompiler(f)
	if err != nil {
		t.Fatal(err)
	}
	b, err := c.Text(t.Context(), "test.aa", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return nsmgr.Policy{b}
}

const wide = "abi <kernel>,\nprofile %s flags=(attach_disconnected) { file, signal, ptrace, capability, network, unix, }\n"

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// sleeper starts a process that sleeps in the namespace, and waits until it is
// there. host "-" is flat.
func sleeper(t *testing.T, v *nsmgr.View, ns nsmgr.Name, profile, host string) *exec.Cmd {
	t.Helper()
	cmd := child.Command(context.Background(), os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=exec %s %s %s", actAs, ns, profile, host))
	cmd.Stderr = os.Stderr
	must(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for range 500 {
		tasks, err := v.Tasks(ns)
		must(t, err)
		if slices.ContainsFunc(tasks, func(x nsmgr.Task) bool { return x.PID == cmd.Process.Pid && x.Command == "sleep" }) {
			return cmd
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("process %d does not come into %s", cmd.Process.Pid, ns)
	return nil
}

func TestKernelLifecycle(t *testing.T) {
	ctx, v := kernel(t)
	policy := compile(t, v, "abi <kernel>,\nprofile a { /** r, ^hat { /** r, } }\nprofile b flags=(complain) { /** r, }\n")
	must(t, v.Create(ctx, "one", nsmgr.Making{Policy: policy, Container: "ct"}))
	must(t, v.Create(ctx, "one//two", nsmgr.Making{}))
	if err := v.Create(ctx, "one", nsmgr.Making{}); !errors.Is(err, nsmgr.ErrExist) {
		t.Errorf("made twice: %v", err)
	}
	list, err := v.List()
	must(t, err)
	if len(list) != 2 || list[0] != (nsmgr.Listed{Name: "one", Level: 1, Profiles: 2, Mine: true}) || list[1].Name != "one//two" {
		t.Errorf("list: %+v", list)
	}
	profiles, err := v.Profiles("one")
	must(t, err)
	var got []string
	for _, p := range profiles {
		got = append(got, p.Name+" "+p.Mode)
		if !strings.HasPrefix(p.Hash, "sha") {
			t.Errorf("profile %s has hash %q", p.Name, p.Hash)
		}
	}
	if want := []string{"a enforce", "a//hat enforce", "b complain"}; !slices.Equal(got, want) {
		t.Errorf("profiles %q, want %q", got, want)
	}
	before, err := v.Revision("one")
	must(t, err)
	saved, err := v.Save(ctx, "one")
	must(t, err)
	must(t, v.Unload(ctx, "one", nsmgr.Removal{}, "a"))
	if after, err := v.Revision("one"); err != nil || after <= before {
		t.Errorf("revision %d after %d, %v", after, before, err)
	}
	if err := v.Unload(ctx, "one", nsmgr.Removal{}, "b", "a"); !errors.Is(err, nsmgr.ErrNotExist) {
		t.Errorf("unloaded twice: %v", err)
	}
	must(t, v.Load(ctx, "one", compile(t, v, fmt.Sprintf(wide, "other")), nsmgr.LoadOptions{}))
	must(t, v.Load(ctx, "one", saved, nsmgr.LoadOptions{ReplaceAll: true}))
	again, err := v.Profiles("one")
	must(t, err)
	for i, p := range again {
		p.Raw, profiles[i].Raw = 0, 0
		if i >= len(profiles) || p != profiles[i] {
			t.Errorf("restored %+v", p)
		}
	}
	if err := v.Delete(ctx, "one", nsmgr.Deletion{}); err == nil || !strings.Contains(err.Error(), "one//two") {
		t.Errorf("removed with another below it: %v", err)
	}
	must(t, v.Delete(ctx, "one", nsmgr.Deletion{Recursive: true}))
	if err := v.Delete(ctx, "one", nsmgr.Deletion{}); !errors.Is(err, nsmgr.ErrNotExist) {
		t.Errorf("removed twice: %v", err)
	}
}

// A namespace with any accepted name can be listed, used in a label and removed.
func TestKernelNames(t *testing.T) {
	ctx, v := kernel(t)
	policy := compile(t, v, fmt.Sprintf(wide, "p"))
	for _, name := range []string{
		"plain", "lxc-c1_<-var-lib-lxc>", "a.b", "a=b", "ümlaut", "a+b~c@d%e!|", strings.Repeat("x", nsmgr.MaxName),
	} {
		must(t, nsmgr.CheckName(name))
		ns := nsmgr.Name(name)
		must(t, v.Create(ctx, ns, nsmgr.Making{Policy: policy}))
		if below, err := v.Below(""); err != nil || !slices.Contains(below, ns) {
			t.Errorf("%q is not in %q, %v", name, below, err)
		}
		s := sleeper(t, v, ns, "p", "-")
		_ = s.Process.Kill()
		_ = s.Wait()
		must(t, v.Delete(ctx, ns, nsmgr.Deletion{}))
	}
}

func TestKernelDepth(t *testing.T) {
	ctx, v := kernel(t)
	var ns nsmgr.Name
	for range nsmgr.MaxDepth {
		ns = ns.Child("n")
		must(t, v.Create(ctx, ns, nsmgr.Making{}))
	}
	if err := v.Create(ctx, ns.Child("n"), nsmgr.Making{}); err == nil || !strings.Contains(err.Error(), "levels deep") {
		t.Errorf("one deeper: %v", err)
	}
	must(t, v.Delete(ctx, "n", nsmgr.Deletion{Recursive: true}))
}

// A load that fails leaves the namespace unchanged, and the error has the reason.
func TestKernelLoadIsAtomic(t *testing.T) {
	ctx, v := kernel(t)
	good := compile(t, v, fmt.Sprintf(wide, "good"))
	must(t, v.Create(ctx, "atomic", nsmgr.Making{Policy: good}))
	before, err := v.Profiles("atomic")
	must(t, err)
	more := compile(t, v, "abi <kernel>,\nprofile good { /etc/** r, }\nprofile more { /** r, }\n")
	// nsmgr itself refuses truncated policy; only the kernel checks the tables of a
	// DFA.
	broken := nsmgr.Policy{{Origin: more[0].Origin, Data: bytes.Clone(more[0].Data)}}
	tables := bytes.LastIndex(broken[0].Data, []byte("aadfa\x00")) + 200
	for i := range 200 {
		broken[0].Data[tables+i] = 0xff
	}
	cut := nsmgr.Policy{{Origin: more[0].Origin, Data: more[0].Data[:len(more[0].Data)-100]}}
	if err := v.Load(ctx, "atomic", cut, nsmgr.LoadOptions{ReplaceAll: true}); err == nil {
		t.Error("cut policy was loaded")
	}
	err = v.Load(ctx, "atomic", broken, nsmgr.LoadOptions{ReplaceAll: true})
	var loadErr *nsmgr.LoadError
	if !errors.As(err, &loadErr) || loadErr.Err == nil || loadErr.Cause == "" {
		t.Errorf("a load of broken policy: %v", err)
	}
	if loadErr != nil && loadErr.Info == "" {
		t.Logf("the kernel dropped its record: %v", err) // it logs only ten in five seconds
	}
	t.Logf("broken policy: %v", err)
	if after, err := v.Profiles("atomic"); err != nil || !slices.Equal(after, before) {
		t.Errorf("after a failed load: %+v, %v; before: %+v", after, err, before)
	}
	if err := v.Create(ctx, "never", nsmgr.Making{Policy: broken}); err == nil || v.Exists("never") {
		t.Errorf("create with broken policy: %v, and it is there: %v", err, v.Exists("never"))
	}
	must(t, v.Delete(ctx, "atomic", nsmgr.Deletion{}))
}

// Policy that apparmor_parser -n loaded names the namespace; the saved policy does
// not, and can be loaded into another one.
func TestKernelSaveOfTheParsers(t *testing.T) {
	ctx, v := kernel(t)
	file := filepath.Join(t.TempDir(), "p.aa")
	must(t, os.WriteFile(file, []byte("abi <kernel>,\nprofile a { /** r, ^hat { /** r, } }\n"), 0o600))
	if out, err := exec.Command("apparmor_parser", "-r", "-T", "-K", "-n", "parsed", file).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	saved, err := v.Save(ctx, "parsed")
	must(t, err)
	must(t, v.Create(ctx, "copy", nsmgr.Making{Policy: saved}))
	must(t, v.Load(ctx, "parsed", saved, nsmgr.LoadOptions{ReplaceAll: true}))
	if below, err := v.Below(""); err != nil || !slices.Equal(below, []nsmgr.Name{"copy", "parsed"}) {
		t.Errorf("there are %q, %v", below, err)
	}
	for _, ns := range []nsmgr.Name{"copy", "parsed"} {
		var names []string
		all, err := v.Profiles(ns)
		must(t, err)
		for _, p := range all {
			names = append(names, p.Name)
		}
		if want := []string{"a", "a//hat"}; !slices.Equal(names, want) {
			t.Errorf("%s has %q, want %q", ns, names, want)
		}
		must(t, v.Delete(ctx, ns, nsmgr.Deletion{}))
	}
}

func TestKernelDeleteInUse(t *testing.T) {
	ctx, v := kernel(t)
	must(t, v.Load(ctx, "", compile(t, v, fmt.Sprintf(wide, "test-host")), nsmgr.LoadOptions{}))
	t.Cleanup(func() { must(t, v.Unload(context.Background(), "", nsmgr.Removal{}, "test-host")) })
	must(t, v.Create(ctx, "used", nsmgr.Making{}))
	must(t, v.Create(ctx, "used//in", nsmgr.Making{Policy: compile(t, v, fmt.Sprintf(wide, "p"))}))
	flat := sleeper(t, v, "used//in", "p", "-")
	stacked := sleeper(t, v, "used//in", "p", "test-host")
	err := v.Delete(ctx, "used", nsmgr.Deletion{Recursive: true})
	var inUse *nsmgr.InUseError
	if !errors.As(err, &inUse) || len(inUse.Tasks) != 2 {
		t.Fatalf("removed in use: %v", err)
	}
	for _, cmd := range []*exec.Cmd{flat, stacked} {
		if !strings.Contains(err.Error(), fmt.Sprint(cmd.Process.Pid)) {
			t.Errorf("task %d is not named: %v", cmd.Process.Pid, err)
		}
	}
	refused := errors.New("no")
	err = v.Delete(ctx, "used", nsmgr.Deletion{Recursive: true, Force: true, Confirm: func(f, s []nsmgr.Task) error {
		if len(f) != 1 || f[0].PID != flat.Process.Pid || len(s) != 1 || s[0].PID != stacked.Process.Pid {
			t.Errorf("asked about %v and %v", f, s)
		}
		return refused
	}})
	if !errors.Is(err, refused) || !v.Exists("used//in") {
		t.Errorf("a refused force: %v", err)
	}
	must(t, v.Delete(ctx, "used", nsmgr.Deletion{Recursive: true, Kill: true}))
	for _, cmd := range []*exec.Cmd{flat, stacked} {
		if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
			t.Errorf("the task's end: %v", err)
		}
	}
}

// asker is a process that has requested a label for its next exec.
type asker struct {
	*exec.Cmd
	in io.WriteCloser
}

func startAsker(t *testing.T, label string) asker {
	t.Helper()
	cmd := child.Command(context.Background(), os.Args[0])
	cmd.Env = append(os.Environ(), actAs+"=ask "+label)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "asked\n" {
		t.Fatalf("ask for %s: %q, %v", label, line, err)
	}
	return asker{cmd, in}
}

// proceed lets it execute its program.
func (a asker) proceed() { _, _ = a.in.Write([]byte("x")) }

func (a asker) end() {
	_ = a.Process.Kill()
	_ = a.Wait()
}

// A process that has requested a label of the namespace for its next exec counts
// as a task in it: it would run unconfined.
func TestKernelDeletePending(t *testing.T) {
	ctx, v := kernel(t)
	policy := compile(t, v, fmt.Sprintf(wide, "p"))
	must(t, v.Create(ctx, "pending", nsmgr.Making{Policy: policy}))
	shown := func() bool { // 6.1 does not show requests, but raw_data shows that a profile is referenced
		a := startAsker(t, ":pending:p")
		defer a.end()
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/attr/apparmor/exec", a.Process.Pid))
		return err == nil && len(b) > 0
	}()
	t.Logf("this kernel shows what others ask for: %v", shown)
	labels := []string{":pending:p", ":pending:unconfined"}
	if !shown {
		labels = nil
		a := startAsker(t, ":pending:p")
		before, err := v.Profiles("pending")
		must(t, err)
		err = v.Delete(ctx, "pending", nsmgr.Deletion{Sure: true})
		var held *nsmgr.HeldError
		if !errors.As(err, &held) {
			t.Errorf("removed under one that asked for it, unseen: %v", err)
		}
		a.end()
		after, err := v.Profiles("pending")
		for i := range min(len(after), len(before)) {
			after[i].Raw = before[i].Raw
		}
		if err != nil || !slices.Equal(before, after) {
			t.Errorf("the profiles are %+v, %v, and were %+v", after, err, before)
		}
	}
	for _, label := range labels {
		a := startAsker(t, label)
		tasks, err := v.Tasks("pending")
		must(t, err)
		if len(tasks) != 1 || tasks[0].PID != a.Process.Pid || !tasks[0].Pending {
			t.Errorf("tasks with one that asked for %s: %v", label, tasks)
		}
		err = v.Delete(ctx, "pending", nsmgr.Deletion{})
		var inUse *nsmgr.InUseError
		if !errors.As(err, &inUse) || inUse.Late || !strings.Contains(err.Error(), fmt.Sprint(a.Process.Pid)) || !strings.Contains(err.Error(), "next exec") {
			t.Errorf("removed under one that asked for %s: %v", label, err)
		}
		a.end()
	}
	if !shown {
		must(t, v.Delete(ctx, "pending", nsmgr.Deletion{}))
		return
	}
	a := startAsker(t, ":pending:p")
	must(t, v.Delete(ctx, "pending", nsmgr.Deletion{Kill: true}))
	if err := a.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("the end of one that asked: %v", err)
	}
}

// Processes enter while the namespace is removed: a process that would become
// unconfined is named in the error. There is no other outcome.
func TestKernelDeleteRace(t *testing.T) {
	ctx, v := kernel(t)
	policy := compile(t, v, fmt.Sprintf(wide, "p"))
	outcomes := map[string]int{}
	rounds := 60
	if testing.Short() {
		rounds = 25
	}
	for round := range rounds {
		must(t, v.Create(ctx, "race", nsmgr.Making{Policy: policy}))
		// One process requests the label before the removal and executes its program
		// during it; another requests it during the removal.
		before := startAsker(t, ":race:p")
		during := child.Command(context.Background(), os.Args[0])
		during.Env = append(os.Environ(), actAs+"=exec race p -")
		must(t, during.Start())
		delay := time.Duration(round%30) * time.Millisecond
		proceeded := make(chan struct{})
		go func() {
			defer close(proceeded)
			time.Sleep(delay / 3)
			before.proceed()
		}()
		time.Sleep(delay)
		err := v.Delete(ctx, "race", nsmgr.Deletion{Sure: true})
		var inUse *nsmgr.InUseError
		var held *nsmgr.HeldError
		switch {
		case errors.As(err, &held):
			outcomes["held"]++
		case err == nil:
			t.Errorf("round %d: removed under a process that had asked for it", round)
			outcomes["unseen"]++
		case errors.As(err, &inUse) && inUse.Removed:
			outcomes["removed and named"]++
		case errors.As(err, &inUse) && inUse.Late:
			outcomes["late"]++
		case errors.As(err, &inUse):
			outcomes["in time"]++
		default:
			t.Fatal(err)
		}
		if inUse != nil && !slices.ContainsFunc(inUse.Tasks, func(x nsmgr.Task) bool {
			return x.PID == before.Process.Pid || x.PID == during.Process.Pid
		}) {
			t.Errorf("round %d: others are named: %v", round, err)
		}
		<-proceeded
		before.end()
		_ = during.Process.Kill()
		_ = during.Wait()
		if err := v.Delete(ctx, "race", nsmgr.Deletion{}); err != nil && !errors.Is(err, nsmgr.ErrNotExist) {
			t.Fatal(err)
		}
	}
	t.Logf("of %d: %v", rounds, outcomes)
}

func TestKernelManyWriters(t *testing.T) {
	ctx, v := kernel(t)
	policy := compile(t, v, fmt.Sprintf(wide, "p"))
	const writers = 8
	rounds := 200
	if testing.Short() {
		rounds = 25
	}
	var wg sync.WaitGroup
	start := time.Now()
	for w := range writers {
		wg.Go(func() {
			// Half of the writers have their own namespace, half share one.
			ns := nsmgr.Name("shared")
			if w%2 == 0 {
				ns = nsmgr.Name(fmt.Sprintf("own-%d", w))
			}
			for range rounds {
				err := v.Create(ctx, ns, nsmgr.Making{Policy: policy})
				if err != nil && !errors.Is(err, nsmgr.ErrExist) {
					t.Errorf("create %s: %v", ns, err)
				}
				if err := v.Load(ctx, ns, policy, nsmgr.LoadOptions{}); err != nil && !errors.Is(err, nsmgr.ErrNotExist) {
					t.Errorf("load %s: %v", ns, err)
				}
				if err := v.Delete(ctx, ns, nsmgr.Deletion{}); err != nil && !errors.Is(err, nsmgr.ErrNotExist) {
					t.Errorf("delete %s: %v", ns, err)
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d rounds by %d writers in %v", writers*rounds, writers, time.Since(start).Round(time.Millisecond))
}

// Whenever an nsmgr is killed, the next one completes or undoes its work.
func TestKernelKilled(t *testing.T) {
	ctx, v := kernel(t)
	file := filepath.Join(t.TempDir(), "p")
	must(t, os.WriteFile(file, compile(t, v, fmt.Sprintf(wide, "p"))[0].Data, 0o600))
	states := map[string]int{}
	for range 40 {
		cmd := child.Command(context.Background(), os.Args[0])
		cmd.Env = append(os.Environ(), actAs+"=churn killed "+file)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		// The duration of a round depends on the host: it is killed during the third.
		rounds := bufio.NewReader(out)
		_, err = rounds.ReadString('\n')
		must(t, err)
		start := time.Now()
		_, err = rounds.ReadString('\n')
		must(t, err)
		time.Sleep(rand.N(time.Since(start)))
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		profiles, err := v.Profiles("killed")
		switch {
		case errors.Is(err, nsmgr.ErrNotExist):
			states["absent"]++
		case len(profiles) == 0:
			states["half"]++
		default:
			states["whole"]++
		}
		must(t, v.Mend(ctx))
		if profiles, err := v.Profiles("killed"); err == nil && len(profiles) != 1 {
			t.Fatalf("after Mend, it has %d profiles", len(profiles))
		}
	}
	t.Logf("found %v", states)
	if len(states) < 2 {
		t.Errorf("it was always killed in the same state")
	}
	found, err := v.FindGarbage(0)
	must(t, err)
	for _, g := range found {
		must(t, v.Collect(ctx, g, 0))
	}
}

func TestKernelGarbage(t *testing.T) {
	ctx, v := kernel(t)
	must(t, v.Create(ctx, "old", nsmgr.Making{}))
	must(t, v.Create(ctx, "declared", nsmgr.Making{Declared: true}))
	must(t, os.Mkdir("/sys/kernel/security/apparmor/policy/namespaces/theirs", 0o755))
	if found, err := v.FindGarbage(time.Hour); err != nil || len(found) > 0 {
		t.Errorf("garbage at once: %v, %v", found, err)
	}
	found, err := v.FindGarbage(0)
	if err != nil || len(found) != 1 || found[0].Name != "old" {
		t.Errorf("garbage: %v, %v", found, err)
	}
	must(t, v.Collect(ctx, found[0], 0))
	for ns, want := range map[nsmgr.Name]bool{"old": false, "declared": true, "theirs": true} {
		if v.Exists(ns) != want {
			t.Errorf("%s is there: %v", ns, v.Exists(ns))
		}
	}
	// A namespace of the same name that another program created is not ours.
	must(t, os.Remove("/sys/kernel/security/apparmor/policy/namespaces/declared"))
	must(t, os.Mkdir("/sys/kernel/security/apparmor/policy/namespaces/declared", 0o755))
	if v.Mine("declared") {
		t.Error("a namespace that others made after ours counts as ours")
	}
	must(t, v.Mend(ctx))
	must(t, v.Delete(ctx, "declared", nsmgr.Deletion{}))
	must(t, v.Delete(ctx, "theirs", nsmgr.Deletion{}))
}

func TestKernelApply(t *testing.T) {
	ctx, v := kernel(t)
	p := compile(t, v, fmt.Sprintf(wide, "p"))
	q := compile(t, v, fmt.Sprintf(wide, "q"))
	wanted := []nsmgr.Wanted{{Name: "x//y", Policy: p}, {Name: "x", Policy: append(slices.Clone(p), q...)}}
	apply := func(prune bool) (did []string) {
		changes, err := v.Diff(wanted, nsmgr.Prune{All: prune})
		must(t, err)
		for _, c := range changes {
			must(t, v.Apply(ctx, c, nsmgr.Removal{}))
			did = append(did, c.String())
		}
		return did
	}
	steps := []struct {
		prune bool
		want  []string
	}{
		{false, []string{"create x (+ p, + q)", "create x//y (+ p)"}},
		{true, nil},
	}
	for _, s := range steps {
		if did := apply(s.prune); !slices.Equal(did, s.want) {
			t.Errorf("did %q, want %q", did, s.want)
		}
	}
	wanted = []nsmgr.Wanted{{Name: "x", Policy: q}}
	if did, want := apply(true), []string{"load x (- p)", "delete x//y"}; !slices.Equal(did, want) {
		t.Errorf("did %q, want %q", did, want)
	}
	wanted = nil
	if did, want := apply(true), []string{"delete x"}; !slices.Equal(did, want) {
		t.Errorf("did %q, want %q", did, want)
	}
}

func TestKernelRecords(t *testing.T) {
	ctx, v := kernel(t)
	start := time.Now().Add(-time.Second)
	dir := t.TempDir()
	secret := filepath.Join(dir, "the secret")
	must(t, os.WriteFile(secret, nil, 0o644))
	must(t, v.Create(ctx, "logged", nsmgr.Making{Policy: compile(t, v, fmt.Sprintf(
		"abi <kernel>,\nprofile p { file, audit deny \"%s\" r, }\n", secret))}))
	var events []nsmgr.Event
	watching, stop := context.WithTimeout(ctx, 10*time.Minute)
	defer stop()
	done := make(chan error, 1)
	ready := make(chan struct{})
	go func() {
		done <- v.Watch(watching, "logged", func(e nsmgr.Event) error {
			if len(events) == 0 {
				close(ready)
			}
			events = append(events, e)
			return nil
		})
	}()
	select {
	case <-ready:
	case err := <-done:
		t.Fatalf("it is not watched: %v", err)
	}
	// The kernel logs ten records in five seconds and drops the others.
	denied := func(r nsmgr.Record) bool {
		return r.Kind == "DENIED" && r.Namespace == "logged" && r.Profile == "p" && r.Name == secret
	}
	var all []nsmgr.Record
	for range 15 {
		out, err := exec.Command("aa-exec", "-p", ":logged:p", "--", "cat", secret).CombinedOutput()
		if err == nil {
			t.Fatalf("it could read what the policy denies: %s", out)
		}
		time.Sleep(500 * time.Millisecond)
		all, err = nsmgr.Records(start)
		must(t, err)
		if slices.ContainsFunc(all, denied) {
			break
		}
	}
	must(t, v.Delete(ctx, "logged", nsmgr.Deletion{}))
	must(t, <-done)
	if !slices.ContainsFunc(all, denied) {
		t.Errorf("no record of the denial among %v", all)
	}
	var record, removed bool
	for _, e := range events {
		record = record || e.Record != nil && e.Record.Name == secret
		removed = removed || e.Removed
	}
	if !record || !removed {
		t.Errorf("watched: %+v", events)
	}
}

// fastest returns the shortest of three durations: other work on the host only
// adds to them.
func fastest(t *testing.T, f func() error) time.Duration {
	t.Helper()
	best := time.Hour
	for range 3 {
		start := time.Now()
		must(t, f())
		best = min(best, time.Since(start))
	}
	return best
}

// Listing a thousand namespaces takes little more than walking their directories.
func TestKernelScale(t *testing.T) {
	ctx, v := kernel(t)
	policy := compile(t, v, fmt.Sprintf(wide, "p"))
	many := 1000
	if testing.Short() {
		many = 200
	}
	start := time.Now()
	for i := range many {
		must(t, v.Create(ctx, nsmgr.Name(fmt.Sprintf("n%d", i)), nsmgr.Making{Policy: policy}))
	}
	made := time.Since(start)
	list, err := v.List()
	must(t, err)
	if len(list) != many {
		t.Errorf("listed %d", len(list))
	}
	// Both are commands, so that the start of a process counts in both.
	listed := fastest(t, func() error { return exec.Command("nsmgr", "list").Run() })
	asJSON := fastest(t, func() error { return exec.Command("nsmgr", "list", "--json").Run() })
	within := fastest(t, func() error { _, err := v.List(); return err })
	walked := fastest(t, func() error { return exec.Command("find", "/sys/kernel/security/apparmor/policy/").Run() })
	t.Logf("%d namespaces: made in %v, listed in %v (%v without a process, %v as JSON), find took %v", many, made, listed, within, asJSON, walked)
	if !testing.Short() && max(listed, asJSON) > 2*walked { // with few namespaces, looking at all tasks takes longer
		t.Errorf("list took %v, as JSON %v, find %v", listed, asJSON, walked)
	}
	start = time.Now()
	for _, l := range list {
		must(t, v.Delete(ctx, l.Name, nsmgr.Deletion{}))
	}
	t.Logf("removed in %v", time.Since(start))
	if _, err := v.Children("n1"); !errors.Is(err, nsmgr.ErrNotExist) && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOENT) {
		t.Errorf("it is gone, and: %v", err)
	}
}

// A process forks all the time, and each of its tasks lives for less than a
// millisecond. It is always found in the namespace, and is never unconfined.
func TestKernelForkChain(t *testing.T) {
	ctx, v := kernel(t)
	rounds := 100
	if testing.Short() {
		rounds = 10
	}
	policy := compile(t, v, fmt.Sprintf(wide, "p"))
	must(t, v.Create(ctx, "chain", nsmgr.Making{Policy: policy}))
	stop := filepath.Join(t.TempDir(), "stop")
	cmd := child.Command(context.Background(), "aa-exec", "-p", ":chain:p", "--", "perl", "-e",
		`while (1) { my $p = fork; exit if $p; exit if -e $ARGV[0] }`, stop)
	must(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = os.WriteFile(stop, nil, 0o600) })
	for range 500 { // the first task ends once it has forked
		if tasks, err := v.Tasks("chain"); err == nil && len(tasks) > 0 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	for round := range rounds {
		err := v.Delete(ctx, "chain", nsmgr.Deletion{})
		var inUse *nsmgr.InUseError
		if !errors.As(err, &inUse) || inUse.Late || !v.Exists("chain") {
			t.Fatalf("round %d: delete under a chain of forks: %v", round, err)
		}
		err = v.Unload(ctx, "chain", nsmgr.Removal{}, "p")
		if !errors.As(err, &inUse) || inUse.Late {
			t.Fatalf("round %d: unload under a chain of forks: %v", round, err)
		}
	}
	t.Logf("%d rounds, no escape", rounds)
	must(t, os.WriteFile(stop, nil, 0o600))
	for range 500 {
		if tasks, err := v.Tasks("chain"); err == nil && len(tasks) == 0 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	_ = cmd.Wait()
	must(t, v.Delete(ctx, "chain", nsmgr.Deletion{}))
}

// A profile that alone confines a task is not removed, by any command. With force
// it is removed, and the task is named.
func TestKernelRemoveInUse(t *testing.T) {
	ctx, v := kernel(t)
	policy := compile(t, v, fmt.Sprintf(wide, "p"))
	other := compile(t, v, fmt.Sprintf(wide, "q"))
	must(t, v.Create(ctx, "kept", nsmgr.Making{Policy: policy}))
	s := sleeper(t, v, "kept", "p", "-")
	for name, remove := range map[string]func(nsmgr.Removal) error{
		"unload": func(r nsmgr.Removal) error { return v.Unload(ctx, "kept", r, "p") },
		"replace all": func(r nsmgr.Removal) error {
			return v.Load(ctx, "kept", other, nsmgr.LoadOptions{ReplaceAll: true, Removal: r})
		},
	} {
		err := remove(nsmgr.Removal{})
		var inUse *nsmgr.InUseError
		if !errors.As(err, &inUse) || len(inUse.Tasks) != 1 || inUse.Tasks[0].PID != s.Process.Pid {
			t.Errorf("%s under a task: %v", name, err)
		}
		if l, err := nsmgr.ProcessLabel(s.Process.Pid); err != nil || l.String() != ":kept:p (enforce)" {
			t.Errorf("%s: the task has the label %v, %v", name, l, err)
		}
	}
	var named []nsmgr.Task
	must(t, v.Unload(ctx, "kept", nsmgr.Removal{Force: true, Confirm: func(tasks []nsmgr.Task) error { named = tasks; return nil }}, "p"))
	if len(named) != 1 || named[0].PID != s.Process.Pid {
		t.Errorf("by force, these become unconfined: %v", named)
	}
	must(t, v.Delete(ctx, "kept", nsmgr.Deletion{Kill: true}))
}

// An unprivileged process under a profile in complain mode chooses a label that
// looks like that of another namespace, or that cannot be parsed. It blocks
// nothing, and is not killed.
func TestKernelImitatedLabel(t *testing.T) {
	ctx, v := kernel(t)
	learner := compile(t, v, "abi <kernel>,\nprofile learner flags=(complain,attach_disconnected) { file, }\n")
	must(t, v.Load(ctx, "", learner, nsmgr.LoadOptions{}))
	t.Cleanup(func() { must(t, v.Unload(context.Background(), "", nsmgr.Removal{}, "learner")) })
	const hat = `open(my $f, ">", "/proc/self/attr/apparmor/current") or die "open: $!";
syswrite($f, "changehat 0000000000000001^$ARGV[0]"); close $f; $| = 1; print "there\n"; sleep 600;`
	for _, name := range []string{"x//&:prod:p", "x:y//&", "x//&::p", ":prod:p"} {
		must(t, v.Create(ctx, "prod", nsmgr.Making{Policy: compile(t, v, fmt.Sprintf(wide, "p"))}))
		cmd := child.Command(context.Background(), "aa-exec", "-p", "learner", "--", "perl", "-e", hat, name)
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		_, err = bufio.NewReader(out).ReadString('\n')
		must(t, err)
		if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/attr/apparmor/current", cmd.Process.Pid)); err != nil || !strings.Contains(string(b), name) {
			t.Errorf("the process has the label %q, %v", b, err)
		}
		if tasks, err := v.Tasks("prod"); err != nil || len(tasks) > 0 {
			t.Errorf("under a hat %q: %v, %v", name, tasks, err)
		}
		if _, err := v.List(); err != nil {
			t.Errorf("list, under a hat %q: %v", name, err)
		}
		must(t, v.Delete(ctx, "prod", nsmgr.Deletion{Kill: true}))
		if err := cmd.Process.Signal(syscall.Signal(0)); err != nil {
			t.Errorf("the process with hat %q: %v", name, err)
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}

// A namespace can be removed on a host that starts unconfined tasks all the time.
func TestKernelForkStorm(t *testing.T) {
	ctx, v := kernel(t)
	policy := compile(t, v, fmt.Sprintf(wide, "p"))
	for range 4 {
		cmd := child.Command(context.Background(), os.Args[0])
		cmd.Env = append(os.Environ(), actAs+"=storm")
		must(t, cmd.Start())
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	}
	first := lastID(t)
	for end := time.Now().Add(time.Minute); lastID(t) < first+1000; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("only %d tasks started in a minute", lastID(t)-first)
		}
	}
	var longest time.Duration
	before := lastID(t)
	start := time.Now()
	const rounds = 20
	for range rounds {
		must(t, v.Create(ctx, "storm", nsmgr.Making{Policy: policy}))
		must(t, v.Unload(ctx, "storm", nsmgr.Removal{}, "p"))
		must(t, v.Load(ctx, "storm", policy, nsmgr.LoadOptions{}))
		begin := time.Now()
		must(t, v.Delete(ctx, "storm", nsmgr.Deletion{}))
		longest = max(longest, time.Since(begin))
	}
	t.Logf("%d rounds, %d tasks started in %v; the longest removal took %v", rounds, lastID(t)-before, time.Since(start), longest)
}

// lastID is the id of the last task that was started.
func lastID(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile("/proc/loadavg")
	must(t, err)
	fields := strings.Fields(string(b))
	n, err := strconv.Atoi(fields[len(fields)-1])
	must(t, err)
	return n
}

// Whenever a task enters, no removal leaves it running unconfined: either the
// change is refused and the task keeps its profile, or the task is killed.
func TestKernelLateIsKilled(t *testing.T) {
	ctx, v := kernel(t)
	policy := compile(t, v, fmt.Sprintf(wide, "p"))
	other := compile(t, v, fmt.Sprintf(wide, "q"))
	rounds := 60
	if testing.Short() {
		rounds = 20
	}
	for name, change := range map[string]func() error{
		"delete": func() error { return v.Delete(ctx, "late", nsmgr.Deletion{}) },
		"unload": func() error { return v.Unload(ctx, "late", nsmgr.Removal{}, "p") },
		"replace all": func() error {
			return v.Load(ctx, "late", other, nsmgr.LoadOptions{ReplaceAll: true})
		},
	} {
		outcomes := map[string]int{}
		for round := range rounds {
			must(t, v.Create(ctx, "late", nsmgr.Making{Policy: policy}))
			// It enters, keeps forking, and each child lives for a moment.
			cmd := child.Command(context.Background(), "perl", "-e", `
my $end = time + 20;
for (;;) { exit if time > $end; open(my $f, ">", "/proc/self/attr/apparmor/current") or die; last if syswrite($f, "changeprofile :late:p") }
print "in\n"; $| = 1; sleep 600;`)
			out, err := cmd.StdoutPipe()
			must(t, err)
			delay := time.Duration(round%20) * time.Millisecond
			must(t, cmd.Start())
			time.Sleep(delay)
			err = change()
			var inUse *nsmgr.InUseError
			switch {
			case err == nil:
				outcomes["before it entered"]++
			case errors.As(err, &inUse) && inUse.Late:
				outcomes["late"]++
			case errors.As(err, &inUse):
				outcomes["refused"]++
			default:
				t.Fatalf("%s: %v", name, err)
			}
			if l, err := nsmgr.ProcessLabel(cmd.Process.Pid); err == nil && inUse != nil {
				ended := strings.Contains(stat(cmd.Process.Pid), ") Z ")
				switch text := l.String(); {
				case inUse.Late && !ended:
					t.Errorf("%s, round %d: a task that entered late still runs: %s", name, round, text)
				case !inUse.Late && text != ":late:p (enforce)":
					t.Errorf("%s, round %d: the task has the label %s", name, round, text)
				}
			}
			time.Sleep(5 * time.Millisecond)
			_ = cmd.Process.Kill()
			if said, _ := io.ReadAll(out); err == nil && len(said) > 0 {
				t.Errorf("%s, round %d: no error, and a task had entered: it is unconfined", name, round)
			}
			_ = cmd.Wait()
			if err := v.Delete(ctx, "late", nsmgr.Deletion{}); err != nil && !errors.Is(err, nsmgr.ErrNotExist) {
				t.Fatal(err)
			}
		}
		t.Logf("%s, of %d: %v", name, rounds, outcomes)
	}
}

func stat(pid int) string {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return string(b)
}

// An interrupted removal is completed, and the tasks that it left unconfined are
// killed. A task that the namespace still confines keeps the namespace.
func TestKernelMendKillsLate(t *testing.T) {
	ctx, v := kernel(t)
	policy := compile(t, v, fmt.Sprintf(wide, "p"))
	must(t, v.Create(ctx, "half", nsmgr.Making{Policy: policy}))
	s := sleeper(t, v, "half", "p", "-")
	must(t, nsmgr.MarkRemoving(v, "half"))
	must(t, v.Mend(ctx))
	if l, err := nsmgr.ProcessLabel(s.Process.Pid); err != nil || l.String() != ":half:p (enforce)" || !v.Exists("half") {
		t.Errorf("a confined task in it has the label %v, %v; it exists: %v", l, err, v.Exists("half"))
	}
	must(t, v.Unload(ctx, "half", nsmgr.Removal{Force: true}, "p"))
	if l, err := nsmgr.ProcessLabel(s.Process.Pid); err != nil || l.String() != ":half:unconfined" {
		t.Errorf("after the profile was removed, the task has the label %v, %v", l, err)
	}
	must(t, v.Mend(ctx))
	if err := s.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("the end of a task that a killed removal left unconfined: %v", err)
	}
	if v.Exists("half") {
		t.Error("the removal is not finished")
	}
}

// A namespace that another program changes during its removal stays.
func TestKernelUnchanged(t *testing.T) {
	ctx, v := kernel(t)
	must(t, v.Create(ctx, "changed", nsmgr.Making{}))
	must(t, v.Create(ctx, "changed//in", nsmgr.Making{Policy: compile(t, v, fmt.Sprintf(wide, "p"))}))
	if err := nsmgr.Unchanged(v, "changed", nil); err == nil || !strings.Contains(err.Error(), "created namespace \"changed//in\"") {
		t.Errorf("with a new namespace below it: %v", err)
	}
	if err := nsmgr.Unchanged(v, "changed", []nsmgr.Name{"changed//in"}); err == nil || !strings.Contains(err.Error(), "loaded profile \"p\"") {
		t.Errorf("with a new profile: %v", err)
	}
	must(t, v.Unload(ctx, "changed//in", nsmgr.Removal{}, "p"))
	must(t, nsmgr.Unchanged(v, "changed", []nsmgr.Name{"changed//in"}))
	must(t, v.Delete(ctx, "changed", nsmgr.Deletion{Recursive: true}))
}

// The error of a child profile without its parent names the parent.
func TestKernelChildAlone(t *testing.T) {
	ctx, v := kernel(t)
	must(t, v.Create(ctx, "child", nsmgr.Making{}))
	err := v.Load(ctx, "child", compile(t, v, "abi <kernel>,\nprofile a//b { file, }\n"), nsmgr.LoadOptions{})
	if err != nil && !strings.Contains(err.Error(), `it is a child of profile "a", which is not loaded`) {
		t.Errorf("a child without its parent: %v", err) // some kernels create the parent
	}
	t.Logf("a child alone: %v", err)
	must(t, v.Delete(ctx, "child", nsmgr.Deletion{}))
}
