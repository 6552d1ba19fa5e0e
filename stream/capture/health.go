package capture

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"pg_scribe/stream/source"
)

// A health is what somebody did to the capture.
type health struct {
	Missing     bool      // schema scribe is gone
	Triggers    []trigger // event triggers that do not fire
	States      []string  // what is wrong with each of them
	Strangers   []string  // event triggers that call the capture's functions under another name
	Publication string    // what is wrong with the publications; empty: nothing
	Lost        bool      // one of them is not there
	Print       string    // differs once an event trigger was changed, also when it was changed back
}

func (h health) complete() bool {
	return !h.Missing && len(h.Triggers) == 0 && len(h.Strangers) == 0 && h.Publication == ""
}

func (h health) String() string {
	var parts []string
	if h.Missing {
		parts = append(parts, "schema scribe is gone")
	}
	for _, state := range []string{triggerDisabled, triggerAltered, triggerGone} {
		var names []string
		for i, t := range h.Triggers {
			if h.States[i] == state {
				names = append(names, t.name)
			}
		}
		switch len(names) {
		case 0:
		case 1:
			parts = append(parts, "event trigger "+names[0]+" is "+state)
		default:
			parts = append(parts, "event triggers "+strings.Join(names, ", ")+" are "+state)
		}
	}
	if len(h.Strangers) > 0 {
		parts = append(parts, "event triggers were renamed to: "+strings.Join(h.Strangers, ", "))
	}
	if h.Publication != "" {
		parts = append(parts, h.Publication)
	}
	return strings.Join(parts, "; ")
}

// The states of an event trigger that does not fire as it should.
const (
	triggerDisabled = "disabled"
	triggerAltered  = "altered" // does not fire in every session, or for another event or function
	triggerGone     = "gone"
)

// readHealth looks at what every role may see.
func readHealth(ctx context.Context, conn *pgx.Conn, publications []Publication) (h health, err error) {
	err = conn.QueryRow(ctx, "SELECT to_regclass('scribe.config') IS NULL").Scan(&h.Missing)
	if err != nil {
		return h, err
	}
	names := make([]string, 0, len(eventTriggers))
	for _, t := range eventTriggers {
		names = append(names, t.name)
		state := ""
		err := conn.QueryRow(ctx, `SELECT CASE WHEN evtenabled = 'D' THEN $4 WHEN evtevent = $2 AND evtenabled = 'A' AND evttags IS NULL AND nspname = 'scribe'
		      AND proname = $3 THEN '' ELSE $5 END
		    FROM pg_event_trigger e JOIN pg_proc p ON p.oid = e.evtfoid JOIN pg_namespace n ON n.oid = p.pronamespace WHERE evtname = $1`,
			t.name, t.event, t.function, triggerDisabled, triggerAltered).Scan(&state)
		if errors.Is(err, pgx.ErrNoRows) {
			state, err = triggerGone, nil
		}
		if err != nil {
			return h, err
		}
		if state != "" {
			h.Triggers, h.States = append(h.Triggers, t), append(h.States, state)
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
	if err := conn.QueryRow(ctx, "SELECT coalesce(md5(string_agg(format('%s %s %s', evtname, oid, xmin), ',' ORDER BY evtname)), '') FROM pg_event_trigger "+
		"WHERE evtname = ANY ($1)",
		names).Scan(&h.Print); err != nil {
		return h, err
	}
	for _, p := range publications {
		var complete bool
		err := conn.QueryRow(ctx, `SELECT puballtables = $2 AND NOT pubviaroot AND $3 = concat_ws(', ', CASE WHEN pubinsert THEN 'insert' END,
		      CASE WHEN pubupdate THEN 'update' END, CASE WHEN pubdelete THEN 'delete' END, CASE WHEN pubtruncate THEN 'truncate' END)
		    FROM pg_publication WHERE pubname = $1`, p.Name, p.all, p.actions).Scan(&complete)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			h.Publication, h.Lost = fmt.Sprintf("publication %q is gone: changes since then cannot be decoded", p.Name), true
			return h, nil
		case err != nil:
			return h, err
		case !complete:
			h.Publication = fmt.Sprintf("publication %q was altered: rows were left out", p.Name)
		}
	}
	return h, nil
}

// Check returns what keeps an installed capture from being complete, and
// what makes an application's commands fail because of it. An empty mode is
// what the publications look like.
func Check(ctx context.Context, connString, publication, mode string) ([]source.Finding, error) {
	conn, err := source.Connect(ctx, connString)
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	if mode == "" {
		there, err := InstalledPublications(ctx, conn, publication)
		if err != nil {
			return nil, err
		}
		if len(there) > 1 {
			mode = ModeNoHarm
		}
	}
	h, err := readHealth(ctx, conn, Publications(publication, mode))
	if err != nil {
		return nil, err
	}
	var list []source.Finding
	switch {
	case h.Missing || h.Lost:
		return []source.Finding{{Critical: true, Problem: "the capture on the source is not complete: " + h.String(),
			Fix: "the stream cannot go on; begin again with a new slot and base", Command: []string{"full-backup", "--new-slot"}}}, nil
	case !h.complete():
		list = append(list, source.Finding{Critical: true, Problem: "the capture on the source is not complete: " + h.String(),
			Fix: "start puts it back and marks the stream; a base behind that makes later moments restorable", Command: []string{"start"}})
	}
	tables, err := source.Keyless(ctx, conn)
	if err != nil {
		return list, err
	}
	return append(list, refusing(tables, publication, mode)...), nil
}

// refusing are the findings on tables whose UPDATEs and DELETEs fail because of
// the publications.
func refusing(tables []source.KeylessTable, publication, mode string) (list []source.Finding) {
	if mode == ModeNoHarm {
		for _, t := range tables {
			if slices.Contains(t.Listed, ListName(publication)) {
				list = append(list, source.Finding{Critical: true,
					Problem: fmt.Sprintf("UPDATE and DELETE of table %s fail: it is listed in publication %q and has no usable replica identity", t.Name,
						ListName(publication)),
					Fix: "start takes it off the list", Command: []string{"start"}})
			}
		}
		return list
	}
	for _, t := range tables {
		if t.Full {
			list = append(list, source.Finding{Critical: true, Problem: fmt.Sprintf("UPDATE and DELETE of table %s fail: it is published and has no usable replica "+
				"identity", t.Name),
				Fix: fmt.Sprintf("ALTER TABLE ONLY %s REPLICA IDENTITY FULL;", t.Name)})
		}
	}
	for _, t := range tables {
		if !t.Full {
			list = append(list, source.Finding{Critical: true, Problem: fmt.Sprintf("UPDATE and DELETE of table %s fail: it is published, and has generated columns "+
				"and no usable key", t.Name), Fix: source.AddKey})
		}
	}
	return list
}
