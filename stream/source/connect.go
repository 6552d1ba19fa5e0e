package source

import (
	"bufio"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"pg_scribe/catalog"
	"pg_scribe/internal/conninfo"
	"pg_scribe/internal/sqltext"
)

// ConnectFault says why a connection could not be made.
type ConnectFault string

// The faults that a user fixes in different ways.
const (
	FaultServer   ConnectFault = "server"   // nothing answers there
	FaultPassword ConnectFault = "password" // missing, wrong, or refused by pg_hba.conf
	FaultDatabase ConnectFault = "database" // no such database
	FaultPooler   ConnectFault = "pooler"   // a connection pooler answers in the server's place
	FaultOther    ConnectFault = "other"
)

// ConnectError says that a server could not be reached or refused us.
type ConnectError struct {
	Fault          ConnectFault
	Host           string
	Port           uint16
	User, Database string
	Err            error
}

func (e *ConnectError) Error() string {
	if e.Fault == FaultPooler {
		return fmt.Sprintf("a connection pooler answers on %s port %d in place of the server, and does not keep the settings of a session", e.Host, e.Port)
	}
	reason := e.Err.Error()
	var pg *pgconn.PgError
	if errors.As(e.Err, &pg) {
		reason = pg.Message
	} else if inner := errors.Unwrap(e.Err); inner != nil {
		reason = inner.Error()
	}
	lines := slices.Compact(strings.Split(reason, "\n")) // one each with and without TLS, mostly the same
	reason = strings.Join(lines, " ")
	return fmt.Sprintf("cannot connect to database %q on %s port %d as %q: %s", e.Database, e.Host, e.Port, e.User, reason)
}

func (e *ConnectError) Unwrap() error { return e.Err }

// connectError classifies an error of pgconn.
func connectError(cfg *pgconn.Config, err error) error {
	e := &ConnectError{Fault: FaultOther, Host: cfg.Host, Port: cfg.Port, User: cfg.User, Database: cfg.Database, Err: err}
	var pg *pgconn.PgError
	var dial *pgconn.ConnectError
	switch {
	case refusedByPooler(err):
		e.Fault = FaultPooler
	case errors.As(err, &pg) && (pg.Code == "28P01" || pg.Code == "28000"):
		e.Fault = FaultPassword
	case errors.As(err, &pg) && pg.Code == "3D000":
		e.Fault = FaultDatabase
	case !errors.As(err, &pg) && errors.As(err, &dial):
		e.Fault = FaultServer
		if strings.Contains(err.Error(), "password") { // the client gave up for want of one; no sentinel exists
			e.Fault = FaultPassword
		}
	}
	return e
}

// pins are the settings that shape the text which the server sends. They hold
// for the session whatever the role or database has set.
var pins = map[string]string{
	"datestyle": "ISO, MDY", "intervalstyle": "postgres", "extra_float_digits": "3", "timezone": "UTC",
	"bytea_output": "hex", "lc_monetary": "C", "search_path": "",
}

// waits keep a server setting from ending a session that only waits, or from
// refusing the little that pg_scribe writes.
var waits = map[string]string{
	"statement_timeout": "0", "idle_in_transaction_session_timeout": "0", "idle_session_timeout": "0",
	"default_transaction_read_only": "off",
}

// Connect opens an ordinary connection to the source. connString is a keyword
// string or URI; what it lacks comes from libpq's environment and files.
func Connect(ctx context.Context, connString string) (*pgx.Conn, error) {
	cfg, err := conninfo.Config(connString)
	if err != nil {
		return nil, err
	}
	cfg.RuntimeParams["application_name"] = "pg_scribe"
	for _, set := range []map[string]string{pins, waits} {
		for name, v := range set {
			cfg.RuntimeParams[name] = v
		}
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = 30 * time.Second
	}
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, connectError(&cfg.Config, err)
	}
	err = foundPooler(ctx, cfg, conn.PgConn())
	if err == nil {
		err = withoutTimeout(ctx, conn.PgConn())
	}
	if err != nil {
		conn.Close(ctx)
		return nil, err
	}
	return conn, nil
}

// withoutTimeout lifts a limit that servers before version 17 would not accept when
// the session starts.
func withoutTimeout(ctx context.Context, conn *pgconn.PgConn) error {
	major, _, _ := strings.Cut(conn.ParameterStatus("server_version"), ".")
	if n, err := strconv.Atoi(major); err == nil && n < 17 {
		return nil
	}
	return conn.Exec(ctx, "SET transaction_timeout = 0").Close()
}

