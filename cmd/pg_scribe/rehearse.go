package main

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/internal/conninfo"
	"pg_scribe/internal/health"
	"pg_scribe/internal/show"
	"pg_scribe/internal/throwaway"
	"pg_scribe/repo"
	"pg_scribe/restore/rehearse"
)

type rehearseCmd struct {
	outputFlag
	keyFlags
	File          string   `short:"f" required:"" placeholder:"DIRECTORY" help:"Repository."`
	Scratch       string   `placeholder:"NAME" help:"Rehearse on this server, in a database that comes and goes (default: on one that is started and thrown away)"`
	AllowSource   bool     `help:"With --scratch: that may be the server that the backup is of."`
	Bindir        string   `placeholder:"DIRECTORY" help:"Programs (initdb, postgres) of the server that is thrown away (default: they are looked for)."`
	ServerSetting []string `sep:"none" placeholder:"NAME=VALUE" help:"Setting of the server that is thrown away; may be repeated."`
	Always        bool     `help:"Although nothing came since the last time."`
}

// Run rehearses and says what came of it.
func (c *rehearseCmd) Run(ctx context.Context, a *app) error {
	keys, err := c.keys()
	if err != nil {
		return err
	}
	opts, err := c.options(a)
	if err != nil {
		return err
	}
	r, err := a.openRepository(ctx, c.File)
	if err != nil {
		return err
	}
	defer r.Close()
	r.Keys(keys)
	if opts.Scratch, err = c.connect(ctx, a); err != nil {
		return err
	}
	report, err := rehearse.Run(ctx, r, opts)
	if err != nil {
		return err
	}
	info, err := r.Catalog().Repository(ctx)
	if err != nil {
		return err
	}
	doc := a.toRehearsal(c.File, info.Database, report)
	if c.json() {
		err = writeJSON(a.stdout, doc)
	} else {
		a.printRehearsal(doc)
	}
	return errors.Join(err, a.warnRehearsal(doc))
}

// connect proves that the scratch server lets us in. Hints are about the source
// afterwards, and show no password.
func (c *rehearseCmd) connect(ctx context.Context, a *app) (string, error) {
	if c.Scratch == "" {
		return "", nil
	}
	flags := connFlags{Dbname: c.Scratch}
	if info, err := flags.info(); err == nil && conninfo.IsString(c.Scratch) {
		a.hintContext.line = append(dropFlags(a.hintContext.line, a.hintContext.flags, "scratch"), "--scratch", info.String())
	}
	conn, err := a.connect(ctx, flags)
	if err == nil {
		a.hintContext.conn, a.hintContext.base = nil, ""
	}
	return conn, err
}

func (c *rehearseCmd) options(a *app) (rehearse.Options, error) {
	path, _ := a.lookup("PATH")
	o := rehearse.Options{AllowSource: c.AllowSource, BinDir: c.Bindir, Path: filepath.SplitList(path), Always: c.Always, Command: a.command,
		Progress: a.restoreProgress(), Now: a.now, Settings: map[string]string{}}
	for _, s := range c.ServerSetting {
		name, value, ok := strings.Cut(s, "=")
		if !ok || strings.TrimSpace(name) == "" {
			return o, &usageError{"--server-setting " + s + " is not NAME=VALUE", "write it as --server-setting shared_preload_libraries=auto_explain"}
		}
		o.Settings[strings.TrimSpace(name)] = value
	}
	switch {
	case c.Scratch != "" && (c.Bindir != "" || len(c.ServerSetting) > 0):
		return o, &usageError{"--bindir and --server-setting are for a server that is thrown away", "leave them out, or leave out --scratch"}
	case c.Scratch == "" && c.AllowSource:
		return o, &usageError{"--allow-source means something with --scratch only", "leave it out"}
	}
	return o, nil
}

// rehearsedJSON is what the last rehearsal has shown.
type rehearsedJSON struct {
	StartedAt     moment       `json:"started_at"`
	FinishedAt    moment       `json:"finished_at"`
	Outcome       string       `json:"outcome"` // ok, warnings or failed
	Base          string       `json:"base"`
	ServerVersion string       `json:"server_version"` // of the server that ran the commands
	ProvenLSN     catalog.LSN  `json:"proven_lsn"`     // all that commits below runs again
	FailedCommand *commandJSON `json:"failed_command"` // null: none failed
	Warnings      []string     `json:"warnings"`
}

// commandJSON is a command that failed.
type commandJSON struct {
	LSN       catalog.LSN `json:"lsn"` // of its transaction's commit record; 0/0: it is of the base
	At        moment      `json:"at"`
	Tag       string      `json:"tag"`
	Object    string      `json:"object"`
	Message   string      `json:"message"`
	Statement string      `json:"statement"` // shortened
	File      string      `json:"file"`
	Line      int64       `json:"line"`
}

// rehearsalJSON is the report of rehearse.
type rehearsalJSON struct {
	Directory string `json:"directory"`
	rehearsedJSON
	FromLSN      catalog.LSN `json:"from_lsn"` // the point of the base
	EndLSN       catalog.LSN `json:"end_lsn"`
	Skipped      bool        `json:"skipped"` // nothing that defines something came since the last one
	Transactions int64       `json:"transactions"`
	Statements   int64       `json:"statements"`
	Compared     int         `json:"compared"`     // objects compared with the source's
	NotCompared  int         `json:"not_compared"` // objects and attributes that could not be
	ReadBytes    int64       `json:"read_bytes"`   // stored bytes of base and segments that were read
	Left         []string    `json:"left"`         // what could not be removed from the scratch server
	Hint         string      `json:"hint"`         // what heals a failure; empty: nothing failed
	Seconds      float64     `json:"seconds"`

	failure string // in words
}

