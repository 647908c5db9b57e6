// SPDX-License-Identifier: Apache-2.0

package runs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"proofhouse/internal/exit"
	"proofhouse/kernels"
	"proofhouse/regression"
	"proofhouse/reports"
)

func TestRows(t *testing.T) {
	for name, c := range map[string]struct {
		cfg  Config
		want []string // nil: all
	}{
		"all":               {},
		"one":               {Config{Rows: []string{"file/read"}}, []string{"isolation/file/read"}},
		"by its ID":         {Config{Rows: []string{"isolation/file/read"}}, []string{"isolation/file/read"}},
		"only scripts":      {Config{Scripts: []string{"open"}}, []string{}},
		"scripts and a row": {Config{Scripts: []string{"open"}, Rows: []string{"file/read"}}, []string{"isolation/file/read"}},
	} {
		p := &Plan{Config: c.cfg}
		if err := p.rows(); err != nil || !slices.Equal(p.Rows, c.want) || (p.Rows == nil) != (c.want == nil) {
			t.Errorf("%s: %q, %v", name, p.Rows, err)
		}
		// The suite reads the plan from its file.
		text, err := json.Marshal(p)
		read := new(Plan)
		if err := errors.Join(err, json.Unmarshal(text, read)); err != nil {
			t.Fatal(err)
		}
		for _, p := range []*Plan{p, read} {
			if has := p.HasRow("isolation/file/write"); has != (c.want == nil) {
				t.Errorf("%s: file/write: %v", name, has)
			}
		}
	}
	p := &Plan{Config: Config{Rows: []string{"no/such"}}}
	if err := p.rows(); exit.Status(err) != exit.Usage {
		t.Error(err)
	}
}

// What failed, was an ERROR or did not run is run again, and nothing else: on
// the same build, on another one of the same spec, or on whatever kernel it is.
func TestRerun(t *testing.T) {
	dir := t.TempDir()
	old := &kernels.Build{Kind: kernels.UML, Spec: "a", Release: "7.2", SHA256: "0123456789abcdef"}
	other := &kernels.Build{Kind: kernels.UML, Spec: "b", Release: "6.1", SHA256: "fedcba9876543210"}
	j, err := reports.Create(dir, 1)
	if err != nil {
		t.Fatal(err)
	}
	var planned []reports.Planned
	for _, id := range []string{"regression/open", "regression/exec", "regression/pipe", "isolation/file/read"} {
		planned = append(planned, reports.Planned{ID: id, Kernel: old.ID()})
	}
	planned = append(planned, reports.Planned{ID: "regression/mount", Kernel: other.ID()})
	j.RunStarted(reports.RunStart{Planned: planned})
	j.Kernel(reports.Kernel{ID: old.ID(), Spec: "a"})
	j.Kernel(reports.Kernel{ID: other.ID(), Spec: "b"})
	for id, status := range map[string]reports.Status{"regression/open": reports.Pass, "regression/exec": reports.Fail, "isolation/file/read": reports.Error, "kernel/log": reports.Fail} {
		s := reports.Spec{ID: id, Kernel: old.ID(), Results: []reports.Result{{ID: id + "/x", Status: status}}}
		j.SpecStarted(s)
		j.SpecEnded(s)
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	want := []string{"isolation/file/read", "regression/exec", "regression/pipe"}
	rebuilt := &kernels.Build{Kind: kernels.UML, Spec: "a", Release: "7.2", SHA256: "aaaaaaaaaaaaaaaa"}
	unknown := &kernels.Build{Kind: kernels.UML, Spec: "c", Release: "7.3", SHA256: "bbbbbbbbbbbbbbbb"}
	for _, c := range []struct {
		build *kernels.Build
		want  []string
	}{
		{old, want}, {rebuilt, want}, {other, []string{"regression/mount"}}, {unknown, append(slices.Clone(want)[:2], "regression/mount", "regression/pipe")},
	} {
		cfg := Config{Rerun: dir}
		run, err := cfg.earlier()
		if err != nil || !slices.Equal(cfg.Kernels, []string{"a", "b"}) {
			t.Fatalf("%q, %v", cfg.Kernels, err)
		}
		p := &Plan{Config: cfg, Builds: []*kernels.Build{c.build}}
		if err := p.rerun(run); err != nil || !slices.Equal(p.Only[c.build.ID()], c.want) {
			t.Errorf("%s: %q, %v; want %q", c.build.Spec, p.Only[c.build.ID()], err, c.want)
		}
		if p.Has(c.build.ID(), "regression/open") || !p.Has(c.build.ID(), c.want[0]) {
			t.Errorf("%s: the plan has other specs", c.build.Spec)
		}
	}
	good := &Config{Rerun: filepath.Join("..", "reports", "testdata", "format-1")}
	if run, err := good.earlier(); err == nil && len(good.Kernels) == 0 {
		t.Errorf("%+v", run)
	}
}

// A stored run comes from somebody else: it names no program, no machine and no tree
// that this host would use without the user's word.
func TestRerunHostileSpec(t *testing.T) {
	for spec, want := range map[string]string{
		"debian:trixie":            "",
		"uml:debian:forky":         "",
		"debian:trixie,append=x=y": "",
		"/src/linux":               "",
		"board:rpi4":               "",
		"board:rpi4,root=board":    "",
		"board:rpi4,reboot=always": "",

		"board:rpi4,console=exec:touch /tmp/x":              "console=",
		"board:rpi4,root=board,power=touch /tmp/x":          "power=",
		"board:rpi4,ssh_config=/tmp/config":                 "ssh_config=",
		"board:rpi4,dir=/root":                              "dir=",
		"board:rpi4,crash=yes":                              "crash=",
		"ssh://root@production":                             "not in the directory of boards",
		"ssh://root@localhost,ssh_config=config,root=board": "not in the directory of boards",
		"local":          "this host",
		"DIR/tree":       "in the directory of the run",
		"DIR/../x/tree":  "",
		"DIR/tree/linux": "in the directory of the run",
	} {
		dir := t.TempDir()
		spec = strings.ReplaceAll(spec, "DIR", dir)
		j, err := reports.Create(dir, 1)
		if err != nil {
			t.Fatal(err)
		}
		j.RunStarted(reports.RunStart{Planned: []reports.Planned{{ID: "regression/open", Kernel: "k"}}})
		j.Kernel(reports.Kernel{ID: "k", Spec: spec})
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		cfg := Config{Rerun: dir}
		_, err = cfg.earlier()
		if want == "" {
			if err != nil || !slices.Equal(cfg.Kernels, []string{spec}) {
				t.Errorf("%s: %q, %v", spec, cfg.Kernels, err)
			}
			continue
		}
		if exit.Status(err) != exit.Usage || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %q, %v, want %q", spec, cfg.Kernels, err, want)
		}
		// What the user names is tested.
		cfg = Config{Rerun: dir, Kernels: []string{spec}}
		if _, err := cfg.earlier(); err != nil {
			t.Errorf("--kernel %s: %v", spec, err)
		}
	}
}

