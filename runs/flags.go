// SPDX-License-Identifier: Apache-2.0

package runs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"proofhouse/internal/cli"
	"proofhouse/internal/exit"
	"proofhouse/kernels"
	"proofhouse/machines"
	"proofhouse/reports"
)

// names is a flag that may be given several times, with several names each.
type names struct{ list *[]string }

func (n names) String() string {
	if n.list == nil {
		return ""
	}
	return strings.Join(*n.list, ",")
}

func (n names) Set(s string) error {
	more := SplitNames(s)
	if len(more) == 0 {
		return errors.New("want at least one name")
	}
	*n.list = append(*n.list, more...)
	return nil
}

func (names) Type() string { return "names" }

// ShardFlag is a flag for a part, INDEX/COUNT.
func ShardFlag(to *reports.Shard) pflag.Value { return shardFlag{to} }

type shardFlag struct{ s *reports.Shard }

func (f shardFlag) String() string {
	if f.s == nil || f.s.Count == 0 {
		return ""
	}
	return f.s.String()
}

func (f shardFlag) Set(text string) (err error) {
	*f.s, err = parseShard(text)
	return err
}

func (shardFlag) Type() string { return "shard" }

// SplitNames splits a list of names at commas and spaces.
func SplitNames(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
}

// MachineFlags defines the flags of every command that boots a kernel.
func MachineFlags(f *pflag.FlagSet, c *Config) {
	f.StringVar(&c.Guest, "guest", DefaultGuest, "Debian `SUITE` of the guest")
	f.StringVar(&c.Source, "apparmor-src", DefaultSource, "`SPEC` of the source of the upstream suite: debian:SUITE, a directory or a tarball")
	f.StringVar(&c.Accelerator, "accel", "auto", "`ACCELERATOR` of QEMU: auto, kvm or tcg")
	f.Var(cli.Count(&c.Memory, leastMemory), "memory", fmt.Sprintf("memory of a machine in `MiB` (default %d)", machines.DefaultMemory))
	f.BoolVar(&c.Plain, "plain", false, "boot without the kernel parameters that make a boot faster")
	f.BoolVar(&c.PlainGuest, "plain-guest", false, "run the upstream scripts without the programs that make them faster")
}

// Flags defines the flags of a run. `proofhouse run` and the suite have the
// same.
func Flags(f *pflag.FlagSet, c *Config) {
	// Not a list separated by commas: a SPEC may contain commas.
	f.StringArrayVarP(&c.Kernels, "kernel", "k", nil, "`SPEC` of a kernel to test: "+kernels.Forms()+"; may be given several times (default "+DefaultKernel+")")
	MachineFlags(f, c)
	f.Var(names{&c.Scripts}, "script", "run only these upstream scripts, `NAME[,NAME]...`")
	f.Var(names{&c.Rows}, "row", "run only these rows of the isolation matrix, `GROUP/NAME[,GROUP/NAME]...`")
	f.StringVar(&c.Rerun, "rerun", "", "run only what failed or did not run in an earlier `run`: its directory, or its results.json")
	f.StringArrayVar(&c.Expectations, "expectations", nil, "`file` with expected failures, in addition to the built-in ones; may be given several times")
	f.Var(ShardFlag(&c.Shard), "shard", "run only part `INDEX/COUNT`; proofhouse merge joins the parts")
	f.StringVar(&c.Durations, "durations", "", "take expected durations from an earlier `run`: its directory, or its results.json")
	f.BoolVar(&c.Coverage, "coverage", false, "measure which lines of the kernel's AppArmor each test reaches: needs a kernel with CONFIG_GCOV_KERNEL and its build tree")
	f.StringVar(&c.CoverageTree, "coverage-tree", "", "build tree `directory` of the kernel, for --coverage (default: the kernel's spec is the tree)")
	f.StringVar(&c.Patch, "patch", "", "with --coverage, report which lines of this `patch` were reached: a file, or a range of commits in the build tree")
	f.StringVar(&c.SelectFor, "select-for", "", "run only the tests that reach what this `patch` changes, as --map measured it: a file, or a range of commits")
	f.StringVar(&c.Map, "map", "", "earlier `run` with --coverage, for --select-for (default: the newest)")
	f.BoolVar(&c.SelectRest, "then-rest", false, "with --select-for: then run all other tests")
	f.BoolVar(&c.Debug, "debug", false, "write what the harness does to debug.log in the run's directory")
}

// DefaultOut returns the directory of all runs: out/ at the top of a checkout,
// else out/ in the working directory.
func DefaultOut() string {
	dir, err := os.Getwd()
	if err != nil {
		return "out"
	}
	for d := dir; ; d = filepath.Dir(d) {
		if b, err := os.ReadFile(filepath.Join(d, "go.mod")); err == nil && strings.HasPrefix(string(b), "module proofhouse\n") {
			return filepath.Join(d, "out")
		}
		if d == filepath.Dir(d) {
			return filepath.Join(dir, "out")
		}
	}
}

// NewRunDir creates the directory of a run that starts now, and points out/latest
// to it.
func NewRunDir(out string, now time.Time) (string, error) {
	if err := os.MkdirAll(out, 0o755); err != nil {
		return "", exit.BadInputf("create the directory of runs: %w", err)
	}
	base := filepath.Join(out, now.Format("2006-01-02T15-04-05"))
	for n := 1; ; n++ {
		dir := base
		if n > 1 {
			dir = fmt.Sprintf("%s.%d", base, n)
		}
		err := os.Mkdir(dir, 0o755)
		if err == nil {
			link(out, filepath.Base(dir))
			return dir, nil
		}
		if !os.IsExist(err) {
			return "", exit.BadInputf("create the directory of this run: %w", err)
		}
	}
}

// Latest is the name of the symbolic link to the newest run.
const Latest = "latest"

// link points out/latest to the run. It is a convenience, so errors are ignored.
func link(out, name string) {
	tmp := filepath.Join(out, "."+name+".latest")
	if os.Symlink(name, tmp) == nil {
		_ = os.Rename(tmp, filepath.Join(out, Latest))
	}
}

// refusal is the reason why a run did not start.
type refusal struct {
	Status int    `json:"status"`
	Line   string `json:"line"`
}

// RefusalFile is the file in the directory of a run that says why the run did not
// start.
const RefusalFile = "refused.json"

// Refuse writes to the directory of a run why it did not start. The first reason
// is kept: several processes may refuse.
func Refuse(dir string, err error) {
	b, jsonErr := json.Marshal(refusal{exit.Status(err), err.Error()})
	if jsonErr != nil {
		return
	}
	f, openErr := os.OpenFile(filepath.Join(dir, RefusalFile), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if openErr != nil {
		return
	}
	_, _ = f.Write(append(b, '\n'))
	_ = f.Close()
}

// Refused returns the reason why the run in dir did not start, or nil.
func Refused(dir string) error {
	b, err := os.ReadFile(filepath.Join(dir, RefusalFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("read why the run did not start: %w", err)
	}
	var r refusal
	if err := json.Unmarshal(b, &r); err != nil {
		return fmt.Errorf("read why the run did not start: %w", err)
	}
	return exit.With(r.Status, fmt.Errorf("%s", r.Line))
}
