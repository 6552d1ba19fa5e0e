package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"pg_scribe/catalog"
	"pg_scribe/internal/sqltext"
	"pg_scribe/repo"
	"pg_scribe/stream/source"
)

// captureHealth is what somebody did to the capture.
type captureHealth struct {
	Missing     bool             // schema scribe is gone
	Triggers    []captureTrigger // event triggers that do not fire
	States      []string         // what is wrong with each of them
	Strangers   []string         // event triggers that call the capture's functions under another name
	Publication string           // what is wrong with the publications; empty: nothing
	Lost        bool             // one of them is not there
	Print       string           // differs once an event trigger was changed, also when it was changed back
}

func (h captureHealth) whole() bool {
	return !h.Missing && len(h.Triggers) == 0 && len(h.Strangers) == 0 && h.Publication == ""
}

func (h captureHealth) String() string {
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
func readHealth(ctx context.Context, conn *pgx.Conn, publications []publication) (h captureHealth, err error) {
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
	if err := conn.QueryRow(ctx, "SELECT coalesce(md5(string_agg(format('%s %s %s', evtname, oid, xmin), ',' ORDER BY evtname)), '') FROM pg_event_trigger WHERE evtname = ANY ($1)",
		names).Scan(&h.Print); err != nil {
		return h, err
	}
	for _, p := range publications {
		var whole bool
		err := conn.QueryRow(ctx, `SELECT puballtables = $2 AND NOT pubviaroot AND $3 = concat_ws(', ', CASE WHEN pubinsert THEN 'insert' END,
		      CASE WHEN pubupdate THEN 'update' END, CASE WHEN pubdelete THEN 'delete' END, CASE WHEN pubtruncate THEN 'truncate' END)
		    FROM pg_publication WHERE pubname = $1`, p.name, p.all, p.actions).Scan(&whole)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			h.Publication, h.Lost = fmt.Sprintf("publication %q is gone: changes since then cannot be decoded", p.name), true
			return h, nil
		case err != nil:
			return h, err
		case !whole:
			h.Publication = fmt.Sprintf("publication %q was altered: rows were left out", p.name)
		}
	}
	return h, nil
}

// CheckCapture tells what keeps an installed capture from being complete, and
// what makes an application's commands fail because of it. An empty mode is
// what the publications look like.
func CheckCapture(ctx context.Context, connString, publication, mode string) ([]source.Finding, error) {
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
	h, err := readHealth(ctx, conn, publicationsOf(publication, mode))
	if err != nil {
		return nil, err
	}
	var list []source.Finding
	switch {
	case h.Missing || h.Lost:
		return []source.Finding{{Critical: true, Problem: "the capture on the source is not complete: " + h.String(),
			Fix: "the stream cannot go on; begin again with a new slot and base", Command: []string{"full-backup", "--new-slot"}}}, nil
	case !h.whole():
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
			if slices.Contains(t.Listed, listName(publication)) {
				list = append(list, source.Finding{Critical: true,
					Problem: fmt.Sprintf("UPDATE and DELETE of table %s fail: it is listed in publication %q and has no usable replica identity", t.Name, listName(publication)),
					Fix:     "start takes it off the list", Command: []string{"start"}})
			}
		}
		return list
	}
	for _, t := range tables {
		if t.Full {
			list = append(list, source.Finding{Critical: true, Problem: fmt.Sprintf("UPDATE and DELETE of table %s fail: it is published and has no usable replica identity", t.Name),
				Fix: fmt.Sprintf("ALTER TABLE ONLY %s REPLICA IDENTITY FULL;", t.Name)})
		}
	}
	for _, t := range tables {
		if !t.Full {
			list = append(list, source.Finding{Critical: true, Problem: fmt.Sprintf("UPDATE and DELETE of table %s fail: it is published, and has generated columns and no usable key", t.Name), Fix: source.AddKey})
		}
	}
	return list
}

// wholeSetting is where the catalog keeps how far the capture was known to be
// whole.
const wholeSetting = "capture whole"

// lastWhole is the last position and moment at which the capture was known to
// be whole, and the print of its event triggers then.
type lastWhole struct {
	LSN   catalog.LSN `json:"lsn"`
	At    time.Time   `json:"at"`
	Print string      `json:"print"`
}

