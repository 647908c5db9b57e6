// SPDX-License-Identifier: Apache-2.0

package nsmgr

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"proofhouse/internal/exit"
)

// trialTimeout limits a trial: it compiles one profile and runs one process.
const trialTimeout = 2 * time.Minute

// trialPolicy is the profile of a trial: it denies one file, allows everything
// else, and logs nothing. NAME and FILE are replaced.
const trialPolicy = `abi <kernel>,
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

// Seen is what the process of a trial reports.
type Seen struct {
	Label string `json:"label"` // its own, as it sees it
	Open  string `json:"open"`  // the error of opening the allowed file, or ""
	Shut  string `json:"shut"`  // the error of opening the denied file, or ""
}

// Compile compiles the text of a profile; origin is its name in errors.
type Compile func(ctx context.Context, origin string, text []byte) (Blob, error)

// StartProbe runs [Probe] in a process that the namespace's profile confines,
// and returns what it reports.
type StartProbe func(ctx context.Context, ns Name, profile, allowed, denied string) (Seen, error)

// Try checks that policy of the namespace is enforced: it loads a profile of
// its own into the namespace, starts a process under it, which must open one
// file and be denied another, and removes the profile again.
func (v *View) Try(ctx context.Context, ns Name, compile Compile, start StartProbe) (found []Finding, err error) {
	ctx, cancel := context.WithTimeout(ctx, trialTimeout)
	defer cancel()
	dir, err := os.MkdirTemp("", "nsmgr-verify-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	allowed, denied := filepath.Join(dir, "open"), filepath.Join(dir, "shut")
	for _, f := range []string{allowed, denied} {
		if err := os.WriteFile(f, nil, 0o600); err != nil {
			return nil, err
		}
	}
	name := filepath.Base(dir)
	blob, err := compile(ctx, "the profile of the trial", []byte(strings.NewReplacer("NAME", name, "FILE", denied).Replace(trialPolicy)))
	if err != nil {
		return nil, err
	}
	if err := v.Load(ctx, ns, Policy{blob}, LoadOptions{}); err != nil {
		return nil, err
	}
	defer func() {
		// Also when ctx has ended.
		ctx := context.WithoutCancel(ctx)
		gone := v.Unload(ctx, ns, Removal{}, name)
		if errors.Is(gone, ErrTasksHidden) { // the profile, which allows nearly all, must not stay
			gone = v.Unload(ctx, ns, Removal{Force: true}, name)
		}
		err = errors.Join(err, gone)
	}()
	saw, err := start(ctx, ns, name, allowed, denied)
	if err != nil {
		return nil, exit.With(exit.Failed, fmt.Errorf("run a process in namespace %q: %w", ns, err))
	}
	return saw.findings(name)
}

// findings judges what the process saw under the profile.
func (s Seen) findings(profile string) ([]Finding, error) {
	label, err := ParseLabel(s.Label)
	if err != nil {
		return nil, err
	}
	last := label.Parts[len(label.Parts)-1]
	return []Finding{
		{What: fmt.Sprintf("a process started in it has its profile (it sees %q)", strings.TrimSpace(s.Label)), OK: strings.HasSuffix(last.Profile, profile)},
		{What: "what the profile allows is allowed" + because(s.Open), OK: s.Open == ""},
		{What: "what the profile denies is refused" + because(s.Shut), OK: s.Shut == syscall.EACCES.Error()},
	}, nil
}

func because(said string) string {
	if said == "" {
		return ""
	}
	return " (" + said + ")"
}

// Probe opens two files and reports the results, and the label of this process. It
// runs in the process that a trial starts.
func Probe(allowed, denied string) (Seen, error) {
	label, err := os.ReadFile("/proc/thread-self/attr/apparmor/current")
	if err != nil {
		label, err = os.ReadFile("/proc/thread-self/attr/current") // kernels before 5.8
	}
	return Seen{string(label), tryOpen(allowed), tryOpen(denied)}, err
}

// tryOpen returns the error of opening the file, or "".
func tryOpen(path string) string {
	f, err := os.Open(path)
	if err == nil {
		_ = f.Close()
		return ""
	}
	return errno(err).Error()
}
