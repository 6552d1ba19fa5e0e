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
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"pg_scribe/catalog"
	"pg_scribe/repo/filter"
	"pg_scribe/repo/owner"
	"pg_scribe/repo/segment"
)

const rewriteLockName = "pg_scribe.reencrypt.lock"

// Rewritten tells of one file that Reencrypt has written anew.
type Rewritten struct {
	Old, New    string // names
	Bytes       int64  // stored
	Done, Total int    // files
}

// Reencrypt writes every finished file that other filters than the present
// ones made anew, under another name, with the same text. A streamer and
// readers may work beside it. It may be interrupted at any point and called
// again; what is done is done. The order is: new file, fsync, rename, catalog,
// removal of the old file. It needs the keys of the old files, not of the new.
func (r *Repository) Reencrypt(ctx context.Context, report func(Rewritten)) error {
	release, err := r.lockRewrite()
	if err != nil {
		return err
	}
	defer release()
	if err := r.removeObsolete(ctx); err != nil {
		return err
	}
	chain, err := r.Chain(ctx)
	if err == nil {
		err = r.verifiable(chain)
	}
	if err != nil {
		return err
	}
	all, err := r.cat.Artifacts(ctx)
	if err != nil {
		return err
	}
	var old []rewrite
	for _, a := range all {
		target, err := r.target(ctx, a, chain)
		if err != nil {
			return err
		}
		if a.State == catalog.StateSealed && a.Filters != target.String() {
			old = append(old, rewrite{a, target})
		}
	}
	// A missing key should show before anything is written.
	for _, w := range old {
		if err := r.Readable(w.old); err != nil {
			return err
		}
	}
	for i, w := range old {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		now, err := r.rewrite(ctx, w)
		if errors.Is(err, catalog.ErrNotFound) { // it was deleted meanwhile
			err = r.removeObsolete(ctx)
			now.Name = ""
		}
		if err != nil {
			return err
		}
		if now.Name == "" {
			continue
		}
		report(Rewritten{Old: w.old.Name, New: now.Name, Bytes: now.Bytes, Done: i + 1, Total: len(old)})
	}
	return nil
}

// lockRewrite makes this process the only one that writes files anew. It fails
// with BusyError.
func (r *Repository) lockRewrite() (release func(), err error) {
	release, err = r.lock(rewriteLockName)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = &BusyError{Dir: r.dir, Rewriting: true}
	}
	return release, err
}

// rewrite is a file that is to go through other filters.
type rewrite struct {
	old    catalog.Artifact
	target filter.Chain
}

// target is what the filters make of a kind of file. pg_dump has compressed a
// directory, which stays as it is within.
func (r *Repository) target(ctx context.Context, a catalog.Artifact, chain filter.Chain) (filter.Chain, error) {
	switch {
	case a.Format == "directory":
		present, err := r.FileChain(ctx, a.Filters)
		if err != nil {
			return nil, err
		}
		return append(unsealed(present), chain.Sealing()...), nil
	case a.Kind == catalog.KindGlobals:
		return GlobalsChain(chain), nil
	}
	return chain, nil
}

// unsealed is the compression alone.
func unsealed(chain filter.Chain) filter.Chain {
	return slices.DeleteFunc(slices.Clone(chain), func(f filter.Filter) bool { return len(filter.Chain{f}.Sealing()) > 0 })
}

// GlobalsChain is what the small globals file goes through: it is not worth
// compressing alone, and stays readable where nothing is encrypted.
func GlobalsChain(chain filter.Chain) filter.Chain {
	if chain.Opaque() {
		return chain
	}
	return filter.Chain{}
}

func (r *Repository) rewrite(ctx context.Context, w rewrite) (catalog.Artifact, error) {
	now := w.old
	now.Filters = w.target.String()
	var err error
	if now.Name, err = r.freshName(ctx, w.old, w.target); err != nil {
		return now, err
	}
	var s sums
	if w.old.Format == "directory" {
		s, err = r.rewriteDir(w, now.Name)
	} else {
		s, err = r.rewriteFile(w, now.Name)
	}
	if err != nil {
		return now, err
	}
	now.Bytes, now.SHA256 = s.bytes, s.sha256
	if err := r.Failpoint("rewritten"); err != nil {
		return now, err
	}
	if err := r.cat.ReplaceArtifact(ctx, w.old.ID, now); err != nil {
		return now, err
	}
	if err := r.Failpoint("replaced"); err != nil {
		return now, err
	}
	return now, r.removeObsolete(ctx)
}

