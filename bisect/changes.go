// SPDX-License-Identifier: Apache-2.0

package bisect

import (
	"context"
	"maps"
	"regexp"
	"slices"

	"proofhouse/kernels"
)

// Changes are the differences between the last build before a change and the
// first one after it.
type Changes struct {
	Features []Difference `json:"features,omitempty"` // of AppArmor's features directory
	// Config has the differing options of the kernel config that are about
	// security; Options is the number of all that differ. ConfigKnown is false
	// if one of the builds has no config.
	Config      []Difference `json:"config,omitempty"`
	Options     int          `json:"options"`
	ConfigKnown bool         `json:"config_known"`
	// Log is the part of the newer build's changelog that the older one lacks;
	// none if the newer build has no changelog.
	Log []kernels.Change `json:"log,omitempty"`
	// LogKnown is true if the newer build has a changelog.
	LogKnown bool `json:"log_known"`
}

// Difference is a name with its old and new value; "" = not present.
type Difference struct {
	Name string `json:"name"`
	Old  string `json:"old,omitempty"`
	New  string `json:"new,omitempty"`
}

// securityRE matches the options that can affect AppArmor.
var securityRE = regexp.MustCompile(`^CONFIG_(SECURITY|LSM|AUDIT|DEFAULT_SECURITY|INTEGRITY|.*_NS$|NAMESPACES|SECCOMP|.*APPARMOR|.*_LSM)`)

// Compare returns what changed between two builds, as far as it is known.
func Compare(ctx context.Context, last, first Tested) (Changes, error) {
	var c Changes
	if last.Evidence != nil && first.Evidence != nil {
		c.Features = differences(last.Evidence.Kernel.Features, first.Evidence.Kernel.Features)
	}
	old, err := kernels.Resolve(ctx, last.Spec, nil)
	if err != nil {
		return c, err
	}
	build, err := kernels.Resolve(ctx, first.Spec, nil)
	if err != nil {
		return c, err
	}
	if a, b := old.Options(), build.Options(); a != nil && b != nil {
		c.ConfigKnown = true
		all := differences(a, b)
		c.Options = len(all)
		c.Config = slices.DeleteFunc(all, func(d Difference) bool { return !securityRE.MatchString(d.Name) })
	}
	if build.Changelog != "" && last.Version != "" {
		c.LogKnown = true
		c.Log, err = build.Changes(ctx, last.Version)
	}
	return c, err
}

func differences(a, b map[string]string) []Difference {
	var list []Difference
	names := maps.Clone(a)
	if names == nil {
		names = map[string]string{}
	}
	maps.Copy(names, b)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if a[name] != b[name] {
			list = append(list, Difference{name, a[name], b[name]})
		}
	}
	return list
}
