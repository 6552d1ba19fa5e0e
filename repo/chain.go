package repo

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"pg_scribe/catalog"
	"pg_scribe/repo/filter"
)

// Settings of the catalog that hold filters, as filter.ParseFilter reads them.
const (
	chainSetting = "filters"  // one a line, in the order of writing
	shellSetting = "filter.f" // and the number: a command of the shell
)

// Keys gives the repository what it needs to read encrypted files.
func (r *Repository) Keys(keys *filter.Keys) { r.keys = keys }

// Chain is what new files go through unless told otherwise. Another process
// may have changed it since the repository was opened.
func (r *Repository) Chain(ctx context.Context) (filter.Chain, error) {
	text, chosen, err := r.cat.Setting(ctx, chainSetting)
	if err != nil {
		return nil, err
	}
	if !chosen {
		info, err := r.cat.Repository(ctx)
		if err != nil {
			return nil, err
		}
		return filter.ParseShorthand(info.Compression)
	}
	var chain filter.Chain
	for line := range strings.Lines(text) {
		f, err := filter.ParseFilter(strings.TrimSuffix(line, "\n"))
		if err == nil {
			err = r.number(ctx, &f, false)
		}
		if err != nil {
			return nil, err
		}
		chain = append(chain, f)
	}
	return chain, nil
}

// Adopt tries a chain on real bytes there and back, and makes it known to the
// repository: what it returns may be used by CreateDump, and its files can be
// read from then on.
func (r *Repository) Adopt(ctx context.Context, chain filter.Chain) (filter.Chain, error) {
	if err := r.tryChain(chain); err != nil {
		return nil, err
	}
	known := make(filter.Chain, len(chain))
	copy(known, chain)
	for i := range known {
		if err := r.number(ctx, &known[i], true); err != nil {
			return nil, err
		}
	}
	return known, nil
}

func (r *Repository) tryChain(chain filter.Chain) error {
	if err := chain.Check(); err != nil {
		return err
	}
	if err := r.verifiable(chain); err != nil {
		return err
	}
	return chain.Try(r.keys)
}

// verifiable makes sure that what a command of the shell writes can be read
// back, which alone shows that it is right.
func (r *Repository) verifiable(chain filter.Chain) error {
	if !chain.Proven() && chain.NeedsKey() && !r.keys.Given() {
		return &filter.KeyError{Fault: filter.KeyMissing}
	}
	return nil
}

// SetChain makes a chain the repository's: new files go through it.
func (r *Repository) SetChain(ctx context.Context, chain filter.Chain) error {
	chain, err := r.Adopt(ctx, chain)
	if err != nil {
		return err
	}
	var text strings.Builder
	for _, f := range chain {
		text.WriteString(f.Spec())
		text.WriteByte('\n')
	}
	return r.cat.SetChain(ctx, chain.String(), chainSetting, text.String())
}

// eachCommand tells of every command of the shell that the repository knows.
func (r *Repository) eachCommand(ctx context.Context, tell func(n int, spec string)) error {
	for n := 1; ; n++ {
		spec, known, err := r.cat.Setting(ctx, shellSetting+strconv.Itoa(n))
		if err != nil || !known {
			return err
		}
		tell(n, spec)
	}
}

// number gives a command of the shell its number: the one that the repository
// knows it by, or, if add is set, a new one. The number is part of the names
// of files, and says how to read them as long as the repository lives.
func (r *Repository) number(ctx context.Context, f *filter.Filter, add bool) error {
	if f.Name != "shell" {
		return nil
	}
	for n := 1; ; n++ {
		key := shellSetting + strconv.Itoa(n)
		spec, known, err := r.cat.Setting(ctx, key)
		if err != nil {
			return err
		}
		switch {
		case known && spec == f.Spec():
		case known:
			continue
		case !add:
			return fmt.Errorf("the catalog does not know the command %q", f.Write)
		default:
			if err := r.cat.SetSetting(ctx, key, f.Spec()); err != nil {
				return err
			}
		}
		f.Number = n
		return nil
	}
}

// FileChain is how a file was written, as far as reading needs it.
func (r *Repository) FileChain(ctx context.Context, record string) (filter.Chain, error) {
	chain, err := filter.ParseRecord(record, func(n int) (filter.Filter, error) {
		spec, known, err := r.cat.Setting(ctx, shellSetting+strconv.Itoa(n))
		if err == nil && !known {
			err = fmt.Errorf("the catalog does not know the command f%d", n)
		}
		if err != nil {
			return filter.Filter{}, err
		}
		f, err := filter.ParseFilter(spec)
		f.Number = n
		return f, err
	})
	if err != nil || !chain.NeedsKey() || r.keys.Given() {
		return chain, err
	}
	// A passphrase that writes also reads. While the catalog is rebuilt the
	// repository's filters may not be known.
	if _, chosen, err := r.cat.Setting(ctx, chainSetting); err != nil || !chosen {
		return chain, err
	}
	present, err := r.Chain(ctx)
	for _, f := range present {
		for i := range chain {
			if f.PassphraseFile != "" && chain[i].Key == f.Key {
				chain[i].PassphraseFile = f.PassphraseFile
			}
		}
	}
	return chain, err
}

