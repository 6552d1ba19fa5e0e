package repo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"pg_scribe/catalog"
)

// partialSuffix marks a dump that is being written. Its writer holds a lock
// on the file, so that a partial file without one is known to be dead.
const partialSuffix = ".partial"

// stampLayout dates the names of bases and globals, in UTC.
const stampLayout = "20060102-150405"

// A DumpWriter writes one base or globals file. Nothing of it counts until
// Finish returned, and until the catalog has its row.
type DumpWriter struct {
	repo   *Repository
	header Header
	codec  Codec
	name   string
	file   *os.File
	enc    frameWriter
	stored hashCounter
	text   hashCounter
}

// Stamp reserves a moment for the names of a base and its globals: the first
// second from now on that no base of the repository bears yet.
func (r *Repository) Stamp() (string, error) {
	for at := r.now().UTC(); ; at = at.Add(time.Second) {
		stamp := at.Format(stampLayout)
		taken, err := r.stampTaken(stamp)
		if err != nil || !taken {
			return stamp, err
		}
	}
}

func (r *Repository) stampTaken(stamp string) (bool, error) {
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		return false, err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "base-"+stamp) || strings.HasPrefix(e.Name(), "globals-"+stamp) {
			return true, nil
		}
	}
	return false, nil
}

// CreateDump begins the base or globals file of the given stamp with h as its
// header.
func (r *Repository) CreateDump(h Header, stamp string, codec Codec) (*DumpWriter, error) {
	h.Format, h.Filters = FormatVersion, codec.String()
	w := &DumpWriter{repo: r, header: h, codec: codec,
		name: string(h.Kind) + "-" + stamp + ".sql" + codec.Extension()}
	file, err := os.OpenFile(r.Path(w.name+partialSuffix), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
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
	if err := syscall.Flock(int(w.file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return err
	}
	w.stored.reset(w.file)
	if w.enc, err = w.codec.newWriter(&w.stored); err != nil {
		return err
	}
	w.text.reset(w.enc)
	_, err = w.text.Write(w.header.append(nil))
	return err
}

// Write appends SQL text.
func (w *DumpWriter) Write(text []byte) (int, error) { return w.text.Write(text) }

// TextBytes and StoredBytes tell how far the file has come; what the
// compressor holds is not counted as stored yet.
func (w *DumpWriter) TextBytes() int64   { return w.text.n }
func (w *DumpWriter) StoredBytes() int64 { return w.stored.n }

// Finish ends the file and gives it its name. The artifact it returns is for
// the catalog; until that has it, Abort takes the file back.
func (w *DumpWriter) Finish(t Trailer) (catalog.Artifact, error) {
	t.End, t.TextBytes, t.TextSHA256 = w.header.Start, w.text.n, w.text.sum()
	if _, err := w.enc.Write(t.append(nil)); err != nil {
		return catalog.Artifact{}, err
	}
	if err := w.enc.Close(); err != nil {
		return catalog.Artifact{}, err
	}
	if err := w.file.Sync(); err != nil {
		return catalog.Artifact{}, err
	}
	if err := w.repo.publish(w.name+partialSuffix, w.name); err != nil {
		return catalog.Artifact{}, err
	}
	h := w.header
	return catalog.Artifact{
		Kind: h.Kind, State: catalog.StateSealed, Name: w.name,
		SystemID: h.SystemID, Timeline: h.Timeline, Database: h.Database,
		Start: h.Start, End: h.Start, CreatedAt: h.Created, FinishedAt: w.repo.now(), ReachedAt: h.At,
		Bytes: w.stored.n, TextBytes: t.TextBytes, SHA256: w.stored.sum(), TextSHA256: t.TextSHA256,
		Filters: h.Filters, ServerVersion: h.Server, Format: "plain",
	}, nil
}

// Abort removes the file, finished or not.
func (w *DumpWriter) Abort() {
	w.file.Close()
	os.Remove(w.repo.Path(w.name + partialSuffix))
	os.Remove(w.repo.Path(w.name))
}

// Close lets go of a finished file.
func (w *DumpWriter) Close() error { return w.file.Close() }

// AddBase enters a finished base and its globals in the catalog, which is
// what makes them count.
func (r *Repository) AddBase(ctx context.Context, base, globals catalog.Artifact) error {
	_, err := r.cat.AddBase(ctx, base, globals)
	return err
}

// A DumpReader reads the SQL of a base or globals file statement by
// statement. Items are of the kinds ItemStatement, ItemCopy and ItemEnd.
type DumpReader struct {
	Header  Header
	Trailer Trailer // valid after ItemEnd

	lineReader
	script
}

func newDumpReader(kind catalog.Kind, name string, src io.Reader) (*DumpReader, error) {
	r := &DumpReader{lineReader: newLineReader(name, src)}
	var err error
	r.Header, err = r.readHeader(kind)
	return r, err
}

// Next returns the next statement. Behind the trailer it returns io.EOF.
func (r *DumpReader) Next() (Item, error) {
	for {
		if r.ended {
			return Item{}, io.EOF
		}
		item, piece, err := r.script.next(&r.lineReader)
		if err != nil {
			return item, r.fault(err)
		}
		switch piece {
		case pieceEnd:
			r.Trailer, err = r.readTrailer()
			return Item{Kind: ItemEnd, LSN: r.Trailer.End}, err
		case pieceStatement:
			return item, nil
		}
	}
}

// script cuts the text of pg_dump and pg_dumpall into pieces.
type script struct{ stmt []byte }

type piece byte

const (
	pieceOther     piece = iota // comment, empty line or psql meta-command
	pieceStatement              // a statement, possibly one that begins a COPY block
	pieceEnd                    // the first line of the trailer
)

// next reads one piece: a line between statements, or a whole statement.
func (s *script) next(r *lineReader) (Item, piece, error) {
	if err := r.skipCopy(); err != nil {
		return Item{}, pieceOther, err
	}
	s.stmt = s.stmt[:0]
	var l lexer
	item := Item{Kind: ItemStatement, Line: r.line + 1}
	for {
		line, err := r.readLine()
		if err != nil {
			return item, pieceOther, err
		}
		first := len(s.stmt) == 0
		if first && string(line)+"\n" == trailerLine {
			return item, pieceEnd, nil
		}
		from := len(s.stmt)
		s.stmt = append(append(s.stmt, line...), '\n')
		item.SQL = s.stmt[:len(s.stmt)-1]
		if first && (len(line) == 0 || bytes.HasPrefix(line, []byte("--")) || line[0] == '\\') {
			return item, pieceOther, nil
		}
		if _, ended := l.scan(s.stmt[from:], 0); ended {
			if bytes.HasPrefix(item.SQL, []byte("COPY ")) && bytes.HasSuffix(item.SQL, []byte(" FROM stdin;")) {
				item.Kind, r.inCopy = ItemCopy, true
			}
			return item, pieceStatement, nil
		}
	}
}

// FilterDump copies the output of pg_dump or pg_dumpall from src to dst,
// without the statements that drop chooses, and counts the rows of its COPY
// blocks by table as it goes.
func FilterDump(dst io.Writer, src io.Reader, drop func(statement []byte) bool) ([]catalog.TableCount, error) {
	r := newLineReader("pg_dump", src)
	var s script
	var counts []catalog.TableCount
	for {
		item, kind, err := s.next(&r)
		if errors.Is(err, io.EOF) && len(s.stmt) == 0 {
			return counts, nil
		}
		if err != nil {
			return counts, r.fault(err)
		}
		if kind == pieceStatement && drop(item.SQL) {
			continue
		}
		if _, err := dst.Write(s.stmt); err != nil {
			return counts, err
		}
		if item.Kind != ItemCopy {
			continue
		}
		count := catalog.TableCount{Table: copyTable(item.SQL)}
		rows := &lineCounter{w: dst}
		if _, err := io.CopyBuffer(rows, onlyReader{r.CopyData()}, make([]byte, 256<<10)); err != nil {
			return counts, err
		}
		if _, err := dst.Write([]byte("\\.\n")); err != nil {
			return counts, err
		}
		count.Inserted = rows.n
		counts = append(counts, count)
	}
}

// copyTable is the table that a COPY statement of a dump names.
func copyTable(sql []byte) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(string(sql), "COPY "), " (")
	return strings.TrimSuffix(name, " FROM stdin;")
}

type lineCounter struct {
	w io.Writer
	n int64
}

func (c *lineCounter) Write(p []byte) (int, error) {
	c.n += int64(bytes.Count(p, []byte{'\n'}))
	return c.w.Write(p)
}

// onlyReader hides other methods, so that io.CopyBuffer uses its buffer.
type onlyReader struct{ io.Reader }

// sweep removes what dead processes left: partial dumps whose lock is free
// and open segments that the catalog does not know.
func (r *Repository) sweep(ctx context.Context) error {
	known, err := r.cat.Artifacts(ctx)
	if err != nil {
		return err
	}
	names := make(map[string]bool, len(known))
	for _, a := range known {
		names[a.Name] = true
	}
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		stray := strings.HasSuffix(name, openSuffix) && !names[name] ||
			strings.HasSuffix(name, partialSuffix) && !r.locked(name)
		if !stray {
			continue
		}
		if err := os.RemoveAll(r.Path(name)); err != nil {
			return fmt.Errorf("remove stray file: %w", err)
		}
	}
	return nil
}

// locked tells whether a process holds the lock on a file.
func (r *Repository) locked(name string) bool {
	f, err := os.Open(r.Path(name))
	if err != nil {
		return true
	}
	defer f.Close()
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil
}
