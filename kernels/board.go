// SPDX-License-Identifier: Apache-2.0

package kernels

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	yaml "go.yaml.in/yaml/v3"

	"proofhouse/internal/cache"
	"proofhouse/internal/exit"
	"proofhouse/internal/host"
)

// OnBoard is the kernel that runs on a board. Release, Version, SHA256 and Arch of
// its Build are unknown until package machines has asked the board.
const OnBoard Kind = "board"

// Board is how a board is reached, and what a run may do to it.
type Board struct {
	Name string `json:"name"` // as the spec has it, without options
	// SSH is the destination for ssh(1): "root@board". Port is 0 where ssh's own
	// configuration has it.
	SSH       string `json:"ssh"`
	Port      int    `json:"port,omitempty"`
	SSHConfig string `json:"sshConfig,omitempty"` // for ssh -F; "": the user's
	// OwnRoot uses the board's userspace, under a tmpfs overlay, instead of ours.
	OwnRoot bool   `json:"ownRoot,omitempty"`
	Dir     string `json:"dir"` // on the board, for what is kept between runs
	// Kernel is the spec of the build that the board should run, and BuildIDs the
	// GNU build IDs in its image (those of vDSOs among them).
	Kernel   string   `json:"kernel,omitempty"`
	BuildIDs []string `json:"buildIds,omitempty"`
	// Console is where the serial console is read: a terminal's path, perhaps with
	// @BAUD, tcp:HOST:PORT, unix:PATH or exec:COMMAND; "": none.
	Console string `json:"console,omitempty"`
	// Power are the words of a command that turns the power off and on again.
	Power      []string      `json:"power,omitempty"`
	RebootWait time.Duration `json:"rebootWait"` // for one reboot
	// Reboot is when to restart the board: "taint", "always" (before each new
	// machine), "never".
	Reboot string `json:"reboot"`
	// Crash allows tests that may crash the kernel.
	Crash bool `json:"crash,omitempty"`
	// Run tells the run's agents on the board from those of other runs.
	Run string `json:"run"`
}

// boardFile is a board in the user's configuration.
type boardFile struct {
	SSH        string    `yaml:"ssh"`
	SSHConfig  string    `yaml:"ssh_config"`
	Root       string    `yaml:"root"`
	Dir        string    `yaml:"dir"`
	Kernel     string    `yaml:"kernel"`
	Console    string    `yaml:"console"`
	Power      wordsList `yaml:"power"`
	RebootWait string    `yaml:"reboot_wait"`
	Reboot     string    `yaml:"reboot"`
	Crash      string    `yaml:"crash"`
}

// wordsList is a command in a file: a list of words, or a line of words.
type wordsList []string

func (w *wordsList) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.SequenceNode {
		return n.Decode((*[]string)(w))
	}
	var line string
	if err := n.Decode(&line); err != nil {
		return err
	}
	*w = strings.Fields(line)
	return nil
}

const (
	defaultBoardDir   = "/var/cache/proofhouse"
	defaultRebootWait = 3 * time.Minute
	maxBoardFile      = 64 << 10
)

var (
	boardNameRE = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
	// destinationRE is what ssh gets as a destination: never an option of it.
	destinationRE = regexp.MustCompile(`^([A-Za-z0-9_][A-Za-z0-9._-]*@)?(\[[0-9A-Fa-f:.%a-z]+\]|[A-Za-z0-9][A-Za-z0-9._-]*)$`)
	boardDirRE    = regexp.MustCompile(`^(/[A-Za-z0-9_-][A-Za-z0-9._-]*)+$`)
	// boardOptionRE starts an option, as optionRE does for other kernels.
	boardOptionRE = regexp.MustCompile(`,(root|kernel|console|power|reboot_wait|reboot|crash|dir|ssh_config)=`)
)

// BoardsDir is the directory of the user's boards.
func BoardsDir() (string, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("find the directory of boards: %w", err)
	}
	return filepath.Join(dir, "proofhouse", "boards"), nil
}

