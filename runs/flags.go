package runs

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"proofhouse/internal/exit"
)

// Options are the flags of the suite.
type Options struct {
	kernels, scripts, expectations listFlag
	shard                          string
	cfg                            Config
}

// listFlag is a flag that may come several times, or hold several names.
type listFlag struct {
	values []string
	split  bool
}

func (l *listFlag) String() string { return strings.Join(l.values, ",") }

func (l *listFlag) Set(s string) error {
	if !l.split {
		l.values = append(l.values, s)
		return nil
	}
	l.values = append(l.values, SplitNames(s)...)
	return nil
}

// SplitNames reads a list of names with commas between them.
func SplitNames(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
}

// Flags defines the suite's own flags.
func Flags(fs *flag.FlagSet) *Options {
	o := &Options{scripts: listFlag{split: true}}
	fs.Var(&o.kernels, "kernel", "kernel to test, `SPEC`; may be given several times (default "+DefaultKernel+")")
	fs.Var(&o.scripts, "script", "only these upstream scripts, `NAME[,NAME]...`")
	fs.Var(&o.expectations, "expectations", "`file` with failures that are expected, beside those that come along; may be given several times")
	fs.StringVar(&o.cfg.Guest, "guest", DefaultGuest, "Debian `suite` of the guest")
	fs.StringVar(&o.cfg.Source, "apparmor-src", DefaultSource, "source of the upstream suite, `SPEC`")
	fs.StringVar(&o.cfg.Accelerator, "accel", "auto", "QEMU's accelerator: auto, kvm or tcg")
	fs.IntVar(&o.cfg.Memory, "memory", 0, "memory of a machine in `MiB` (default 1024)")
	fs.BoolVar(&o.cfg.Plain, "plain", false, "boot with no words on the command line that make it faster")
	fs.BoolVar(&o.cfg.PlainGuest, "plain-guest", false, "run upstream's scripts without the programs that make them faster")
	fs.StringVar(&o.cfg.Out, "out", DefaultOut(), "`folder` of all runs")
	fs.StringVar(&o.shard, "shard", "", "only a part of the run, `INDEX/COUNT`: proofhouse merge joins the parts")
	fs.StringVar(&o.cfg.Durations, "durations", "", "expect what took how long in an earlier `run`: its folder, or its results.json")
	return o
}

// Config is what the flags say.
func (o *Options) Config() (Config, error) {
	c := o.cfg
	c.Kernels, c.Scripts, c.Expectations = o.kernels.values, o.scripts.values, o.expectations.values
	var err error
	c.Shard, err = ParseShard(o.shard)
	return c, err
}

// DefaultOut is where runs go: out/ at the top of a checkout, else out/ here.
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

// NewRunDir makes the folder of a run that starts now.
func NewRunDir(out string, now time.Time) (string, error) {
	if err := os.MkdirAll(out, 0o755); err != nil {
		return "", exit.BadInputf("make the folder of runs: %w", err)
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
			return "", exit.BadInputf("make the folder of this run: %w", err)
		}
	}
}

// Latest is the link in the folder of runs that points to the newest.
const Latest = "latest"

// link has out/latest point to the run, for people.
func link(out, name string) {
	tmp := filepath.Join(out, "."+name+".latest")
	if os.Symlink(name, tmp) == nil {
		_ = os.Rename(tmp, filepath.Join(out, Latest))
	}
}

// refusal is why a run did not begin.
type refusal struct {
	Status int    `json:"status"`
	Line   string `json:"line"`
}

// RefusalFile has, in the folder of a run that did not begin, why.
const RefusalFile = "refused.json"

// Refuse writes down, in the run's folder, why the run did not begin. The
// first word stands: several processes may come to the same end.
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

// Refused is why the run in dir did not begin, or nil.
func Refused(dir string) error {
	b, err := os.ReadFile(filepath.Join(dir, RefusalFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("read why the run did not begin: %w", err)
	}
	var r refusal
	if err := json.Unmarshal(b, &r); err != nil {
		return fmt.Errorf("read why the run did not begin: %w", err)
	}
	return exit.With(r.Status, fmt.Errorf("%s", r.Line))
}
