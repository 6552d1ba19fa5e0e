// Package catalog knows what a repository holds and which of it makes a restore.
//
// It is a SQLite file of facts (bases, segments, restore points, gaps, operations) and, apart from it, pure functions
// over those facts: MakePlan chooses what a restore reads, Holes and Windows say what is whole. Start with Inventory,
// which reads all that they need in one consistent snapshot.
//
// What it guarantees:
//
//   - A method that returned nil has reached the disk: the change survives a crash and the loss of power. The server
//     may be told a flush position as soon as Checkpoint has returned.
//   - Each method is one transaction: it happens as a whole or not at all.
//   - Any number of processes may read and write; writers take turns and wait up to 30 seconds for each other.
//   - A Catalog may be used by several goroutines at once.
//
// What it does not: it never looks at the files that it lists. Callers write, sync and rename bytes before they record
// them, and delete bytes only after they have deleted the record. Nor does it keep a second streamer away; that is the
// repository's lock.
//
// LSNs are stored as integers below 2^63 (a larger one is refused), moments as microseconds in UTC; finer parts of a
// time.Time are cut off, and a zero time.Time means unknown.
package catalog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"pg_scribe/migrations"
)

var (
	// ErrNotFound: the catalog has no row of that ID or, for Repository and Inventory, no repository row yet.
	ErrNotFound = errors.New("not in the catalog")
	// ErrNotOpen: a checkpoint of an artifact that is not an open segment.
	ErrNotOpen = errors.New("not an open segment")
	// ErrBackwards: a checkpoint whose end lies before the one already recorded, which the server may rely on.
	ErrBackwards = errors.New("the end of the segment would move backwards")
	// ErrNotCatalog: the file is not a catalog of pg_scribe, or was left empty by an interrupted Create.
	ErrNotCatalog = errors.New("not a pg_scribe catalog")
	// ErrHotJournal: a writer died in the middle of a commit and this process cannot undo its half-done work, because
	// it may not write the file or its folder.
	ErrHotJournal = errors.New("an interrupted write must be undone first, which needs write access to the catalog and its folder")
)

// SchemaVersionError says that a catalog has a schema this program cannot use: a newer one.
type SchemaVersionError struct {
	Path       string
	Have, Want int
}

func (e SchemaVersionError) Error() string {
	return fmt.Sprintf("catalog %q has schema version %d, newer than this program's %d", e.Path, e.Have, e.Want)
}

// Catalog is an open catalog file.
type Catalog struct {
	db        *sql.DB
	temporary string // folder of a copy, removed by Close
}

// applicationID marks the SQLite file as ours ("pgsc").
const applicationID = 0x70677363

// Create makes a catalog with the current schema, mode 0600. It fails with fs.ErrExist when there is a file already,
// and leaves nothing behind when it fails otherwise.
func Create(path string) (*Catalog, error) {
	// SQLite would open an existing file as readily; only O_EXCL tells the two apart.
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create catalog: %w", err)
	}
	err = f.Close()
	var c *Catalog
	if err == nil {
		c, err = connect(path, "rw")
	}
	if err == nil {
		if err = c.migrate(context.Background()); err != nil {
			c.Close()
		}
	}
	if err != nil {
		os.Remove(path + "-journal")
		os.Remove(path)
		return nil, fmt.Errorf("create catalog %q: %w", path, err)
	}
	return c, nil
}

// Open opens an existing catalog for reading and writing and applies the migrations it lacks. It fails with
// fs.ErrNotExist, ErrNotCatalog or SchemaVersionError.
func Open(path string) (*Catalog, error) {
	c, have, want, err := inspect(path, "rw")
	if err != nil {
		return nil, fmt.Errorf("open catalog %q: %w", path, err)
	}
	switch {
	case have > want:
		err = SchemaVersionError{Path: path, Have: have, Want: want}
	case have < want:
		err = c.migrate(context.Background())
	}
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("open catalog %q: %w", path, err)
	}
	return c, nil
}

