// Package rehearse proves that the commands behind the newest base run again: it
// restores the definitions alone, without any row, into a scratch database, and
// records in the catalog up to where that went well.
//
// What it guarantees: the source is never written to, and the scratch database
// goes away however a run ends; where a server of its own was started, that too.
// What fails here fails in a restore. What only rows can show is not seen.
//
// The package words no hint and knows no flag. Start with Run.
package rehearse

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"pg_scribe/catalog"
	"pg_scribe/internal/conninfo"
	"pg_scribe/internal/throwaway"
	"pg_scribe/repo"
	"pg_scribe/restore"
	"pg_scribe/restore/compare"
)

// Options says where to rehearse.
type Options struct {
	// Scratch leads to a database of a server where another one, of a generated
	// name, is made and dropped. Empty: a server of its own, which is thrown away.
	Scratch     string
	AllowSource bool // that may be the server that the backup is of

	BinDir   string            // programs of the throwaway server; empty: they are looked for
	Path     []string          // folders where they are looked for, beside those of packages
	Settings map[string]string // of the throwaway server

	Always   bool // though nothing came since the last time
	Command  func(ctx context.Context, name string, arg ...string) *exec.Cmd
	Progress func(restore.Progress)
	Now      func() time.Time
}

// Report says what a rehearsal has shown.
type Report struct {
	catalog.Rehearsal
	Plan    catalog.Plan
	Skipped bool // nothing that defines something came since the last one, which holds on
	Restore restore.Report
	Left    []string // what could not be removed from the scratch server
	Took    time.Duration
}

// SourceServerError: the scratch server is the one that the backup is of.
type SourceServerError struct {
	Unknown bool // it may be: this role may not ask for its system identifier
}

func (e *SourceServerError) Error() string {
	if e.Unknown {
		return "whether the scratch server is that of the source is not known: this role may not call pg_control_system()"
	}
	return "the scratch server is the one that the backup is of"
}

// Run rehearses and records the outcome. An error says that there is no verdict;
// a command that fails is a verdict.
func Run(ctx context.Context, r *repo.Repository, o Options) (Report, error) {
	p, err := restore.PrepareDefinitions(ctx, r)
	if err != nil {
		return Report{}, err
	}
	defer p.Close()
	began := o.Now()
	x := &run{repo: r, o: o, p: p}
	x.report.Plan = p.Plan
	x.report.Base, x.report.StartedAt = p.Plan.Base.Name, began
	last, err := x.last(ctx)
	if err != nil {
		return x.report, err
	}
	if err := x.settle(ctx, last); err != nil {
		return x.report, err
	}
	x.report.FinishedAt = o.Now()
	x.report.Took = x.report.FinishedAt.Sub(began)
	record, err := x.record(ctx)
	if err != nil {
		return x.report, err
	}
	return x.report, r.Catalog().SetRehearsal(ctx, record)
}

// Withheld stands for what the catalog of an encrypted repository, which is in clear
// itself, does not say.
const Withheld = "the repository is encrypted, and what the server said is not kept"

// record is what the catalog is to know.
func (x *run) record(ctx context.Context) (catalog.Rehearsal, error) {
	record := x.report.Rehearsal
	chain, err := x.repo.Chain(ctx)
	if err != nil || !chain.Opaque() || x.report.Skipped {
		return record, err
	}
	record.Statement = ""
	if record.Message != "" {
		record.Message = Withheld
	}
	if len(record.Warnings) > 0 {
		record.Warnings = []string{Withheld}
	}
	return record, nil
}

// run is one rehearsal.
type run struct {
	repo   *repo.Repository
	o      Options
	p      *restore.Prepared
	report Report
}

