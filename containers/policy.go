// SPDX-License-Identifier: Apache-2.0

package containers

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"proofhouse/internal/exit"
	"proofhouse/nsmgr"
	"proofhouse/profiles"
)

// lxcPrefix makes another name of a shipped host profile: the profile that
// distributions confine lxc-start with allows a change to labels that begin so.
const lxcPrefix = "lxc-"

// HostProfile returns the name of the shipped host profile for a container with
// the shipped profile of that kind.
func HostProfile(kind string) string {
	if kind == profiles.Nested {
		return profiles.Host + "-nested"
	}
	return profiles.Host
}

// HostProfileHere is [HostProfile], with a name that lxc-start may change to
// where it is confined: lxc-host-ct.
func HostProfileHere(v *nsmgr.View, kind string) (string, error) {
	confined, err := LXCConfined(v)
	if err != nil || !confined {
		return HostProfile(kind), err
	}
	return lxcPrefix + HostProfile(kind), nil
}

// HostProfiles are the names of the host profile to load for namespaces of a kind:
// services are stacked on the first, and containers on the second where lxc-start is
// confined.
func HostProfiles(v *nsmgr.View, kind string) ([]string, error) {
	here, err := HostProfileHere(v, kind)
	if err != nil {
		return nil, err
	}
	return slices.Compact([]string{HostProfile(kind), here}), nil
}

// startProfile is the name of the profile that distributions confine lxc-start
// with (Debian's and Ubuntu's /etc/apparmor.d/usr.bin.lxc-start).
const startProfile = "/usr/bin/lxc-start"

// LXCConfined reports whether the profile of lxc-start is loaded.
func LXCConfined(v *nsmgr.View) (bool, error) { return v.HasProfile("", startProfile) }

// CheckLXCConfinement returns an error if the policy of lxc-start may forbid the
// labels of containers: its profile is loaded, and its rules have no transition
// to the shipped host profile. Names that begin with lxc- are always allowed.
func CheckLXCConfinement(_ context.Context, v *nsmgr.View) (note string, err error) {
	confined, err := LXCConfined(v)
	switch {
	case err != nil:
		return "", err
	case !confined:
		return "lxc-start is not confined", nil
	}
	rules, err := os.ReadFile(StartAbstraction)
	if err == nil && transitionRE.Match(rules) {
		return "lxc-start is confined, with a rule for labels that begin with " + profiles.Host, nil
	}
	return "", fmt.Errorf("the profile %s does not allow labels that begin with %s", startProfile, profiles.Host)
}

// transitionRE finds a rule in lxc-start's policy that allows the labels of
// containers with the shipped host profile.
var transitionRE = regexp.MustCompile(`(?m)^[ \t]*change_profile([ \t]+->[ \t]*"?(\*\*|` + profiles.Host + `//&\*\*)"?)?[ \t]*,`)

// shippedHost reports whether name is one of a shipped host profile, and
// whether that allows nesting.
func shippedHost(name string) (nested, ok bool) {
	switch strings.TrimPrefix(name, lxcPrefix) {
	case HostProfile(profiles.Privileged):
		return false, true
	case HostProfile(profiles.Nested):
		return true, true
	}
	return false, false
}

// Compiler returns a compiler for the running kernel.
func Compiler(v *nsmgr.View) (*profiles.Compiler, error) {
	f, err := v.StableFeatures()
	if err != nil {
		return nil, err
	}
	return profiles.NewCompiler(f)
}

// LoadHost loads a shipped host profile, unless the host has a profile of that
// name: an administrator's own stays. It reports whether it loaded one.
func LoadHost(ctx context.Context, v *nsmgr.View, name string) (loaded bool, err error) {
	if there, err := v.HasProfile("", name); err != nil || there {
		return false, err
	}
	nested, ok := shippedHost(name)
	if !ok {
		return false, exit.BadInput(fmt.Errorf("%w profile %q on the host to stack a container on (apparmor_parser loads it)", nsmgr.ErrNotExist, name))
	}
	comp, err := Compiler(v)
	if err != nil {
		return false, err
	}
	policy, err := comp.Shipped(ctx, profiles.Host, profiles.Parameters{Name: name, Nested: nested})
	if err != nil {
		return false, err
	}
	if err := v.Load(ctx, "", policy, nsmgr.LoadOptions{}); err != nil {
		return false, err
	}
	return true, nil
}

// CheckLabel checks that all parts of a container's label are loaded. It loads
// a shipped host profile that is missing; any other missing part is a user
// error.
func CheckLabel(ctx context.Context, v *nsmgr.View, l nsmgr.Label) error {
	for _, p := range l.Parts {
		if p.Profile == nsmgr.Unconfined || p.Profile == "" {
			if p.Namespace != "" && !v.Exists(p.Namespace) {
				return exit.BadInput(fmt.Errorf("%w namespace %q (nsmgr create)", nsmgr.ErrNotExist, p.Namespace))
			}
			continue
		}
		there, err := v.HasProfile(p.Namespace, p.Profile)
		switch {
		case err != nil:
			return err
		case there:
		case p.Namespace != "":
			return exit.BadInput(fmt.Errorf("%w profile %q in namespace %q (nsmgr load)", nsmgr.ErrNotExist, p.Profile, p.Namespace))
		default:
			if _, err := LoadHost(ctx, v, p.Profile); err != nil {
				return err
			}
		}
	}
	return nil
}
