package repo

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"pg_scribe/catalog"
	"pg_scribe/repo/filter"
	"pg_scribe/repo/segment"
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
	chain, err := r.Chain(ctx)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("This directory is a backup of a PostgreSQL database, made by pg_scribe.")
	if chain.Opaque() {
		// Nothing of the database may show here.
		line("It is plain SQL that went through filters, which have to be undone: see below.")
		line("Written %s.", segment.FormatTime(r.now()))
		line("")
		line("Text format:        version %d", segment.FormatVersion)
		line("Filters:            %s", chain)
		line("")
		line("Database, server, encoding, collation and the point of a base stand at its top, once")
		line("it is readable:     %s | head -30", chain.Command("base-DATE-TIME.sql"+chain.Extension()))
	} else {
		r.describeSource(line, info, m, bases)
	}
	// A rebuild of the catalog needs these too.
	if _, chosen, err := r.cat.Setting(ctx, chainSetting); err != nil {
		return err
	} else if chosen {
		for _, f := range chain {
			line(chainLine+"%s", f.Spec())
		}
	}
	if err := r.eachCommand(ctx, func(n int, spec string) { line("Filter f%d:          %s", n, spec) }); err != nil {
		return err
	}
	b.WriteString(byHandFor(chain, r.spool != ""))
	if others, err := r.otherChains(ctx, chain); err != nil {
		return err
	} else if len(others) > 0 {
		line("\nFiles with other endings")
		for _, c := range others {
			line("  %-14s %s", cmp.Or(c.Extension(), ".sql"), c.Command("FILE"))
		}
	}
	return r.putMetadata(ctx, b.Bytes())
}

// chainLine begins the lines that say what new files go through.
const chainLine = "New files:          "

var commandLine = regexp.MustCompile(`^Filter f([0-9]+): +(.*)$`)

// filtersIn reads the filters' settings out of a metadata file.
func filtersIn(text string) map[string]string {
	found := map[string]string{}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if spec, ok := strings.CutPrefix(line, chainLine); ok {
			found[chainSetting] += spec + "\n"
		} else if m := commandLine.FindStringSubmatch(line); m != nil {
			found[shellSetting+m[1]] = m[2]
		}
	}
	return found
}

// RefreshMetadata writes the metadata file anew when no source is at hand, after
// the filters changed.
func (r *Repository) RefreshMetadata(ctx context.Context) error {
	info, err := r.cat.Repository(ctx)
	if err != nil {
		return err
	}
	return r.WriteMetadata(ctx, Metadata{Server: info.ServerVersion, Encoding: info.Encoding, Collate: info.Collate, CType: info.CType,
		LocaleProvider: info.LocaleProvider, Locale: info.Locale})
}

// describeSource tells what a person needs to know of the source.
func (r *Repository) describeSource(line func(string, ...any), info catalog.Repository, m Metadata, bases []catalog.Artifact) {
	line("It is plain SQL, compressed: zstd (or gzip, lz4), psql and this text are enough")
	line("to restore it. Written %s.", segment.FormatTime(r.now()))
	line("")
	line("Database:           %s", segment.Quote(info.Database))
	line("Server:             PostgreSQL %s", m.Server)
	line("System identifier:  %s, timeline %d", info.SystemID, info.Timeline)
	line("Encoding:           %s", m.Encoding)
	line("Collation:          %s, ctype %s, provider %s %s", segment.Quote(m.Collate), segment.Quote(m.CType), m.LocaleProvider, segment.Quote(m.Locale))
	line("Replication slot:   %s", segment.Quote(info.Slot))
	line("Text format:        version %d", segment.FormatVersion)
	line("Extensions:         CREATE EXTENSION in the bases names them")
	for _, e := range m.Extensions {
		line("  %s", segment.Quote(e))
	}
	line("")
	line("Bases (each shows the database as it was at its point):")
	for _, a := range bases {
		line("  %s  point %s  %s", a.Name, a.Start, segment.FormatTime(a.ReachedAt))
	}
}