// last is the latest rehearsal, if it was of this base.
func (x *run) last(ctx context.Context) (*catalog.Rehearsal, error) {
	last, err := x.repo.Catalog().LastRehearsal(ctx)
	switch {
	case errors.Is(err, catalog.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, err
	case last.Base != x.p.Plan.Base.Name:
		return nil, nil
	}
	return &last, nil
}

// settle finds the outcome: that of the last run where nothing has come since.
func (x *run) settle(ctx context.Context, last *catalog.Rehearsal) error {
	if last != nil && last.Outcome != catalog.OutcomeFailed && !x.o.Always {
		news, err := x.defines(ctx, last.Proven)
		if err != nil {
			return err
		}
		if !news {
			x.report.Rehearsal, x.report.Skipped = *last, true
			x.report.Proven = x.p.Plan.Until
			return nil
		}
	}
	s, err := x.place(ctx)
	if err != nil {
		return err
	}
	x.report.Restore, err = x.p.Execute(ctx, s.options(x.o))
	left, cerr := s.close(ctx, x.report.Restore)
	x.report.Left = left
	x.report.Server = s.version
	if err = x.judge(ctx, err); err != nil || cerr != nil {
		return errors.Join(err, cerr)
	}
	return nil
}

// judge tells a verdict from a run that has none.
func (x *run) judge(ctx context.Context, err error) error {
	x.report.Outcome, x.report.Proven = catalog.OutcomeOK, x.p.Plan.Until
	for _, what := range x.report.Restore.LeftOut {
		x.report.Warnings = append(x.report.Warnings, LeftOut+what)
	}
	x.differences(ctx)
	if len(x.report.Warnings) > 0 && x.report.Outcome == catalog.OutcomeOK {
		x.report.Outcome = catalog.OutcomeWarnings
	}
	if err == nil {
		return nil
	}
	var tool *restore.ToolError
	var statement *restore.StatementError
	switch {
	case ctx.Err() != nil:
		return err
	case errors.As(err, &statement) && ofDefinitions(statement.Err):
		x.report.FailedLSN, x.report.Message = statement.LSN, plain(statement.Err)
		x.report.Statement, x.report.File, x.report.Line = statement.SQL, statement.File, statement.Line
		c, ok := x.commandAt(ctx, statement)
		if !ok { // of the base
			c.tag = tagOf(statement.SQL)
			c.object = objectOf(c.tag, statement.SQL)
		}
		x.report.FailedAt, x.report.Object, x.report.Tag = c.at, c.object, c.tag
	case errors.As(err, &tool):
		x.report.Message, x.report.File = tool.Error(), x.p.Plan.Base.Name
	default:
		return err
	}
	x.report.Outcome = catalog.OutcomeFailed
	x.report.Proven = min(x.report.FailedLSN, x.p.Plan.Until) // 0: not even the base
	return nil
}

// LeftOut begins a warning of what of the base cannot be made.
const LeftOut = "left out of the base: "

// maxWarnings bounds what is kept of them.
const maxWarnings = 100

// differences makes a verdict of what differs from the source's objects: a restore
// repairs it, or stops at it.
func (x *run) differences(ctx context.Context) {
	for _, d := range x.report.Restore.Differences {
		text := (&restore.DifferenceError{Differences: []compare.Difference{d.Difference}}).Error()
		if !d.Accepted {
			x.report.Warnings = append(x.report.Warnings, "a restore repairs it: "+text)
			continue
		}
		if x.report.Outcome == catalog.OutcomeFailed && d.LSN >= x.report.FailedLSN {
			continue
		}
		x.report.Outcome, x.report.FailedLSN, x.report.Proven = catalog.OutcomeFailed, d.LSN, min(d.LSN, x.p.Plan.Until)
		x.report.FailedAt = x.committed(ctx, d.LSN)
		x.report.Tag, x.report.Object = d.Class, d.Identity
		x.report.Message = strings.TrimPrefix(text, d.Class+" "+d.Identity+" ")
	}
	if n := len(x.report.Warnings) - maxWarnings; n > 0 {
		x.report.Warnings = append(x.report.Warnings[:maxWarnings], fmt.Sprintf("%d more", n))
	}
}

// ofDefinitions says whether the server refused a command for what it says, and not
// for want of room, time or a connection.
func ofDefinitions(err error) bool {
	var e *pgconn.PgError
	if !errors.As(err, &e) || len(e.Code) != 5 {
		return false
	}
	switch e.Code[:2] {
	case "08", "53", "57":
		return false
	case "58":
		return e.Code == "58P01" // the library of a function
	}
	return true
}

// plain is what the server said.
func plain(err error) string {
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		return err.Error()
	}
	text := e.Message
	if e.Detail != "" {
		text += " (" + e.Detail + ")"
	}
	if where, _, _ := strings.Cut(e.Where, "\n"); where != "" { // a function's, which may need rows
		text += ", in " + where
	}
	return strings.Join(strings.Fields(text), " ")
}

