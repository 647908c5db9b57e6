// SPDX-License-Identifier: Apache-2.0

package regression

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"proofhouse/reports"
)

// On User Mode Linux, what syscall.sh printed about I/O ports is no verdict on
// the kernel, neither its failures nor its passes.
func TestLacking(t *testing.T) {
	script, output, exit := sample(t, "testdata/syscall,2.txt")
	results := Parse(script, output, exit)
	before := slices.Clone(results)
	got := Lacking(results, map[string]bool{IOPorts: true})
	if !slices.Equal(results, before) {
		t.Error("the results that were given are changed")
	}
	skipped := 0
	for i, r := range got {
		about := strings.HasPrefix(r.ID, "regression/syscall/IO")
		switch {
		case about && (r.Status != reports.Skip || r.Lacks != "machine: x86 I/O ports" || r.Reason == ""):
			t.Errorf("%+v", r)
		case !about && r != before[i]:
			t.Errorf("%+v is changed", r)
		}
		if about {
			skipped++
		}
	}
	if skipped != 4 {
		t.Errorf("%d subtests about I/O ports, want 4", skipped)
	}
	if got := Lacking(results, nil); !slices.Equal(got, before) {
		t.Error("changed for a machine that lacks nothing")
	}
	caps := []reports.Result{
		{ID: "regression/capabilities/syscall_ioperm -- no caps", Status: reports.Pass},
		{ID: "regression/capabilities/syscall_iopl changehat -- all caps", Status: reports.Fail},
		{ID: "regression/capabilities/syscall_reboot -- no caps", Status: reports.Pass},
	}
	got = Lacking(caps, map[string]bool{IOPorts: true})
	if got[0].Status != reports.Skip || got[1].Status != reports.Skip || got[2].Status != reports.Pass {
		t.Errorf("got %+v", got)
	}
}

// A kernel without raw sockets is not at fault that it has none, and one that has
// them and refuses is.
func TestKernelLacks(t *testing.T) {
	off := func(options ...string) func(string) bool {
		return func(o string) bool { return slices.Contains(options, o) }
	}
	results := []reports.Result{
		{ID: "regression/capabilities/net_raw -- all caps", Status: reports.Fail},
		{ID: "regression/capabilities/net_raw -- no caps", Status: reports.Pass},
		{ID: "regression/capabilities/syscall_reboot -- no caps", Status: reports.Fail},
	}
	if got := Lacking(results, KernelLacks(off())); !slices.Equal(got, results) {
		t.Errorf("changed for a kernel that has all: %+v", got)
	}
	got := Lacking(results, KernelLacks(off("CONFIG_PACKET")))
	if got[0].Status != reports.Skip || got[1].Status != reports.Skip || got[2].Status != reports.Fail {
		t.Errorf("got %+v", got)
	}
	for name, option := range map[string]string{
		"swap": "CONFIG_SWAP", "net_raw": "CONFIG_PACKET", "open": "",
		"mount": "CONFIG_EXT2_FS or CONFIG_EXT4_USE_FOR_EXT2",
	} {
		r, skip := Script{Name: name}.Unmet(KernelLacks(off("CONFIG_SWAP", "CONFIG_PACKET", "CONFIG_EXT2_FS", "CONFIG_EXT4_USE_FOR_EXT2")))
		if skip != (option != "") || skip && (r.Status != reports.Skip || r.Lacks != "kernel: "+option || r.ID != ScriptID(name)) {
			t.Errorf("%s: %+v, %v", name, r, skip)
		}
		if _, skip := (Script{Name: name}).Unmet(KernelLacks(off())); skip {
			t.Errorf("%s is skipped on a kernel that has all", name)
		}
		// Debian's kernels have the one and not the other.
		if _, skip := (Script{Name: name}).Unmet(KernelLacks(off("CONFIG_EXT2_FS"))); skip {
			t.Errorf("%s is skipped on a kernel whose ext4 mounts ext2", name)
		}
	}
}

func TestWhoLacks(t *testing.T) {
	script, output, exit := sample(t, "testdata/unix_socket_unnamed,parser4.1,0.txt")
	results := Parse(script, output, exit)
	for _, test := range []struct {
		features map[string]string
		want     string
	}{
		{map[string]string{"network_v9/af_unix": "yes\n"}, "parser: unix rules"},
		{map[string]string{"network_v9/af_unix": "no\n"}, "kernel: unix rules"},
		{nil, "kernel: unix rules"},
	} {
		if got := WhoLacks(results, test.features); len(got) != 1 || got[0].Lacks != test.want {
			t.Errorf("with %v: %+v, want %s", test.features, got, test.want)
		}
	}
}

