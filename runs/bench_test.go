// SPDX-License-Identifier: Apache-2.0

package runs

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"proofhouse/internal/exit"
	"proofhouse/kernels"
	"proofhouse/machines"
	"proofhouse/regression"
	"proofhouse/reports"
)

func TestParseFeatures(t *testing.T) {
	got := parseFeatures(apparmorFS + "/features/policy/versions/v8:yes\n" +
		apparmorFS + "/features/file/mask:create read\n" +
		apparmorFS + "/features/network/af_mask:unspec unix\n" + apparmorFS + "/features/network/af_mask:inet\n")
	for file, want := range map[string]string{
		"policy/versions/v8": "yes", "file/mask": "create read", "network/af_mask": "unspec unix\ninet",
	} {
		if got[file] != want {
			t.Errorf("%s is %q, want %q", file, got[file], want)
		}
	}
}

// fake is a machine of which only the command line is asked.
type fake struct {
	machines.Machine
	cmdline string
}

func (f fake) Info() machines.Info { return machines.Info{Cmdline: f.cmdline, Slowness: 10} }

func TestWithoutAppArmor(t *testing.T) {
	gone := errors.New("no such file")
	for _, c := range []struct {
		cmdline string
		err     error
		want    string
	}{
		{"quiet apparmor=0", nil, "its command line has apparmor=0"},
		{"security=apparmor quiet apparmor=0", nil, "its command line has apparmor=0"},
		{"security=selinux", nil, "its command line has security=selinux"},
		{"lsm=yama,bpf", nil, "its command line has lsm=yama,bpf"},
		{"quiet", gone, "it was built without AppArmor"},
		{"quiet", nil, "AppArmor is built in but not enabled: try ,append=security=apparmor"},
	} {
		if got := withoutAppArmor(&kernels.Build{}, fake{cmdline: c.cmdline}, c.err); got != c.want {
			t.Errorf("%q, %v: %q, want %q", c.cmdline, c.err, got, c.want)
		}
	}
}

// Only a machine that has no such call lacks the ports: a refusal is the
// kernel's, and must not be skipped over.
func TestLacksPorts(t *testing.T) {
	for _, c := range []struct {
		out  string
		err  error
		want bool
	}{
		{"granted", nil, false}, {"38", nil, true}, {"1", nil, false}, {"5", nil, false},
		{"", errors.New("no perl"), false}, {"38", errors.New("not done"), false},
	} {
		if got := lacksPorts(func(...string) (string, error) { return c.out, c.err }); got != c.want {
			t.Errorf("%q, %v: %v", c.out, c.err, got)
		}
	}
}

// What is slow is not ended: on a machine ten times slower than hardware, a
// script has several times what was measured on User Mode Linux.
func TestScriptDeadline(t *testing.T) {
	m := fake{}
	for _, expected := range []float64{0.5, 30, 435} {
		if d := scriptDeadline(m, expected); d < time.Duration(3*expected*float64(time.Second)) || d < time.Minute {
			t.Errorf("a script of %v s has only %v", expected, d)
		}
	}
}

func TestRefusedKeepsTheFirstWord(t *testing.T) {
	dir := t.TempDir()
	if err := Refused(dir); err != nil {
		t.Fatal(err)
	}
	Refuse(dir, exit.BadInputf("the kernel has no AppArmor"))
	Refuse(dir, errors.New("another process says it again"))
	err := Refused(dir)
	if err == nil || err.Error() != "the kernel has no AppArmor" || exit.Status(err) != exit.Usage {
		t.Errorf("%v, status %d", err, exit.Status(err))
	}
}

func TestNewRunDir(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	now := time.Date(2026, 11, 23, 1, 2, 3, 0, time.UTC)
	var dirs []string
	for range 3 {
		dir, err := NewRunDir(out, now)
		if err != nil {
			t.Fatal(err)
		}
		dirs = append(dirs, filepath.Base(dir))
	}
	if want := []string{"2026-11-23T01-02-03", "2026-11-23T01-02-03.2", "2026-11-23T01-02-03.3"}; !slices.Equal(dirs, want) {
		t.Errorf("%q, want %q", dirs, want)
	}
	if latest, err := os.Readlink(filepath.Join(out, "latest")); err != nil || latest != dirs[2] {
		t.Errorf("latest is %q, %v", latest, err)
	}
}