// BoardNames are the names of the user's boards.
func BoardNames() ([]string, error) {
	dir, err := BoardsDir()
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".yaml"); ok && boardNameRE.MatchString(name) {
			names = append(names, name)
		}
	}
	return names, err
}

// boardName matches specs of boards; their options belong to the name.
func boardName(prefix string) func(string) (string, bool, error) {
	return func(base string) (string, bool, error) { return base, strings.HasPrefix(base, prefix), nil }
}

// onBoard makes the build of a board's kernel, without asking the board.
func onBoard(_ context.Context, text string, _ func(string)) (*Build, error) {
	board, err := ParseBoard(text)
	if err != nil {
		return nil, err
	}
	return &Build{Kind: OnBoard, Board: board, Source: "board " + board.Name}, nil
}

// expect finds the build that the board should run.
func (b *Build) expect(ctx context.Context, progress func(string)) error {
	board := b.Board
	if board == nil || board.Kernel == "" {
		return nil
	}
	want, err := Resolve(ctx, board.Kernel, progress)
	if err != nil {
		return err
	}
	if want.Kind != BzImage && want.Kind != Image {
		return exit.BadInputf("kernel=%s is not a kernel for a board", board.Kernel)
	}
	if board.BuildIDs, err = imageBuildIDs(ctx, want); err != nil {
		return fmt.Errorf("kernel=%s: %w", board.Kernel, err)
	}
	b.Config, b.Changelog = want.Config, want.Changelog
	return nil
}

// ParseBoard reads the spec of a board. It asks the board nothing.
func ParseBoard(text string) (*Board, error) {
	base, options := text, map[string]string{}
	marks := boardOptionRE.FindAllStringSubmatchIndex(text, -1)
	if len(marks) > 0 {
		base = text[:marks[0][0]]
	}
	for i, m := range marks {
		end := len(text)
		if i+1 < len(marks) {
			end = marks[i+1][0]
		}
		name, value := text[m[2]:m[3]], text[m[1]:end]
		if strings.TrimSpace(value) == "" {
			return nil, exit.BadInputf("empty value for %s=", name)
		}
		if _, again := options[name]; again {
			return nil, exit.BadInputf("%s= given twice", name)
		}
		options[name] = value
	}
	var f boardFile
	board := &Board{Name: base, Run: rand.Text()}
	if name, ok := strings.CutPrefix(base, "board:"); ok {
		if !boardNameRE.MatchString(name) {
			return nil, exit.BadInputf("invalid name: want board:NAME, with letters, digits, dots, hyphens and underscores")
		}
		var err error
		if f, err = readBoard(name); err != nil {
			return nil, err
		}
	} else if strings.Contains(base, ",") {
		return nil, exit.BadInputf("unknown option in %q: want root=, kernel=, console=, power=, reboot_wait=, reboot=, crash=, dir= or ssh_config=", base)
	} else {
		f.SSH = base
	}
	f.Root = cmp.Or(options["root"], f.Root)
	f.Kernel = cmp.Or(options["kernel"], f.Kernel)
	f.Console = cmp.Or(options["console"], f.Console)
	f.RebootWait = cmp.Or(options["reboot_wait"], f.RebootWait)
	f.Reboot = cmp.Or(options["reboot"], f.Reboot)
	f.Crash = cmp.Or(options["crash"], f.Crash)
	f.Dir = cmp.Or(options["dir"], f.Dir)
	f.SSHConfig = cmp.Or(options["ssh_config"], f.SSHConfig)
	if p := options["power"]; p != "" {
		f.Power = strings.Fields(p)
	}
	return board, f.into(board)
}

