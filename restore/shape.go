package restore

import (
	"fmt"

	"pg_scribe/internal/sqltext"
	"pg_scribe/restore/fold"
)

// readShape asks for what the net effect of changes of a table depends on. No
// rows: its changes have to be applied one after another. So have those
//   - of anything but an ordinary table: a partitioned one may have rows with the
//     same key in several partitions;
//   - of a table where something would fire;
//   - of one whose rows call functions when they are written, in generated
//     columns or indexes, that may say something else at another moment.
//
// Otherwise, for each column that a row to insert has: 'column', its name; for
// each column of a unique index that judges at once: 'key', its name, the index;
// for each index that keeps rows apart: 'unique'.
func readShape(schema, table string) string {
	return fmt.Sprintf(`WITH t AS MATERIALIZED (
  SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace JOIN pg_catalog.pg_am a ON a.oid = c.relam
  WHERE n.nspname = %s AND c.relname = %s AND c.relkind = 'r' AND c.relpersistence = 'p' AND a.amname = 'heap'
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger x WHERE x.tgrelid = c.oid AND x.tgenabled IN ('A', 'R'))
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_rewrite x WHERE x.ev_class = c.oid AND x.ev_enabled IN ('A', 'R'))
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_attrdef d JOIN pg_catalog.pg_attribute b ON b.attrelid = d.adrelid AND b.attnum = d.adnum
      WHERE d.adrelid = c.oid AND b.attgenerated <> '' AND %s)
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND (%s OR %s)))
SELECT 'column', b.attname, 0 AS n, b.attnum AS m FROM t JOIN pg_catalog.pg_attribute b ON b.attrelid = t.oid
  WHERE b.attnum > 0 AND NOT b.attisdropped AND b.attgenerated = ''
UNION ALL
SELECT 'key', b.attname, i.indexrelid::pg_catalog.int8, k.n FROM t JOIN pg_catalog.pg_index i ON i.indrelid = t.oid
  CROSS JOIN LATERAL pg_catalog.generate_series(0, i.indnkeyatts - 1) k (n)
  JOIN pg_catalog.pg_attribute b ON b.attrelid = t.oid AND b.attnum = i.indkey[k.n]
  WHERE i.indisunique AND i.indimmediate AND i.indisvalid AND i.indisready AND i.indpred IS NULL AND i.indexprs IS NULL
UNION ALL
SELECT 'unique', '', i.indexrelid::pg_catalog.int8, 0 FROM t JOIN pg_catalog.pg_index i ON i.indrelid = t.oid WHERE i.indisunique OR i.indisexclusion
ORDER BY 3, 4`, sqltext.Literal(schema), sqltext.Literal(table), mayJudge("d.adbin"), mayJudge("i.indexprs"), mayJudge("i.indpred"))
}

// shapeOf reads the answer. ok is false for a table whose changes have to be
// applied one after another.
func shapeOf(rows [][]string) (shape fold.Shape, ok bool) {
	index := ""
	for _, row := range rows {
		name := sqltext.AppendIdentifier(nil, row[1])
		switch row[0] {
		case "column":
			shape.Columns = append(shape.Columns, name)
		case "unique":
			shape.Unique++
		case "key":
			if index != row[2] {
				shape.Keys = append(shape.Keys, nil)
				index = row[2]
			}
			last := len(shape.Keys) - 1
			shape.Keys[last] = append(shape.Keys[last], name)
		}
	}
	return shape, len(shape.Columns) > 0
}
