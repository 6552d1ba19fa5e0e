package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/jackc/pgx/v5"
	"golang.org/x/term"

	"pg_scribe/catalog"
	"pg_scribe/repo"
	"pg_scribe/stream"
	"pg_scribe/stream/capture"
	"pg_scribe/stream/source"
)

type dropCmd struct {
	connFlags
	outputFlag
	File        string `short:"f" placeholder:"DIRECTORY" help:"Repository whose slot and publication are meant; nothing in it is removed."`
	Slot        string `short:"S" placeholder:"NAME" help:"Replication slot (default: that of -f, or pg_scribe)."`
	Publication string `placeholder:"NAME" help:"Publication (default: that of -f, or pg_scribe)."`
	KeepCapture bool   `help:"Remove the slot only, when another repository of this database needs the rest."`
	Yes         bool   `help:"Do not ask."`
}

// Run removes what init made on the server.
func (c *dropCmd) Run(ctx context.Context, a *app) error {
	inv, err := c.names(ctx, a)
	if err != nil {
		return err
	}
	conn, err := a.connect(ctx, c.connFlags)
	if err != nil {
		return err
	}
	if inv != nil {
		if _, err := source.CheckIdentity(ctx, conn, *inv); err != nil {
			return err
		}
	}
	found, err := c.look(ctx, conn)
	if err != nil {
		return err
	}
	if len(found.items) == 0 {
		return &source.SlotError{Slot: c.Slot, Problem: source.SlotMissing}
	}
	for _, other := range found.otherSlots {
		a.words.warn("slot %s of this database may be another repository's, which needs publication and capture; see --keep-capture", other)
	}
	if err := c.confirm(a, found); err != nil {
		return err
	}
	if found.slot {
		if err := source.DropSlot(ctx, conn, c.Slot); err != nil {
			return err
		}
	}
	if !c.KeepCapture {
		if err := capture.Uninstall(ctx, conn, c.Publication); err != nil {
			return err
		}
	}
	if c.json() {
		return writeJSON(a.stdout, dropJSON{Database: found.database, Removed: found.items})
	}
	a.print("Removed from database %q: %s. No files were touched.", found.database, strings.Join(found.items, ", "))
	return nil
}

// names takes what is not said from the repository. inv is nil without one.
func (c *dropCmd) names(ctx context.Context, a *app) (inv *catalog.Inventory, err error) {
	slot, publication := stream.DefaultSlot, stream.DefaultPublication
	if c.File != "" {
		a.hintContext.dir = c.File
		r, err := repo.OpenReadOnly(ctx, c.File)
		if err != nil {
			return nil, err
		}
		defer r.Close()
		all, err := r.Catalog().Inventory(ctx)
		if err != nil {
			return nil, err
		}
		inv, slot, publication = &all, all.Repository.Slot, all.Repository.Publication
	}
	if c.Slot == "" {
		c.Slot = slot
	}
	if c.Publication == "" {
		c.Publication = publication
	}
	a.hintContext.slot = c.Slot
	return inv, checkNames(c.Slot, c.Publication, capture.ModeGuarded)
}

// installed is what there is to be removed.
type installed struct {
	database   string
	slot       bool
	items      []string // in words
	otherSlots []string
}

// look finds it, and refuses a slot that is in use before anything is gone.
func (c *dropCmd) look(ctx context.Context, connString string) (found installed, err error) {
	conn, err := source.Connect(ctx, connString)
	if err != nil {
		return found, err
	}
	defer conn.Close(ctx)
	var captured bool
	err = conn.QueryRow(ctx, "SELECT current_database(), to_regclass('scribe.config') IS NOT NULL").Scan(&found.database, &captured)
	if err != nil {
		return found, err
	}
	slot, err := source.FindSlot(ctx, connString, c.Slot)
	var missing *source.SlotError
	switch {
	case err == nil && slot.Plugin == "":
		return found, &source.SlotError{Slot: c.Slot, Problem: source.SlotForeign, Detail: "it is a physical slot"}
	case err == nil && slot.Database != found.database: // in use or not; with --keep-capture too
		leave, err := leavesSlot(ctx, conn, captured)
		if err == nil && (!leave || c.KeepCapture) {
			err = &source.SlotError{Slot: c.Slot, Problem: source.SlotForeign, Database: slot.Database}
		}
		if err != nil {
			return found, err
		}
	case err == nil && slot.Active:
		return found, &source.SlotError{Slot: c.Slot, Problem: source.SlotBusy, PID: slot.ActivePID}
	case err == nil:
		found.slot = true
		found.items = append(found.items, "replication slot "+c.Slot)
	case !errors.As(err, &missing) || missing.Problem != source.SlotMissing:
		return found, err
	}
	if c.KeepCapture {
		return found, nil
	}
	publications, err := capture.InstalledPublications(ctx, conn, c.Publication)
	if err != nil {
		return found, err
	}
	for _, name := range publications {
		found.items = append(found.items, fmt.Sprintf("publication %q", name))
	}
	if captured {
		found.items = append(found.items, "capture of DDL (schema scribe, event triggers, replica identities)")
	}
	rows, err := conn.Query(ctx, `SELECT slot_name::text FROM pg_replication_slots WHERE plugin = 'pgoutput'
	    AND database = current_database() AND slot_name <> $1 AND NOT temporary ORDER BY 1`, c.Slot)
	if err != nil {
		return found, err
	}
	found.otherSlots, err = pgx.CollectRows(rows, pgx.RowTo[string])
	return found, err
}

// leavesSlot says whether a slot of that name in another database is the
// original's, of which this database is a copy: it has a capture and no slot
// that could serve it.
func leavesSlot(ctx context.Context, conn *pgx.Conn, captured bool) (leave bool, err error) {
	if leave, err = capture.IsCopy(ctx, conn); err != nil || leave || !captured {
		return leave, err
	}
	err = conn.QueryRow(ctx, `SELECT NOT EXISTS (SELECT FROM pg_replication_slots
	  WHERE slot_type = 'logical' AND database = current_database())`).Scan(&leave)
	return leave, err
}

// confirm asks, unless --yes answers already.
func (c *dropCmd) confirm(a *app, found installed) error {
	if c.Yes {
		return nil
	}
	refused := &usageError{"not confirmed; nothing removed", "to remove it without being asked, add --yes"}
	in, isFile := a.stdin.(*os.File)
	if !isFile || !term.IsTerminal(int(in.Fd())) {
		return refused
	}
	fmt.Fprintf(a.stderr, "Remove from database %q: %s? The stream cannot be taken up again afterwards. [y/N] ",
		found.database, strings.Join(found.items, ", "))
	answer, _ := bufio.NewReader(a.stdin).ReadString('\n')
	if answer = strings.ToLower(strings.TrimSpace(answer)); answer != "y" && answer != "yes" {
		return refused
	}
	return nil
}