// freshName is a name that nothing has yet: no file is ever written in another
// one's place, so when the endings are the same a number is added. The name is
// remembered as one to be removed until the catalog has the file, so that an
// interrupted Reencrypt leaves nothing.
func (r *Repository) freshName(ctx context.Context, old catalog.Artifact, target filter.Chain) (string, error) {
	stem, ending := StemOf(old.Name), ".sql"+target.Extension()
	if old.Format == "directory" {
		ending = dirSuffix + target.Sealing().Extension()
	}
	// Numbers only grow: an older catalog must not find other bytes by a name.
	first := 1
	if _, number, found := strings.Cut(strings.TrimPrefix(old.Name, stem), rewriteMark); found {
		fmt.Sscanf(number, "%d", &first)
		first++
	}
	for n := first; ; n++ {
		name := stem + ending
		if n > 1 {
			name = fmt.Sprintf("%s%s%d%s", stem, rewriteMark, n, ending)
		}
		held, err := r.cat.AwaitsRemoval(ctx, name) // a storage never has two files of a name
		if err != nil {
			return "", err
		}
		switch err := r.absent(name); {
		case held:
		case err == nil:
			return name, r.cat.MarkObsolete(ctx, name)
		case !errors.Is(err, fs.ErrExist):
			return "", err
		}
	}
}

func (r *Repository) rewriteFile(w rewrite, name string) (sums, error) {
	text, closers, err := r.openText(w.old)
	if err != nil {
		return sums{}, err
	}
	defer closeAll(closers)
	proof := &proof{want: w.old}
	return r.makeFile(name, w.target, io.TeeReader(&inFile{text, w.old.Name}, proof), proof.check)
}

// restSize bounds what is kept of a text behind the part that its checksum covers.
const restSize = 256 << 10

// proof compares a whole text with what the catalog knows of it: the checksum
// covers all but the last line, which says the checksum.
type proof struct {
	want catalog.Artifact
	text hashCounter
	rest []byte
}

func (p *proof) Write(b []byte) (int, error) {
	if p.text.h == nil {
		p.text.reset(nil)
	}
	n := min(int64(len(b)), p.want.TextBytes-p.text.n.Load())
	p.text.Write(b[:n]) // to nowhere: cannot fail
	if len(p.rest) < restSize {
		p.rest = append(p.rest, b[n:]...)
	}
	return len(b), nil
}

func (p *proof) check(sums) error {
	last := segment.Trailer{TextBytes: p.want.TextBytes, TextSHA256: p.want.TextSHA256}.AppendSum(nil)
	if p.text.h == nil || p.text.sum() != p.want.TextSHA256 || string(p.rest) != string(last) {
		return &FormatError{File: p.want.Name, Reason: "is damaged: its text is not the one in the catalog"}
	}
	return nil
}

func (r *Repository) rewriteDir(w rewrite, name string) (s sums, err error) {
	d, err := r.OpenDir(w.old)
	if err != nil {
		return s, err
	}
	partial := r.Path(name + partialSuffix)
	if err := r.removeDead(name + partialSuffix); err != nil {
		return s, err
	}
	if err := owner.Mkdir(partial); err != nil {
		return s, err
	}
	lock, err := os.Open(partial)
	if err != nil {
		return s, err
	}
	defer lock.Close()
	defer func() {
		if err != nil {
			os.RemoveAll(partial)
		}
	}()
	if err := flock(lock, syscall.LOCK_EX); err != nil {
		return s, err
	}
	sealing := w.target.Sealing()
	seal := func(file string, text io.Reader, want sums) (sums, error) {
		return r.sealMember(name+"/"+file, filepath.Join(partial, file+sealing.Extension()), sealing, text, want)
	}
	for _, f := range d.files {
		in, out := io.Pipe()
		go func() { out.CloseWithError(d.copy(out, f)) }()
		one, err := seal(f.name, in, sums{textBytes: f.size, textSHA256: f.sum})
		in.Close()
		if err != nil {
			return s, err
		}
		s.bytes += one.bytes
	}
	sum := sha256.Sum256(d.text)
	described, err := seal(dirDescribes, strings.NewReader(string(d.text)),
		sums{textBytes: int64(len(d.text)), textSHA256: hex.EncodeToString(sum[:])})
	if err != nil {
		return s, err
	}
	s.sha256 = described.sha256
	if err := syncDir(partial); err != nil {
		return s, err
	}
	return s, r.publish(name+partialSuffix, name)
}

// removeObsolete removes the files that the catalog has replaced by others, and
// those that it never came to know. The caller holds the lock: what another
// Reencrypt is writing bears the same mark.
func (r *Repository) removeObsolete(ctx context.Context) error {
	names, err := r.cat.Obsolete(ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		known, err := r.Knows(name)
		if err != nil {
			return err
		}
		if known { // never what counts
			continue
		}
		if err := os.RemoveAll(r.Path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := r.Failpoint("old file removed"); err != nil {
			return err
		}
		if err := errors.Join(syncDir(r.dir), r.cat.Forget(ctx, name)); err != nil {
			return err
		}
	}
	return nil
}