// readBoard reads the board of that name from the user's configuration.
func readBoard(name string) (f boardFile, err error) {
	dir, err := BoardsDir()
	if err != nil {
		return f, err
	}
	file := filepath.Join(dir, name+".yaml")
	b, err := host.ReadFile(file, maxBoardFile)
	if errors.Is(err, fs.ErrNotExist) {
		return f, exit.BadInputf("no such board: %s not found (docs/boards.md has an example)", file)
	}
	if err != nil {
		return f, exit.BadInputf("read the board: %w", err)
	}
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	if err := d.Decode(&f); err != nil {
		return f, exit.BadInputf("read the board %s: %w", file, err)
	}
	if f.SSHConfig != "" && !filepath.IsAbs(f.SSHConfig) {
		f.SSHConfig = filepath.Join(dir, f.SSHConfig)
	}
	return f, nil
}

// into checks the values and puts them into b.
func (f boardFile) into(b *Board) (err error) {
	if b.SSH, b.Port, err = destination(f.SSH); err != nil {
		return err
	}
	switch f.Root {
	case "", "debian":
	case "board":
		b.OwnRoot = true
	default:
		return exit.BadInputf("root=%s: want board (the board's userspace), or no root= for a Debian of ours", f.Root)
	}
	b.Dir = cmp.Or(f.Dir, defaultBoardDir)
	if !boardDirRE.MatchString(b.Dir) || path.Clean(b.Dir) != b.Dir || strings.Contains(b.Dir, "..") {
		return exit.BadInputf("dir=%s: want an absolute path of letters, digits, dots, hyphens and underscores", b.Dir)
	}
	b.RebootWait = defaultRebootWait
	if f.RebootWait != "" {
		if b.RebootWait, err = time.ParseDuration(f.RebootWait); err != nil || b.RebootWait < time.Second {
			return exit.BadInputf("reboot_wait=%s: want a duration of at least a second, such as 90s", f.RebootWait)
		}
	}
	b.Reboot = cmp.Or(f.Reboot, "taint")
	if !slices.Contains([]string{"taint", "always", "never"}, b.Reboot) {
		return exit.BadInputf("reboot=%s: want taint, always or never", b.Reboot)
	}
	if f.Crash != "" {
		if b.Crash, err = yesNo(f.Crash); err != nil {
			return exit.BadInputf("crash=%s: want yes or no", f.Crash)
		}
	}
	if b.SSHConfig = f.SSHConfig; b.SSHConfig != "" {
		if b.SSHConfig, err = filepath.Abs(b.SSHConfig); err != nil {
			return err
		}
		if !isFile(b.SSHConfig) {
			return exit.BadInputf("ssh_config=%s: no such file", b.SSHConfig)
		}
	}
	if b.Power = f.Power; len(b.Power) > 0 && !host.Have(b.Power[0]) && !isFile(b.Power[0]) {
		return exit.BadInputf("power=%s: no such program", b.Power[0])
	}
	b.Kernel, b.Console = f.Kernel, f.Console
	return checkConsole(b.Console)
}

func yesNo(s string) (bool, error) {
	switch s {
	case "yes", "true":
		return true, nil
	case "no", "false":
		return false, nil
	}
	return false, errors.New("neither yes nor no")
}

// destination splits "ssh://root@board:2222", or a name of ssh's configuration.
func destination(text string) (name string, port int, err error) {
	name = text
	if rest, ok := strings.CutPrefix(text, "ssh://"); ok {
		u, err := url.Parse("ssh://" + rest)
		if err != nil || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" {
			return "", 0, exit.BadInputf("invalid address %q: want ssh://USER@HOST or ssh://USER@HOST:PORT", text)
		}
		if _, has := u.User.Password(); has {
			return "", 0, exit.BadInputf("a password in %s: use a key", u.Redacted())
		}
		name = u.Hostname()
		if p := u.Port(); p != "" {
			if port, err = strconv.Atoi(p); err != nil || port < 1 || port > 65535 {
				return "", 0, exit.BadInputf("invalid port %q", p)
			}
		}
		if user := u.User.Username(); user != "" {
			name = user + "@" + name
		}
	}
	if !destinationRE.MatchString(name) && !strings.Contains(name, ":") || name == "" {
		return "", 0, exit.BadInputf("invalid address %q: want ssh://USER@HOST, or a host of the ssh configuration", text)
	}
	return name, port, nil
}

