package stream

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"pg_scribe/catalog"
	"pg_scribe/repo"
	"pg_scribe/stream/source"
)

// lostCapture is a CaptureError if the repository's schema scribe or publication
// is gone, so that nothing but beginning again helps; nil if it is there.
func lostCapture(ctx context.Context, conn *pgx.Conn, info catalog.Repository) (lost *CaptureError, err error) {
	h, err := readHealth(ctx, conn, publicationsOf(info.Publication, info.Mode))
	if err != nil || !h.Missing && !h.Lost {
		return nil, err
	}
	return &CaptureError{Reason: h.String(), Gone: true}, nil
}

// replaceable says whether the repository's slot is there. It is an error if that
// must not be made anew: it is somebody else's, in use, or has all that the
// repository needs.
func replaceable(ctx context.Context, conn *pgx.Conn, info catalog.Repository, src source.Server, b branch, lost *CaptureError, force bool) (there bool, err error) {
	slot, err := source.ReadSlot(ctx, conn, info.Slot)
	var s *source.SlotError
	switch {
	case errors.As(err, &s) && s.Problem == source.SlotMissing:
		return false, nil
	case err != nil:
		return false, err
	}
	unfit := errors.Join(slot.Usable(src), slot.Covers(b.end))
	if errors.As(unfit, &s) && (s.Problem == source.SlotForeign || s.Problem == source.SlotBusy) {
		return true, s
	}
	if unfit == nil && b.err == nil && lost == nil && !force {
		return true, &source.SlotError{Slot: info.Slot, Problem: source.SlotIntact}
	}
	return true, nil
}

// reinstallCapture installs the capture again for a repository that begins again
// behind it, and notes in the catalog that commands may be missing since it was
// last whole. older are the transactions that may escape it (awaitOlder).
func reinstallCapture(ctx context.Context, conn *pgx.Conn, r *repo.Repository, info catalog.Repository, opts BaseOptions,
	lost *CaptureError) (older []string, err error) {
	last, err := readWhole(ctx, r)
	if err == nil {
		err = addGaps(ctx, r, last, "the capture was not complete: "+lost.Reason)
	}
	if err != nil {
		return nil, err
	}
	opts.Notice("installing the capture of DDL again: " + lost.Reason)
	made, err := installCapture(ctx, conn, info.Publication, info.Mode)
	if err == nil {
		err = beginWhole(ctx, conn, publicationsOf(info.Publication, info.Mode), r)
	}
	if err == nil && made.schema {
		older, err = awaitOlder(ctx, conn, InitOptions{BaseOptions: opts, Step: opts.Notice})
	}
	if err != nil {
		again, cerr := source.Connect(context.WithoutCancel(ctx), opts.ConnString) // a cancelled query may have closed conn
		if cerr != nil {
			return nil, errors.Join(err, cerr)
		}
		defer again.Close(context.WithoutCancel(ctx))
		return nil, errors.Join(err, removeCapture(context.WithoutCancel(ctx), again, made))
	}
	return older, nil
}
