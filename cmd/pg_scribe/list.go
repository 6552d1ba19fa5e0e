package main

import (
	"cmp"
	"context"
	"fmt"
	"text/tabwriter"

	"pg_scribe/catalog"
	"pg_scribe/internal/show"
)

type listCmd struct {
	outputFlag
	keyFlags
	File string `short:"f" required:"" placeholder:"DIRECTORY" help:"Repository."`
	What string `arg:"" optional:"" enum:"bases,segments,points,all" default:"all" help:"bases, segments, points or all (default)."`
}

func (*listCmd) shows() bool { return true }

// Run lists what the repository holds.
func (c *listCmd) Run(ctx context.Context, a *app) error {
	a.hintContext.dir = c.File
	keys, err := c.keys()
	if err != nil {
		return err
	}
	r, err := a.openForReading(ctx, c.File, keys)
	if err != nil {
		return err
	}
	defer r.Close()
	inv, err := r.Catalog().Inventory(ctx)
	if err != nil {
		return err
	}
	if c.json() {
		return writeJSON(a.stdout, c.document(inv))
	}
	wants := func(what string) bool { return c.What == what || c.What == "all" }
	if wants("bases") {
		a.listBases(inv)
	}
	if wants("segments") {
		a.listSegments(inv)
	}
	if wants("points") {
		a.listPoints(inv)
	}
	return nil
}

func (c *listCmd) document(inv catalog.Inventory) listJSON {
	var doc listJSON
	wants := func(what string) bool { return c.What == what || c.What == "all" }
	if wants("bases") {
		doc.Bases, doc.Globals = []artifactJSON{}, []artifactJSON{}
	}
	if wants("segments") {
		doc.Segments = []artifactJSON{}
	}
	for _, art := range inv.Artifacts {
		switch {
		case art.Kind == catalog.KindBase && wants("bases"):
			doc.Bases = append(doc.Bases, toArtifact(art))
		case art.Kind == catalog.KindGlobals && wants("bases"):
			doc.Globals = append(doc.Globals, toArtifact(art))
		case art.Kind == catalog.KindSegment && wants("segments"):
			doc.Segments = append(doc.Segments, toArtifact(art))
		}
	}
	if wants("points") {
		doc.Points = []pointJSON{}
		for _, p := range inv.Points {
			doc.Points = append(doc.Points, pointJSON{Name: p.Name, LSN: p.LSN, XID: p.XID, At: moment(p.At)})
		}
	}
	return doc
}

// table prints aligned columns under a title.
func (a *app) table(title string, header string, rows [][]any) {
	a.print("%s (%d)", title, len(rows))
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	if len(rows) > 0 {
		fmt.Fprintf(w, "  %s\n", header)
	}
	for _, row := range rows {
		fmt.Fprint(w, "  ")
		for i, cell := range row {
			if i > 0 {
				fmt.Fprint(w, "\t")
			}
			fmt.Fprint(w, oneLine(fmt.Sprint(cell)))
		}
		fmt.Fprintln(w)
	}
	w.Flush()
}

func (a *app) listBases(inv catalog.Inventory) {
	var rows [][]any
	header := "NAME\tPOINT\tTIME\tSTORED\tSQL\tFILTERS\tSERVER"
	pinned := false
	for _, art := range inv.Artifacts {
		pinned = pinned || art.PinnedReason != ""
	}
	if pinned {
		header += "\tKEPT"
	}
	for _, art := range inv.Artifacts {
		if art.Kind != catalog.KindBase {
			continue
		}
		row := []any{art.Name, art.Start, a.cellTime(cmp.Or(art.ReachedAt, art.FinishedAt)), show.Bytes(art.Bytes), show.Bytes(art.TextBytes), art.Filters,
			art.ServerVersion}
		if pinned {
			row = append(row, art.PinnedReason)
		}
		rows = append(rows, row)
	}
	a.table("Bases", header, rows)
}

// listSegments leaves out the start, which is in the name, and the end, which
// is the next one's start, so that a row fits.
func (a *app) listSegments(inv catalog.Inventory) {
	var rows [][]any
	for _, art := range inv.Artifacts {
		if art.Kind != catalog.KindSegment {
			continue
		}
		first, last := a.cellTime(art.FirstCommitAt), a.cellTime(art.LastCommitAt)
		if art.Transactions == 0 {
			first, last = "none", "none"
		}
		rows = append(rows, []any{art.Name, first, last, art.Transactions, show.Bytes(art.Bytes)})
	}
	a.table("Segments", "NAME\tFIRST COMMIT\tLAST COMMIT\tCOMMITS\tSTORED", rows)
}

func (a *app) listPoints(inv catalog.Inventory) {
	var rows [][]any
	for _, p := range inv.Points {
		rows = append(rows, []any{fmt.Sprintf("%q", p.Name), p.LSN, a.cellTime(p.At), p.XID})
	}
	a.table("Restore points", "NAME\tLSN\tTIME\tXID", rows)
}