// readWhole reads it. Without record it is the end of what is stored.
func readWhole(ctx context.Context, r *repo.Repository) (w lastWhole, err error) {
	text, known, err := r.Catalog().Setting(ctx, wholeSetting)
	switch {
	case err != nil:
	case known:
		err = json.Unmarshal([]byte(text), &w)
	default:
		w.LSN, err = r.End(ctx)
	}
	return w, err
}

// mendCapture puts back what somebody took from the capture, and notes in the
// catalog, from the last moment at which it was whole, and in the stream that
// commands or rows may be missing. It says what it found. What cannot be put
// back is a CaptureError.
func mendCapture(ctx context.Context, conn *pgx.Conn, publication string, r *repo.Repository, notice func(string)) error {
	info, err := r.Catalog().Repository(ctx)
	if err != nil {
		return err
	}
	publications := publicationsOf(publication, info.Mode)
	h, now, err := readHealthNow(ctx, conn, publications, r)
	if err != nil {
		return err
	}
	if !h.Missing {
		if err := checkCapture(ctx, conn); err != nil {
			return err
		}
		if _, err := conn.Exec(ctx, "SELECT scribe.tidy()"); err != nil {
			return err
		}
		mode, err := captureMode(ctx, conn)
		if err == nil && mode != info.Mode {
			err = &CaptureError{Reason: fmt.Sprintf("the source has it in %s mode, the repository in %s mode", mode, info.Mode), Mode: mode}
		}
		if err != nil {
			return err
		}
	}
	last, err := readWhole(ctx, r)
	if err != nil {
		return err
	}
	changed := last.Print != "" && last.Print != h.Print
	if h.whole() && !changed {
		return saveWhole(ctx, r, now)
	}
	reason := "the capture was not complete: " + h.String()
	if h.whole() {
		reason = "the capture may have been incomplete: its event triggers were changed and put back"
	}
	if err := addGaps(ctx, r, last, reason); err != nil {
		return err
	}
	if h.Missing || h.Lost {
		return &CaptureError{Reason: h.String(), Gone: true}
	}
	found := h.String()
	if err := h.mend(ctx, conn, publications, reason); err != nil {
		return err
	}
	if h, now, err = readHealthNow(ctx, conn, publications, r); err != nil {
		return err
	}
	if !h.whole() {
		return &CaptureError{Reason: h.String()}
	}
	if found == "" {
		found = "event triggers of the capture were changed, and put back by somebody"
	} else {
		found += "; put back"
	}
	notice(found + ": commands and rows" + since(last.At) + " may be missing in the stream, which is marked; a new base heals it")
	return saveWhole(ctx, r, now)
}

// since says from when on, where that is known.
func since(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return " since " + at.UTC().Format(time.RFC3339)
}

// captureAround watches the capture while a base is taken.
type captureAround struct {
	conn         *pgx.Conn
	repo         *repo.Repository
	publications []publication
	before       captureHealth
	unmended     error // why it could not be put back
}

// watchCapture puts back what somebody took from the capture, so that the base
// heals it. Where this role may not, the base is taken all the same. What no
// base can heal is a CaptureError.
func watchCapture(ctx context.Context, conn *pgx.Conn, publication string, r *repo.Repository, notice func(string)) (*captureAround, error) {
	info, err := r.Catalog().Repository(ctx)
	if err != nil {
		return nil, err
	}
	w := &captureAround{conn: conn, repo: r, publications: publicationsOf(publication, info.Mode)}
	if w.before, err = readHealth(ctx, conn, w.publications); err != nil {
		return nil, err
	}
	if w.before.Missing || w.before.Lost {
		return nil, &CaptureError{Reason: w.before.String(), Gone: true}
	}
	if w.unmended = mendCapture(ctx, conn, publication, r, notice); ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	w.before, err = readHealth(ctx, conn, w.publications)
	return w, err
}