// ConnectReplication opens a connection for logical replication, with the
// pins verified and text in the server's own encoding: conversion could fail,
// and logical messages are not converted anyway.
func ConnectReplication(ctx context.Context, connString, encoding string, lockTimeout time.Duration) (*pgconn.PgConn, error) {
	parsed, err := conninfo.Config(connString)
	if err != nil {
		return nil, err
	}
	cfg := &parsed.Config
	cfg.RuntimeParams["replication"] = "database"
	cfg.RuntimeParams["application_name"] = "pg_scribe"
	cfg.RuntimeParams["client_encoding"] = encoding
	cfg.RuntimeParams["lock_timeout"] = strconv.FormatInt(lockTimeout.Milliseconds(), 10)
	for _, set := range []map[string]string{pins, waits} {
		for name, v := range set {
			cfg.RuntimeParams[name] = v
		}
	}
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = 30 * time.Second
	}
	cfg.BuildFrontend = func(r io.Reader, w io.Writer) *pgproto3.Frontend {
		return pgproto3.NewFrontend(bufio.NewReaderSize(&gatherReader{src: r}, 1<<20), w)
	}
	conn, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, connectError(cfg, err)
	}
	if err := withoutTimeout(ctx, conn); err != nil {
		conn.Close(ctx)
		return nil, err
	}
	for name, want := range pins {
		got, err := show(ctx, conn, name)
		if err == nil && got != want && !(name == "search_path" && got == `""`) {
			err = fmt.Errorf("the server or a pooler in between keeps %s at %q, which would alter the captured text", name, got)
		}
		if err != nil {
			conn.Close(ctx)
			return nil, err
		}
	}
	return conn, nil
}

// gatherReader lets data gather in the socket before it reads on. The server
// sends each message of the stream by itself; a reader that waits for every
// one of them costs both sides two system calls and a wake-up a message.
type gatherReader struct {
	src    io.Reader
	little bool // the last read returned little
}

// The nap is short against what a socket's buffer holds, and the latency that
// it adds is short against any interval at which positions are reported.
const (
	gatherNap   = 100 * time.Microsecond
	gatherBytes = 8 << 10
)

func (g *gatherReader) Read(p []byte) (int, error) {
	if g.little {
		time.Sleep(gatherNap)
	}
	n, err := g.src.Read(p)
	g.little = n < gatherBytes
	return n, err
}

func show(ctx context.Context, conn *pgconn.PgConn, name string) (string, error) {
	results, err := conn.Exec(ctx, "SHOW "+name).ReadAll()
	if err != nil {
		return "", err
	}
	if len(results) != 1 || len(results[0].Rows) != 1 {
		return "", fmt.Errorf("SHOW %s returned nothing", name)
	}
	return string(results[0].Rows[0][0]), nil
}

// A Server is what the source says of itself.
type Server struct {
	SystemID     string
	Timeline     uint32
	Version      string // e.g. 15.18
	VersionNum   int    // e.g. 150018
	Database     string
	DatabaseOID  uint32
	Encoding     string
	Collate      string
	CType        string
	Provider     string // libc, icu or builtin
	Locale       string
	MaxSlots     int
	WALLevel     string
	InRecovery   bool
	CurrentUser  string
	IsSuperuser  bool
	CanReplicate bool
	ReadsRoles   bool // with their passwords
}

func (s Server) Major() int { return s.VersionNum / 10000 }

// CheckConnection makes sure that a connection for replication leads to the same server,
// which several hosts in a connection string or a proxy do not promise, and
// that the server's history reaches a position: one in the future is accepted,
// and everything before it passed over in silence.
func (s Server) CheckConnection(ctx context.Context, conn *pgconn.PgConn, from catalog.LSN) error {
	id, err := pglogrepl.IdentifySystem(ctx, conn)
	switch {
	case err != nil:
		return err
	case id.SystemID != s.SystemID || id.Timeline != int32(s.Timeline) || id.DBName != s.Database:
		return fmt.Errorf("two connections led to different places: system %s, timeline %d, database %q, and system %s, timeline %d, database %q",
			s.SystemID, s.Timeline, s.Database, id.SystemID, id.Timeline, id.DBName)
	case from > catalog.LSN(id.XLogPos):
		return &MismatchError{"a history that reaches", from.String(), "at " + id.XLogPos.String()}
	}
	return nil
}

//go:embed server.sql
var serverSQL string

// Inspect asks the source what it is.
func Inspect(ctx context.Context, conn *pgx.Conn) (s Server, err error) {
	err = conn.QueryRow(ctx, serverSQL).Scan(&s.SystemID, &s.Timeline, &s.VersionNum, &s.Version, &s.Database, &s.DatabaseOID,
		&s.Encoding, &s.Collate, &s.CType, &s.Provider, &s.Locale, &s.MaxSlots, &s.WALLevel, &s.InRecovery,
		&s.CurrentUser, &s.IsSuperuser, &s.CanReplicate, &s.ReadsRoles)
	return s, err
}

// BeginAt begins a transaction that sees what an exported snapshot shows; without
// one, what there is now.
func BeginAt(ctx context.Context, conn *pgx.Conn, snapshot string, mode pgx.TxAccessMode) (pgx.Tx, error) {
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: mode})
	if err != nil || snapshot == "" {
		return tx, err
	}
	if _, err := tx.Exec(ctx, "SET TRANSACTION SNAPSHOT "+sqltext.Literal(snapshot)); err != nil {
		return nil, errors.Join(err, tx.Rollback(context.WithoutCancel(ctx)))
	}
	return tx, nil
}

// SenderPatience is how long the server waits for a sign of life from this
// session's role before it ends the connection.
func SenderPatience(ctx context.Context, side *pgx.Conn) (time.Duration, error) {
	var ms int64
	err := side.QueryRow(ctx, "SELECT setting::bigint FROM pg_settings WHERE name = 'wal_sender_timeout'").Scan(&ms)
	patience := time.Duration(ms) * time.Millisecond
	if patience == 0 || patience > 40*time.Second {
		patience = 40 * time.Second
	}
	return patience, err
}
