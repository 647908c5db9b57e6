// SPDX-License-Identifier: Apache-2.0

package nsmgr_test

import (
	"fmt"
	"strings"

	"proofhouse/nsmgr"
)

// A record says which part of a stacked label denied.
func ExampleParseRecord() {
	r, ok := nsmgr.ParseRecord(`audit: type=1400 audit(1795399212.474:2): apparmor="DENIED" operation="open" class="file" namespace="root//web" profile="container" name=2F7372762F6120 pid=825 comm="cat" requested_mask="r" denied_mask="r" fsuid=0 ouid=0`)
	fmt.Println(ok, r.Kind, r.Part(), r.Namespace, r.Profile)
	fmt.Printf("%q %s\n", r.Name, r.Fields["denied_mask"])
	fmt.Println(r.In("web"), r.In("other"))
	// Output:
	// true DENIED namespace web container
	// "/srv/a " r
	// true false
}

// The log of any host, in any form: auditd's, dmesg, syslog, the journal.
func ExampleReadRecords() {
	log := strings.NewReader(`type=SYSCALL msg=audit(1795399212.474:2): arch=c000003e success=no comm="cat"
type=AVC msg=audit(1795399212.474:2): apparmor="DENIED" operation="open" profile="host-ct" name="/srv/a" pid=825 comm="cat"
type=AVC msg=audit(1795399212.474:2): apparmor="DENIED" operation="open" namespace="root//web" profile="container" name="/srv/a" pid=825 comm="cat"
type=AVC msg=audit(1795399213.001:3): apparmor="DENIED" operation="open" profile="host-ct" name="/srv/b`)
	gaps, err := nsmgr.ReadRecords(log, "audit.log", func(r nsmgr.Record) error {
		fmt.Println(r.Serial, r.Part(), r.Name)
		return nil
	})
	fmt.Println(gaps, err)
	// Output:
	// 2 host /srv/a
	// 2 namespace /srv/a
	// 3 host /srv/b
	// [audit.log: 1 records are truncated] <nil>
}
