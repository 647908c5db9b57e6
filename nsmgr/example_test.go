// SPDX-License-Identifier: Apache-2.0

package nsmgr_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"proofhouse/nsmgr"
)

// A label of a container has a part on the host and a part in its namespace.
func ExampleParseLabel() {
	l, err := nsmgr.ParseLabel("host-ct//&:web:container (enforce)")
	if err != nil {
		log.Fatal(err)
	}
	for _, p := range l.Parts {
		fmt.Printf("namespace %q, profile %q\n", p.Namespace, p.Profile)
	}
	fmt.Println(l.Mode, l.In("web"), l.Flat("web"))
	// Output:
	// namespace "", profile "host-ct"
	// namespace "web", profile "container"
	// enforce true false
}

func ExampleCheckName() {
	fmt.Println(nsmgr.CheckName("web"))
	fmt.Println(nsmgr.CheckName("a:b") != nil)
	// Output:
	// <nil>
	// true
}

func ExampleTarget_Label() {
	t := nsmgr.Target{Namespace: "web", Profile: "container", Host: "host-ct"}
	fmt.Println("lxc.apparmor.profile =", t.Label())
	// Output: lxc.apparmor.profile = host-ct//&:web:container
}

// Create a namespace with policy, load more, and delete it. It takes root and a
// kernel with AppArmor.
func Example() {
	ctx := context.Background()
	view, err := nsmgr.Open()
	if err != nil {
		log.Fatal(err)
	}
	var policy, more nsmgr.Policy // compiled by apparmor_parser, see package profiles
	if err := view.Create(ctx, "web", nsmgr.Making{Policy: policy}); err != nil {
		log.Fatal(err)
	}
	if err := view.Load(ctx, "web", more, nsmgr.LoadOptions{}); err != nil {
		log.Fatal(err)
	}
	err = view.Delete(ctx, "web", nsmgr.Deletion{})
	var inUse *nsmgr.InUseError
	switch {
	case errors.As(err, &inUse):
		fmt.Println("these tasks are in it:", inUse.Tasks)
	case errors.Is(err, nsmgr.ErrTasksHidden):
		fmt.Println("there may be tasks that this process cannot see:", err)
	case err != nil:
		log.Fatal(err)
	}
}
