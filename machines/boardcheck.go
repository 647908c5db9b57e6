// SPDX-License-Identifier: Apache-2.0

package machines

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"proofhouse/internal/exit"
	"proofhouse/kernels"
	"proofhouse/machines/board"
	"proofhouse/machines/wire"
)

// BoardItem is one thing that a run needs of a board, or can use.
type BoardItem struct {
	Name string
	Text string // what there is
	Fix  string // what to do; "" where nothing is to do
	// Bad items prevent a run. An item with a Fix that is not bad is advice.
	Bad bool
}

// CheckBoard examines a board. root is the size in bytes that the guest's root takes
// there; 0 if unknown. If cycle is set, it cuts the board's power once.
func CheckBoard(ctx context.Context, b *kernels.Build, find func(arch string) (string, error), root uint64, cycle bool) []BoardItem {
	var items []BoardItem
	bad := func(name string, err error, fix string) {
		items = append(items, BoardItem{Name: name, Text: err.Error(), Fix: fix, Bad: true})
	}
	add := func(name, fix, format string, args ...any) {
		items = append(items, BoardItem{Name: name, Text: fmt.Sprintf(format, args...), Fix: fix})
	}
	l, err := board.Connect(ctx, b.Board)
	if err != nil {
		bad("ssh", err, "")
		return items
	}
	defer func() { l.Close() }()
	if err := l.Agent(ctx, find); err != nil {
		bad("ssh", err, "")
		return items
	}
	defer func() { l.RemoveAgent(context.WithoutCancel(ctx)) }()
	f, err := l.Facts(ctx)
	if err != nil {
		bad("agent", err, "")
		return items
	}
	add("ssh", "", "root on %s %s", orUnknown(f.Model), f.Machine)
	id := f.BuildID
	fix := ""
	if id == "" {
		id, fix = "none", "link the kernel with --build-id, so that it can be recognised"
	}
	add("kernel", fix, "%s, build ID %s, up %v", f.Release, id, (time.Duration(f.Uptime) * time.Second))
	if err := learn(b, f); err != nil {
		bad("run", err, "")
	} else {
		add("AppArmor", "", "enabled, %d profiles loaded", f.Profiles)
	}
	items = append(items, spaceItem(b.Board, f, root))
	if b.Board.OwnRoot {
		items = append(items, userspaceItem(f))
	}
	items = append(items, consoleItem(ctx, l, b.Board))
	items = append(items, powerItem(ctx, &l, f, b, find, cycle))
	if len(f.Pstore) == 0 {
		add("pstore", "", "no records of earlier crashes")
	} else {
		add("pstore", "", "%d records of earlier crashes: a run leaves them", len(f.Pstore))
	}
	if f.Owner == nil {
		add("lock", "", "nobody uses the board")
	}
	return items
}

func orUnknown(s string) string {
	if s == "" {
		return "an unnamed board"
	}
	return s
}

func spaceItem(b *kernels.Board, f *wire.BoardFacts, root uint64) BoardItem {
	c := f.Cache
	item := BoardItem{Name: "space", Text: fmt.Sprintf("%s has %d MiB free", c.Dir, c.Free>>20)}
	kept := slices.ContainsFunc(c.Files, func(n string) bool { return strings.HasPrefix(n, "root-") && !strings.HasSuffix(n, ".partial") })
	switch {
	case c.Error != "":
		item.Text, item.Bad = fmt.Sprintf("%s: %.200q", c.Dir, c.Error), true
		item.Fix = "dir= names another directory"
	case c.ReadOnly:
		item.Text, item.Bad = c.Dir+" is on a read-only file system", true
		item.Fix = "dir= names another directory"
	case b.OwnRoot:
	case kept:
		item.Text += ", and a guest root is there"
	case c.Free < root+64<<20:
		item.Text += fmt.Sprintf(": %d MiB are needed", (root+64<<20)>>20)
		item.Bad, item.Fix = true, "dir= names another directory; root=board needs less"
	}
	return item
}

// boardPrograms are those without which no upstream script runs.
var boardPrograms = []string{"bash", "perl", "apparmor_parser"}

