package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"proofhouse/containers"
	"proofhouse/internal/exit"
	"proofhouse/nsmgr"
	"proofhouse/profiles"
)

// printLine writes a value as one line of JSON.
func printLine(c *cobra.Command, value any) error {
	b, err := json.Marshal(value)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.OutOrStdout(), "%s\n", b)
	return err
}

// check is one line of doctor.
type check struct {
	what string
	must bool
	ask  func(ctx context.Context, v *nsmgr.View) (note string, err error)
}

var checks = []check{
	{"stacked namespaces", true, func(_ context.Context, v *nsmgr.View) (string, error) {
		f, err := v.Features()
		if err != nil {
			return "", err
		}
		var lacks []string
		for _, n := range f.Missing() {
			lacks = append(lacks, strings.TrimSpace(n.File+" "+n.Word))
		}
		note := ""
		if len(lacks) > 0 {
			note = "though without " + strings.Join(lacks, ", ")
		}
		return note, f.CheckStacking()
	}},
	{"policy administration", true, func(_ context.Context, v *nsmgr.View) (string, error) {
		return "", v.MayAdminister()
	}},
	{"policy compiler", true, func(ctx context.Context, v *nsmgr.View) (string, error) {
		comp, err := containers.Compiler(v)
		if err != nil {
			return "", err
		}
		_, err = comp.Shipped(ctx, profiles.Privileged, profiles.Parameters{Name: profiles.DefaultName})
		if err != nil {
			return "", err
		}
		version, err := comp.Version(ctx)
		return "apparmor_parser " + version, err
	}},
	{"audit records", false, func(context.Context, *nsmgr.View) (string, error) {
		_, err := nsmgr.Records(time.Now())
		return "", err
	}},
	{"LXC", false, func(context.Context, *nsmgr.View) (string, error) {
		path, err := exec.LookPath("lxc-start")
		if err != nil {
			return "", errors.New("lxc-start is not installed (Debian: apt install lxc)")
		}
		return path, nil
	}},
	{"lxc-start's profile", false, func(_ context.Context, v *nsmgr.View) (string, error) {
		confined, err := containers.LXCConfined(v)
		if err != nil || !confined {
			return "not loaded", err
		}
		return "loaded: labels of containers must begin with lxc- (lxc-host-ct//&:NAMESPACE:PROFILE), or " + containers.StartAbstraction + " needs a rule change_profile for them", nil
	}},
	{"container commands", false, func(context.Context, *nsmgr.View) (string, error) {
		err := containers.Available()
		if self, selfErr := os.Executable(); err != nil && selfErr == nil {
			if path, lookErr := exec.LookPath(filepath.Join(filepath.Dir(self), withLXC)); lookErr == nil {
				return path, nil
			}
		}
		return "liblxc " + containers.Version(), err
	}},
}

func doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use: "doctor", Short: "Say what this machine lacks for namespaces, and how to mend it", Args: noArgs,
		Example: "  nsmgr doctor",
		Long:    "Looks at what nsmgr needs. Exit status 1: something needed is missing.",
		RunE: func(c *cobra.Command, _ []string) error {
			v, err := nsmgr.Open()
			if err != nil {
				return err
			}
			bad := 0
			for _, ch := range checks {
				note, err := ch.ask(c.Context(), v)
				switch {
				case err == nil:
					say(c, "%s", strings.TrimRight(fmt.Sprintf("ok       %-22s %s", ch.what, note), " "))
				case ch.must:
					bad++
					say(c, "MISSING  %-22s %v", ch.what, err)
				default:
					say(c, "missing  %-22s %v (not needed)", ch.what, err)
				}
			}
			if bad > 0 {
				return exit.With(exit.Failed, fmt.Errorf("%s missing", count(bad, "needed thing")))
			}
			return nil
		},
	}
}