// OpenReadOnly opens an existing catalog for reading, also on a file system that cannot be written. Every method that
// would change something fails. Of one with an older schema a temporary copy is read, as it was at this moment. It fails
// with fs.ErrNotExist, ErrNotCatalog, SchemaVersionError or ErrHotJournal.
//
// It writes nothing, with one exception: when a writer was killed in the middle of a commit, the half-done commit is
// rolled back first, as every reader of a SQLite file has to do.
func OpenReadOnly(path string) (*Catalog, error) {
	c, have, want, err := inspect(path, "ro")
	if isCode(err, sqlite3.SQLITE_READONLY_ROLLBACK) {
		if err = rollBack(path); err == nil {
			c, have, want, err = inspect(path, "ro")
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open catalog %q: %w", path, err)
	}
	if have > want {
		c.Close()
		return nil, fmt.Errorf("open catalog: %w", SchemaVersionError{Path: path, Have: have, Want: want})
	}
	if have == want {
		return c, nil
	}
	copied, err := c.migratedCopy(path)
	if err = errors.Join(err, c.Close()); err != nil {
		return nil, fmt.Errorf("open catalog %q: bring a copy of it up to date: %w", path, err)
	}
	return copied, nil
}

// migratedCopy makes a temporary copy with the current schema, so that an old repository on a medium that cannot be
// written is read like any other.
func (c *Catalog) migratedCopy(path string) (copied *Catalog, err error) {
	dir, err := os.MkdirTemp("", "pg_scribe-catalog-")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(dir)
		}
	}()
	to := filepath.Join(dir, "catalog.db")
	err = c.read(context.Background(), func(tx *sql.Tx) error {
		// A read lock, under which no writer touches the file.
		var n int
		if err := tx.QueryRow("SELECT count(*) FROM sqlite_schema").Scan(&n); err != nil {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(to, content, 0o600)
	})
	if err != nil {
		return nil, err
	}
	migrating, err := connect(to, "rw")
	if err != nil {
		return nil, err
	}
	if err = errors.Join(migrating.migrate(context.Background()), migrating.Close()); err != nil {
		return nil, err
	}
	if copied, err = connect(to, "ro"); err != nil {
		return nil, err
	}
	copied.temporary = dir
	return copied, nil
}

// rollBack undoes the commit of a writer that died: SQLite does so at the first read through a writable connection.
func rollBack(path string) error {
	c, _, _, err := inspect(path, "rw")
	if err != nil {
		return fmt.Errorf("%w (%w)", ErrHotJournal, err)
	}
	return c.Close()
}

// Close releases the file.
func (c *Catalog) Close() error {
	err := c.db.Close()
	if c.temporary != "" {
		err = errors.Join(err, os.RemoveAll(c.temporary))
	}
	return err
}

// inspect connects to an existing file, makes sure that it is a catalog, and returns its schema version and ours.
func inspect(path, mode string) (c *Catalog, have, want int, err error) {
	// SQLite reports a missing file as "unable to open"; callers want fs.ErrNotExist.
	info, err := os.Stat(path)
	if err != nil {
		return nil, 0, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, 0, ErrNotCatalog
	}
	all, err := migrations.All()
	if err != nil {
		return nil, 0, 0, err
	}
	c, err = connect(path, mode)
	if isCode(err, sqlite3.SQLITE_NOTADB) {
		err = ErrNotCatalog
	}
	if err != nil {
		return nil, 0, 0, err
	}
	var id int
	ctx := context.Background()
	err = c.db.QueryRowContext(ctx, "SELECT application_id, user_version FROM pragma_application_id, pragma_user_version").
		Scan(&id, &have)
	if isCode(err, sqlite3.SQLITE_NOTADB) || err == nil && id != applicationID {
		err = ErrNotCatalog
	}
	if err != nil {
		c.Close()
		return nil, 0, 0, err
	}
	return c, have, len(all), nil
}