func toRehearsed(r catalog.Rehearsal) rehearsedJSON {
	doc := rehearsedJSON{StartedAt: moment(r.StartedAt), FinishedAt: moment(r.FinishedAt), Outcome: r.Outcome, Base: r.Base, ServerVersion: r.Server,
		ProvenLSN: r.Proven, Warnings: orEmpty(r.Warnings)}
	if r.Outcome == catalog.OutcomeFailed {
		doc.FailedCommand = &commandJSON{r.FailedLSN, moment(r.FailedAt), r.Tag, r.Object, r.Message, r.Statement, r.File, r.Line}
	}
	return doc
}

func (a *app) toRehearsal(dir, database string, r rehearse.Report) rehearsalJSON {
	doc := rehearsalJSON{Directory: dir, rehearsedJSON: toRehearsed(r.Rehearsal), FromLSN: r.Plan.From, EndLSN: r.Plan.Until, Skipped: r.Skipped,
		Transactions: r.Restore.Transactions, Statements: r.Restore.Statements, Compared: r.Restore.Compared, NotCompared: r.Restore.NotCompared,
		ReadBytes: r.Restore.ReadBytes, Left: orEmpty(r.Left),
		Seconds: r.Took.Seconds()}
	if r.Outcome == catalog.OutcomeFailed {
		f := health.RehearsalFailed(r.Rehearsal, dir, database)
		doc.failure, doc.Hint = f.Text, a.hintContext.fix(f.Fix)
	}
	return doc
}

// printRehearsal writes the verdict, and behind it the details.
func (a *app) printRehearsal(doc rehearsalJSON) {
	switch {
	case doc.FailedCommand != nil:
		a.print("FAILED: %s", oneLine(doc.failure))
	case doc.Outcome == catalog.OutcomeWarnings:
		a.print("WARNING: the commands behind %s run again up to LSN %s, with %s", oneLine(doc.Base), doc.ProvenLSN,
			show.Plural(int64(len(doc.Warnings)), "difference"))
	default:
		a.print("PROVEN: the commands behind %s run again up to LSN %s", oneLine(doc.Base), doc.ProvenLSN)
	}
	if doc.Skipped {
		a.print("  nothing new   since the rehearsal of %s", a.showTime(time.Time(doc.StartedAt)))
		return
	}
	a.print("  base          %s, at LSN %s", oneLine(doc.Base), doc.FromLSN)
	a.print("  repository    ends at LSN %s", doc.EndLSN)
	a.print("  commands      %s in %s", show.Plural(doc.Statements, "statement"), show.Plural(doc.Transactions, "transaction"))
	if doc.Compared > 0 {
		a.print("  compared      %s, %d not comparable", show.Plural(int64(doc.Compared), "object"), doc.NotCompared)
	}
	a.print("  server        PostgreSQL %s", doc.ServerVersion)
	a.print("  read          %s", show.Bytes(doc.ReadBytes))
	a.print("  took          %s", show.Span(time.Duration(doc.Seconds*float64(time.Second))))
}

// warnRehearsal says what is wrong, and ends the command as it was judged.
func (a *app) warnRehearsal(doc rehearsalJSON) error {
	for _, w := range doc.Warnings {
		fix := "a base behind it does without: "
		if strings.HasPrefix(w, rehearse.LeftOut) {
			fix = "set it right on the source, then take a base: "
		}
		a.words.finding("warning", w, fix+a.hintContext.onSource("full-backup", "-f", doc.Directory))
	}
	for _, left := range doc.Left {
		a.words.warn("not removed from the scratch server: %s", left)
	}
	switch {
	case doc.FailedCommand != nil:
		a.words.finding("error", doc.failure, doc.Hint)
		return &exitError{exitBackup}
	case len(doc.Warnings) > 0 || len(doc.Left) > 0:
		return &exitError{exitWarnings}
	}
	return nil
}

// rehearseBase proves that a base which was just taken can be restored, as far as its
// definitions go. The base is there whatever comes of it; nil: there is no verdict.
func (a *app) rehearseBase(ctx context.Context, r *repo.Repository, database string) (*rehearsalJSON, error) {
	opts, err := (&rehearseCmd{}).options(a)
	if err != nil {
		return nil, err
	}
	opts.Progress = nil
	a.words.say("rehearsing the base")
	report, err := rehearse.Run(ctx, r, opts)
	none := (*throwaway.NoServerError)(nil)
	switch {
	case errors.As(err, &none):
		a.words.warn("the base was not rehearsed: %v", none)
		return nil, nil
	case err != nil && ctx.Err() == nil:
		_, hint := remedyFor(err, false, a.hintContext)
		a.words.finding("warning", "the base was not rehearsed: "+problemOf(err, false), hint)
		return nil, &exitError{exitWarnings}
	case err != nil:
		return nil, err
	}
	doc := a.toRehearsal(r.Dir(), database, report)
	return &doc, nil
}

// warnBase makes warnings of what the rehearsal of a base has shown.
func (a *app) warnBase(doc *rehearsalJSON) error {
	if doc == nil || a.warnRehearsal(*doc) == nil {
		return nil
	}
	return &exitError{exitWarnings} // the base itself is complete
}
