package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"proofhouse/internal/child"
	"proofhouse/internal/exit"
	"proofhouse/nsmgr"
)

func verifyCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "verify NAME", Short: "Check that a namespace's confinement is really in force",
		Long: `Looks at the namespace's profiles and tasks, and tries it: a profile of its own
is loaded into the namespace for a moment, a process is started under it, and
must be refused one file and allowed another. Nothing that runs is touched.
Exit status 1: something is not in force.`,
		Example: "  nsmgr verify container-ns",
		Args:    args(1, 1, "give one namespace"), ValidArgsFunction: completeNames,
		RunE: func(c *cobra.Command, got []string) error {
			v, ns, err := onNamespace(got[0])
			if err != nil {
				return err
			}
			found, err := v.Examine(ns)
			if err != nil {
				return err
			}
			tried, err := try(c.Context(), v, ns)
			if err != nil {
				return err
			}
			return reportFindings(c, append(found, tried...), asJSON)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return c
}

func reportFindings(c *cobra.Command, found []nsmgr.Finding, asJSON bool) error {
	bad := 0
	for _, f := range found {
		word := "ok   "
		if !f.OK {
			bad++
			word = "NOT  "
		}
		if !asJSON {
			say(c, "%s%s", word, f.What)
		}
	}
	if asJSON {
		if err := printJSON(c, found); err != nil {
			return err
		}
	}
	if bad > 0 {
		return exit.With(exit.Failed, fmt.Errorf("%d of %d findings are not as they should be", bad, len(found)))
	}
	return nil
}

// tryPolicy is the profile that verify tries: all is allowed but one file, and
// nothing of it is logged. NAME and FILE are replaced.
const tryPolicy = `abi <kernel>,
profile "NAME" flags=(attach_disconnected) {
  file,
  signal,
  ptrace,
  capability,
  network,
  unix,
  deny "FILE" rwklx,
}
`

// try runs a process in the namespace and looks at what it could do.
func try(ctx context.Context, v *nsmgr.View, ns nsmgr.Name) (found []nsmgr.Finding, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "nsmgr-verify-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	open, shut := filepath.Join(dir, "open"), filepath.Join(dir, "shut")
	for _, f := range []string{open, shut} {
		if err := os.WriteFile(f, nil, 0o600); err != nil {
			return nil, err
		}
	}
	name := filepath.Base(dir)
	comp, err := compiler(v)
	if err != nil {
		return nil, err
	}
	blob, err := comp.Text(ctx, "the profile of the trial", []byte(strings.NewReplacer("NAME", name, "FILE", shut).Replace(tryPolicy)))
	if err != nil {
		return nil, err
	}
	if err := v.Load(ctx, ns, nsmgr.Policy{blob}, nsmgr.LoadOptions{}); err != nil {
		return nil, err
	}
	defer func() {
		// Also when ctx has ended.
		err = errors.Join(err, v.Unload(context.WithoutCancel(ctx), ns, name))
	}()
	saw, err := runProbe(ctx, ns, name, open, shut)
	if err != nil {
		return nil, err
	}
	label, err := nsmgr.ParseLabel(saw.Label)
	if err != nil {
		return nil, err
	}
	last := label.Parts[len(label.Parts)-1]
	return []nsmgr.Finding{
		{What: fmt.Sprintf("a process started in it has its profile (it sees %q)", strings.TrimSpace(saw.Label)), OK: strings.HasSuffix(last.Profile, name)},
		{What: "what the profile allows is allowed" + because(saw.Open), OK: saw.Open == ""},
		{What: "what the profile denies is refused" + because(saw.Shut), OK: saw.Shut == syscall.EACCES.Error()},
	}, nil
}

func because(said string) string {
	if said == "" {
		return ""
	}
	return " (" + said + ")"
}

// seen is what a probe tells.
type seen struct {
	Label string `json:"label"`
	Open  string `json:"open"` // "" or the error
	Shut  string `json:"shut"`
}

func runProbe(ctx context.Context, ns nsmgr.Name, profile, open, shut string) (s seen, err error) {
	self, err := os.Executable()
	if err != nil {
		return s, err
	}
	cmd := child.Command(ctx, self, "exec", string(ns), "-p", profile, "--", self, "probe", open, shut)
	// The Go runtime signals itself to preempt goroutines, which policy may
	// deny.
	cmd.Env = append(os.Environ(), "GODEBUG=asyncpreemptoff=1")
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		return s, exit.With(exit.Failed, fmt.Errorf("start a process in namespace %q: %w: %s", ns, err, errOut.String()))
	}
	if err := json.Unmarshal(out.Bytes(), &s); err != nil {
		return s, fmt.Errorf("read what the process in namespace %q saw: %w", ns, err)
	}
	return s, nil
}

// probeCommand is what verify runs in the namespace.
func probeCommand() *cobra.Command {
	return &cobra.Command{
		Use: "probe OPEN SHUT", Hidden: true, Args: args(2, 2, "give two files"),
		RunE: func(c *cobra.Command, got []string) error {
			label, err := os.ReadFile("/proc/thread-self/attr/apparmor/current")
			if err != nil {
				label, err = os.ReadFile("/proc/thread-self/attr/current")
			}
			if err != nil {
				return err
			}
			return printLine(c, seen{string(label), tryOpen(got[0]), tryOpen(got[1])})
		},
	}
}

func tryOpen(path string) string {
	f, err := os.Open(path)
	if err == nil {
		_ = f.Close()
		return ""
	}
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno.Error()
	}
	return err.Error()
}
