// SPDX-License-Identifier: Apache-2.0

package nsmgr

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"proofhouse/internal/child"
)

// A part that a name may imitate is believed only where the kernel confirms it.
func TestReadLabel(t *testing.T) {
	failed := errors.New("not allowed")
	for _, c := range []struct {
		text  string
		in    []Name // what the kernel confirms
		err   error  // its answer, if it cannot be asked
		asked bool
		want  Label
	}{
		{"unconfined\n", nil, nil, false, Label{Parts: []Part{{"", "unconfined"}}}},
		// The ordinary labels of containers are in no doubt.
		{"host-ct//&:web:container (mixed)\n", nil, nil, false, Label{Parts: []Part{{"", "host-ct"}, {"web", "container"}}, Mode: "mixed"}},
		{":web:container (enforce)", nil, nil, false, Label{Parts: []Part{{"web", "container"}}, Mode: "enforce"}},
		// A hat or a program's path of an unprivileged user's choice.
		{"learner//null-x//&:prod:p (complain)", nil, nil, true, Label{Parts: []Part{{"", "learner//null-x//&:prod:p"}}, Mode: "complain"}},
		{"learner//null-x//&:prod:p (mixed)", []Name{"prod"}, nil, true, Label{Parts: []Part{{"", "learner//null-x"}, {"prod", "p"}}, Mode: "mixed"}},
		{"learner//null-x:y//& (complain)", nil, nil, false, Label{Parts: []Part{{"", "learner//null-x:y//&"}}, Mode: "complain"}},
		{"learner//null-x//&::p (complain)", nil, nil, false, Label{Parts: []Part{{"", "learner//null-x//&::p"}}, Mode: "complain"}},
		{"learner//null-:web:p (complain)", nil, nil, false, Label{Parts: []Part{{"", "learner//null-:web:p"}}, Mode: "complain"}},
		{"learner//null-n\nl: (complain)\n", nil, nil, false, Label{Parts: []Part{{"", "learner//null-n\nl:"}}, Mode: "complain"}},
		// A profile's name of the choice of a container's root.
		{"h//&:ten:x//&:prod:p (mixed)", nil, nil, true, Label{Parts: []Part{{"", "h"}, {"ten", "x//&:prod:p"}}, Mode: "mixed"}},
		{":ten:x//&:prod:p (enforce)", nil, nil, true, Label{Parts: []Part{{"ten", "x//&:prod:p"}}, Mode: "enforce"}},
		{"h//&:out:a//&:out//in:b (mixed)", []Name{"out//in"}, nil, true, Label{Parts: []Part{{"", "h"}, {"out", "a"}, {"out//in", "b"}}, Mode: "mixed"}},
		{"h//&:ten:x//&:prod:p (mixed)", nil, failed, true, Label{Parts: []Part{{"", "h"}, {"ten", "x"}, {"prod", "p"}}, Mode: "mixed", Unverified: true}},
		{"", nil, nil, false, Label{Parts: []Part{{"", ""}}}},
	} {
		asked := false
		got, err := readLabel(c.text, func(ns Name) (bool, error) {
			asked = true
			return slices.Contains(c.in, ns), c.err
		})
		if err != nil || !reflect.DeepEqual(got, c.want) || asked != c.asked {
			t.Errorf("%q is %+v, %v, asked %v; want %+v, asked %v", c.text, got, err, asked, c.want, c.asked)
		}
	}
}

func FuzzReadLabel(f *testing.F) {
	for _, s := range []string{"h//&:ct:q (mixed)", "l//null-x//&:prod:p (complain)", ":a:x//&::p", "//&", ":", "a//&---"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		l, err := readLabel(text, func(Name) (bool, error) { return false, nil })
		if err != nil || len(l.Parts) == 0 {
			t.Fatalf("%q: %+v, %v", text, l, err)
		}
		// Unconfirmed, the only namespaces are those of the parts that are beyond
		// doubt: nothing behind the first of them.
		named := 0
		for i, p := range l.Parts {
			if p.Namespace != "" && (i == 0 || l.Parts[i-1].Namespace != p.Namespace) {
				named++
			}
		}
		if named > 1 {
			t.Errorf("%q has %d namespaces: %+v", text, named, l)
		}
	})
}