// connect opens a file that exists. Mode is SQLite's "rw" or "ro".
func connect(path, mode string) (*Catalog, error) {
	uri, err := fileURI(path)
	if err != nil {
		return nil, err
	}
	uri += "?mode=" + mode + "&_busy_timeout=30000&_foreign_keys=on"
	if mode == "rw" {
		// The server is told a flush position right after a checkpoint and then forgets the WAL before it, so a
		// committed checkpoint must survive the loss of power. In journal mode DELETE a commit is the removal of the
		// journal; only EXTRA syncs the folder after it, else the journal could come back and undo the commit.
		// Immediate: a transaction that took its read lock first could not wait for another writer.
		uri += "&_journal_mode=DELETE&_synchronous=EXTRA&_txlock=immediate"
	}
	db, err := sql.Open("sqlite", uri)
	if err != nil {
		return nil, err
	}
	// Goroutines that share a handle queue here, which is fair, instead of in SQLite's polling for the file lock.
	db.SetMaxOpenConns(1)
	if err := ready(db, path, mode); err != nil {
		db.Close()
		return nil, err
	}
	return &Catalog{db: db}, nil
}

// ready makes the connection. SQLite falls back to reading when it may not write the file, which a writer must learn
// now and not at its first checkpoint.
func ready(db *sql.DB, path, mode string) error {
	conn, err := db.Conn(context.Background())
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.Raw(func(driver any) error {
		readOnly, err := driver.(interface{ IsReadOnly(string) (bool, error) }).IsReadOnly("main")
		if err == nil && readOnly && mode == "rw" {
			err = whyReadOnly(path)
		}
		return err
	})
}

// whyReadOnly is what the system says when the file is opened for writing, such as that the file system is read-only.
func whyReadOnly(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err == nil {
		f.Close()
		return fs.ErrPermission
	}
	return errors.Unwrap(err) // callers name the file
}

// fileURI escapes every byte that could mean something in a URI. The path is made absolute, so that it starts with one
// slash and its first part cannot be taken for a host.
func fileURI(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString("file:")
	for _, c := range []byte(filepath.ToSlash(abs)) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("/-_.~", c) >= 0:
			b.WriteByte(c)
		case c == 0:
			return "", &fs.PathError{Op: "open", Path: path, Err: fs.ErrInvalid}
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String(), nil
}

// migrate applies what the catalog lacks, each migration in a transaction of its own. Another process may do the same
// at the same moment, so each looks at the version again under the write lock.
func (c *Catalog) migrate(ctx context.Context) error {
	all, err := migrations.All()
	if err != nil {
		return err
	}
	for _, m := range all {
		err := c.write(ctx, func(tx *sql.Tx) error {
			var have int
			if err := tx.QueryRowContext(ctx, "PRAGMA user_version").Scan(&have); err != nil {
				return err
			}
			if have >= m.Number {
				return nil
			}
			marks := fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d", applicationID, m.Number)
			if _, err := tx.ExecContext(ctx, m.SQL); err != nil {
				return err
			}
			_, err := tx.ExecContext(ctx, marks)
			return err
		})
		if err != nil {
			return fmt.Errorf("migration %s: %w", m.Name, err)
		}
	}
	return nil
}

// write runs f in a transaction that holds the write lock from its start.
func (c *Catalog) write(ctx context.Context, f func(*sql.Tx) error) error {
	return c.transact(ctx, nil, f)
}

// read runs f on one consistent snapshot and takes no write lock.
func (c *Catalog) read(ctx context.Context, f func(*sql.Tx) error) error {
	return c.transact(ctx, &sql.TxOptions{ReadOnly: true}, f)
}

func (c *Catalog) transact(ctx context.Context, opts *sql.TxOptions, f func(*sql.Tx) error) error {
	tx, err := c.db.BeginTx(ctx, opts)
	if err != nil {
		return err
	}
	if err := f(tx); err != nil {
		tx.Rollback()
		return err
	}
	return tx.Commit()
}

func isCode(err error, code int) bool {
	e, ok := errors.AsType[*sqlite.Error](err)
	return ok && e.Code() == code
}

// micros turns a time into what is stored: microseconds, or NULL for the zero time.
func micros(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixMicro()
}

// stamp reads what micros has written.
type stamp struct{ t *time.Time }

// Scan implements sql.Scanner.
func (s stamp) Scan(v any) error {
	switch v := v.(type) {
	case nil:
		*s.t = time.Time{}
	case int64:
		*s.t = time.UnixMicro(v).UTC()
	default:
		return fmt.Errorf("%T is not a time", v)
	}
	return nil
}
