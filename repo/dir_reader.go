package repo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/repo/filter"
	"pg_scribe/repo/segment"
)

// A DirReader reads a base that is a directory archive of pg_dump.
type DirReader struct {
	repo    *Repository
	name    string
	sealing filter.Chain
	sum     string // of the stored description
	text    []byte // of the description
	dirContents
}

// dirContents is what the description of a base directory says.
type dirContents struct {
	Header  segment.Header
	Trailer segment.Trailer
	files   []dirFile
}

// dirFile is a file as pg_dump wrote it.
type dirFile struct {
	name, sum string
	size      int64
}

func (d dirContents) find(name string) *dirFile {
	for i := range d.files {
		if d.files[i].name == name {
			return &d.files[i]
		}
	}
	return nil
}

// OpenDirNamed is OpenDir by the name alone: any checksum will do. record says
// what filters made the directory.
func (r *Repository) OpenDirNamed(ctx context.Context, name, record string) (*DirReader, error) {
	chain, err := r.FileChain(ctx, record)
	if err != nil {
		return nil, err
	}
	return r.openDir(name, chain.Sealing(), "")
}

// OpenDir reads the description of a base directory, which proves that the
// keys at hand fit and that the description is the catalog's. One on a storage
// is brought here.
func (r *Repository) OpenDir(a catalog.Artifact) (*DirReader, error) {
	if r.remote != nil {
		if err := r.remote.fetchDir(r.Path(a.Name), a.Name); err != nil {
			return nil, err
		}
	} else {
		f, now, err := r.OpenLocal(a) // the directory may have another name now
		if err != nil {
			return nil, err
		}
		f.Close()
		a = now
	}
	chain, err := r.FileChain(context.Background(), a.Filters)
	if err != nil {
		return nil, err
	}
	return r.openDir(a.Name, chain.Sealing(), a.SHA256)
}

// openDir reads a description, which must have the given checksum, if that is
// known.
func (r *Repository) openDir(name string, sealing filter.Chain, sum string) (*DirReader, error) {
	d := &DirReader{repo: r, name: name, sealing: sealing}
	stored, err := os.ReadFile(d.path(dirDescribes))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &MissingFileError{name}
	}
	if err != nil {
		return nil, err
	}
	whole := sha256.Sum256(stored)
	if d.sum = hex.EncodeToString(whole[:]); sum != "" && d.sum != sum {
		return nil, &FormatError{File: name, Reason: fmt.Sprintf("is damaged: checksum mismatch of %s", dirDescribes)}
	}
	text, err := r.openFilters(name, sealing, bytes.NewReader(stored))
	if err != nil {
		return nil, err
	}
	defer text.Close()
	if d.text, err = io.ReadAll(text); err != nil {
		return nil, filterFault(name+"/"+dirDescribes, err)
	}
	d.dirContents, err = parseDir(name, d.text)
	return d, err
}

// parseDir reads a base directory's description and checks its checksum.
func parseDir(name string, text []byte) (d dirContents, err error) {
	r := segment.NewLines(name+"/"+dirDescribes, bytes.NewReader(text))
	if d.Header, err = r.ReadHeader(catalog.KindBase); err != nil {
		return d, err
	}
	for {
		line, err := r.ReadLine()
		if err != nil {
			return d, r.Fault(err)
		}
		if string(line)+"\n" == segment.TrailerLine {
			break
		}
		rest, ok := strings.CutPrefix(string(line), dirFilePrefix)
		parts := strings.SplitN(rest, " ", 3)
		if !ok || len(parts) != 3 {
			return d, r.Failf("is malformed")
		}
		f := dirFile{sum: parts[1]}
		var err1, err2 error
		f.size, err1 = strconv.ParseInt(parts[0], 10, 64)
		f.name, err2 = segment.Unquote(parts[2])
		if err1 != nil || err2 != nil || f.name != filepath.Base(f.name) {
			return d, r.Failf("is malformed")
		}
		d.files = append(d.files, f)
	}
	d.Trailer, err = r.ReadTrailer()
	return d, err
}

// describedBy is the name of the file that describes a base directory, which
// ends as the directory's name does.
func describedBy(dir string) string {
	_, ext, _ := strings.Cut(dir, dirSuffix)
	return dirDescribes + ext
}

// path is where a file of the archive is stored.
func (d *DirReader) path(name string) string {
	return filepath.Join(d.repo.Path(d.name), name+d.sealing.Extension())
}

// Plain is the directory for pg_restore; false: its files went through
// filters, and have to be unpacked.
func (d *DirReader) Plain() (path string, ok bool) { return d.repo.Path(d.name), len(d.sealing) == 0 }

// Unpack writes the archive as pg_dump made it into an empty directory.
func (d *DirReader) Unpack(ctx context.Context, dir string) error {
	return d.unpack(ctx, dir, func(string) bool { return true })
}

// UnpackSchema is the same for the files that hold no rows.
func (d *DirReader) UnpackSchema(ctx context.Context, dir string) error {
	return d.unpack(ctx, dir, func(name string) bool { return !dataFile.MatchString(name) })
}

