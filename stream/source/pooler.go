package source

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// refusedByPooler says whether a pooler answered that it does not pass on what a session is to begin with. PostgreSQL
// itself knows every setting that is sent, and has another message for one that it does not know.
func refusedByPooler(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == "08P01" && strings.Contains(pg.Message, "unsupported startup parameter")
}

// foundPooler returns a ConnectError if something in between dropped what the session was to begin with, as poolers do
// that are told to ignore it: each transaction may then run in another session, with other settings. Settings alone prove
// nothing, since a login trigger may change them, and a process ID alone neither, since a proxy that hands out its own
// may pass everything else on.
func foundPooler(ctx context.Context, cfg *pgx.ConnConfig, conn *pgconn.PgConn) error {
	ctx, cancel := context.WithTimeout(ctx, cfg.ConnectTimeout) // a pooler whose server is down keeps its clients waiting
	defer cancel()
	results, err := conn.Exec(ctx, `SELECT pg_catalog.pg_backend_pid(), pg_catalog.current_setting('search_path'),
	  pg_catalog.current_setting('extra_float_digits'), pg_catalog.current_setting('statement_timeout')`).ReadAll()
	if err != nil {
		return connectError(&cfg.Config, err)
	}
	if len(results) != 1 || len(results[0].Rows) != 1 {
		return connectError(&cfg.Config, errors.New("no answer to a query"))
	}
	row := results[0].Rows[0]
	path := strings.Trim(string(row[1]), `"`)
	kept := path == pins["search_path"] && string(row[2]) == pins["extra_float_digits"] && string(row[3]) == waits["statement_timeout"]
	if kept || string(row[0]) == fmt.Sprint(conn.PID()) {
		return nil
	}
	e := connectError(&cfg.Config, errors.New("the session lacks the settings that it was to begin with")).(*ConnectError)
	e.Fault = FaultPooler
	return e
}
