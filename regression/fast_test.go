// SPDX-License-Identifier: Apache-2.0

package regression

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// compile builds one of the guest's C programs for this host, with its own
// paths in it.
func compile(t *testing.T, name string, paths map[string]string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), name)
	args := []string{"-O2", "-static", "-Wall", "-Wextra", "-Werror", "-o", program, "guest/fast/" + name + ".c"}
	for macro, path := range paths {
		args = append(args, fmt.Sprintf("-D%s=%q", macro, path))
	}
	if out, err := exec.Command("gcc", args...).CombinedOutput(); err != nil {
		if errors.Is(err, exec.ErrNotFound) || bytes.Contains(out, []byte("cannot find -lc")) {
			t.Skip("no gcc with a static C library here")
		}
		t.Fatalf("gcc: %v\n%s", err, out)
	}
	return program
}

var addressRE = regexp.MustCompile(`\(0x[0-9a-f]+\)`)

// says is what a command writes and how it ends, without addresses.
func says(t *testing.T, dir, program string, args ...string) string {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Dir = dir
	cmd.Stdin = strings.NewReader("a line for --stdin\n")
	cmd.Env = append(os.Environ(), "LC_ALL=C", "PERL_HASH_SEED=0", "PERL_PERTURB_KEYS=0")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if failed := new(exec.ExitError); err != nil && !errors.As(err, &failed) {
		t.Fatal(err)
	}
	return addressRE.ReplaceAllString(fmt.Sprintf("%d\n%s\n%s", cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()), "(0x)")
}

// The guest's ldd answers as the C library's does.
func TestFastLdd(t *testing.T) {
	const real = "/usr/bin/ldd"
	if _, err := os.Stat(real); err != nil {
		t.Skip(err)
	}
	fast := compile(t, "ldd", map[string]string{"PLAIN": real})
	dir := t.TempDir()
	noLoader, text, notOurs := filepath.Join(dir, "cut"), filepath.Join(dir, "text"), filepath.Join(dir, "unreadable")
	self, err := os.ReadFile("/bin/true")
	if err != nil {
		t.Skip(err)
	}
	err = errors.Join(os.WriteFile(noLoader, self[:min(len(self), 100)], 0o755), os.WriteFile(text, []byte("#!/bin/sh\n"), 0o755), os.WriteFile(notOurs, self, 0o644))
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"/bin/bash"}, {"/bin/true"}, {"/usr/bin/perl"}, {fast}, {noLoader}, {text}, {notOurs}, {"/no/such"}, {dir},
		{"true"}, {"/bin/true", "/bin/bash"}, {}, {"-v", "/bin/true"}, {"--version"},
	} {
		got, want := says(t, dir, fast, args...), says(t, dir, real, args...)
		if got != want {
			t.Errorf("%q: got\n%s\nwant\n%s", args, got, want)
		}
	}
}

// likeUpstream does what mkprofile.pl does: variables and subroutines of a file,
// options, a child's output, a hash's order, errors, exit statuses.
const likeUpstream = `#! /usr/bin/perl -w
my $v = $0;
use strict;
use Getopt::Long;
use Cwd 'realpath';
my $name = '';
my %h;
my $escape = '';
my $stdin = '';
GetOptions('escape|E' => \$escape, 'nodefault|N' => \my $n, 'stdin' => \$stdin);
if ($stdin) { while (<STDIN>) { print "in: $_"; } }
sub add($@) { my ($k, @v) = @_; $h{$k} = "@v"; }
sub child() {
  my $pid = open(KID, "-|");
  if ($pid) { while (<KID>) { chomp; add("child", $_); } close(KID); return $?; }
  open(STDERR, ">&STDOUT") || die;
  exec("/bin/sh", "-c", 'echo out; echo err >&2; exit 3') || die;
}
&usage && exit 2 if @ARGV < 1;
sub usage { print STDERR "usage\n"; return 1; }
add("status", child());
add("cwd", realpath("."));
add("mask", umask);
add("env", $ENV{LC_ALL}, scalar(keys %ENV));
add("nodefault", $n || 0, $escape || 0);
for my $a (@ARGV) { die "no $a" if $a eq "die"; exit 7 if $a eq "exit"; kill 9, $$ if $a eq "kill"; add("arg", $a); warn "undef" if $a eq "warn"; }
my $u; print STDERR "long\n" x 50000 if $ARGV[0] eq "long";
print STDOUT "$_=$h{$_}\n" foreach keys %h;
print "x" x 100000, "\n" if $ARGV[0] eq "long";
`

