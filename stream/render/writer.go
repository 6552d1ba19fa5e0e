package render

import (
	"slices"

	"pg_scribe/catalog"
	"pg_scribe/repo/segment"
	"pg_scribe/stream/ddl"
	"pg_scribe/stream/pgoutput"
	"pg_scribe/stream/schema"
)

// BatchBytes is how much text a Renderer gathers before it hands it on.
const BatchBytes = 256 << 10

// A Batch is a piece of the stream as SQL text. At a boundary the text ends
// between two transactions, and Stats says what all text since the last
// boundary held.
type Batch struct {
	Text     []byte
	Boundary bool
	Stats    segment.Stats

	Told  []Told      // of objects, by transactions
	Stale []ddl.State // sampled states that the text changes: the next sample has to bring them again

	Touched     Touched               // objects that are to be described
	Undescribed []segment.Fingerprint // descriptions that are not in the text, since they may not be true there
}

// Told is what the commands of one transaction, or of a part of it, tell of
// objects. Each is named by its event.Key.
type Told struct {
	XID        uint32
	Commit     catalog.LSN
	Came, Went []string
	Unknown    bool // others may have come and gone too
}

// writer puts transactions together.
type writer struct {
	schema *schema.State

	text  []byte
	whole int           // text[:whole] ends between two transactions
	stats segment.Stats // of what is complete and not yet handed on
	told  []Told
	stale []ddl.State

	touched     Touched
	undescribed []segment.Fingerprint

	inTx    bool
	tx      pgoutput.Begin
	begun   bool          // its BEGIN line is written
	alien   bool          // its commit time is another server's
	counted []*table      // with changes in this transaction
	found   segment.Stats // restore points and gaps of this transaction
}

func (w *writer) complete() bool { return w.whole > 0 || w.stats.End > 0 }

// take hands on what is there. A transaction that is still coming in is handed on
// apart from complete ones, so that those can be stored for good before it.
func (w *writer) take(next []byte) Batch {
	b := Batch{Text: w.text, Boundary: !w.inTx, Told: w.told, Stale: w.stale, Touched: w.touched, Undescribed: w.undescribed}
	w.told, w.stale, w.touched, w.undescribed = nil, nil, Touched{}, nil
	if w.inTx && w.complete() {
		b.Text, b.Boundary = w.text[:w.whole:w.whole], true
		w.text = append(next[:0], w.text[w.whole:]...)
	} else {
		w.text = next[:0]
	}
	w.whole = 0
	if b.Boundary {
		b.Stats, w.stats = w.stats, segment.Stats{}
		b.Stats.State = w.schema.HandOver()
	}
	return b
}

func (w *writer) begin(m pgoutput.Begin) {
	w.tx, w.inTx, w.begun, w.alien = m, true, false, false
}

// open writes the BEGIN line before the first thing a transaction holds.
func (w *writer) open() {
	if !w.begun {
		w.begun = true
		w.text = segment.AppendBegin(w.text, w.tx.XID, w.tx.Commit, w.tx.At)
	}
}

// append writes commands.
func (w *writer) append(commands ...ddl.Command) {
	for _, c := range commands {
		w.open()
		if c.Tag == "" {
			w.text = append(append(w.text, c.SQL...), ";\n"...)
		} else {
			w.text = segment.AppendDDL(w.text, c.Tag, c.SQL)
		}
	}
}

// gap notes in the stream, and for the catalog, what could not be captured.
func (w *writer) gap(reason string) {
	w.open()
	w.tell(Told{Unknown: true})
	w.text = segment.AppendGap(w.text, reason)
	if !w.hasGap(reason) {
		w.found.Gaps = append(w.found.Gaps, catalog.Gap{Kind: "schema", From: w.tx.Commit, To: w.tx.Commit, DetectedAt: w.tx.At, Reason: reason})
	}
}

// hasGap says whether the transaction has a mark of that reason.
func (w *writer) hasGap(reason string) bool {
	return slices.ContainsFunc(w.found.Gaps, func(g catalog.Gap) bool { return g.Reason == reason })
}

// author writes whose session the transaction ran in.
func (w *writer) author(by segment.Identity) {
	w.open()
	w.text = segment.AppendAuthor(w.text, by)
}

// mark notes a restore point.
func (w *writer) mark(name string) {
	w.open()
	w.text = segment.AppendRestorePoint(w.text, name)
	w.found.Points = append(w.found.Points, catalog.RestorePoint{Name: name, LSN: w.tx.Commit, XID: w.tx.XID, At: w.tx.At})
}

// tell adds to what this transaction tells of objects.
func (w *writer) tell(t Told) {
	if len(t.Came)+len(t.Went) == 0 && !t.Unknown {
		return
	}
	n := len(w.told)
	if n == 0 || w.told[n-1].XID != w.tx.XID {
		w.told = append(w.told, Told{XID: w.tx.XID, Commit: w.tx.Commit})
		n++
	}
	all := &w.told[n-1]
	all.Came, all.Went, all.Unknown = append(all.Came, t.Came...), append(all.Went, t.Went...), all.Unknown || t.Unknown
}

// resample has states sampled again, which the stream has changed.
func (w *writer) resample(states ...ddl.State) { w.stale = append(w.stale, states...) }

// count returns the counts of a table's rows in this transaction.
func (w *writer) count(t *table) *catalog.TableCount {
	if !t.counted {
		t.counted = true
		w.counted = append(w.counted, t)
	}
	return &t.count
}

// counts sums them up by what the rows were written to.
func (w *writer) counts() map[string]catalog.TableCount {
	sums := make(map[string]catalog.TableCount, len(w.counted))
	for _, t := range w.counted {
		sum := sums[t.target]
		sum.Inserted += t.count.Inserted
		sum.Updated += t.count.Updated
		sum.Deleted += t.count.Deleted
		sum.Truncated += t.count.Truncated
		sums[t.target] = sum
		t.counted, t.count = false, catalog.TableCount{}
	}
	clear(w.counted)
	w.counted = w.counted[:0]
	return sums
}

func (w *writer) commit(m pgoutput.Commit) {
	w.inTx = false
	w.stats.End = max(w.stats.End, m.End)
	if !w.begun {
		return
	}
	w.text = segment.AppendCommit(w.text, m.End)
	w.whole = len(w.text)
	tx := w.found
	tx.Transactions, tx.MinXID, tx.MaxXID, tx.Tables = 1, w.tx.XID, w.tx.XID, w.counts()
	if !w.alien {
		tx.FirstCommit, tx.LastCommit = w.tx.At, w.tx.At
	}
	w.stats.Add(tx)
	w.found = segment.Stats{}
}
