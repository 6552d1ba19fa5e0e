package stream

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"pg_scribe/catalog"
	"pg_scribe/repo"
)

// captureHealth is what somebody did to the capture.
type captureHealth struct {
	Missing     bool             // schema scribe is gone
	Triggers    []captureTrigger // event triggers that do not fire
	Strangers   []string         // event triggers that call the capture's functions under another name
	Publication string           // what is wrong with it; empty: nothing
	Lost        bool             // the publication is not there
}

func (h captureHealth) whole() bool {
	return !h.Missing && len(h.Triggers) == 0 && len(h.Strangers) == 0 && h.Publication == ""
}

func (h captureHealth) String() string {
	var parts []string
	if h.Missing {
		parts = append(parts, "schema scribe is gone")
	}
	if len(h.Triggers) > 0 {
		names := make([]string, len(h.Triggers))
		for i, t := range h.Triggers {
			names[i] = t.name
		}
		parts = append(parts, "event triggers did not fire: "+strings.Join(names, ", "))
	}
	if len(h.Strangers) > 0 {
		parts = append(parts, "event triggers were renamed to: "+strings.Join(h.Strangers, ", "))
	}
	if h.Publication != "" {
		parts = append(parts, h.Publication)
	}
	return strings.Join(parts, "; ")
}

// readHealth looks at what every role may see.
func readHealth(ctx context.Context, conn *pgx.Conn, publication string) (h captureHealth, err error) {
	err = conn.QueryRow(ctx, "SELECT to_regclass('scribe.config') IS NULL").Scan(&h.Missing)
	if err != nil {
		return h, err
	}
	names := make([]string, 0, len(eventTriggers))
	for _, t := range eventTriggers {
		names = append(names, t.name)
		var fires bool
		if err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_event_trigger e JOIN pg_proc p ON p.oid = e.evtfoid
		    JOIN pg_namespace n ON n.oid = p.pronamespace
		    WHERE evtname = $1 AND evtevent = $2 AND evtenabled = 'A' AND evttags IS NULL AND nspname = 'scribe' AND proname = $3)`,
			t.name, t.event, t.function).Scan(&fires); err != nil {
			return h, err
		}
		if !fires {
			h.Triggers = append(h.Triggers, t)
		}
	}
	rows, err := conn.Query(ctx, `SELECT evtname::text FROM pg_event_trigger e JOIN pg_proc p ON p.oid = e.evtfoid
	    JOIN pg_namespace n ON n.oid = p.pronamespace WHERE nspname = 'scribe' AND evtname <> ALL ($1) ORDER BY 1`, names)
	if err != nil {
		return h, err
	}
	if h.Strangers, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil {
		return h, err
	}
	var whole bool
	err = conn.QueryRow(ctx, `SELECT puballtables AND pubinsert AND pubupdate AND pubdelete AND pubtruncate AND NOT pubviaroot
	    FROM pg_publication WHERE pubname = $1`, publication).Scan(&whole)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		h.Publication, h.Lost, err = fmt.Sprintf("publication %q is gone: changes since then cannot be decoded", publication), true, nil
	case err == nil && !whole:
		h.Publication = fmt.Sprintf("publication %q was altered: rows were left out", publication)
	}
	return h, err
}

// CheckCapture tells what keeps an installed capture from being complete, and
// what makes an application's commands fail because of it.
func CheckCapture(ctx context.Context, connString, publication string) ([]Finding, error) {
	conn, err := Connect(ctx, connString)
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	h, err := readHealth(ctx, conn, publication)
	if err != nil {
		return nil, err
	}
	const again = "the backup cannot go on: pg_scribe drop, then pg_scribe init into a new directory"
	var list []Finding
	switch {
	case h.Missing || h.Lost:
		return []Finding{{true, "the capture on the source is not complete: " + h.String(), again}}, nil
	case !h.whole():
		list = append(list, Finding{true, "the capture on the source is not complete: " + h.String(),
			"pg_scribe start puts it back and marks the stream; then take a new base: pg_scribe full-backup"})
	}
	c := &checker{ctx: ctx, conn: conn}
	for _, name := range c.list("SELECT format('%I.%I', n.nspname, c.relname)" + unguardedSQL + " ORDER BY 1") {
		list = append(list, Finding{true, fmt.Sprintf("UPDATE and DELETE of table %s fail: it is published and has no usable replica identity", name),
			fmt.Sprintf("ALTER TABLE ONLY %s REPLICA IDENTITY FULL;", name)})
	}
	return list, c.err
}

// wholeSetting is where the catalog keeps how far the capture was known to be
// whole: an LSN and a time.
const wholeSetting = "capture whole"

// mendCapture puts back what somebody took from the capture, and notes in the
// catalog, from the last moment at which it was whole, and in the stream that
// commands or rows may be missing. What cannot be put back is a CaptureError.
func mendCapture(ctx context.Context, conn *pgx.Conn, publication string, r *repo.Repository) error {
	var text string
	if err := conn.QueryRow(ctx, "SELECT pg_current_wal_insert_lsn()::text").Scan(&text); err != nil {
		return err
	}
	h, err := readHealth(ctx, conn, publication)
	if err != nil {
		return err
	}
	store := r.Catalog()
	if h.whole() {
		return store.SetSetting(ctx, wholeSetting, text+" "+r.Now().UTC().Format(time.RFC3339Nano))
	}
	since, at, err := lastWhole(ctx, r)
	if err != nil {
		return err
	}
	reason := "the capture was not complete: " + h.String()
	if _, err := store.AddGap(ctx, catalog.Gap{Kind: catalog.GapSchema, From: since, To: since, DetectedAt: at, Reason: reason}); err != nil {
		return err
	}
	if h.Missing || h.Lost {
		return &CaptureError{Reason: h.String()}
	}
	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	if err := beQuiet(ctx, tx); err != nil {
		return err
	}
	for _, name := range h.Strangers {
		if _, err := tx.Exec(ctx, "DROP EVENT TRIGGER "+repo.Identifier(name)); err != nil {
			return err
		}
	}
	for _, t := range h.Triggers {
		if err := t.create(ctx, tx); err != nil {
			return err
		}
	}
	if h.Publication != "" {
		if _, err := tx.Exec(ctx, "ALTER PUBLICATION "+repo.Identifier(publication)+
			" SET (publish = 'insert, update, delete, truncate', publish_via_partition_root = false)"); err != nil {
			return &CaptureError{Reason: h.String() + "; it cannot be put back: " + err.Error()}
		}
	}
	if _, err := tx.Exec(ctx, "SELECT scribe.emit(jsonb_build_object('ev', 'gap', 'reason', $1::text)::text)", reason); err != nil {
		return err
	}
	if err := tx.Commit(ctx); err != nil {
		return err
	}
	return noteMissing(ctx, conn) // columns may have been added unseen
}

// lastWhole is the last position and moment at which the capture was known to
// be whole: without record, the end of what is stored.
func lastWhole(ctx context.Context, r *repo.Repository) (lsn catalog.LSN, at time.Time, err error) {
	text, known, err := r.Catalog().Setting(ctx, wholeSetting)
	if err != nil {
		return 0, at, err
	}
	if !known {
		lsn, err = r.End(ctx)
		return lsn, at, err
	}
	position, moment, _ := strings.Cut(text, " ")
	if lsn, err = catalog.ParseLSN(position); err == nil {
		at, err = time.Parse(time.RFC3339Nano, moment)
	}
	return lsn, at, err
}
