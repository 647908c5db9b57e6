package containers

import (
	"context"
	"fmt"

	"proofhouse/internal/exit"
	"proofhouse/nsmgr"
	"proofhouse/profiles"
)

// HostProfile returns the name of the shipped host profile for a container with
// the shipped profile of that kind.
func HostProfile(kind string) string {
	if kind == profiles.Nested {
		return profiles.Host + "-nested"
	}
	return profiles.Host
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
	comp, err := Compiler(v)
	if err != nil {
		return false, err
	}
	policy, err := comp.Shipped(ctx, profiles.Host, profiles.Parameters{Name: name, Nested: name != profiles.Host})
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
		case p.Profile == profiles.Host || p.Profile == HostProfile(profiles.Nested):
			if _, err := LoadHost(ctx, v, p.Profile); err != nil {
				return err
			}
		default:
			return exit.BadInput(fmt.Errorf("%w profile %q on the host to stack a container on (apparmor_parser loads it)", nsmgr.ErrNotExist, p.Profile))
		}
	}
	return nil
}