// fault says what keeps the stream behind a base from being complete, and
// records it as a gap at the base's point; empty: nothing.
func (w *captureAround) fault(ctx context.Context, base catalog.Artifact) (string, error) {
	after, err := readHealth(ctx, w.conn, w.publications)
	if err != nil {
		return "", err
	}
	faulty := after
	if after.whole() {
		faulty = w.before
	}
	reason := "the capture was not complete: " + faulty.String()
	switch {
	case !faulty.whole():
	case after.Print != w.before.Print:
		reason = "the capture may have been incomplete: its event triggers were changed and put back"
	default:
		return "", nil
	}
	gap := catalog.Gap{Kind: catalog.GapSchema, From: base.Start, To: base.Start, DetectedAt: base.ReachedAt, Reason: reason}
	if _, err := w.repo.Catalog().AddGap(ctx, gap); err != nil {
		return "", err
	}
	if w.unmended != nil && !after.whole() {
		reason += "; it could not be put back: " + w.unmended.Error()
	}
	return reason, nil
}

// addGaps records that the capture may have been incomplete since it was last
// whole; also behind each base that was taken since, which cannot know either.
func addGaps(ctx context.Context, r *repo.Repository, last lastWhole, reason string) error {
	inv, err := r.Catalog().Inventory(ctx)
	if err != nil {
		return err
	}
	list := []catalog.Gap{{Kind: catalog.GapSchema, From: last.LSN, To: last.LSN, DetectedAt: last.At, Reason: reason}}
	for _, a := range inv.Artifacts {
		if a.Kind == catalog.KindBase && a.Start > last.LSN {
			list = append(list, catalog.Gap{Kind: catalog.GapSchema, From: a.Start, To: a.Start, DetectedAt: a.ReachedAt, Reason: reason})
		}
	}
	for _, g := range list {
		if _, err := r.Catalog().AddGap(ctx, g); err != nil {
			return err
		}
	}
	return nil
}

// beginWhole records the capture of a new repository. An older one that it
// finds may have been tampered with.
func beginWhole(ctx context.Context, conn *pgx.Conn, publications []publication, r *repo.Repository) error {
	h, now, err := readHealthNow(ctx, conn, publications, r)
	if err == nil && !h.whole() {
		if err = h.mend(ctx, conn, publications, "the capture was not complete: "+h.String()); err == nil {
			_, now, err = readHealthNow(ctx, conn, publications, r)
		}
	}
	if err != nil {
		return err
	}
	return saveWhole(ctx, r, now)
}

// readHealthNow reads the health with a position that it holds for.
func readHealthNow(ctx context.Context, conn *pgx.Conn, publications []publication, r *repo.Repository) (h captureHealth, now lastWhole, err error) {
	now.At = r.Now().UTC()
	if now.LSN, err = source.Inserted(ctx, conn); err != nil {
		return h, now, err
	}
	h, err = readHealth(ctx, conn, publications)
	now.Print = h.Print
	return h, now, err
}

func saveWhole(ctx context.Context, r *repo.Repository, w lastWhole) error {
	text, err := json.Marshal(w)
	if err != nil {
		return err
	}
	return r.Catalog().SetSetting(ctx, wholeSetting, string(text))
}

// mend makes the capture whole again and marks the stream.
func (h captureHealth) mend(ctx context.Context, conn *pgx.Conn, publications []publication, reason string) error {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	if err := beQuiet(ctx, tx); err != nil {
		return err
	}
	for _, name := range h.Strangers {
		if _, err := tx.Exec(ctx, "DROP EVENT TRIGGER "+sqltext.Identifier(name)); err != nil {
			return err
		}
	}
	for _, t := range h.Triggers {
		if err := t.create(ctx, tx); err != nil {
			return err
		}
	}
	for _, p := range publications {
		if h.Publication != "" {
			if _, err := tx.Exec(ctx, "ALTER PUBLICATION "+sqltext.Identifier(p.name)+
				" SET (publish = '"+p.actions+"', publish_via_partition_root = false)"); err != nil {
				return &CaptureError{Reason: h.String() + "; it cannot be put back: " + err.Error()}
			}
		}
	}
	if _, err := tx.Exec(ctx, "SELECT scribe.emit(jsonb_build_object('ev', 'gap', 'reason', $1::text)::text)", reason); err != nil {
		return err
	}
	if err := tx.Commit(ctx); err != nil {
		return err
	}
	return notePublications(ctx, conn, publications) // somebody may have made them again
}