// dataFile is what pg_dump calls the files with rows and large objects.
var dataFile = regexp.MustCompile(`^(?:\d+|blob_\d+)\.dat(?:\.[a-z0-9]+)?$`)

func (d *DirReader) unpack(ctx context.Context, dir string, wanted func(name string) bool) error {
	for _, f := range d.files {
		if !wanted(f.name) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		to, err := os.OpenFile(filepath.Join(dir, f.name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err == nil {
			err = errors.Join(d.copy(to, f), to.Close())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// copy writes a file as pg_dump made it, and checks it.
func (d *DirReader) copy(to io.Writer, f dirFile) error {
	stored, err := os.Open(d.path(f.name))
	if errors.Is(err, fs.ErrNotExist) {
		return &MissingFileError{d.name + "/" + f.name}
	}
	if err != nil {
		return err
	}
	defer stored.Close()
	text, err := d.repo.openFilters(d.name+"/"+f.name, d.sealing, stored)
	if key := (*filter.KeyError)(nil); errors.As(err, &key) && key.Fault == filter.KeyWrong {
		// The key opened the description.
		return &FormatError{File: d.name, Reason: fmt.Sprintf("is damaged: %s is not for the key that opens %s", f.name, dirDescribes)}
	}
	if err != nil {
		return err
	}
	defer text.Close()
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(to, h), &inFile{text, d.name + "/" + f.name})
	if err != nil {
		return err
	}
	if n != f.size || hex.EncodeToString(h.Sum(nil)) != f.sum {
		return &FormatError{File: d.name, Reason: fmt.Sprintf("is damaged: checksum mismatch of %s", f.name)}
	}
	return nil
}

// inFile names the file in what goes wrong when it is read.
type inFile struct {
	r    io.Reader
	name string
}

func (i *inFile) Read(p []byte) (int, error) {
	n, err := i.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = filterFault(i.name, err)
	}
	return n, err
}

// CheckFiles reads every file, and returns how many bytes are stored and the
// names of files that the description does not know.
func (d *DirReader) CheckFiles(ctx context.Context) (stored int64, strays []string, err error) {
	for _, f := range d.files {
		if err := ctx.Err(); err != nil {
			return 0, nil, err
		}
		if err := d.copy(io.Discard, f); err != nil {
			return 0, nil, err
		}
		info, err := os.Stat(d.path(f.name))
		if err != nil {
			return 0, nil, err
		}
		stored += info.Size()
	}
	if d.find("toc.dat") == nil {
		return 0, nil, &FormatError{File: d.name, Reason: "holds no toc.dat: the dump is cut off"}
	}
	names, err := fileNames(d.repo.Path(d.name))
	for _, n := range names {
		if n != describedBy(d.name) && d.find(strings.TrimSuffix(n, d.sealing.Extension())) == nil {
			strays = append(strays, d.name+"/"+n)
		}
	}
	return stored, strays, err
}

// SHA256 is the checksum of the stored description, which has those of the files.
func (d *DirReader) SHA256() string { return d.sum }

// DescribedAt is when the description was written.
func (d *DirReader) DescribedAt() time.Time {
	info, err := os.Stat(d.path(dirDescribes))
	if err != nil {
		return time.Time{}
	}
	return info.ModTime().UTC()
}

// Filters is what the files went through if that is not what the record of the
// header says: a directory that was written anew through other filters.
func (d *DirReader) Filters(ctx context.Context) string {
	record := d.Header.Filters
	if own, err := d.repo.FileChain(ctx, record); err == nil && own.Sealing().Extension() != d.sealing.Extension() {
		record = append(unsealed(own), d.sealing...).String()
	}
	return record
}

// checkDir compares every file of a base directory with what Finish wrote.
func (r *Repository) checkDir(a catalog.Artifact) error {
	d, err := r.OpenDir(a)
	if err != nil {
		return err
	}
	for _, f := range d.files {
		if err := d.copy(io.Discard, f); err != nil {
			return err
		}
	}
	return nil
}

// checkStoredDir compares a base directory with the catalog as far as that can
// be done without a key.
func (r *Repository) checkStoredDir(a catalog.Artifact) error {
	chain, err := r.FileChain(context.Background(), a.Filters)
	if err != nil {
		return err
	}
	if len(chain.Sealing()) == 0 {
		return r.checkDir(a)
	}
	names, err := fileNames(r.Path(a.Name))
	if errors.Is(err, fs.ErrNotExist) {
		return &MissingFileError{a.Name}
	}
	total, sum := int64(0), ""
	for _, name := range names {
		path := filepath.Join(r.Path(a.Name), name)
		if name == describedBy(a.Name) {
			_, sum, err = FileSum(path)
		} else if info, serr := os.Stat(path); serr == nil {
			total += info.Size()
		} else {
			err = serr
		}
		if err != nil {
			return err
		}
	}
	if err == nil && (sum != a.SHA256 || total != a.Bytes) {
		err = &FormatError{File: a.Name, Reason: fmt.Sprintf("is damaged: checksum mismatch of %s, or another size of its files", dirDescribes)}
	}
	return err
}

func fileNames(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	slices.Sort(names)
	return names, nil
}

func FileSum(path string) (int64, string, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, "", err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	return n, hex.EncodeToString(h.Sum(nil)), err
}