// The guest's mkprofile.pl answers as the file that it serves does.
func TestFastMkprofile(t *testing.T) {
	for _, need := range []string{"perl", "/usr/bin/perl"} {
		if _, err := exec.LookPath(need); err != nil {
			t.Skip(err)
		}
	}
	if os.Geteuid() != 0 {
		t.Skip("only root is served")
	}
	dir, err := os.MkdirTemp("", "mk") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	plain, run := filepath.Join(dir, "plain.pl"), filepath.Join(dir, "run")
	server := filepath.Join(dir, "server")
	b, err := os.ReadFile("guest/fast/mkprofile-server")
	// Its process ID, to end it.
	b = append(bytes.Replace(b, []byte("umask 0077;\n"), []byte("umask 0077;\nopen(my $p, '>', \"$path.pid\"); print $p $$; close($p);\n"), 1), '\n')
	if err := errors.Join(err, os.WriteFile(plain, []byte(likeUpstream), 0o755), os.WriteFile(server, b, 0o755)); err != nil {
		t.Fatal(err)
	}
	fast := compile(t, "mkprofile", map[string]string{"PLAIN": plain, "SERVER": server, "RUN": run})
	socket := filepath.Join(run, "mkprofile.sock")
	first := says(t, dir, fast, "a")
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(socket); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the server did not start")
		}
	}
	var pid int
	t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
	if b, err := os.ReadFile(socket + ".pid"); err != nil {
		t.Fatal(err)
	} else if _, err := fmt.Sscan(string(b), &pid); err != nil {
		t.Fatal(err)
	}
	if want := says(t, dir, "/usr/bin/perl", "-w", plain, "a"); first != want {
		t.Errorf("before there is a server: %q, want %q", first, want)
	}
	served := func() int {
		// Its children's number grows with each call that it answers.
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			t.Fatal(err)
		}
		var n int
		_, _ = fmt.Sscan(strings.Fields(string(b))[9], &n) // its page faults: fork copies
		return n
	}
	before := served()
	for _, args := range [][]string{
		{"a", "b c", "d=e", ""}, {"-E", "a"}, {"a", "b", "--stdin"}, {"--stdin", "a", "b"}, {"a", "-", "b"}, {"a", "-E"}, {"-N", "-E", "a"}, {}, {"die"}, {"a", "exit"}, {"warn"}, {"long"},
	} {
		got := says(t, "/tmp", fast, args...)
		want := says(t, "/tmp", "/usr/bin/perl", append([]string{"-w", plain}, args...)...)
		if got != want {
			t.Errorf("%q: got\n%.2000s\nwant\n%.2000s", args, got, want)
		}
	}
	if served() == before {
		t.Error("the server was not asked")
	}
	// One that dies without an answer leaves it to upstream's file, which dies too.
	if got := says(t, "/tmp", fast, "kill"); !strings.HasPrefix(got, "-1\n") {
		t.Errorf("killed: %q", got)
	}
	// Options that the harness does not use are not the server's.
	if got := says(t, "/tmp", fast, "--unknown", "a"); !strings.Contains(got, "Unknown option: unknown") {
		t.Errorf("an unknown option: %q", got)
	}
	// A server that is gone is not missed.
	_ = syscall.Kill(pid, syscall.SIGKILL)
	if got, want := says(t, "/tmp", fast, "a"), says(t, "/tmp", "/usr/bin/perl", "-w", plain, "a"); got != want {
		t.Errorf("without a server: %q, want %q", got, want)
	}
}
