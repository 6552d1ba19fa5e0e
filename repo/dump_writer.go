package repo

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"strings"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/repo/filter"
	"pg_scribe/repo/segment"
)

// partialSuffix marks a dump that is being written. Its writer holds a lock
// on the file, so that a partial file without one is known to be dead.
const partialSuffix = ".partial"

// stampLayout dates the names of bases and globals, in UTC.
const stampLayout = "20060102-150405"

// A DumpWriter writes one base or globals file. Nothing of it counts until
// Finish returned, and until the catalog has its row.
type DumpWriter struct {
	repo    *Repository
	header  segment.Header
	chain   filter.Chain
	name    string
	file    *os.File
	enc     *filter.Writer
	stored  hashCounter
	text    hashCounter
	last    byte // of the text
	lines   int64
	starts  []filter.Start // where reading may begin
	rows    []segment.Rows // that a reader may pass over
	inRows  bool           // of a COPY block
	from    int64          // where they began, or, cut, where a reader may leave them
	cut     bool           // reading may begin within them
	renamed bool           // the file has its final name
}

// Stamp reserves a moment for the names of a base and its globals: the first
// second from now on that no base of the repository bears yet.
func (r *Repository) Stamp() (string, error) {
	names, err := r.Names()
	if err != nil {
		return "", err
	}
	taken := func(stamp string) bool {
		for _, name := range names {
			if strings.HasPrefix(name, "base-"+stamp) || strings.HasPrefix(name, "globals-"+stamp) {
				return true
			}
		}
		return false
	}
	at := r.now().UTC()
	for taken(at.Format(stampLayout)) {
		at = at.Add(time.Second)
	}
	return at.Format(stampLayout), nil
}

// CreateDump begins the base or globals file of the given stamp with h as its
// header. The chain is Chain's or Adopt's. It fails with fs.ErrExist if
// somebody else has taken the stamp.
func (r *Repository) CreateDump(h segment.Header, stamp string, chain filter.Chain) (*DumpWriter, error) {
	if err := r.verifiable(chain); err != nil {
		return nil, err
	}
	h.Filters = chain.String()
	w := &DumpWriter{repo: r, header: h, chain: chain,
		name: string(h.Kind) + "-" + stamp + ".sql" + chain.Extension()}
	if err := r.describe(context.Background(), &w.header); err != nil {
		return nil, err
	}
	file, err := createLocked(r.Path(w.name + partialSuffix))
	if err != nil {
		return nil, err
	}
	w.file = file
	if err := w.begin(); err != nil {
		w.Abort()
		return nil, err
	}
	return w, nil
}

func (w *DumpWriter) begin() (err error) {
	if err := w.repo.absent(w.name); err != nil {
		return err
	}
	w.stored.reset(w.file)
	if w.enc, err = w.chain.NewWriter(&w.stored); err != nil {
		return err
	}
	w.text.reset(encoder{w})
	w.starts = []filter.Start{{}}
	_, err = w.Write(w.header.Append(nil))
	return err
}

// Write appends SQL text.
func (w *DumpWriter) Write(text []byte) (int, error) {
	if w.inRows && !w.cut && w.text.n.Load()-w.from >= longRows {
		if end := bytes.IndexByte(text, '\n') + 1; end > 0 { // of a row
			n, err := w.append(text[:end])
			if err != nil {
				return n, err
			}
			w.cut, w.from = true, w.text.n.Load()
			if err := w.start(); err != nil {
				return n, err
			}
			more, err := w.append(text[end:])
			return n + more, err
		}
	}
	return w.append(text)
}

func (w *DumpWriter) append(text []byte) (int, error) {
	if len(text) > 0 {
		w.last = text[len(text)-1]
	}
	w.lines += int64(bytes.Count(text, []byte{'\n'}))
	return w.text.Write(text)
}

// longRows is how much text of a block's rows is read in any case: less is not worth
// two frames more.
const longRows = 1 << 20

// Rows says that the rows of a COPY block begin, or have ended: a reader of the schema
// passes over long ones.
func (w *DumpWriter) Rows(begin bool) error {
	was, cut, from := w.inRows, w.cut, w.from
	w.inRows, w.cut, w.from = begin, false, w.text.n.Load()
	if begin || !was || !cut || from == w.from {
		return nil
	}
	w.rows = append(w.rows, segment.Rows{From: from, To: w.from, Line: w.lines + 1})
	return w.start()
}

// encoder is the one that the text goes through now.
type encoder struct{ w *DumpWriter }

func (e encoder) Write(p []byte) (int, error) { return e.w.enc.Write(p) }