func TestFlags(t *testing.T) {
	fs := pflag.NewFlagSet("run", pflag.ContinueOnError)
	var c Config
	Flags(fs, &c)
	if err := fs.Parse([]string{"--kernel", "a,modules=b", "-k", "c", "--script", "open,exec", "--script", "pipe", "--shard", "2/3", "--row", "file/read"}); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(c.Kernels, []string{"a,modules=b", "c"}) || !slices.Equal(c.Scripts, []string{"open", "exec", "pipe"}) || !slices.Equal(c.Rows, []string{"file/read"}) || c.Shard.String() != "2/3" {
		t.Errorf("%+v", c)
	}
	for _, bad := range []string{"--script=", "--row=,", "--shard=3/2", "--memory=much"} {
		fs := pflag.NewFlagSet("run", pflag.ContinueOnError)
		Flags(fs, new(Config))
		if err := fs.Parse([]string{bad}); err == nil {
			t.Errorf("%s: no error", bad)
		}
	}
}

// A plan that was written down is the same when it is read.
func TestPlanSaveLoad(t *testing.T) {
	b := &kernels.Build{Spec: "uml:debian:forky,append=quiet", Kind: kernels.UML, Append: []string{"quiet"}, Release: "7.2.7", SHA256: "0123456789abcdef"}
	p := &Plan{Builds: []*kernels.Build{b}, Given: []given{{b.Spec, b.Append}}, Seconds: map[string]float64{"open": 3.5}}
	file, err := p.Save(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	q, err := Load(file)
	if err != nil {
		t.Fatal(err)
	}
	if q.Builds[0].ID() != b.ID() || q.Builds[0].Spec != b.Spec || q.Seconds["open"] != 3.5 {
		t.Errorf("%+v", q.Builds[0])
	}
	if _, err := Load("/no/such/plan"); exit.Status(err) != exit.Usage {
		t.Errorf("%v", err)
	}
}

// A kernel that does not boot fails each spec that is left, and is not tried
// for ever.
func TestScriptWithoutMachine(t *testing.T) {
	b := &kernels.Build{Spec: "broken", Kind: "none", SHA256: "0123456789abcdef"}
	l, err := Open(&Plan{Builds: []*kernels.Build{b}}, t.TempDir(), 1, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		spec := l.Script(context.Background(), b, regression.Script{Name: "open"})
		if len(spec.Results) != 1 || spec.Results[0].Status != reports.Error {
			t.Errorf("%+v", spec.Results)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	run, err := reports.Read(l.Dir)
	if err != nil || len(run.Kernels) != 1 || len(run.Kernels[0].Specs) != 3 {
		t.Errorf("%+v, %v", run, err)
	}
	if status, _ := reports.Verdict(run); status != exit.NoVerdict {
		t.Errorf("verdict %d", status)
	}
}

// A failure that was expected does not cost the machine, and is explained like
// one that was not.
func TestExplained(t *testing.T) {
	known := reports.Result{Status: reports.XFail, Known: &reports.Known{Found: reports.Fail}}
	gone := reports.Result{Status: reports.XPass, Known: &reports.Known{Found: reports.Pass}}
	for _, c := range []struct {
		r                   reports.Result
		troubled, explained bool
	}{
		{reports.Result{Status: reports.Fail}, true, true},
		{reports.Result{Status: reports.Error}, true, true},
		{known, false, true},
		{gone, false, false},
		{reports.Result{Status: reports.Pass}, false, false},
	} {
		list := []reports.Result{{Status: reports.Pass}, c.r}
		if got := troubled(list); got != c.troubled {
			t.Errorf("%+v: troubled %v", c.r, got)
		}
		if got := explained(list); got != c.explained {
			t.Errorf("%+v: explained %v", c.r, got)
		}
	}
}
