package repo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"pg_scribe/catalog"
)

// Metadata is what the metadata file tells of the source beside what the
// catalog knows.
type Metadata struct {
	Server         string
	Encoding       string
	Collate, CType string
	LocaleProvider string
	Locale         string
	Extensions     []string // "name version"
}

// WriteMetadata writes the file that tells a person without pg_scribe what
// this directory is and how to restore from it.
func (r *Repository) WriteMetadata(ctx context.Context, m Metadata) error {
	info, err := r.cat.Repository(ctx)
	if err != nil {
		return err
	}
	bases, err := r.cat.Artifacts(ctx, catalog.KindBase)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("This directory is a backup of a PostgreSQL database, made by pg_scribe.")
	line("It is plain SQL, compressed: zstd (or gzip, lz4), psql and this text are enough")
	line("to restore it. Written %s.", formatTime(r.now()))
	line("")
	line("Database:           %s", quote(info.Database))
	line("Server:             PostgreSQL %s", m.Server)
	line("System identifier:  %s, timeline %d", info.SystemID, info.Timeline)
	line("Encoding:           %s", m.Encoding)
	line("Collation:          %s, ctype %s, provider %s %s", quote(m.Collate), quote(m.CType), m.LocaleProvider, quote(m.Locale))
	line("Replication slot:   %s", quote(info.Slot))
	line("Text format:        version %d", FormatVersion)
	line("Extensions:")
	for _, e := range m.Extensions {
		line("  %s", quote(e))
	}
	line("")
	line("Bases (each shows the database as it was at its point):")
	for _, a := range bases {
		line("  %s  point %s  %s", a.Name, a.Start, formatTime(a.ReachedAt))
	}
	b.WriteString(byHand)
	return r.putMetadata(ctx, b.Bytes())
}

// forgetBases takes bases out of the metadata file.
func (r *Repository) forgetBases(ctx context.Context, gone []string) error {
	text, err := os.ReadFile(r.Path(MetadataName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if i := bytes.LastIndex(text, []byte(metadataSum)); i >= 0 {
		text = text[:i]
	}
	var left []byte
	for line := range bytes.Lines(text) {
		words := strings.Fields(string(line))
		if len(words) < 2 || words[1] != "point" || !slices.Contains(gone, words[0]) {
			left = append(left, line...)
		}
	}
	if len(left) == len(text) {
		return nil
	}
	return r.putMetadata(ctx, left)
}

// putMetadata writes the metadata file with its checksum.
func (r *Repository) putMetadata(ctx context.Context, text []byte) error {
	sum := sha256.Sum256(text)
	text = fmt.Appendf(text, "%s%s\n", metadataSum, hex.EncodeToString(sum[:]))
	sum = sha256.Sum256(text)
	// Either text counts until the new one is certain to stand there.
	whole := hex.EncodeToString(sum[:])
	old, _, err := r.cat.Setting(ctx, metadataSetting)
	if err != nil {
		return err
	}
	if err := r.cat.SetSetting(ctx, metadataSetting, strings.TrimSpace(old+" "+whole)); err != nil {
		return err
	}
	if err := r.replace(MetadataName, text); err != nil {
		return err
	}
	return r.cat.SetSetting(ctx, metadataSetting, whole)
}

const (
	metadataSetting = "metadata sha256"           // of the whole file
	metadataSum     = "\nSHA-256 of the above:  " // its last line, of what stands before it
)

// metadataWhole tells whether a metadata file agrees with its last line.
func metadataWhole(text []byte) bool {
	i := bytes.LastIndex(text, []byte(metadataSum))
	if i < 0 {
		return false
	}
	sum := sha256.Sum256(text[:i])
	return string(text[i+len(metadataSum):]) == hex.EncodeToString(sum[:])+"\n"
}

// replace writes a small file anew, so that a crash leaves the old or the new.
func (r *Repository) replace(name string, content []byte) error {
	partial := fmt.Sprintf("%s.%d%s", name, os.Getpid(), partialSuffix)
	tmp := r.Path(partial)
	// In a container a process that died before had the same number.
	if err := r.removeDead(partial); err != nil {
		return err
	}
	f, err := createLocked(tmp)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = os.Rename(tmp, r.Path(name))
	}
	if err != nil {
		os.Remove(tmp)
		return err
	}
	return syncDir(r.dir)
}

// byHand is how to restore with the usual tools alone.
const byHand = `
Files
  base-DATE-TIME.sql.zst       pg_dump of the database at the base's point
  base-DATE-TIME.dir           the same as a directory archive, for pg_restore
  globals-DATE-TIME.sql        roles and tablespaces, from pg_dumpall
  incremental-LSN.sql.zst      every transaction from that LSN on, in commit order,
                               up to where the next such file begins
  incremental-LSN.sql….open    the one that was being written
  catalog.db                   an SQLite index of the above; not needed here

To restore by hand
  1. Roles:    psql -X -d postgres -f globals-DATE-TIME.sql
               (roles that exist already are reported and can be ignored)
  2. Database: createdb -T template0 -E ENCODING restored     (see above)
  3. Base:     zstd -dc base-DATE-TIME.sql.zst | psql -X -v ON_ERROR_STOP=1 -d restored
               A base-DATE-TIME.dir instead:
               pg_restore -e -j 4 -L base-DATE-TIME.dir/restore.list -d restored base-DATE-TIME.dir
               psql -X -v ON_ERROR_STOP=1 -d restored -f base-DATE-TIME.dir/settings.sql
  4. Changes, from the base's point on. A transaction belongs after the base if
     and only if its commit LSN, on its BEGIN line, is at or behind the point.
     The point is on the "start:" line at the top of the base (of pg_scribe.txt
     in a directory). Write it into P:

     P=0/3829A018
     for f in incremental-*.sql.zst; do zstd -dc "$f"; done |
     awk -v P="$P" '
       function key(lsn,  a) { split(lsn, a, "/"); return substr("00000000" a[1], length(a[1]) + 1) substr("00000000" a[2], length(a[2]) + 1) }
       /^BEGIN; -- xid / { skip = key($6) < key(P) }
       !skip
       /^COMMIT; -- /    { skip = 0 }
     ' | psql -X -q -v ON_ERROR_STOP=1 -d restored

     (gzip -dc for .gz, lz4 -dc for .lz4, cat for plain files. The .open file, if
     there is one, comes last and may end within a transaction: leave out what
     follows its last COMMIT line.)
     If the files name different timelines (the "timeline:" line at their top):
     leave out those of a lower timeline than the base's, and stop at the first
     that does not start where the one before ended ("end:" in its last lines).
  5. To stop at an earlier moment, end the text before the first transaction
     whose BEGIN line shows a later LSN or time.
  6. Sequences: set each to at least the largest value of its column, and one
     without a column to its next setval in the stream behind that moment.
`
