package base

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"pg_scribe/catalog"
	"pg_scribe/internal/command"
	"pg_scribe/repo"
	"pg_scribe/repo/dump"
	"pg_scribe/repo/filter"
	"pg_scribe/repo/segment"
	"pg_scribe/stream/capture"
	"pg_scribe/stream/source"
)

// write makes the base, as one file or as a directory.
func (d *Dumper) write(ctx context.Context, h segment.Header, stamp, snapshot string, fence func(context.Context) (catalog.LSN, error)) (madeBase, error) {
	if d.Options.Jobs > 1 {
		return d.directory(ctx, h, stamp, snapshot, fence)
	}
	return d.plain(ctx, h, stamp, snapshot, fence)
}

// directory dumps into a directory archive by several sessions. pg_dump
// compresses it, because pg_restore has to read it as it is.
func (d *Dumper) directory(ctx context.Context, h segment.Header, stamp, snapshot string, fence func(context.Context) (catalog.LSN, error)) (made madeBase, err error) {
	method, codec, err := d.archiveCompression(ctx)
	if err != nil {
		return made, err
	}
	var chain filter.Chain
	if codec.Name != "none" {
		chain = filter.Chain{{Name: codec.Name}}
	}
	dir, err := d.Repo.CreateDumpDir(h, stamp, append(chain, d.chain.Sealing()...))
	if err != nil {
		return made, err
	}
	defer func() {
		if err != nil {
			dir.Abort()
		}
	}()
	args := []string{"--snapshot=" + snapshot, "--encoding=" + d.Server.Encoding, "--exclude-schema=" + capture.Schema,
		"--no-unlogged-table-data", "--lock-wait-timeout=60s", "--format=directory", fmt.Sprintf("--jobs=%d", d.Options.Jobs),
		"--compress=" + method, "--file=" + dir.Path()}
	if args, err = d.throughRoots(ctx, args); err != nil {
		return made, err
	}
	dumpErr := d.tool(ctx, "pg_dump", args, discard)
	// What the fence finds may be why pg_dump failed.
	until, err := fence(ctx)
	if err == nil {
		err = dumpErr
	}
	if err != nil {
		return made, err
	}
	if err = d.checkOptions(ctx, dir.Path()); err != nil {
		return made, err
	}
	counts, err := d.describeArchive(ctx, dir.Path())
	if err != nil {
		return made, err
	}
	made = madeBase{file: dir, counts: counts}
	made.artifact, err = dir.Finish(segment.Trailer{Fence: until})
	return made, err
}

func discard(out io.Reader) error {
	_, err := io.Copy(io.Discard, out)
	return err
}

// ArchiveCodecError says that this pg_dump cannot compress an archive so.
type ArchiveCodecError struct {
	Codec   filter.Codec
	Major   int          // version of pg_dump
	Sealing filter.Chain // the chain's other filters
}

func (e *ArchiveCodecError) Error() string {
	return fmt.Sprintf("compression %q: pg_dump %d compresses the archive of --jobs with gzip only", e.Codec, e.Major)
}

// archiveCompression is pg_dump's --compress for the chosen codec, and the
// codec that it then uses. Before version 16 it knows gzip alone.
func (d *Dumper) archiveCompression(ctx context.Context) (string, filter.Codec, error) {
	c := d.chain.Compression()
	_, major, err := source.ToolVersion(ctx, d.Options.Command, "pg_dump")
	if err != nil {
		return "", c, &DumpError{Tool: "pg_dump", Reason: err.Error(), Err: err}
	}
	switch {
	case c.Name == "none":
		return "0", c, nil
	case major >= 16:
		return c.String(), c, nil
	case c.Name != "gzip" && (c.Name != "zstd" || c.Level != 0):
		return "", c, &ArchiveCodecError{Codec: c, Major: major, Sealing: d.chain.Sealing()}
	case c.Level != 0:
		return fmt.Sprint(c.Level), c, nil
	}
	return "6", filter.Codec{Name: "gzip"}, nil
}

// checkOptions refuses an archive that could not be restored: unlike the text
// of a dump it cannot be edited.
func (d *Dumper) checkOptions(ctx context.Context, dir string) error {
	cmd := d.Options.Command(ctx, "pg_restore", "--schema-only", "--file=-", dir)
	var words command.Tail
	cmd.Stderr = &words
	schema, err := cmd.Output()
	if err != nil {
		return &DumpError{Tool: "pg_restore", Reason: errorLine(words.String()), Err: err}
	}
	found := false
	_, err = dump.Filter(io.Discard, bytes.NewReader(schema), func(statement []byte) []byte {
		found = found || !bytes.Equal(withoutServerOption(statement), statement)
		return statement
	})
	if err == nil && found {
		err = &DumpError{Tool: "pg_dump", Reason: "it is of an older minor version than the server, and takes options that the server keeps" +
			" for itself (pg_attver) for the application's: update it, or do without --jobs"}
	}
	return err
}

// describeArchive writes beside the archive what pg_restore is to leave out,
// and the settings of the database, which the archive lacks.
func (d *Dumper) describeArchive(ctx context.Context, dir string) ([]catalog.TableCount, error) {
	var contents bytes.Buffer
	cmd := d.Options.Command(ctx, "pg_restore", "--list", dir)
	cmd.Stdout = &contents
	var words command.Tail
	cmd.Stderr = &words
	if err := cmd.Run(); err != nil {
		return nil, &DumpError{Tool: "pg_restore", Reason: errorLine(words.String()), Err: err}
	}
	var list strings.Builder
	var counts []catalog.TableCount
	for line := range strings.Lines(contents.String()) {
		if d.ownEntry(line) {
			continue
		}
		if _, name, ok := strings.Cut(line, " TABLE DATA "); ok && !strings.HasPrefix(line, ";") {
			counts = append(counts, catalog.TableCount{Table: strings.TrimSpace(name)})
		}
		list.WriteString(line)
	}
	var settings bytes.Buffer
	err := errors.Join(d.writeSettings(ctx, &settings), d.objects.writePacked(filepath.Join(dir, repo.DirObjects)),
		os.WriteFile(filepath.Join(dir, repo.DirListName), []byte(list.String()), 0o600),
		os.WriteFile(filepath.Join(dir, repo.DirSettingsIn), settings.Bytes(), 0o600))
	return counts, err
}

// ownEntry says whether a line of pg_restore --list is pg_scribe's own.
func (d *Dumper) ownEntry(line string) bool {
	for _, name := range capture.TriggerNames() {
		if strings.Contains(line, " EVENT TRIGGER - "+name+" ") || strings.Contains(line, " COMMENT - EVENT TRIGGER "+name+" ") {
			return true
		}
	}
	for _, name := range []string{d.Options.Publication, capture.ListName(d.Options.Publication)} {
		if strings.Contains(line, " PUBLICATION - "+name+" ") || strings.Contains(line, " COMMENT - PUBLICATION "+name+" ") ||
			strings.Contains(line, " PUBLICATION TABLE ") && strings.Contains(line, " "+name+" ") {
			return true
		}
	}
	return false
}