func TestParseLoad(t *testing.T) {
	last, threads, err := parseLoad([]byte("0.20 0.18 0.12 1/80 11206\n"))
	if err != nil || last != 11206 || threads != 80 {
		t.Errorf("%d, %d, %v", last, threads, err)
	}
	for _, text := range []string{"", "0.20 0.18 0.12 1/80", "0.20 0.18 0.12 80 11206", "0 0 0 1/x 1", "0 0 0 1/2 x"} {
		if _, _, err := parseLoad([]byte(text)); err == nil {
			t.Errorf("%q is a load average", text)
		}
	}
}

// On a host that starts a task for every two ids that are tried, a look comes to
// its end: it tries each id once. Tried again in each round, they would be ever more.
func TestLookOnABusyHost(t *testing.T) {
	v := &View{proc: t.TempDir()}
	c := v.census()
	defer c.close()
	s := &sight{known: map[int]bool{}, match: Label.namespaced}
	const first, before = 1000, 100
	asked := 0
	c.load = func() (last, threads int, err error) {
		if asked++; asked == 1 {
			return first, 0, nil
		}
		return first + before + s.started/2, 0, nil
	}
	again, err := c.try(s, time.Now().Add(time.Minute))
	last, _, _ := c.load()
	if err != nil || again || c.hidden != "" || s.started != last-first || s.started != 2*before-1 {
		t.Errorf("%d ids tried of %d, again %v, hidden %q, %v", s.started, last-first, again, c.hidden, err)
	}
}