// scratch is where a rehearsal takes place.
type scratch struct {
	server      *throwaway.Server // nil: a server of others
	database    string
	maintenance string // connection to another database
	target      string
	version     string
}

// place makes one. What is made is removed by close.
func (x *run) place(ctx context.Context) (*scratch, error) {
	random := make([]byte, 4)
	rand.Read(random)
	s := &scratch{database: "pg_scribe_rehearsal_" + hex.EncodeToString(random)}
	if x.o.Scratch != "" {
		return s, x.borrow(ctx, s)
	}
	dir := x.o.BinDir
	major := restore.MajorOf(x.p.Plan.Base.ServerVersion)
	if dir == "" {
		var err error
		if dir, err = throwaway.Find(major, x.o.Path); err != nil {
			return nil, err
		}
	}
	server, err := throwaway.New(throwaway.Place{BinDir: dir, Prefix: "pg_scribe-rehearsal-", Mode: 0o700})
	if err != nil {
		return nil, err
	}
	s.server = server
	if err := s.start(ctx, x.o.Settings); err != nil {
		return nil, errors.Join(err, server.Stop())
	}
	s.maintenance, s.target = server.ConnString("postgres"), server.ConnString(s.database)
	return s, nil
}

// settings are for a server that lives for some seconds, with nobody on it but us.
var settings = map[string]string{
	"fsync": "off", "full_page_writes": "off", "autovacuum": "off", "wal_level": "minimal", "max_wal_senders": "0", "max_connections": "20",
	"max_locks_per_transaction": "1024", "shared_buffers": "64MB", "logging_collector": "off", "unix_socket_permissions": "0700",
	"log_min_messages": "fatal",
}

func (s *scratch) start(ctx context.Context, more map[string]string) error {
	steps := []func() error{
		func() error { return s.server.InitDB("", "--auth=trust", "--encoding=UTF8", "--locale=C") },
		func() error { return s.server.Configure(settings) },
		func() error { return s.server.Configure(more) },
		s.server.Start,
	}
	for _, step := range steps {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if err := step(); err != nil {
			return &ServerError{err}
		}
	}
	return nil
}

// ServerError: the throwaway server could not be made.
type ServerError struct{ Err error }

func (e *ServerError) Error() string { return "the throwaway server: " + e.Err.Error() }
func (e *ServerError) Unwrap() error { return e.Err }

// borrow makes sure that a server of others may be used.
func (x *run) borrow(ctx context.Context, s *scratch) error {
	info, err := conninfo.Parse(x.o.Scratch)
	if err != nil {
		return err
	}
	s.maintenance, s.target = x.o.Scratch, info.With("dbname", s.database).Keywords()
	system, err := restore.SystemOf(ctx, x.o.Scratch)
	if err != nil {
		return err
	}
	if (system == "" || system == x.p.Plan.Base.SystemID) && !x.o.AllowSource {
		return &SourceServerError{Unknown: system == ""}
	}
	return nil
}

// options are those of a restore into the place.
func (s *scratch) options(o Options) restore.Options {
	command := o.Command
	if s.server != nil {
		command = func(ctx context.Context, name string, arg ...string) *exec.Cmd {
			if own := filepath.Join(s.server.BinDir, name); throwaway.IsProgram(own) {
				return exec.CommandContext(ctx, own, arg...)
			}
			return o.Command(ctx, name, arg...)
		}
	}
	return restore.Options{TargetConn: s.target, MaintenanceConn: s.maintenance, CreateDatabase: true, Globals: restore.GlobalsNew,
		Disposable: s.server != nil, Command: command, Progress: o.Progress, Now: o.Now}
}

// close removes what there is of the place.
func (s *scratch) close(ctx context.Context, report restore.Report) (left []string, err error) {
	s.version = report.Server
	if s.server != nil {
		return nil, s.server.Stop()
	}
	if !report.Created && len(report.RolesCreated) == 0 { // the restore itself may have dropped it again
		return nil, nil
	}
	return restore.Discard(ctx, s.maintenance, s.database, report.RolesCreated)
}
