// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
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
	"proofhouse/internal/printable"
	"proofhouse/nsmgr"
	"proofhouse/profiles"
)

// check is one line of doctor.
type check struct {
	what     string
	required bool
	fix      string // how to fix it, where the error does not say so
	ask      func(ctx context.Context, v *nsmgr.View) (note string, err error)
}

var checks = []check{
	{"stacked namespaces", true, "boot a kernel that has it: nsmgr features lists what is missing", func(_ context.Context, v *nsmgr.View) (string, error) {
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
			note = "without " + strings.Join(lacks, ", ")
		}
		return note, f.CheckStacking()
	}},
	{"policy administration", true, "run nsmgr as root, outside of containers that must not change policy", func(_ context.Context, v *nsmgr.View) (string, error) {
		return "", v.MayAdminister()
	}},
	{"policy compiler", true, "Debian: apt install apparmor", func(ctx context.Context, v *nsmgr.View) (string, error) {
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
	{"audit records", false, "run nsmgr as root", func(context.Context, *nsmgr.View) (string, error) {
		_, err := nsmgr.Records(time.Now())
		return "", err
	}},
	{"LXC", false, "Debian: apt install lxc", func(context.Context, *nsmgr.View) (string, error) {
		path, err := exec.LookPath("lxc-start")
		if err != nil {
			return "", errors.New("lxc-start is not installed")
		}
		return path, nil
	}},
	{"LXC's own confinement", false,
		"let the labels of containers begin with lxc-, as in lxc-host-ct//&:NAMESPACE:PROFILE, or add \"change_profile -> host-ct//&**,\" to " + containers.StartAbstraction,
		containers.CheckLXCConfinement},
	{"container commands", false, "install the package nsmgr-lxc", func(context.Context, *nsmgr.View) (string, error) {
		err := containers.Available()
		if self, selfErr := os.Executable(); err != nil && selfErr == nil {
			if path, lookErr := exec.LookPath(filepath.Join(filepath.Dir(self), withLXC)); lookErr == nil {
				return path, nil
			}
		}
		return "liblxc " + containers.Version(), err
	}},
}

// checked is the JSON form of a check.
type checked struct {
	What     string `json:"what"`
	OK       bool   `json:"ok"`
	Required bool   `json:"required"`
	Note     string `json:"note,omitempty"`
	Problem  string `json:"problem,omitempty"`
	Fix      string `json:"fix,omitempty"`
}

func doctorCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "doctor", Short: "Check what namespaces need on this host, and say how to fix it", Args: noArgs,
		Example: "  nsmgr doctor\n  nsmgr doctor --json",
		Long:    "Checks what nsmgr needs. Exit status 1: a required item is missing.",
		RunE: func(c *cobra.Command, _ []string) error {
			v, err := nsmgr.Open()
			if err != nil {
				return err
			}
			bad := 0
			all := []checked{}
			for _, ch := range checks {
				note, err := ch.ask(c.Context(), v)
				r := checked{What: ch.what, OK: err == nil, Required: ch.required, Note: note}
				if err != nil {
					r.Note, r.Problem, r.Fix = "", err.Error(), ch.fix
					if ch.required {
						bad++
					}
				}
				all = append(all, r)
			}
			if asJSON {
				if err := printJSON(c, all); err != nil {
					return err
				}
			} else {
				printChecks(c, all)
			}
			if bad > 0 {
				return exit.With(exit.Failed, fmt.Errorf("%s missing", printable.Count(bad, "required item")))
			}
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return c
}

func printChecks(c *cobra.Command, all []checked) {
	for _, r := range all {
		switch {
		case r.OK:
			say(c, "%s", strings.TrimRight(fmt.Sprintf("ok       %-22s %s", r.What, r.Note), " "))
		case r.Required:
			say(c, "MISSING  %-22s %s", r.What, r.Problem)
		default:
			say(c, "missing  %-22s %s (optional)", r.What, r.Problem)
		}
		if r.Fix != "" {
			say(c, "         %-22s fix: %s", "", r.Fix)
		}
	}
}
