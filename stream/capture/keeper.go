package capture

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"pg_scribe/catalog"
	"pg_scribe/internal/sqltext"
	"pg_scribe/stream/source"
)

// A Keeper keeps the capture of one repository complete, and records in its
// catalog since when it was not.
type Keeper struct {
	Catalog     *catalog.Catalog
	Now         func() time.Time
	Publication string
	Notice      func(string)
}

// completeSetting is where the catalog keeps how far the capture was known to
// be complete.
const completeSetting = "capture whole"

// lastComplete is the last position and moment at which the capture was known
// to be complete, and the print of its event triggers then.
type lastComplete struct {
	LSN   catalog.LSN `json:"lsn"`
	At    time.Time   `json:"at"`
	Print string      `json:"print"`
}

// last reads it. Without record it is the end of what is stored.
func (k Keeper) last(ctx context.Context) (w lastComplete, err error) {
	text, known, err := k.Catalog.Setting(ctx, completeSetting)
	switch {
	case err != nil:
	case known:
		err = json.Unmarshal([]byte(text), &w)
	default:
		var inv catalog.Inventory
		inv, err = k.Catalog.Inventory(ctx)
		w.LSN, _ = inv.End()
	}
	return w, err
}

func (k Keeper) save(ctx context.Context, w lastComplete) error {
	text, err := json.Marshal(w)
	if err != nil {
		return err
	}
	return k.Catalog.SetSetting(ctx, completeSetting, string(text))
}

// read reads the health with a position that it holds for.
func (k Keeper) read(ctx context.Context, conn *pgx.Conn, publications []Publication) (h health, now lastComplete, err error) {
	now.At = k.Now().UTC()
	if now.LSN, err = source.Inserted(ctx, conn); err != nil {
		return h, now, err
	}
	h, err = readHealth(ctx, conn, publications)
	now.Print = h.Print
	return h, now, err
}

// Begin records the capture of a new repository. An older one that it finds may
// have been tampered with.
func (k Keeper) Begin(ctx context.Context, conn *pgx.Conn, mode string) error {
	publications := Publications(k.Publication, mode)
	h, now, err := k.read(ctx, conn, publications)
	if err == nil && !h.complete() {
		if err = h.repair(ctx, conn, publications, incomplete+h.String()); err == nil {
			_, now, err = k.read(ctx, conn, publications)
		}
	}
	if err != nil {
		return err
	}
	return k.save(ctx, now)
}

// How the reasons of gaps begin, or read.
const (
	incomplete = "the capture was not complete: "
	putBack    = "the capture may have been incomplete: its event triggers were changed and put back"
)

// Repair puts back what somebody took from the capture, and notes in the
// catalog, from the last moment at which it was complete, and in the stream that
// commands or rows may be missing. It says what it found. What cannot be put
// back is a Error.
func (k Keeper) Repair(ctx context.Context, conn *pgx.Conn) error {
	info, err := k.Catalog.Repository(ctx)
	if err != nil {
		return err
	}
	publications := Publications(k.Publication, info.Mode)
	h, now, err := k.read(ctx, conn, publications)
	if err != nil {
		return err
	}
	if !h.Missing {
		if err := tidy(ctx, conn, info.Mode); err != nil {
			return err
		}
	}
	last, err := k.last(ctx)
	if err != nil {
		return err
	}
	changed := last.Print != "" && last.Print != h.Print
	if h.complete() && !changed {
		return k.save(ctx, now)
	}
	reason := incomplete + h.String()
	if h.complete() {
		reason = putBack
	}
	if err := k.addGaps(ctx, last, reason); err != nil {
		return err
	}
	if h.Missing || h.Lost {
		return &Error{Reason: h.String(), Gone: true}
	}
	found := h.String()
	if err := h.repair(ctx, conn, publications, reason); err != nil {
		return err
	}
	if h, now, err = k.read(ctx, conn, publications); err != nil {
		return err
	}
	if !h.complete() {
		return &Error{Reason: h.String()}
	}
	if found == "" {
		found = "event triggers of the capture were changed, and put back by somebody"
	} else {
		found += "; put back"
	}
	k.Notice(found + ": commands and rows" + since(last.At) + " may be missing in the stream, which is marked; a new base heals it")
	return k.save(ctx, now)
}

// tidy makes sure that the capture is one that this program knows, in the
// repository's mode, and lets it remove what it needs no more.
func tidy(ctx context.Context, conn *pgx.Conn, mode string) error {
	if err := Usable(ctx, conn); err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, "SELECT scribe.tidy()"); err != nil {
		return err
	}
	is, err := Mode(ctx, conn)
	if err == nil && is != mode {
		err = &Error{Reason: fmt.Sprintf("the source has it in %s mode, the repository in %s mode", is, mode), Mode: is}
	}
	return err
}

