// SPDX-License-Identifier: Apache-2.0

// Package profiles holds the AppArmor policy that nsmgr ships, as files that
// people can read, and compiles policy for the kernel at hand with
// apparmor_parser. It loads nothing.
//
//	c, err := profiles.NewCompiler(features)
//	policy, err := c.Shipped(ctx, "privileged", profiles.Parameters{Name: "container"})
package profiles

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
	"text/template"

	"proofhouse/internal/exit"
	"proofhouse/nsmgr"
)

//go:embed policy/*.aa
var files embed.FS

// templates are parsed when they are needed: most commands need none.
var templates = sync.OnceValue(func() *template.Template {
	return template.Must(template.ParseFS(files, "policy/*.aa"))
})

// The shipped profiles.
const (
	Host         = "host-ct"      // the host's side of every container
	Privileged   = "privileged"   // the container's side, without a user namespace
	Unprivileged = "unprivileged" // the container's side, in a user namespace
	Nested       = "nested"       // the container's side of one that has policy of its own
)

// DefaultName is what a container's profile is called in its namespace.
const DefaultName = "container"

// Parameters are what a shipped profile is rendered with.
type Parameters struct {
	Name   string // of the profile
	Nested bool   // host-ct: for a container that administers its namespace
}

// Names are the shipped profiles, sorted.
func Names() []string {
	entries, err := files.ReadDir("policy")
	if err != nil {
		panic(err) // the directory is embedded
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = strings.TrimSuffix(path.Base(e.Name()), ".aa")
	}
	return names
}

// rules says which rules can be written: a kernel that mediates a class refuses
// what no rule allows, and a parser that does not know the class can neither
// write the rule nor have the class mediated.
type rules struct {
	Parameters
	Userns, IOUring, Mqueue bool
}

// Render is the text of a shipped profile for a kernel with these features and
// a parser of this version ("4.1.0").
func Render(name string, p Parameters, f nsmgr.FeatureSet, parser string) ([]byte, error) {
	if !slices.Contains(Names(), name) {
		return nil, exit.BadInputf("unknown shipped profile %q: want one of %s", name, strings.Join(Names(), ", "))
	}
	if p.Name == "" || strings.ContainsAny(p.Name, "\"\\\n\x00{}*?[]^") || strings.HasPrefix(p.Name, ":") {
		return nil, exit.BadInputf("profile name %q: it has characters that policy cannot express", p.Name)
	}
	// Parsers before 4.0 do not have these rules.
	modern := !older(parser, 4)
	r := rules{
		Parameters: p,
		Userns:     modern && f.Has("namespaces/mask", "userns_create"),
		IOUring:    modern && f.Has("io_uring/mask", ""),
		Mqueue:     modern && f.Has("ipc/posix_mqueue", ""),
	}
	var b bytes.Buffer
	if err := templates().ExecuteTemplate(&b, name+".aa", r); err != nil {
		return nil, fmt.Errorf("render profile %q: %w", name, err)
	}
	return b.Bytes(), nil
}

// Shipped renders and compiles a shipped profile.
func (c *Compiler) Shipped(ctx context.Context, name string, p Parameters) (nsmgr.Policy, error) {
	version, err := c.version(ctx)
	if err != nil {
		return nil, err
	}
	text, err := Render(name, p, c.features, version)
	if err != nil {
		return nil, err
	}
	b, err := c.Text(ctx, name+".aa", text)
	if err != nil {
		return nil, err
	}
	return nsmgr.Policy{b}, nil
}