// Readable proves that a file's filters can be undone with the keys that are
// at hand, by reading the beginning of its text.
func (r *Repository) Readable(a catalog.Artifact) error {
	chain, err := r.FileChain(context.Background(), a.Filters)
	if err != nil || !chain.Opaque() {
		return err
	}
	if a.Format == "directory" {
		_, err := r.OpenDir(a)
		return err
	}
	var reader io.Closer
	if a.Kind == catalog.KindSegment {
		reader, err = r.OpenSegment(a)
	} else {
		reader, err = r.OpenDump(a)
	}
	if key := (*filter.KeyError)(nil); errors.As(err, &key) && key.Fault == filter.KeyWrong {
		// A damaged header looks the same.
		if damage := r.Check(a); damage != nil {
			return damage
		}
	}
	if err != nil {
		return err
	}
	return reader.Close()
}

// openFilters undoes a chain, and names the file in what goes wrong.
func (r *Repository) openFilters(name string, chain filter.Chain, stored io.Reader) (*filter.Reader, error) {
	text, err := chain.NewReader(stored, r.keys)
	if err != nil {
		return nil, filterFault(name, err)
	}
	return text, nil
}

// OpenText undoes a chain, and names the file in whatever goes wrong.
func (r *Repository) OpenText(name string, chain filter.Chain, stored io.Reader) (io.ReadCloser, error) {
	text, err := r.openFilters(name, chain, stored)
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{&inFile{text, name}, text}, nil
}

// filterFault says that a file is damaged, unless the fault is the key's or
// the command's.
func filterFault(name string, err error) error {
	if isFilterFault(err) {
		return fmt.Errorf("%s: %w", name, err)
	}
	return &FormatError{File: name, Reason: err.Error()}
}

// readFault names the file of what its decompressor says.
func readFault(name string, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, fs.ErrPermission) ||
		isFilterFault(err) || errors.As(err, new(*FormatError)) {
		return err
	}
	return &FormatError{File: name, Reason: err.Error()}
}

func isFilterFault(err error) bool {
	return errors.As(err, new(*filter.KeyError)) || errors.As(err, new(*filter.ShellError))
}

// sums is what is known of a file's two sides.
type sums struct {
	bytes, textBytes   int64
	sha256, textSHA256 string
}

// sameText complains about a text that is not the wanted one.
func (s sums) sameText(name string, want sums) error {
	if s.textBytes != want.textBytes || s.textSHA256 != want.textSHA256 {
		return &UnfaithfulError{Name: name, Wrote: want.textBytes, Read: s.textBytes}
	}
	return nil
}

// encode passes text through a chain into an open file, and waits until it is
// on disk. If a command of the shell is part of the chain, it is read back.
func (r *Repository) encode(name string, text io.Reader, chain filter.Chain, file *os.File) (s sums, err error) {
	var stored, plain hashCounter
	stored.reset(file)
	w, err := chain.NewWriter(&stored)
	if err != nil {
		return s, filterFault(name, err)
	}
	plain.reset(w)
	if _, err = io.Copy(&plain, text); err != nil {
		w.Abort()
		return s, err
	}
	if err = w.Close(); err != nil {
		return s, err
	}
	if err = file.Sync(); err != nil {
		return s, err
	}
	s = sums{stored.n.Load(), plain.n.Load(), stored.sum(), plain.sum()}
	return s, r.readBack(name, chain, file, s)
}

// makeFile publishes a new file: the text through a chain. check decides, by
// what has passed, whether it was the right one.
func (r *Repository) makeFile(name string, chain filter.Chain, text io.Reader, check func(sums) error) (s sums, err error) {
	partial := name + partialSuffix
	if err := r.removeDead(partial); err != nil {
		return s, err
	}
	file, err := createLocked(r.Path(partial))
	if err != nil {
		return s, err
	}
	defer file.Close()
	defer func() {
		if err != nil {
			os.Remove(r.Path(partial))
		}
	}()
	if s, err = r.encode(name, text, chain, file); err != nil {
		return s, err
	}
	if err = check(s); err != nil {
		return s, err
	}
	if err = r.Failpoint("filtered"); err != nil {
		return s, err
	}
	return s, r.publish(partial, name)
}

// readBack proves that a command of the shell wrote what can be read, which
// its status does not tell.
func (r *Repository) readBack(name string, chain filter.Chain, file *os.File, want sums) error {
	if chain.Proven() {
		return nil
	}
	text, err := r.openFilters(name, chain, io.NewSectionReader(file, 0, want.bytes))
	if err != nil {
		return err
	}
	defer text.Close()
	h := sha256.New()
	n, err := io.Copy(h, text)
	if err != nil {
		return filterFault(name, err)
	}
	if n != want.textBytes || hex.EncodeToString(h.Sum(nil)) != want.textSHA256 {
		return &UnfaithfulError{Name: name, Wrote: want.textBytes, Read: n}
	}
	return nil
}

// UnfaithfulError says that the filters did not return what they were given.
type UnfaithfulError struct {
	Name        string
	Wrote, Read int64 // bytes of text
}

func (e *UnfaithfulError) Error() string {
	if e.Wrote == e.Read {
		return fmt.Sprintf("%s: the filters return other bytes than they were given", e.Name)
	}
	return fmt.Sprintf("%s: the filters return %d of %d bytes", e.Name, e.Read, e.Wrote)
}
