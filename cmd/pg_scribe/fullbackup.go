package main

import (
	"context"
	"errors"

	"pg_scribe/stream"
	"pg_scribe/stream/base"
	"pg_scribe/stream/source"
)

type fullBackupCmd struct {
	connFlags
	outputFlag
	filterFlags
	keyFlags
	File     string `short:"f" required:"" placeholder:"DIRECTORY" help:"Repository."`
	Jobs     int    `short:"j" default:"1" placeholder:"N" help:"Dump by N sessions into a directory archive, which pg_restore reads."`
	NewSlot  bool   `help:"Make the replication slot anew and begin the stream again at this base: after a failover, or when the slot was lost."`
	Rehearse bool   `negatable:"" help:"Prove that its definitions can be restored, on a server that is started here and thrown away."`
	Force    bool   `help:"With --new-slot: although the slot is whole. What was not streamed yet is then only in the new base."`
}

// Run takes a base, whether or not a streamer runs.
func (c *fullBackupCmd) Run(ctx context.Context, a *app) error {
	chain, err := c.chain()
	if err != nil {
		return err
	}
	keys, err := c.keys()
	if err != nil {
		return err
	}
	r, err := a.openRepository(ctx, c.File)
	if err != nil {
		return err
	}
	defer r.Close()
	r.Keys(keys)
	inv, err := r.Catalog().Inventory(ctx)
	if err != nil {
		return err
	}
	info := inv.Repository
	a.hintContext.slot = info.Slot
	conn, err := a.connect(ctx, c.connFlags)
	if err != nil {
		return err
	}
	its, err := source.CheckIdentity(ctx, conn, inv)
	if err != nil {
		return err
	}
	if err := c.check(); err != nil {
		return err
	}
	if chain != nil {
		a.step("trying the filters")
		if chain, err = r.Adopt(ctx, chain); err != nil {
			return err
		}
	}
	opts := a.baseOptions(conn, info.Publication, chain)
	opts.Jobs, opts.NewSlot, opts.Force = c.Jobs, c.NewSlot, c.Force
	if c.NewSlot {
		release, err := r.LockStreamer()
		if err != nil {
			return err
		}
		defer release()
		if err := r.Recover(ctx); err != nil {
			return err
		}
	}
	a.words.say("taking a base of database %q", its.Database)
	var base base.Result
	err = a.operation(ctx, r, "full-backup", func() (err error) {
		if base, err = stream.FullBackup(ctx, r, opts); err != nil || c.NewSlot { // then no streamer runs
			return err
		}
		return stream.AwaitStream(ctx, r, base.Base.Start, opts.Notice)
	})
	if err != nil {
		return err
	}
	if err := a.upload(ctx, r); err != nil {
		return err
	}
	var rehearsal *rehearsalJSON
	var unproven error
	if c.Rehearse {
		rehearsal, unproven = a.rehearseBase(ctx, r, its.Database)
	}
	if c.json() {
		report := baseJSON{Directory: c.File, Database: its.Database, Slot: info.Slot, Rehearsal: rehearsal}
		report.fill(base)
		err = writeJSON(a.stdout, report)
	} else {
		a.print("Base complete.")
		a.printBase(base)
	}
	return errors.Join(err, unproven, a.warnFault(base, c.File), a.warnBase(rehearsal))
}

// check refuses flags that do not go together.
func (c *fullBackupCmd) check() error {
	if c.Jobs < 1 {
		return &usageError{"--jobs must be at least 1", "--jobs 1 writes one file of SQL, --jobs 4 an archive by four sessions"}
	}
	if c.Force && !c.NewSlot {
		return &usageError{"--force means something with --new-slot only", "leave it out"}
	}
	return nil
}

// warnFault says that the stream behind a base is not complete, though the
// base is.
func (a *app) warnFault(base base.Result, dir string) error {
	if base.Fault == "" {
		return nil
	}
	a.words.finding("warning", base.Fault+"; a restore to behind the point of this base, "+base.Base.Start.String()+", needs --accept-gaps",
		"take another base, as the role that ran init or a superuser: "+a.hintContext.scribe("full-backup", "-f", dir))
	return &exitError{exitWarnings}
}