func userspaceItem(f *wire.BoardFacts) BoardItem {
	var missing []string
	for _, p := range boardPrograms {
		if f.Programs[p] == "" {
			missing = append(missing, p)
		}
	}
	if len(missing) > 0 {
		return BoardItem{Name: "userspace", Text: "not found on the board: " + strings.Join(missing, ", "), Bad: true, Fix: "install them, or leave out root=board"}
	}
	item := BoardItem{Name: "userspace", Text: "the board's own: " + strings.Join(boardPrograms, ", ")}
	if f.Programs["lxc-start"] == "" {
		item.Fix = "without lxc, the isolation rows that need a container are not run"
	}
	return item
}

func consoleItem(ctx context.Context, l *board.Link, b *kernels.Board) BoardItem {
	item := BoardItem{Name: "console"}
	if b.Console == "" {
		item.Text = "none: the kernel's log is read on the board, and the text of a panic is lost"
		item.Fix = "console=/dev/ttyUSB0, console=tcp:HOST:PORT, console=unix:PATH or console=exec:COMMAND"
		return item
	}
	life, cancel := context.WithCancel(ctx)
	defer cancel()
	r, err := board.OpenConsole(life, b.Console)
	var log Log
	if err == nil {
		go func() { _, _ = io.Copy(&log, r) }()
		err = l.Prove(ctx, func() string { return log.Since(0) })
	}
	if err != nil {
		item.Text, item.Bad = err.Error(), true
		return item
	}
	item.Text = b.Console + " shows what this board's kernel logs"
	return item
}

// powerItem tries the power command, if cycle is set; *l is the new connection then.
func powerItem(ctx context.Context, l **board.Link, f *wire.BoardFacts, b *kernels.Build, find func(string) (string, error), cycle bool) BoardItem {
	item := BoardItem{Name: "power"}
	switch {
	case len(b.Board.Power) == 0:
		item.Text = "none: a board that hangs ends the run without a verdict"
		item.Fix = "power=COMMAND, which turns it off and on"
		return item
	case !cycle:
		item.Text = strings.Join(b.Board.Power, " ") + ": not tried"
		item.Fix = "proofhouse board check --power cuts the board's power once"
		return item
	}
	begun := time.Now()
	err := board.PowerCycle(ctx, b.Board)
	for err == nil {
		var again *wire.BoardFacts
		if again, err = reconnect(ctx, l, b.Board, find); err == nil && again.Boot != f.Boot {
			item.Text = fmt.Sprintf("%s: the board was back after %v", strings.Join(b.Board.Power, " "), time.Since(begun).Round(time.Second))
			return item
		}
		if time.Since(begun) > b.Board.RebootWait {
			err = errors.Join(err, fmt.Errorf("the board was not back after %v with another boot ID", b.Board.RebootWait))
			break
		}
		if exit.Status(err) != exit.Usage {
			err = nil
		}
		select {
		case <-ctx.Done():
			err = context.Cause(ctx)
		case <-time.After(2 * time.Second):
		}
	}
	item.Text, item.Bad = err.Error(), true
	return item
}

func reconnect(ctx context.Context, l **board.Link, b *kernels.Board, find func(string) (string, error)) (*wire.BoardFacts, error) {
	fresh, err := board.Connect(ctx, b)
	if err != nil {
		return nil, err
	}
	(*l).Close()
	*l = fresh
	if err := fresh.Agent(ctx, find); err != nil {
		return nil, err
	}
	f, err := fresh.Facts(ctx)
	if err != nil {
		fresh.RemoveAgent(context.WithoutCancel(ctx))
	}
	return f, err
}

// CleanBoard removes from a board what runs left there and what they keep.
func CleanBoard(ctx context.Context, b *kernels.Build, find func(arch string) (string, error)) (removed []string, err error) {
	l, err := board.Connect(ctx, b.Board)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	if err := l.Agent(ctx, find); err != nil {
		return nil, err
	}
	defer l.RemoveAgent(context.WithoutCancel(ctx))
	left, err := l.Clean(ctx)
	if err == nil && len(left.Stuck) > 0 {
		err = fmt.Errorf("%s: cannot remove: %.500q", b.Board.Name, left.Stuck)
	}
	return left.Removed, err
}
