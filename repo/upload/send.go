package upload

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/repo"
	"pg_scribe/repo/filter"
	"pg_scribe/repo/layout"
	"pg_scribe/repo/storage"
)

// sendAll sends files, a few at once. Globals and bases go first and one by
// one, so that no base is there without its globals.
func (w *worker) sendAll(ctx context.Context, pending []catalog.Artifact) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	slots := make(chan struct{}, parallel)
	var wait sync.WaitGroup
	var mu sync.Mutex
	var failed error
	fail := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		if failed == nil {
			failed = err
			cancel()
		}
	}
	began := time.Now()
	for _, a := range pending {
		if a.Kind != catalog.KindSegment {
			if err := w.send(ctx, a); err != nil {
				fail(err)
				break
			}
			continue
		}
		slots <- struct{}{}
		if ctx.Err() != nil || time.Since(began) > time.Minute { // a snapshot in between
			<-slots
			break
		}
		wait.Go(func() {
			defer func() { <-slots }()
			if err := w.send(ctx, a); err != nil {
				fail(err)
			}
		})
	}
	wait.Wait()
	if failed == nil {
		failed = ctx.Err()
	}
	return failed
}

// send brings one artifact to the storage and notes it.
func (w *worker) send(ctx context.Context, a catalog.Artifact) error {
	if err := w.repo.Failpoint("sending"); err != nil {
		return err
	}
	var err error
	if a.Format == "directory" {
		err = w.sendDir(ctx, a)
	} else {
		err = sendFile(ctx, w.session, w.storage, w.repo.Path(a.Name), a.Name, a.Bytes, a.SHA256)
	}
	var missing *repo.MissingFileError
	if errors.As(err, &missing) {
		// It was forgotten meanwhile, or it is lost: then another storage may
		// still have it.
		if known, kerr := w.repo.Knows(a.Name); kerr == nil && !known {
			return nil
		}
	}
	if err != nil {
		return err
	}
	if err := w.repo.Failpoint("sent"); err != nil {
		return err
	}
	err = w.repo.Catalog().AddCopy(ctx, a, w.id, w.repo.Now())
	if errors.Is(err, catalog.ErrNotFound) {
		err = w.repo.Catalog().AddCopyRemoval(ctx, w.id, a.Name)
	}
	return err
}

// sendDir sends the files of a base that is a directory, and last the one that
// describes them.
func (w *worker) sendDir(ctx context.Context, a catalog.Artifact) error {
	names, err := w.repo.DirFiles(a)
	if err != nil {
		return err
	}
	for _, name := range names {
		path := w.repo.Path(name)
		size, sum, err := repo.FileSum(path)
		if err == nil {
			err = sendFile(ctx, w.session, w.storage, path, name, size, sum)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// sendFile stores a local file on a storage. The bytes are checked on the way:
// what is damaged here must not become a copy. A file that is there already,
// from an attempt whose end nobody noted, is compared.
func sendFile(ctx context.Context, s storage.Session, t storage.Storage, path, name string, size int64, sum string) error {
	in, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return &repo.MissingFileError{Name: name}
	}
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := s.Create(ctx, name, size)
	if err == nil {
		h := sha256.New()
		var n int64
		n, err = io.CopyBuffer(struct{ io.Writer }{io.MultiWriter(out, h)}, struct{ io.Reader }{in}, make([]byte, 256<<10))
		if err == nil && (n != size || hex.EncodeToString(h.Sum(nil)) != sum) {
			err = &repo.FormatError{File: name, Reason: "is damaged: size or checksum mismatch"}
		}
		if err != nil {
			out.Abort()
			return err
		}
		err = out.Commit()
	}
	if !errors.Is(err, storage.Exists) {
		return err
	}
	same, err := sameContent(ctx, s, name, size, sum)
	if err == nil && !same {
		err = &CollisionError{t.String(), name}
	}
	return err
}

func sameContent(ctx context.Context, s storage.Session, name string, size int64, sum string) (bool, error) {
	in, err := s.Open(ctx, name)
	if err != nil {
		return false, err
	}
	defer in.Close()
	h := sha256.New()
	n, err := io.Copy(h, in)
	return n == size && hex.EncodeToString(h.Sum(nil)) == sum, err
}

// sendCatalog stores a catalog of what a storage holds there.
func (w *worker) sendCatalog(ctx context.Context, chain filter.Chain, name string) error {
	c, err := w.repo.CatalogFor(ctx, w.id, chain, name)
	if err != nil {
		return err
	}
	defer c.Remove()
	return sendFile(ctx, w.session, w.storage, c.Path, name, c.Bytes, c.SHA256)
}

// sendMetadata stores the file for a person, under the number of the snapshot
// that it goes with.
func (w *worker) sendMetadata(ctx context.Context) error {
	text, err := os.ReadFile(w.repo.Path(repo.MetadataName))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return sendText(ctx, w.session, layout.MetadataName(w.sequence), string(text))
}

func sendText(ctx context.Context, s storage.Session, name, text string) error {
	f, err := s.Create(ctx, name, int64(len(text)))
	if err != nil {
		return err
	}
	if _, err := io.WriteString(f, text); err != nil {
		f.Abort()
		return err
	}
	return f.Commit()
}
