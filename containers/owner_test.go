// SPDX-License-Identifier: Apache-2.0

package containers

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"proofhouse/nsmgr"
)

func TestOwners(t *testing.T) {
	root := t.TempDir()
	long := strings.Repeat("x", 200)
	deep := "/srv/" + strings.Repeat("d", 60)
	for _, file := range []string{
		"/var/lib/lxc/web/config", "/var/lib/lxc/a_<b/config", "/var/lib/lxc/.hidden/x", "/var/lib/incus/containers/c1/x", "/var/lib/incus/containers/dev_c2/x",
		deep + "/" + long + "/config",
	} {
		path := filepath.Join(root, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	o := findOwners("/var/lib/lxc", root)
	for name, want := range map[nsmgr.Name]string{
		"lxc-web_<-var-lib-lxc>":                       "lxc:web present",
		"lxc-gone_<-var-lib-lxc>":                      "lxc:gone (missing) missing",
		"lxc-web_<-srv-lxc>":                           "lxc:web unknown",
		"lxc-a_<b_<-var-lib-lxc>":                      "lxc:a_<b present",
		"incus-c1_<var-lib-incus>":                     "incus:c1 present",
		"incus-c9_<var-lib-incus>":                     "incus:c9 (missing) missing",
		"incus-dev_c2_<var-lib-incus>":                 "incus:dev/c2 present",
		"incus-dev_c1_<var-lib-incus>":                 "incus:dev/c1 (missing) missing",
		"incus-c1_<srv-incus>":                         "incus:c1 unknown",
		"incus-.._<var-lib-incus>":                     "incus:.. unknown",
		"lxd-c1_<var-snap-lxd-common-lxd>":             "lxd:c1 unknown", // no such directory here
		nsmgr.Name("incus-" + strings.Repeat("a", 64)): "incus:? unknown",
		"lxc-web":                       "",
		"lxc-web//inner":                "",
		"lxc-web_<-var-lib-lxc>//inner": "",
		"web":                           "", "lxc-_<-var-lib-lxc>": "",
		"0123456789abcdef": "",
	} {
		got := ""
		if owner, ok := o.Of(name); ok {
			got = owner.String() + " " + owner.State
		}
		if got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	hashed := nsmgr.LXCName(long, deep)
	if got, ok := findOwners(deep, root).Of(nsmgr.Name(hashed)); !ok || got.Name != long || got.State != Present {
		t.Errorf("%s: %+v", hashed, got)
	}
	// Without LXC's directory nothing is missing.
	if got, _ := findOwners("/no/such", root).Of("lxc-web_<-no-such>"); got.State != Unknown {
		t.Errorf("%+v", got)
	}
}