// otherChains are those that made some file of the repository, beside the
// present one.
func (r *Repository) otherChains(ctx context.Context, present filter.Chain) ([]filter.Chain, error) {
	all, err := r.cat.Artifacts(ctx)
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{present.Extension(): true}
	var others []filter.Chain
	for _, a := range all {
		chain, err := r.FileChain(ctx, a.Filters)
		if err != nil {
			return nil, err
		}
		if ext := chain.Extension(); !seen[ext] && a.Format == "plain" {
			seen[ext] = true
			others = append(others, chain)
		}
	}
	return others, nil
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

// metadataWhole says whether a metadata file agrees with its last line.
func metadataWhole(text []byte) bool {
	i := bytes.LastIndex(text, []byte(metadataSum))
	if i < 0 {
		return false
	}
	sum := sha256.Sum256(text[:i])
	return string(text[i+len(metadataSum):]) == hex.EncodeToString(sum[:])+"\n"
}

// CheckMetadata compares the metadata file with its checksum, and returns its
// size. Repositories of earlier versions have none.
func (r *Repository) CheckMetadata(ctx context.Context) (int64, error) {
	text, err := os.ReadFile(r.Path(MetadataName))
	if errors.Is(err, fs.ErrNotExist) {
		err = &MissingFileError{MetadataName}
	}
	if err != nil {
		return 0, err
	}
	sums, known, err := r.cat.Setting(ctx, metadataSetting)
	sum := sha256.Sum256(text)
	switch {
	case err != nil:
	case known && !slices.Contains(strings.Fields(sums), hex.EncodeToString(sum[:])):
		err = errors.New("is damaged: checksum mismatch")
	case !known && !metadataWhole(text) && strings.Contains(string(text), metadataSum):
		err = errors.New("is damaged: checksum mismatch with its last line")
	}
	return int64(len(text)), err
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
	return syncDir(filepath.Dir(r.Path(name)))
}

// byHandFor is how to restore with the usual tools alone.
func byHandFor(chain filter.Chain, spool bool) string {
	sealing := chain.Sealing()
	globals := "psql -X -d postgres -f globals-DATE-TIME.sql"
	dir := "base-DATE-TIME.dir" + sealing.Extension()
	unpack, note := "", "\n     (gzip -dc for .gz, lz4 -dc for .lz4, cat for plain files. The .open file, if\n"+
		"     there is one, comes last and may end within a transaction: leave out what\n     follows its last COMMIT line.)\n"
	archive, globalsExt := dir, ""
	if chain.Opaque() {
		globalsExt = chain.Extension()
		globals = chain.Command("globals-DATE-TIME.sql"+globalsExt) + " | psql -X -d postgres"
		archive = "UNPACKED"
		unpack = fmt.Sprintf("               mkdir UNPACKED; for f in %s/*; do\n"+
			"                 %s > \"UNPACKED/$(basename \"$f\" %s)\"; done\n", dir, sealing.Command(`"$f"`), sealing.Extension())
		note = "\n     (The .open file, if there is one, comes last: zstd -dc. It may end within a\n" +
			"     transaction: leave out what follows its last COMMIT line.)\n"
	}
	elsewhere := ""
	if spool {
		elsewhere = "  (the last two lie in the folder that " + SpoolName + " names)\n"
	}
	return strings.NewReplacer("ELSEWHERE\n", elsewhere, "GLOBALS_EXT", globalsExt, "GLOBALS_COMMAND", globals, "NOTE\n", note, "UNPACK\n", unpack,
		"ARCHIVE", archive, "DIR", dir, "DECODE_BASE", chain.Command("base-DATE-TIME.sql"+chain.Extension()), "DECODE_SEGMENT", chain.Command(`"$f"`), "EXT",
		chain.Extension()).Replace(byHand)
}

// byHand is the recipe, with the words in capitals to be replaced.
//
//go:embed byhand.txt
var byHand string
