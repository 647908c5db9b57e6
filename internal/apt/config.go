// SPDX-License-Identifier: Apache-2.0

package apt

import (
	"fmt"
	"path/filepath"
	"strings"
)

// A setting is one line of apt-config dump: Acquire::Check-Date "false".
type setting struct{ name, value string }

func (s setting) String() string { return s.name + ` "` + s.value + `"` }

// carried are the settings of the host's apt that decide whether and how
// its mirror can be reached and how old its lists may be. Whoever set them
// meant every apt on this host; nothing here is loosened beyond them.
// A name stands for all below it too.
var carried = []string{
	"Acquire::Check-Date",
	"Acquire::Check-Valid-Until",
	"Acquire::Max-ValidTime",
	"Acquire::Min-ValidTime",
	"Acquire::Max-FutureTime",
	"Acquire::ForceIPv4",
	"Acquire::ForceIPv6",
	"Acquire::http",
	"Acquire::https",
	"Acquire::ftp",
	"Acquire::socks",
}

// takenOver picks the carried settings out of apt-config dump. A line that is
// more than a name and a quoted value is left out: it could not be written
// back safely.
func takenOver(dump string) []setting {
	var found []setting
	for line := range strings.Lines(dump) {
		name, rest, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok || !isCarried(name) {
			continue
		}
		value, ok := strings.CutPrefix(rest, `"`)
		if !ok {
			continue
		}
		value, ok = strings.CutSuffix(value, `";`)
		if !ok || value == "" || strings.ContainsAny(value, `"\`) || strings.ContainsAny(name, `"{};`) {
			continue
		}
		found = append(found, setting{name, value})
	}
	return found
}

func isCarried(name string) bool {
	name = strings.ToLower(name) // apt's names are caseless
	for _, c := range carried {
		c = strings.ToLower(c)
		if name == c || strings.HasPrefix(name, c+"::") {
			return true
		}
	}
	return false
}

// conf is the apt.conf of a state. apt reads the file that APT_CONFIG names
// before the host's apt.conf.d, which would have the last word: so that
// directory is switched off, with the hooks and index targets that it may bring,
// and what must be taken over from it stands here.
func (a *Apt) conf(st state) string {
	in := func(name string) string { return filepath.Join(st.dir, name) }
	own := []setting{
		{"Dir::State", st.dir},
		{"Dir::State::lists", in("lists")},
		{"Dir::State::status", in("status")},
		{"Dir::Cache", in("cache")},
		{"Dir::Cache::pkgcache", "pkgcache.bin"},
		{"Dir::Cache::srcpkgcache", "srcpkgcache.bin"},
		{"Dir::Log", in("log")},
		{"Dir::Etc::sourcelist", in("sources.list")},
		{"Dir::Etc::sourceparts", "/dev/null"},
		{"Dir::Etc::main", "/dev/null"},
		{"Dir::Etc::parts", "/dev/null"},
		{"Dir::Etc::preferences", "/dev/null"},
		{"Dir::Etc::preferencesparts", "/dev/null"},
		{"APT::Architecture", a.arch},
		{"APT::Architectures", a.arch},
		// root's apt would switch to _apt, which cannot write into our directories.
		{"APT::Sandbox::User", "root"},
		// Without it apt-get update succeeds when nothing could be fetched.
		{"APT::Update::Error-Mode", "any"},
		{"Acquire::Languages", "none"},
		{"Acquire::Retries", "3"},
		// A compressed list is read from its start for each package asked for.
		{"Acquire::GzipIndexes", "false"},
	}
	var b strings.Builder
	for _, s := range append(own, a.settings...) {
		fmt.Fprintf(&b, "%s;\n", s)
	}
	return b.String()
}
