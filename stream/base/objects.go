package base

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"

	"github.com/jackc/pgx/v5"
	"github.com/klauspost/compress/zstd"

	"pg_scribe/catalog"
	"pg_scribe/internal/describe"
	"pg_scribe/repo/segment"
	"pg_scribe/stream/capture"
	"pg_scribe/stream/sample"
	"pg_scribe/stream/source"
)

// descriptions are what the snapshot of a base shows of every object: lines of
// the base. They are read while pg_dump reads the definitions, before the fence
// looks for commands meanwhile, and wait in a file without a name, since their
// number has no bound, until pg_dump has written everything.
type descriptions struct {
	file *os.File
	done chan struct{} // they are read
	err  error         // valid then
	said map[catalog.DescribedKey]catalog.Described
}

// readDescriptions begins to read them.
func (d *Dumper) readDescriptions(ctx context.Context, snapshot string) *descriptions {
	o := &descriptions{done: make(chan struct{}), said: map[catalog.DescribedKey]catalog.Described{}}
	go func() {
		defer close(o.done)
		if o.err = o.read(ctx, d.Options, snapshot); o.err != nil {
			clear(o.said)
			if ctx.Err() == nil && d.Options.Notice != nil {
				d.Options.Notice("the base does not say what its objects are: " + o.err.Error())
			}
		}
	}()
	return o
}

func (o *descriptions) read(ctx context.Context, options Options, snapshot string) (err error) {
	if o.file, err = os.CreateTemp("", "pg_scribe"); err != nil {
		return err
	}
	if err := os.Remove(o.file.Name()); err != nil {
		return err
	}
	conn, err := source.Connect(ctx, options.ConnString)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	tx, err := source.BeginAt(ctx, conn, snapshot, pgx.ReadOnly)
	if err != nil {
		return err
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	if err := source.LimitReads(ctx, conn, true); err != nil {
		return err
	}
	reader, err := describe.NewReader(ctx, conn.PgConn())
	if err != nil {
		return err
	}
	packed, err := zstd.NewWriter(o.file, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	var text, line []byte
	err = reader.All(ctx, conn.PgConn(), func(x describe.Object) error {
		if x.Class == describe.LargeObject || capture.Ours(options.Publication, x) {
			return nil
		}
		text = x.Append(text[:0])
		sum := sha256.Sum256(text)
		o.said[catalog.DescribedKey{Class: x.Class, Identity: x.Identity}] = sample.Described(x, sum)
		line = segment.AppendObject(line[:0], segment.NewFingerprint(x.Class, x.Identity, text))
		_, err := packed.Write(line)
		return err
	})
	return errors.Join(err, packed.Close())
}

// wait waits until they are read, or cannot be: then the base goes without them.
func (o *descriptions) wait() { <-o.done }

// compareObjects has objects described again of which the base says something else
// than the stream so far. No command has changed them since the base's point.
func (d *Dumper) compareObjects(ctx context.Context) error {
	if d.objects.wait(); d.objects.err != nil || d.AtPoint != nil {
		return nil
	}
	return d.Repo.Catalog().DescribedInBase(ctx, d.objects.said)
}

// writeTo writes them behind pg_dump's text.
func (o *descriptions) writeTo(w io.Writer) error {
	packed, err := o.packed()
	if err != nil || packed == nil {
		return err
	}
	text, err := zstd.NewReader(packed, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return err
	}
	defer text.Close()
	if _, err := io.WriteString(w, "\n-- What every object is\n\n"); err != nil {
		return err
	}
	_, err = io.Copy(w, text)
	return err
}

// writePacked writes them into a file of a base directory, compressed as they are.
func (o *descriptions) writePacked(path string) error {
	packed, err := o.packed()
	if err != nil || packed == nil {
		return err
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, packed)
	return errors.Join(err, file.Close())
}

// packed is what was read, from its beginning; nil: nothing.
func (o *descriptions) packed() (io.Reader, error) {
	if o.wait(); o.err != nil {
		return nil, nil
	}
	_, err := o.file.Seek(0, io.SeekStart)
	return bufio.NewReader(o.file), err
}

// close releases the file. Whoever reads still has to end before.
func (o *descriptions) close() {
	<-o.done
	if o.file != nil {
		o.file.Close()
	}
}

// register adds a finished base to the catalog, and what its objects are: with
// that is compared what the stream says from here on.
func (d *Dumper) register(ctx context.Context, base, globals catalog.Artifact, objects *descriptions) error {
	if err := d.markRepaired(ctx); err != nil {
		return err
	}
	if err := d.Repo.AddBase(ctx, base, globals); err != nil || d.AtPoint == nil {
		return err
	}
	return d.Repo.Catalog().Describe(ctx, true, objects.said, nil)
}
