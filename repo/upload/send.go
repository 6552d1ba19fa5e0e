package repo

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/repo/filter"
	"pg_scribe/repo/owner"
	"pg_scribe/repo/storage"
)

// sendAll sends files, a few at once. Globals and bases go first and one by
// one, so that no base is there without its globals.
func (l *lane) sendAll(ctx context.Context, pending []catalog.Artifact) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	slots := make(chan struct{}, shipParallel)
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
			if err := l.send(ctx, a); err != nil {
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
			if err := l.send(ctx, a); err != nil {
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
func (l *lane) send(ctx context.Context, a catalog.Artifact) error {
	if err := l.repo.reach("sending"); err != nil {
		return err
	}
	var err error
	if a.Format == "directory" {
		err = l.sendDir(ctx, a)
	} else {
		err = sendFile(ctx, l.session, l.storage, l.repo.Path(a.Name), a.Name, a.Bytes, a.SHA256)
	}
	var missing *MissingFileError
	if errors.As(err, &missing) {
		// It was forgotten meanwhile, or it is lost: then another storage may
		// still have it.
		if known, kerr := l.repo.knows(a.Name); kerr == nil && !known {
			return nil
		}
	}
	if err != nil {
		return err
	}
	if err := l.repo.reach("sent"); err != nil {
		return err
	}
	err = l.repo.cat.AddCopy(ctx, a, l.id, l.repo.now())
	if errors.Is(err, catalog.ErrNotFound) {
		err = l.repo.cat.AddCopyRemoval(ctx, l.id, a.Name)
	}
	return err
}

// sendDir sends the files of a base that is a directory, and last the one that
// describes them.
func (l *lane) sendDir(ctx context.Context, a catalog.Artifact) error {
	names, err := fileNames(l.repo.Path(a.Name))
	if errors.Is(err, os.ErrNotExist) {
		return &MissingFileError{a.Name}
	}
	if err != nil {
		return err
	}
	if err := l.repo.checkStoredDir(a); err != nil {
		return err
	}
	for _, last := range []bool{false, true} {
		for _, name := range names {
			if (name == describedBy(a.Name)) != last {
				continue
			}
			path := l.repo.Path(a.Name + "/" + name)
			size, sum, err := fileSum(path)
			if err == nil {
				err = sendFile(ctx, l.session, l.storage, path, a.Name+"/"+name, size, sum)
			}
			if err != nil {
				return err
			}
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
		return &MissingFileError{name}
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
			err = &FormatError{File: name, Reason: "is damaged: size or checksum mismatch"}
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

// sendSnapshot stores a catalog of what a storage holds there.
func (r *Repository) sendSnapshot(ctx context.Context, s storage.Session, t storage.Storage, id int64, chain filter.Chain, name string) error {
	dir, err := owner.MkdirTemp(r.workDir(), snapshotScratch)
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, CatalogName)
	if err := r.cat.Snapshot(ctx, path, id); err != nil {
		return err
	}
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	path += chain.Extension()
	sealed, err := owner.Create(path, os.O_RDWR)
	if err != nil {
		return err
	}
	defer sealed.Close()
	sum, err := r.encode(name, in, chain, sealed)
	if err != nil {
		return err
	}
	return sendFile(ctx, s, t, path, name, sum.bytes, sum.sha256)
}

// sendMetadata stores the file for a person, under the number of the snapshot
// that it goes with.
func (l *lane) sendMetadata(ctx context.Context) error {
	text, err := os.ReadFile(l.repo.Path(MetadataName))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return sendText(ctx, l.session, fmt.Sprintf("%s%016X.txt", metadataPrefix, l.sequence), string(text))
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

// identitySetting is what a storage of the repository is known by.
const identitySetting = "identity"

// A Binding is a storage that was taken for a new repository.
type Binding struct {
	Identity string
	made     []boundStorage
}

type boundStorage struct {
	storage.Storage
	fresh bool // the identity was written now
}

// Bind takes storages for a repository whose catalog is not there yet, or, with
// its identity, for one that is. It writes to each, so that one that cannot be
// written is known before anything else is done. It fails with
// StorageTakenError if one belongs to another repository.
func Bind(ctx context.Context, identity string, storages []storage.Storage) (*Binding, error) {
	if identity == "" {
		identity = rand.Text()
	}
	b := &Binding{Identity: identity}
	for _, t := range storages {
		fresh, err := bindOne(ctx, identity, t)
		if err != nil {
			b.Undo(context.WithoutCancel(ctx))
			return nil, err
		}
		b.made = append(b.made, boundStorage{t, fresh})
	}
	return b, nil
}

func bindOne(ctx context.Context, identity string, t storage.Storage) (fresh bool, err error) {
	s, err := t.Begin(ctx)
	if err != nil {
		return false, err
	}
	defer s.End()
	for info, err := range s.List(ctx, "") {
		if err != nil {
			return false, err
		}
		if info.Name == identityName {
			continue
		}
		if have, err := readIdentity(ctx, s); err != nil || have != identity {
			return false, &StorageTakenError{t.String()}
		}
		break
	}
	err = sendText(ctx, s, identityName, identity+"\n"+identityWords)
	if errors.Is(err, storage.Exists) {
		have, rerr := readIdentity(ctx, s)
		if rerr == nil && have != identity {
			rerr = &StorageTakenError{t.String()}
		}
		return false, rerr
	}
	return err == nil, err
}

const identityWords = `This place belongs to the pg_scribe repository with the identity above. Each
repository needs a directory or prefix of its own.
`

func readIdentity(ctx context.Context, s storage.Session) (string, error) {
	in, err := s.Open(ctx, identityName)
	if err != nil {
		return "", err
	}
	defer in.Close()
	text, err := io.ReadAll(io.LimitReader(in, 4096))
	if err != nil {
		return "", err
	}
	for i, c := range text {
		if c == '\n' {
			return string(text[:i]), nil
		}
	}
	return string(text), nil
}

// Undo gives the storages free again that were taken.
func (b *Binding) Undo(ctx context.Context) {
	for _, t := range b.made {
		if !t.fresh {
			continue
		}
		if s, err := t.Begin(ctx); err == nil {
			s.Remove(ctx, identityName)
			s.End()
		}
	}
}

// Known tells that the catalog has a storage already.
func (b *Binding) Known(spec string) {
	b.made = slices.DeleteFunc(b.made, func(t boundStorage) bool { return t.String() == spec })
}

// Added tells whether there is a storage that the catalog does not have.
func (b *Binding) Added() bool { return len(b.made) > 0 }

// Record enters the storages in the catalog.
func (b *Binding) Record(ctx context.Context, r *Repository) error {
	if len(b.made) == 0 {
		return nil
	}
	if err := r.cat.SetSetting(ctx, identitySetting, b.Identity); err != nil {
		return err
	}
	for _, t := range b.made {
		if _, err := r.cat.AddStorage(ctx, t.String(), r.now()); err != nil {
			return err
		}
	}
	return nil
}

// Identity is what the repository's storages are known by; empty without any.
func (r *Repository) Identity(ctx context.Context) (string, error) {
	text, _, err := r.cat.Setting(ctx, identitySetting)
	return text, err
}

// CheckSpool fails with SpoolFullError when more than limit bytes are in the
// directory alone.
func (r *Repository) CheckSpool(ctx context.Context, limit int64) error {
	n, err := r.cat.SpoolBytes(ctx)
	if err == nil && limit > 0 && n > limit {
		err = &SpoolFullError{n, limit}
	}
	return err
}
