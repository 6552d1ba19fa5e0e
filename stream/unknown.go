package stream

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"pg_scribe/internal/sqltext"
	"pg_scribe/repo/segment"
	"pg_scribe/stream/capture"
	"pg_scribe/stream/pgoutput"
	"pg_scribe/stream/source"
)

// A describer asks the source, as it is now, what a relation's description in
// the stream leaves out. A type that was renamed since has its new name.
type describer func(r *pgoutput.Relation) (d tableDescription, err error)

// tableDescription is what the columns of a relation are, in their order, and
// whose the table is.
type tableDescription struct {
	columns []string // types and collations as SQL; nil: a type is gone
	owner   string   // empty: it is gone
}

// unknown makes sure that a table whose first rows follow is in the target.
// Some commands make tables and fire no event, as EXPLAIN ANALYZE CREATE TABLE
// AS does. A table is known if a command in the stream told of it, or if it
// was there when this connection began, unless this very transaction made it.
//
// Two cases need the samples of what there is: a table that is gone by now may
// have been there all the time, and a later transaction ID may be that of a
// subtransaction, or of another transaction that committed before. Without them
// it is taken for known. The table is made only if the target lacks it.
func (r *renderer) unknown(rel *pgoutput.Relation) error {
	if r.describe == nil || r.skip || rel.Schema == capture.Schema || r.tables[rel.OID] != nil || r.facts.announced[rel.OID] || r.facts.tables[rel.OID].Unsaved {
		return nil
	}
	made, there := r.facts.made[rel.OID]
	if there && int32(made-r.tx.XID) < 0 {
		return nil
	}
	d, err := r.describe(rel)
	if err != nil {
		return fmt.Errorf("table %s: %w", rel.Name, err)
	}
	known := false
	if d.owner == "" || there && made != r.tx.XID {
		known = r.brought == nil || r.brought[rel.OID]
	}
	t := newTable(rel, r.facts)
	if !known {
		if err := r.gap("table " + t.name + " came about without an event: it was made from the description of its rows"); err != nil {
			return err
		}
	}
	if d.columns == nil {
		return nil
	}
	columns := make([]string, len(rel.Columns))
	for i := range rel.Columns {
		columns[i] = string(t.quoted[i]) + " " + d.columns[i]
	}
	sql := fmt.Sprintf("CREATE TABLE %s (%s);", t.name, strings.Join(columns, ", "))
	if d.owner != "" {
		sql += fmt.Sprintf(" IF EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = %s) THEN ALTER TABLE %s OWNER TO %s; END IF;",
			sqltext.Literal(d.owner), t.name, sqltext.Identifier(d.owner))
	}
	r.open()
	r.out = segment.AppendDDL(r.out, "CREATE TABLE", "DO "+sqltext.Literal(fmt.Sprintf(
		"BEGIN IF pg_catalog.to_regclass(%s) IS NULL THEN %s END IF; END", sqltext.Literal(t.name), sql)))
	return nil
}

// describeOn is a describer that connects for each question.
func describeOn(ctx context.Context, connString string) describer {
	return func(rel *pgoutput.Relation) (d tableDescription, err error) {
		conn, err := source.Connect(ctx, connString)
		if err != nil {
			return d, err
		}
		defer conn.Close(context.WithoutCancel(ctx))
		var owner string
		err = conn.QueryRow(ctx, "SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = $1", rel.OID).Scan(&owner)
		if err == nil {
			d.owner = owner
		} else if !errors.Is(err, pgx.ErrNoRows) {
			return d, err
		}
		columns := []string{}
		for _, c := range rel.Columns {
			var text string
			err := conn.QueryRow(ctx, `SELECT format_type(t.oid, $2) || coalesce((SELECT format(' COLLATE %I.%I', n.nspname, co.collname)
			    FROM pg_attribute a JOIN pg_collation co ON co.oid = a.attcollation JOIN pg_namespace n ON n.oid = co.collnamespace
			    WHERE a.attrelid = $3 AND a.attname = $4 AND a.atttypid = t.oid AND a.attcollation <> t.typcollation), '')
			  FROM pg_type t WHERE t.oid = $1`, c.TypeOID, c.TypeMod, rel.OID, strings.ToValidUTF8(c.Name, "?")).Scan(&text)
			if errors.Is(err, pgx.ErrNoRows) {
				return d, nil // the type is gone as well: there is a mark
			}
			if err != nil {
				return d, err
			}
			columns = append(columns, text)
		}
		d.columns = columns
		return d, nil
	}
}
