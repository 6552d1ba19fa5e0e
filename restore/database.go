package restore

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"pg_scribe/internal/simple"
	"pg_scribe/internal/sqltext"
	"pg_scribe/repo/segment"
)

// SQLSTATEs that tell one thing from another.
const (
	stateDuplicateDatabase = "42P04"
	stateUnknownDatabase   = "3D000"
	stateDuplicateObject   = "42710"
	stateWrongObjectType   = "42809" // a locale name that the system does not know
	stateInvalidParameter  = "22023" // encoding and locale do not fit, unknown ICU locale
	stateNotSupported      = "0A000" // no ICU in this server
	stateInternal          = "XX000" // what ICU's refusals were before version 16
	stateUndefinedObject   = "42704" // a setting that the server does not know
	stateNoPrivilege       = "42501"
	stateUndefinedTable    = "42P01"
	stateInvalidSchema     = "3F000"
	stateDeadlock          = "40P01"
	stateInUse             = "55006"
)

// state is the SQLSTATE of an error from the server, or empty.
func state(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// databaseExists asks any database of the server.
func databaseExists(ctx context.Context, conn *pgconn.PgConn, name string) (bool, error) {
	rows, err := simple.Query(ctx, conn, "SELECT 1 FROM pg_catalog.pg_database WHERE datname = "+sqltext.Literal(name))
	return len(rows) > 0, err
}

// header is that of the base, as far as a new database needs it.
func (p *Prepared) header() (segment.Header, error) {
	if p.Plan.Base.Format == directoryFormat {
		r := p.Repository
		return segment.Header{Encoding: r.Encoding, Collate: r.Collate, CType: r.CType,
			LocaleProvider: r.LocaleProvider, Locale: r.Locale}, nil
	}
	reader, err := p.repo.OpenDump(p.Plan.Base)
	if err != nil {
		return segment.Header{}, err
	}
	return reader.Header, reader.Close()
}

// createDatabase makes the target as the source was, as far as that is decided
// when a database is made.
func createDatabase(ctx context.Context, conn *pgconn.PgConn, s server, name string, like segment.Header) error {
	_, err := simple.Query(ctx, conn, createStatement(s.major, name, like))
	switch state(err) {
	case stateDuplicateDatabase:
		return &ExistsError{name}
	case stateWrongObjectType, stateInvalidParameter, stateNotSupported, stateInternal:
		return &LocaleError{Encoding: like.Encoding, Provider: like.LocaleProvider, Collate: like.Collate,
			CType: like.CType, Locale: like.Locale, Err: err}
	}
	return err
}

func createStatement(major int, name string, like segment.Header) string {
	var b strings.Builder
	b.WriteString("CREATE DATABASE " + sqltext.Quoted(name) + " TEMPLATE template0")
	option := func(key, value string) {
		if value != "" {
			b.WriteString(" " + key + " " + sqltext.Literal(value))
		}
	}
	option("ENCODING", like.Encoding)
	if major >= 15 {
		// template0 itself may have another provider.
		provider := like.LocaleProvider
		if provider == "" {
			provider = "libc"
		}
		b.WriteString(" LOCALE_PROVIDER " + sqltext.Quoted(provider))
		switch provider {
		case "icu":
			option("ICU_LOCALE", like.Locale)
		case "builtin":
			option("BUILTIN_LOCALE", like.Locale)
		}
	}
	option("LC_COLLATE", like.Collate)
	option("LC_CTYPE", like.CType)
	return b.String()
}

// dropDatabase takes back what createDatabase made, even when the context is
// over.
func dropDatabase(ctx context.Context, conninfo, name string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	conn, err := connect(ctx, conninfo)
	if err != nil {
		return err
	}
	defer closeNow(conn)
	// The server may not have noticed yet that our sessions have ended.
	_, err = simple.Query(ctx, conn, "DROP DATABASE IF EXISTS "+sqltext.Quoted(name)+" WITH (FORCE)")
	return err
}

// listObjects finds what a new database would not have. What belongs to
// extension plpgsql is there from the start.
//
//go:embed objects.sql
var listObjects string

// checkEmpty makes sure that the database holds nothing yet.
func checkEmpty(ctx context.Context, conn *pgconn.PgConn, name string) error {
	rows, err := simple.Query(ctx, conn, listObjects)
	if err != nil || len(rows) == 0 {
		return err
	}
	e := &NotEmptyError{Database: name}
	for _, row := range rows {
		e.Objects = append(e.Objects, row[0])
		e.Total, _ = strconv.ParseInt(row[1], 10, 64)
	}
	return e
}

// compareEncoding notes that text has to be converted, which may not succeed.
func (x *execution) compareEncoding(ctx context.Context, conn *pgconn.PgConn) error {
	rows, err := simple.Query(ctx, conn, "SHOW server_encoding")
	if err != nil {
		return err
	}
	if source := x.p.Repository.Encoding; source != "" && source != rows[0][0] {
		x.note(fmt.Sprintf("the target's encoding is %s, the source's %s", rows[0][0], source))
	}
	return nil
}
