package restore

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
)

// Sequences are not in the stream: what the base, the commands and the
// samples of the stream say of one may lie behind the rows that the stream
// brought. One that belongs to a column is moved on until it cannot hand out a
// value that the column holds. It is never moved back.

// listSequences finds the sequences that belong to a column of integers or
// numerics. One that cycles is used again from its start by design.
const listSequences = `
SELECT s.seqrelid::pg_catalog.regclass, c.oid::pg_catalog.regclass, pg_catalog.quote_ident(a.attname),
	s.seqincrement > 0, s.seqmin, s.seqmax
FROM pg_catalog.pg_sequence s
JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = s.seqrelid
	AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i')
JOIN pg_catalog.pg_class c ON c.oid = d.refobjid
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.refobjsubid
JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_catalog.pg_type b ON t.typtype = 'd' AND b.oid = t.typbasetype
WHERE NOT s.seqcycle AND c.relkind IN ('r', 'p')
AND COALESCE(b.oid, t.oid) IN ('int2'::pg_catalog.regtype, 'int4'::pg_catalog.regtype, 'int8'::pg_catalog.regtype,
	'numeric'::pg_catalog.regtype)
ORDER BY 1`

// syncSequences returns how many sequences were moved.
func syncSequences(ctx context.Context, conn *pgconn.PgConn) (int, error) {
	if _, err := query(ctx, conn, "SET search_path = ''"); err != nil {
		return 0, err
	}
	list, err := query(ctx, conn, listSequences)
	if err != nil {
		return 0, err
	}
	moved := 0
	for _, row := range list {
		rows, err := query(ctx, conn, moveSequence(row))
		if err != nil {
			return moved, fmt.Errorf("sequence %s: %w", row[0], err)
		}
		moved += len(rows)
	}
	return moved, nil
}

// moveSequence is the statement that moves one, and returns a row if it does.
func moveSequence(row []string) string {
	sequence, table, column, least, most := row[0], row[1], row[2], row[4], row[5]
	// A value outside of the sequence's bounds cannot come from it.
	aggregate, beyond := "max", ">"
	if row[3] != "t" {
		aggregate, beyond = "min", "<"
	}
	return fmt.Sprintf(`SELECT pg_catalog.setval(%s, used.v, true)
		FROM (SELECT pg_catalog.%s(%s)::bigint AS v FROM %s WHERE %s BETWEEN %s AND %s) used, %s s
		WHERE used.v %s s.last_value OR used.v = s.last_value AND NOT s.is_called`,
		quoteLiteral(sequence), aggregate, column, table, column, least, most, sequence, beyond)
}