func checkConsole(c string) error {
	kind, rest, ok := strings.Cut(c, ":")
	switch {
	case c == "":
		return nil
	case strings.HasPrefix(c, "/"):
		return nil
	case ok && rest != "" && slices.Contains([]string{"unix", "exec"}, kind):
		return nil
	case ok && kind == "tcp" && strings.Contains(rest, ":"):
		return nil
	}
	return exit.BadInputf("console=%s: want the path of a terminal, perhaps with @BAUD, tcp:HOST:PORT, unix:PATH or exec:COMMAND", c)
}

// Learned is what a board says of its kernel. None of it is believed: it only names
// the build.
type Learned struct {
	Release, Version, Arch, BuildID string
	Config                          []byte // gzipped
}

// Learn completes the build of a board's kernel. Another kernel than kernel= names is
// an error.
func (b *Build) Learn(l Learned) error {
	board := b.Board
	if len(board.BuildIDs) > 0 && !slices.Contains(board.BuildIDs, l.BuildID) {
		running := cmp.Or(l.BuildID, "none")
		return exit.BadInputf("%s: the board runs another kernel than %s: build ID %s (%s); deploy that one and reboot the board", board.Name, board.Kernel, running, l.Release)
	}
	b.Release, b.Version, b.Arch = l.Release, l.Version, l.Arch
	b.SHA256 = hash("board", l.BuildID, l.Release, l.Version)
	if len(l.Config) == 0 || b.Config != "" {
		return nil
	}
	dir, err := cache.Entry(context.Background(), room, "board-config-"+hash(string(l.Config))[:16], func(_ context.Context, dir string) error {
		return os.WriteFile(filepath.Join(dir, "config"), l.Config, 0o644)
	})
	if err != nil {
		return err
	}
	b.Config = filepath.Join(dir, "config")
	return nil
}

// gnuNote begins the note with the build ID: sizes of its name and of its 20 bytes,
// type NT_GNU_BUILD_ID, name (include/linux/elfnote.h).
var gnuNote = []byte("\x04\x00\x00\x00\x14\x00\x00\x00\x03\x00\x00\x00GNU\x00")

// imageBuildIDs are all build IDs in a kernel's image.
func imageBuildIDs(ctx context.Context, b *Build) ([]string, error) {
	kernel, err := inside(ctx, b)
	if err != nil {
		return nil, err
	}
	var ids []string
	for {
		i := bytes.Index(kernel, gnuNote)
		if i < 0 || len(kernel) < i+len(gnuNote)+20 {
			break
		}
		kernel = kernel[i+len(gnuNote):]
		ids = append(ids, hex.EncodeToString(kernel[:20]))
	}
	if len(ids) == 0 {
		return nil, exit.BadInputf("no build ID in the image: link the kernel with --build-id")
	}
	return ids, nil
}

// inside returns the kernel of a build, decompressed.
func inside(ctx context.Context, b *Build) ([]byte, error) {
	kernel, err := readImage(b.Image)
	if err != nil {
		return nil, err
	}
	if h, err := parseHeader(kernel[:min(len(kernel), maxHeader)]); err == nil {
		if h.length == 0 || h.payload+h.length > int64(len(kernel)) {
			return nil, exit.BadInputf("the image is cut short")
		}
		return decompress(ctx, kernel[h.payload:h.payload+h.length])
	}
	return kernel, nil
}

// HasParameter reports whether a kernel has a parameter of its own with that name,
// such as apparmor.debug. Of a kernel without a file it is an error.
func (b *Build) HasParameter(ctx context.Context, name string) (bool, error) {
	if b.Image == "" || b.Kind == Local || b.Kind == OnBoard {
		return false, exit.BadInputf("%s: the kernel is not in a file", b.Spec)
	}
	kernel, err := inside(ctx, b)
	return bytes.Contains(kernel, []byte("\x00"+name+"\x00")), err
}