// start begins a new frame of the compressor, at which reading may begin.
func (w *DumpWriter) start() (err error) {
	if codec, simple := w.chain.Codec(); !simple || !codec.Seekable() {
		return nil
	}
	if err := w.enc.Close(); err != nil {
		return err
	}
	w.starts = append(w.starts, filter.Start{Text: w.text.n.Load(), Stored: w.stored.n.Load()})
	w.enc, err = w.chain.NewWriter(&w.stored)
	return err
}

// TextBytes and StoredBytes tell how far the file has come; what the
// compressor holds is not counted as stored yet.
func (w *DumpWriter) TextBytes() int64   { return w.text.n.Load() }
func (w *DumpWriter) StoredBytes() int64 { return w.stored.n.Load() }

// Finish ends the file and gives it its name. The artifact it returns is for
// the catalog; until that has it, Abort takes the file back. A file that has
// its name is taken for good by a rebuild of the catalog, so whatever could
// make it bad has to be ruled out before.
func (w *DumpWriter) Finish(t segment.Trailer) (catalog.Artifact, error) {
	if err := w.end(&t); err != nil {
		return catalog.Artifact{}, err
	}
	if err := w.file.Sync(); err != nil {
		return catalog.Artifact{}, err
	}
	s := sums{bytes: w.stored.n.Load(), textBytes: w.text.n.Load(), textSHA256: w.text.sum()}
	if err := w.repo.readBack(w.name, w.chain, w.file, s); err != nil {
		return catalog.Artifact{}, err
	}
	if err := w.repo.absent(w.name); err != nil {
		return catalog.Artifact{}, err
	}
	if err := os.Rename(w.repo.Path(w.name+partialSuffix), w.repo.Path(w.name)); err != nil {
		return catalog.Artifact{}, err
	}
	w.renamed = true
	if err := syncDir(w.repo.dir); err != nil {
		return catalog.Artifact{}, err
	}
	h := w.header
	return catalog.Artifact{
		Kind: h.Kind, State: catalog.StateSealed, Name: w.name,
		SystemID: h.SystemID, Timeline: h.Timeline, Database: h.Database,
		Start: h.Start, End: h.Start, CreatedAt: h.Created, FinishedAt: t.Finished, ReachedAt: h.At,
		Bytes: w.stored.n.Load(), TextBytes: t.TextBytes, SHA256: w.stored.sum(), TextSHA256: t.TextSHA256,
		Filters: h.Filters, ServerVersion: h.Server, Format: "plain",
	}, nil
}

// end writes the trailer, at the beginning of a line.
func (w *DumpWriter) end(t *segment.Trailer) error {
	if w.last != '\n' {
		if _, err := w.Write([]byte{'\n'}); err != nil {
			return err
		}
	}
	t.End, t.Finished, t.Rows = w.header.Start, w.repo.Moment(), w.rows
	if len(t.Rows) > 0 {
		if err := w.start(); err != nil {
			return err
		}
	}
	if _, err := w.Write(t.Append(nil)); err != nil {
		return err
	}
	t.TextBytes, t.TextSHA256 = w.text.n.Load(), w.text.sum()
	if _, err := w.Write(t.AppendSum(nil)); err != nil {
		return err
	}
	if err := w.enc.Close(); err != nil {
		return err
	}
	if codec, simple := w.chain.Codec(); simple && codec.Seekable() && len(t.Rows) > 0 {
		_, err := w.stored.Write(codec.AppendStarts(nil, w.starts))
		return err
	}
	return nil
}

// Abort removes the file, finished or not, unless the catalog has it.
func (w *DumpWriter) Abort() {
	if w.enc != nil {
		w.enc.Abort()
	}
	w.file.Close()
	if !w.renamed {
		os.Remove(w.repo.Path(w.name + partialSuffix))
		return
	}
	if known, err := w.repo.Knows(w.name); err == nil && !known {
		os.Remove(w.repo.Path(w.name))
	}
}

// Close lets go of a finished file.
func (w *DumpWriter) Close() error { return w.file.Close() }

// AddBase enters a finished base and its globals in the catalog, which is
// what makes them count.
func (r *Repository) AddBase(ctx context.Context, base, globals catalog.Artifact) error {
	_, err := r.cat.AddBase(ctx, base, globals)
	return err
}

// Knows says whether the catalog has a file of the name. An operation that was
// cancelled asks it too, so it takes no context.
func (r *Repository) Knows(name string) (bool, error) {
	all, err := r.cat.Artifacts(context.Background())
	if err != nil {
		return false, err
	}
	for _, a := range all {
		if a.Name == name {
			return true, nil
		}
	}
	return false, nil
}

// absent makes sure that no file has a name yet: finished files never change.
func (r *Repository) absent(name string) error {
	_, err := os.Lstat(r.Path(name))
	if err == nil {
		return &fs.PathError{Op: "create", Path: r.Path(name), Err: fs.ErrExist}
	}
	if os.IsNotExist(err) {
		return nil
	}
	return err
}
