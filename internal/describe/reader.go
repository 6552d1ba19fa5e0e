package describe

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"pg_scribe/internal/simple"
	"pg_scribe/internal/sqltext"

	"github.com/jackc/pgx/v5/pgconn"
)

// A Reader describes the objects of a server's databases. It holds what the
// server says of its catalogs, and no connection: any to that server will do.
type Reader struct {
	Metadata Metadata
}

// NewReader asks a server for its metadata.
func NewReader(ctx context.Context, conn *pgconn.PgConn) (*Reader, error) {
	r := &Reader{}
	err := within(ctx, conn, func() error {
		err := simple.Each(ctx, conn, columnsSQL, func(v [][]byte) error {
			r.Metadata.Columns = append(r.Metadata.Columns, Column{string(v[0]), string(v[1]), string(v[2])})
			return nil
		})
		if err != nil {
			return err
		}
		return simple.Each(ctx, conn, referencesSQL, func(v [][]byte) error {
			ref := Reference{Catalog: string(v[0]), Target: string(v[2]), Array: string(v[3]) == "t"}
			if err := json.Unmarshal(v[1], &ref.Columns); err != nil {
				return err
			}
			r.Metadata.References = append(r.Metadata.References, ref)
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// All describes every object of the database that the connection is to, in the
// order of class and identity. It reads in a transaction of its own, or in a
// savepoint of the one that is open, whose snapshot it then has, and leaves
// settings and transaction as they were.
//
// To print rules, which are the queries of views, the server locks what they
// read until the transaction or savepoint ends. So they are read apart, some at
// a time: nobody has to wait for long.
func (r *Reader) All(ctx context.Context, conn *pgconn.PgConn, yield func(Object) error) error {
	return within(ctx, conn, func() error {
		rules, err := r.rules(ctx, conn)
		if err != nil {
			return err
		}
		return r.read(ctx, conn, "", func(o Object) error {
			if own := rules[o.OID]; o.Catalog == pgClassOID && len(own) > 0 {
				o.Rows = append(o.Rows, own...)
				slices.SortFunc(o.Rows, func(a, b Row) int {
					return cmp.Or(strings.Compare(a.Catalog, b.Catalog), strings.Compare(a.Identity, b.Identity))
				})
			}
			return yield(o)
		})
	})
}

const (
	rulesCatalog = "pg_rewrite"
	rulesAtOnce  = 30
	pgClassOID   = 1259
)

// rules reads the rules of all relations, by their OIDs.
func (r *Reader) rules(ctx context.Context, conn *pgconn.PgConn) (map[uint32][]Row, error) {
	var oids []string
	err := simple.Each(ctx, conn, "SELECT DISTINCT object FROM ("+r.Metadata.part(rulesCatalog, "")+") d", func(v [][]byte) error {
		oids = append(oids, string(v[0]))
		return nil
	})
	if err != nil {
		return nil, err
	}
	list := map[uint32][]Row{}
	for some := range slices.Chunk(oids, rulesAtOnce) {
		query := "SELECT object, pg_catalog.json_build_array(catalog, identity, definition) FROM (" +
			r.Metadata.part(rulesCatalog, "'{"+strings.Join(some, ",")+"}'::oid[]") + ") d"
		err := within(ctx, conn, func() error {
			return simple.Each(ctx, conn, query, func(v [][]byte) error {
				oid, err := strconv.ParseUint(string(v[0]), 10, 32)
				if err != nil || !valid(v) {
					return err
				}
				var row Row
				if err := json.Unmarshal(v[1], &row); err != nil {
					return err
				}
				row.Definition = appendASCII(nil, string(row.Definition))
				list[uint32(oid)] = append(list[uint32(oid)], row)
				return nil
			})
		})
		if err != nil {
			return nil, err
		}
	}
	return list, nil
}

// Of describes the objects with these OIDs, of whatever catalog; those that
// there are not it passes over. See All.
func (r *Reader) Of(ctx context.Context, conn *pgconn.PgConn, oids []uint32, yield func(Object) error) error {
	if len(oids) == 0 {
		return nil
	}
	list := make([]string, len(oids))
	for i, oid := range oids {
		list[i] = strconv.FormatUint(uint64(oid), 10)
	}
	return r.read(ctx, conn, "'{"+strings.Join(list, ",")+"}'::oid[]", yield)
}

// At describes the objects at these addresses; those that there are not it
// passes over. See All.
func (r *Reader) At(ctx context.Context, conn *pgconn.PgConn, addresses []Address, yield func(Object) error) error {
	if len(addresses) == 0 {
		return nil
	}
	return within(ctx, conn, func() error {
		wanted := map[string]bool{}
		oids, err := resolve(ctx, conn, addresses)
		if err != nil {
			return err
		}
		for _, a := range addresses {
			wanted[a.key()] = true
		}
		return r.Of(ctx, conn, oids, func(o Object) error {
			if !wanted[o.Address().key()] { // its OID is that of one in another catalog
				return nil
			}
			return yield(o)
		})
	})
}

// resolve finds the OIDs of what there is of addresses. One query finds all;
// if any is not there it fails, and they are asked for one by one.
func resolve(ctx context.Context, conn *pgconn.PgConn, addresses []Address) (oids []uint32, err error) {
	err = within(ctx, conn, func() error {
		oids = nil
		return simple.Each(ctx, conn, addressSQL(addresses), func(v [][]byte) error {
			if v[0] == nil {
				return nil
			}
			oid, err := strconv.ParseUint(string(v[0]), 10, 32)
			oids = append(oids, uint32(oid))
			return err
		})
	})
	if err == nil || conn.IsClosed() || ctx.Err() != nil {
		return oids, err
	}
	if len(addresses) == 1 {
		return nil, nil
	}
	half := len(addresses) / 2
	oids, err = resolve(ctx, conn, addresses[:half])
	if err != nil {
		return nil, err
	}
	more, err := resolve(ctx, conn, addresses[half:])
	return append(oids, more...), err
}

// addressSQL selects the OIDs of objects. The server finds neither a composite
// type's relation by its address, nor a prefix operator, nor its own database
// under another name.
func addressSQL(addresses []Address) string {
	var rows, plain []string
	for _, a := range addresses {
		switch {
		case a.Class == databaseClass:
			rows = append(rows, "SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()")
		case a.Class == "composite type" && len(a.Names) == 2:
			rows = append(rows, "SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relname = "+
				sqltext.Literal(a.Names[1])+" AND n.nspname = "+sqltext.Literal(a.Names[0]))
		case a.Class == "operator" && len(a.Names) == 2 && len(a.Args) == 1:
			name := `"` + strings.ReplaceAll(a.Names[0], `"`, `""`) + `".` + a.Names[1] + "(NONE," + a.Args[0] + ")"
			rows = append(rows, "SELECT "+sqltext.Literal(name)+"::pg_catalog.regoperator::oid")
		default:
			plain = append(plain, "("+sqltext.Literal(a.Class)+", "+array(a.Names)+", "+array(a.Args)+")")
		}
	}
	if len(plain) > 0 {
		rows = append(rows, "SELECT a.objid FROM (VALUES "+strings.Join(plain, ", ")+
			") v (class, names, args), LATERAL pg_catalog.pg_get_object_address(v.class, v.names, v.args) a")
	}
	return strings.Join(rows, " UNION ALL ")
}

func array(list []string) string {
	quoted := make([]string, len(list))
	for i, s := range list {
		quoted[i] = sqltext.Literal(s)
	}
	return "ARRAY[" + strings.Join(quoted, ", ") + "]::text[]"
}

// valid reports whether values are text. A database without an encoding
// (SQL_ASCII) has names and definitions that are none in any: such objects are
// not described, neither in the source nor in a target.
func valid(values [][]byte) bool {
	return !slices.ContainsFunc(values, func(v []byte) bool { return !utf8.Valid(v) })
}

// databaseClass is the class of the database itself, whose identity is the
// same whatever it is called.
const (
	databaseClass    = "database"
	databaseIdentity = "this database"
)

func (r *Reader) read(ctx context.Context, conn *pgconn.PgConn, objects string, yield func(Object) error) error {
	query := r.Metadata.query(objects)
	if objects == "" {
		query = r.Metadata.query(objects, rulesCatalog)
	}
	query = fmt.Sprintf(`SELECT a.type, i.identity, pg_catalog.to_json(a.object_names), pg_catalog.to_json(a.object_args), g.rows, g.class, g.object
FROM (SELECT class, object, pg_catalog.json_agg(pg_catalog.json_build_array(catalog, identity, definition)
		ORDER BY catalog COLLATE "C", identity COLLATE "C") AS rows
	FROM (%s) d GROUP BY class, object) g,
	LATERAL pg_catalog.pg_identify_object(g.class, g.object, 0) i, LATERAL pg_catalog.pg_identify_object_as_address(g.class, g.object, 0) a
WHERE i.identity IS NOT NULL AND coalesce(i.schema, '') !~ '^pg_(toast_)?temp_' ORDER BY a.type COLLATE "C", i.identity COLLATE "C"`, query)
	return within(ctx, conn, func() error {
		return simple.Each(ctx, conn, query, func(v [][]byte) error {
			if !valid(v) {
				return nil
			}
			o := Object{Class: string(v[0]), Identity: string(v[1])}
			for i, into := range []any{&o.Names, &o.Args, &o.Rows} {
				if err := json.Unmarshal(v[2+i], into); err != nil {
					return fmt.Errorf("description of %s: %w", o.Key(), err)
				}
			}
			for i, into := range []*uint32{&o.Catalog, &o.OID} {
				oid, err := strconv.ParseUint(string(v[5+i]), 10, 32)
				if err != nil {
					return fmt.Errorf("description of %s: %w", o.Key(), err)
				}
				*into = uint32(oid)
			}
			if o.Class == databaseClass {
				o.Identity, o.Names = databaseIdentity, nil
			}
			if o.Class == "transform" { // which version 16 and later name so
				o.Identity = strings.Replace(o.Identity, " on language ", " language ", 1)
			}
			for i := range o.Rows {
				if o.Class == "transform" {
					o.Rows[i].Identity = strings.Replace(o.Rows[i].Identity, " on language ", " language ", 1)
				}
				o.Rows[i].Definition = appendASCII(nil, string(o.Rows[i].Definition))
			}
			return yield(o)
		})
	})
}

// within runs something in a transaction, or savepoint, that has the settings
// of a description, and undoes it.
func within(ctx context.Context, conn *pgconn.PgConn, f func() error) error {
	begin, end := "BEGIN READ ONLY", "ROLLBACK"
	if conn.TxStatus() != 'I' {
		begin, end = "SAVEPOINT pg_scribe_describe", "ROLLBACK TO SAVEPOINT pg_scribe_describe; RELEASE SAVEPOINT pg_scribe_describe"
	}
	// A database without an encoding has bytes that are valid in none.
	encoding := "UTF8"
	if conn.ParameterStatus("server_encoding") == "SQL_ASCII" {
		encoding = "SQL_ASCII"
	}
	if err := exec(ctx, conn, begin+"; "+settingsSQL+"; SET LOCAL client_encoding = "+encoding); err != nil {
		return err
	}
	err := f()
	if conn.IsClosed() {
		return err
	}
	undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	if undone := exec(undo, conn, end); err == nil {
		err = undone
	}
	return err
}

func exec(ctx context.Context, conn *pgconn.PgConn, sql string) error {
	return simple.Each(ctx, conn, sql, func([][]byte) error { return nil })
}
