//go:build !cgo || !lxc

package containers

import (
	"context"
	"time"

	"proofhouse/internal/exit"
)

// Available says why this program cannot drive containers; nil if it can.
func Available() error { return exit.BadInput(ErrMissing) }

// Version is liblxc's.
func Version() string { return "" }

// systemPath is lxc.lxcpath, as LXC reads it from its configuration.
func systemPath(ctx context.Context) (string, error) { return lxcPathByProgram(ctx) }

// List are the names of the containers in path, "" for the default.
func List(string) ([]string, error) { return nil, Available() }

// Status looks at the container.
func (c Container) Status(context.Context) (Status, error) { return Status{}, Available() }

// Create makes the container.
func (c Container) Create(context.Context, Making) error { return Available() }

// Start starts the container.
func (c Container) Start(context.Context) error { return Available() }

// Run runs a command in the container.
func (c Container) Run(context.Context, Command) (End, error) { return End{}, Available() }

// Stop ends the container.
func (c Container) Stop(context.Context, time.Duration) error { return Available() }

// Destroy ends the container and removes it.
func (c Container) Destroy(context.Context) error { return Available() }
