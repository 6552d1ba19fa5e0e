package stream

import (
	"context"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5"

	"pg_scribe/stream/pgoutput"
	"pg_scribe/stream/render"
	"pg_scribe/stream/source"
)

// describeOn is a describer that connects for each question.
func describeOn(ctx context.Context, connString string) render.Describer {
	return func(rel *pgoutput.Relation) (d render.Description, err error) {
		conn, err := source.Connect(ctx, connString)
		if err != nil {
			return d, err
		}
		defer conn.Close(context.WithoutCancel(ctx))
		var owner string
		err = conn.QueryRow(ctx, "SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = $1", rel.OID).Scan(&owner)
		if err == nil {
			d.Owner = owner
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
		d.Columns = columns
		return d, nil
	}
}
