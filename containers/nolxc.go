// SPDX-License-Identifier: Apache-2.0

//go:build !cgo || !lxc

package containers

import (
	"context"
	"time"

	"proofhouse/internal/exit"
)

// Available returns an error if this program cannot manage containers.
func Available() error { return exit.BadInput(ErrMissing) }

// Version returns the version of liblxc.
func Version() string { return "" }

// systemPath is lxc.lxcpath, as LXC reads it from its configuration.
func systemPath(ctx context.Context) (string, error) { return lxcPathByProgram(ctx) }

// List returns the names of the containers in path; "" means [SystemPath].
func List(string) ([]string, error) { return nil, Available() }

// Status returns the state of the container.
func (c Container) Status(context.Context) (Status, error) { return Status{}, Available() }

// Create creates the container.
func (c Container) Create(context.Context, Making) error { return Available() }

// Start starts the container.
func (c Container) Start(context.Context) error { return Available() }

// Run runs a command in the container.
func (c Container) Run(context.Context, Command) (End, error) { return End{}, Available() }

// Stop stops the container.
func (c Container) Stop(context.Context, time.Duration) error { return Available() }

// Destroy stops the container and removes it.
func (c Container) Destroy(context.Context) error { return Available() }