// A shell is offered on the machine on which something failed, with what
// failed, and gets what is typed.
func TestKeepFailed(t *testing.T) {
	m := &scripted{prints: "Error: open failed. Test 'A' was expected to 'pass'. Reason for failure 'it did not'\n"}
	m.status.Status = 1
	l, b := onScripted(t, m, "regression/open")
	l.Shell = filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", l.Shell)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan Kept, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		kept, err := Answer(conn, Terminal{Term: "vt100", Rows: 24, Columns: 80})
		if err != nil {
			t.Error(err)
		}
		got <- kept
		_ = conn.Close()
	}()
	l.Script(context.Background(), b, regression.Script{Name: "open", Speaks: true})
	kept := <-got
	if kept.Spec != "regression/open" || kept.Machine != "qemu-1.1" || len(kept.Reasons) == 0 || !strings.Contains(kept.Reasons[0], "it did not") {
		t.Errorf("%+v", kept)
	}
	if last := m.ran[len(m.ran)-1]; last[0] != "/bin/bash" {
		t.Errorf("%q", last)
	}
	_ = listener.Close()
	// Where nothing failed, nobody is asked.
	m2 := &scripted{prints: twoPasses}
	l2, b2 := onScripted(t, m2, "regression/open")
	l2.Shell = "/no/such/socket"
	l2.Script(context.Background(), b2, regression.Script{Name: "open", Speaks: true})
	if len(m2.ran) != 1 {
		t.Errorf("%q", m2.ran)
	}
}

func TestFrames(t *testing.T) {
	var b bytes.Buffer
	if err := WriteInput(&b, []byte("ls\n")); err != nil {
		t.Fatal(err)
	}
	if err := WriteWindow(&b, 50, 132); err != nil {
		t.Fatal(err)
	}
	var typed bytes.Buffer
	var size [2]int
	_ = readFrames(&b, &typed, func(r, c int) { size = [2]int{r, c} })
	if typed.String() != "ls\n" || size != [2]int{50, 132} {
		t.Errorf("%q, %v", typed.String(), size)
	}
	if err := readFrames(strings.NewReader("x\x00\x00"), &typed, nil); err == nil {
		t.Error("an unknown frame is taken")
	}
	if _, err := json.Marshal(Kept{}); err != nil {
		t.Error(err)
	}
}
