// SPDX-License-Identifier: Apache-2.0

package board

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"proofhouse/internal/exit"
	"proofhouse/kernels"
	"proofhouse/machines/wire"
)

// fakeSSH puts a program named ssh on the PATH: a connection is a socket's path that
// exists, and commands run on this host, with board's uname and id before others.
func fakeSSH(t *testing.T, uname, id string) {
	t.Helper()
	dir := t.TempDir()
	ssh := `#!/bin/sh
socket= master= last=
for w; do
	[ "$last" != -S ] || socket=$w
	[ "$w" != -M ] || master=1
	last=$w
done
if [ "$master" ]; then : >"$socket"; exec sleep 600; fi
PATH=` + dir + `/bin:$PATH exec sh -c "$last"
`
	for name, text := range map[string]string{
		"ssh": ssh, "bin/uname": "#!/bin/sh\n" + uname + "\n", "bin/id": "#!/bin/sh\n" + id + "\n",
	} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

// connect connects to a board whose agent is the shell script.
func connect(t *testing.T, agent string) (*Link, error) {
	t.Helper()
	l, err := Connect(t.Context(), &kernels.Board{Name: "board:x", SSH: "root@board", Dir: "/c"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	file := filepath.Join(t.TempDir(), "agent")
	if err := os.WriteFile(file, []byte("#!/bin/sh\n"+agent+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	err = l.Agent(t.Context(), func(string) (string, error) { return file, nil })
	t.Cleanup(func() { l.RemoveAgent(context.Background()) })
	return l, err
}

// agentDirs are the agents' directories on this host, which is the board.
func agentDirs(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, dir := range []string{"/run", "/tmp", "/var/tmp"} { // /dev/shm has those of virtual machines
		found, err := filepath.Glob(dir + "/proofhouse-????????")
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, found...)
	}
	return all
}

func TestHostileProbe(t *testing.T) {
	for _, c := range []struct {
		uname, id, says string
	}{
		{"echo riscv64", "echo 0", "wrong architecture"},
		{`printf 'x86_64\033[2J\n'`, "echo 0", "wrong architecture"},
		{"echo x86_64", "echo 1000", "is not root"},
		{"echo x86_64", "yes 0 | head -n 10000000", "an answer of more than"},
		{"echo x86_64", "exit 1", "does not answer as expected"},
	} {
		t.Run(c.says, func(t *testing.T) {
			fakeSSH(t, c.uname, c.id)
			before := agentDirs(t)
			_, err := connect(t, "")
			if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\x1b") {
				t.Errorf("%v, want %q", err, c.says)
			}
			if after := agentDirs(t); len(after) > len(before) {
				t.Errorf("left on the board: %q", after)
			}
		})
	}
}

func TestHostileFacts(t *testing.T) {
	fakeSSH(t, "echo x86_64", "echo 0")
	facts := func(change func(*wire.BoardFacts)) string {
		f := wire.BoardFacts{Machine: "x86_64", BuildID: strings.Repeat("ab", 20), Release: "6.12", Boot: "1"}
		change(&f)
		b, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		return "cat <<'E'\n" + string(b) + "\nE"
	}
	for _, c := range []struct{ name, agent, says string }{
		{"good", facts(func(*wire.BoardFacts) {}), ""},
		{"terminal", facts(func(f *wire.BoardFacts) { f.Release, f.Model = "6.12\x1b[2J\n", "\u202eevil" }), ""},
		{"another machine", facts(func(f *wire.BoardFacts) { f.Machine = "aarch64" }), "not one of a kernel"},
		{"build ID", facts(func(f *wire.BoardFacts) { f.BuildID = "../../etc" }), "not one of a kernel"},
		{"long build ID", facts(func(f *wire.BoardFacts) { f.BuildID = strings.Repeat("ab", 65) }), "not one of a kernel"},
		{"no JSON", "echo hello", "read the agent's answer"},
		{"endless", "yes", "an answer of more than"},
		{"no words", "exit 7", "no message"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, err := connect(t, c.agent)
			if err != nil {
				t.Fatal(err)
			}
			f, err := l.Facts(t.Context())
			if c.says == "" {
				if err != nil || strings.ContainsAny(fmt.Sprint(*f), "\x1b\u202e") {
					t.Errorf("%q, %v", fmt.Sprint(*f), err)
				}
			} else if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, want %q", err, c.says)
			}
		})
	}
}

// What the board says of its space decides before anything is copied.
func TestPutNeedsSpace(t *testing.T) {
	fakeSSH(t, "echo x86_64", "echo 0")
	l, err := connect(t, "cat >/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "root")
	if err := os.WriteFile(file, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	const hash = "0123456789abcdef"
	say := func(string) {}
	for _, c := range []struct {
		cache wire.BoardCache
		says  string
	}{
		{wire.BoardCache{Free: 10 << 20}, "no space"},
		{wire.BoardCache{Free: 1 << 30, ReadOnly: true}, "read-only"},
		{wire.BoardCache{Free: 1 << 30, Error: "input/output\x1b error"}, "input/output error"},
	} {
		_, err := l.Put(t.Context(), &wire.BoardFacts{Cache: c.cache}, "root", file, hash, say)
		if err == nil || !strings.Contains(err.Error(), c.says) || exit.Status(err) != exit.Usage {
			t.Errorf("%+v: %v", c.cache, err)
		}
	}
	f := &wire.BoardFacts{Cache: wire.BoardCache{Free: 1 << 30}}
	if name, err := l.Put(t.Context(), f, "root", file, hash, say); err != nil || name != "root-"+hash || len(f.Cache.Files) != 1 {
		t.Errorf("%s, %v, %+v", name, err, f.Cache)
	}
	// It is there now, and does not need space.
	f.Cache.ReadOnly = true
	if _, err := l.Put(t.Context(), f, "root", file, hash, say); err != nil {
		t.Error(err)
	}
}

// An unknown spec of a power command fails as a user error.
func TestPowerCycle(t *testing.T) {
	b := &kernels.Board{Name: "board:x", Power: []string{"sh", "-c", "echo relay 3 is dead >&2; exit 3"}}
	err := PowerCycle(t.Context(), b)
	if exit.Status(err) != exit.Usage || !strings.Contains(err.Error(), "exit status 3: relay 3 is dead") {
		t.Errorf("%v", err)
	}
	b.Power = []string{"sh", "-c", `test "$PROOFHOUSE_BOARD" = board:x`}
	if err := PowerCycle(t.Context(), b); err != nil {
		t.Error(err)
	}
}