// Where /proc is not the kernel's, or lacks tasks, that is said.
func TestWhyHidden(t *testing.T) {
	v := &View{proc: t.TempDir()}
	if why := v.whyHidden(); !strings.Contains(why, "not mounted") {
		t.Errorf("an empty directory: %q", why)
	}
	c := v.census()
	defer c.close()
	if _, err := c.look(true, Label.namespaced); err != nil || !errors.Is(c.complete(), ErrTasksHidden) {
		t.Errorf("a look at an empty directory: %v, %v", err, c.complete())
	}
	if err := os.WriteFile(filepath.Join(v.proc, "loadavg"), []byte("0 0 0 1/1 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := v.loadavg(); err == nil || !strings.Contains(err.Error(), "not the kernel's") {
		t.Errorf("a load average that is a file: %v", err)
	}
}

// The label is read and the process killed through one descriptor.
func TestKillOne(t *testing.T) {
	cmd := child.Command(t.Context(), "sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill() }()
	v := &View{proc: procfs}
	c := v.census()
	defer c.close()
	task := Task{PID: cmd.Process.Pid, TID: cmd.Process.Pid}
	fd, err := openFor(procfs+"/self", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer shut(fd)
	if _, err := readAt(fd, attribute{os.Getpid(), os.Getpid(), "current"}); err != nil {
		t.Skip("this kernel shows no labels:", err)
	}
	if err := v.killOne(c, task, func(Label) bool { return false }); err != nil || cmd.Process.Signal(syscall.Signal(0)) != nil {
		t.Errorf("a process with another label: %v", err)
	}
	if err := v.killOne(c, task, func(Label) bool { return true }); err != nil {
		t.Fatal(err)
	}
	var ended *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &ended) || !strings.Contains(err.Error(), "killed") {
		t.Errorf("its end: %v", err)
	}
}

func TestSuperfluous(t *testing.T) {
	profiles := func(names ...string) (p []Profile) {
		for _, n := range names {
			p = append(p, Profile{Name: n})
		}
		return p
	}
	for _, c := range []struct{ there, wanted, want []string }{
		{[]string{"a", "a//h", "b"}, []string{"a", "a//h"}, []string{"b"}},
		{[]string{"a", "a//h", "a//h//i"}, []string{"a"}, []string{"a//h"}},
		{[]string{"a", "a//h"}, []string{"b"}, []string{"a"}},
		{[]string{"a", "a//h"}, []string{"a//h"}, nil}, // the kernel made the parent
		{[]string{"ab", "a"}, []string{"a"}, []string{"ab"}},
	} {
		var units []Unit
		for _, n := range c.wanted {
			units = append(units, Unit{Name: n})
		}
		if got := superfluous(profiles(c.there...), units); !slices.Equal(got, c.want) {
			t.Errorf("of %q, with %q wanted, %q go; want %q", c.there, c.wanted, got, c.want)
		}
	}
	compiled := "\x04\x08\x00version\x00\x02\x09\x00\x00\x00\x04\x08\x00profile\x00\x07\x05\x02\x00a\x00\x04\x08\x00profile\x00\x07\x05\x05\x00a//h\x00\x08\x08"
	units, err := Units([]byte(compiled))
	if err != nil {
		t.Fatal(err)
	}
	if got := superfluous(profiles("a", "a//h"), units); len(got) > 0 {
		t.Errorf("a child in its parent's unit goes: %q", got)
	}
}

func TestLoses(t *testing.T) {
	w := &removalWatch{ns: "web", profiles: []string{"a", "x//&:prod:p"}}
	for text, want := range map[string]bool{
		":web:a (enforce)": true, ":web:a//hat (enforce)": true, ":web:ab (enforce)": false, ":web:b (enforce)": false,
		"host//&:web:a (enforce)": false, "unconfined//&:web:a (enforce)": false, ":web:a//&b": false, ":web:unconfined": false,
		":other:a": false, "a (enforce)": false, ":web:x//&:prod:p (enforce)": true,
	} {
		l, err := readLabel(text, func(Name) (bool, error) { return false, nil })
		if err != nil || w.loses(l) != want {
			t.Errorf("%q loses its confinement: %v, %v; want %v", text, w.loses(l), err, want)
		}
	}
	own := &removalWatch{profiles: []string{"a"}}
	if l, _ := readLabel("a (enforce)", nil); !own.loses(l) {
		t.Error("a task under a profile of this namespace")
	}
}

// The age of a namespace does not go by a clock that can be set.
func TestNoteAge(t *testing.T) {
	n := note{Made: time.Unix(40, 0), Booted: uptime() - time.Minute}
	if age := n.age(); age < time.Minute || age > 2*time.Minute {
		t.Errorf("made a minute ago, under a clock of 1970: %v", age)
	}
	text, err := n.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	var got note
	if err := got.UnmarshalText(text); err != nil || got.Booted != n.Booted {
		t.Errorf("%q: %+v, %v", text, got, err)
	}
	if age := (note{Made: time.Now().Add(-time.Hour)}).age(); age < time.Hour || age > 2*time.Hour {
		t.Errorf("a note of an older nsmgr: %v", age)
	}
}

// What an unprivileged user can open, they can lock.
func TestLockIsPrivate(t *testing.T) {
	v := &View{state: t.TempDir()}
	unlock, err := v.lockFor(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	unlock()
	for path, want := range map[string]os.FileMode{v.lockPath(): 0o600, filepath.Dir(v.lockPath()): 0o700} {
		if st, err := os.Stat(path); err != nil || st.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", path, st.Mode(), err)
		}
	}
	if err := os.Chmod(v.lockPath(), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := v.lockFor(t.Context(), "a"); err == nil {
		t.Error("a lock that others may open is used")
	}
}

func TestTaskIsPrintable(t *testing.T) {
	task := Task{PID: 1, TID: 1, Command: "a\x1b[2J", Label: Label{Parts: []Part{{"", "l//null-\x1b]0;x\a"}}}}
	if s := task.String(); strings.ContainsAny(s, "\x1b\a") {
		t.Errorf("%q has control characters", s)
	}
}