// since says from when on, where that is known.
func since(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return " since " + at.UTC().Format(time.RFC3339)
}

// Lost is a Error if the repository's schema scribe or publication is
// gone, so that nothing but beginning again helps; nil if it is there.
func (k Keeper) Lost(ctx context.Context, conn *pgx.Conn, mode string) (lost *Error, err error) {
	h, err := readHealth(ctx, conn, Publications(k.Publication, mode))
	if err != nil || !h.Missing && !h.Lost {
		return nil, err
	}
	return &Error{Reason: h.String(), Gone: true}, nil
}

// NoteLost records that commands may be missing since the capture was last
// complete.
func (k Keeper) NoteLost(ctx context.Context, lost *Error) error {
	last, err := k.last(ctx)
	if err != nil {
		return err
	}
	return k.addGaps(ctx, last, incomplete+lost.Reason)
}

// addGaps records that the capture may have been incomplete since it was last
// known to be complete; also behind each base that was taken since, which cannot
// know either.
func (k Keeper) addGaps(ctx context.Context, last lastComplete, reason string) error {
	inv, err := k.Catalog.Inventory(ctx)
	if err != nil {
		return err
	}
	list := []catalog.Gap{{Kind: catalog.GapSchema, From: last.LSN, To: last.LSN, DetectedAt: last.At, Reason: reason}}
	for _, a := range inv.Artifacts {
		if a.Kind == catalog.KindBase && a.Start > last.LSN {
			list = append(list, gapBehind(a, reason))
		}
	}
	for _, g := range list {
		if _, err := k.Catalog.AddGap(ctx, g); err != nil {
			return err
		}
	}
	return nil
}

// gapBehind is a gap at a base's point.
func gapBehind(base catalog.Artifact, reason string) catalog.Gap {
	return catalog.Gap{Kind: catalog.GapSchema, From: base.Start, To: base.Start, DetectedAt: base.ReachedAt, Reason: reason}
}

// A Watch is on the capture while a base is taken.
type Watch struct {
	keeper       Keeper
	conn         *pgx.Conn
	publications []Publication
	before       health
	unrepaired   error // why it could not be put back
}

// Watch puts back what somebody took from the capture, so that the base heals
// it. Where this role may not, the base is taken all the same. What no base can
// heal is a Error.
func (k Keeper) Watch(ctx context.Context, conn *pgx.Conn) (*Watch, error) {
	info, err := k.Catalog.Repository(ctx)
	if err != nil {
		return nil, err
	}
	w := &Watch{keeper: k, conn: conn, publications: Publications(k.Publication, info.Mode)}
	if w.before, err = readHealth(ctx, conn, w.publications); err != nil {
		return nil, err
	}
	if w.before.Missing || w.before.Lost {
		return nil, &Error{Reason: w.before.String(), Gone: true}
	}
	if w.unrepaired = k.Repair(ctx, conn); ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	w.before, err = readHealth(ctx, conn, w.publications)
	return w, err
}

// Fault says what keeps the stream behind a base from being complete, and
// records it as a gap at the base's point; empty: nothing.
func (w *Watch) Fault(ctx context.Context, base catalog.Artifact) (string, error) {
	after, err := readHealth(ctx, w.conn, w.publications)
	if err != nil {
		return "", err
	}
	faulty := after
	if after.complete() {
		faulty = w.before
	}
	reason := incomplete + faulty.String()
	switch {
	case !faulty.complete():
	case after.Print != w.before.Print:
		reason = putBack
	default:
		return "", nil
	}
	if _, err := w.keeper.Catalog.AddGap(ctx, gapBehind(base, reason)); err != nil {
		return "", err
	}
	if w.unrepaired != nil && !after.complete() {
		reason += "; it could not be put back: " + w.unrepaired.Error()
	}
	return reason, nil
}

// repair makes the capture complete again and notes a gap in the stream.
func (h health) repair(ctx context.Context, conn *pgx.Conn, publications []Publication, reason string) error {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	if err := leaveOut(ctx, tx); err != nil {
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
			if _, err := tx.Exec(ctx, "ALTER PUBLICATION "+sqltext.Identifier(p.Name)+
				" SET (publish = '"+p.actions+"', publish_via_partition_root = false)"); err != nil {
				return &Error{Reason: h.String() + "; it cannot be put back: " + err.Error()}
			}
		}
	}
	if err := EmitGap(ctx, tx, reason); err != nil {
		return err
	}
	if err := tx.Commit(ctx); err != nil {
		return err
	}
	return notePublications(ctx, conn, publications) // somebody may have made them again
}