func TestGaps(t *testing.T) {
	newer := map[string]string{
		"network_v9/af_unix": "yes\n",
		"namespaces/mask":    "userns_create\n",
		"io_uring/mask":      "sqpoll override_creds\n",
		"dbus/":              "",
	}
	tests := []struct {
		name     string
		features map[string]string
		parser   string
		want     []string // how they end
		arch     string
	}{
		{"newest", newer, "5.0.2", []string{"[dbus]"}, "x86_64"},
		{"4.1", newer, "4.1.8", []string{"[network_v9/af_unix]", "[dbus]"}, "x86_64"},
		{"bookworm's", newer, "3.0.8", []string{"[network_v9/af_unix]", "[namespaces/mask/userns_create]", "[io_uring]", "[dbus]"}, "x86_64"},
		{"no version", newer, "?", []string{"[dbus]"}, "x86_64"},
		{"D-Bus mediation that is there", map[string]string{"dbus/mask": "send"}, "5.0.2", nil, "x86_64"},
		{"arm64", nil, "5.0.2", []string{"[arch]"}, "aarch64"},
		{"an old kernel", map[string]string{"policy/versions/v8": "yes\n"}, "3.0.8", nil, "x86_64"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := Gaps(test.features, test.parser, test.arch)
			if !slices.IsSorted(got) || len(got) != len(test.want) {
				t.Fatalf("got %q, want %q", got, test.want)
			}
			for _, end := range test.want {
				if !slices.ContainsFunc(got, func(g string) bool { return strings.HasSuffix(g, end) }) {
					t.Errorf("no %s in %q", end, got)
				}
			}
		})
	}
}

func TestSmokeIsShort(t *testing.T) {
	sum := 0.0
	for _, s := range Smoke() {
		if _, ok := seconds[s]; !ok {
			t.Errorf("%s was never measured", s)
		}
		sum += DefaultSeconds(s)
	}
	if sum > 45 {
		t.Errorf("%.0f s", sum)
	}
	if DefaultSeconds("no such script") <= DefaultSeconds("open") {
		t.Error("an unknown script starts after a short one")
	}
}

func TestGuestFilesAreScripts(t *testing.T) {
	files := guestFiles()
	if len(files) == 0 {
		t.Fatal("none")
	}
	for path, f := range files {
		program := !strings.HasSuffix(path, ".c")
		if program != (f.Mode == 0o755) || !strings.HasPrefix(path, "/usr/local/bin/") && !strings.HasPrefix(path, fastDir+"/") {
			t.Errorf("%s: mode %v", path, f.Mode)
		}
		if !strings.HasPrefix(string(f.Data), "#!/bin/sh") {
			continue
		}
		cmd := exec.Command("sh", "-n")
		cmd.Stdin = strings.NewReader(string(f.Data))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", path, err, out)
		}
	}
}

func TestUname(t *testing.T) {
	uname := string(guestFiles()["/usr/local/bin/uname"].Data)
	for _, args := range [][]string{{"-i"}, {"--hardware-platform"}, {"-r"}, {"-s", "-m"}, {}} {
		got, err := exec.Command("sh", append([]string{"-c", uname, "uname"}, args...)...).Output()
		if err != nil {
			t.Fatalf("uname %v: %v", args, err)
		}
		like := args
		if len(args) == 1 && slices.Contains([]string{"-i", "--hardware-platform"}, args[0]) {
			like = []string{"-m"}
		}
		want, err := exec.Command("uname", like...).Output()
		if err != nil {
			t.Skip(err)
		}
		if string(got) != string(want) {
			t.Errorf("uname %v says %q, want %q", args, got, want)
		}
	}
}

func TestPackages(t *testing.T) {
	for _, suite := range []string{"bookworm", "trixie", "forky", "sid"} {
		seen := map[string]bool{}
		for _, p := range Packages(suite) {
			if seen[p] {
				t.Errorf("%s: %s twice", suite, p)
			}
			seen[p] = true
		}
	}
	for _, p := range packages {
		if p.why == "" {
			t.Errorf("%s: why?", p.name)
		}
	}
}
