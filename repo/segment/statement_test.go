package segment

import (
	"bytes"
	"testing"
)

// again reads a line as its kind and writes it anew.
func again(line []byte) ([]byte, error) {
	var err error
	switch KindOf(line) {
	case TruncateTable:
		var t Truncate
		if err = ParseTruncate(line, &t); err == nil {
			return AppendTruncate(nil, &t), nil
		}
	case CopyBlock:
		var c Copy
		if err = ParseCopy(line, &c); err == nil {
			return AppendCopy(nil, &c), nil
		}
	case LargeObject:
		var l Page
		if err = ParsePage(line, &l); err == nil {
			return AppendPage(nil, &l), nil
		}
	case RowChange:
		var c Change
		if err = ParseChange(line, &c); err == nil {
			return AppendChange(nil, &c), nil
		}
	default:
		if err = Check(line); err == nil {
			return append(bytes.Clone(line), '\n'), nil
		}
	}
	return nil, err
}

var otherForms = []struct {
	line string
	kind Kind
}{
	{`TRUNCATE ONLY "a"."b";`, TruncateTable}, {`TRUNCATE ONLY "a"."b", ONLY U&"\000a"."d" RESTART IDENTITY CASCADE;`, TruncateTable},
	{`COPY "a"."b" ("c", "d") FROM stdin;`, CopyBlock}, {`COPY public.t (a) FROM stdin;`, CopyBlock}, {`COPY "a"."b" FROM stdin;`, CopyBlock},
	{`SELECT pg_catalog.lo_put(16391, 2048, pg_catalog.decode('YWJj', 'base64'));`, LargeObject},
	{`SET LOCAL search_path = '';`, Setting}, {`SET LOCAL search_path = "a", "b c";`, Setting}, {`SET LOCAL ROLE "x";`, Setting}, {`SET LOCAL ROLE NONE;`,
		Setting},
	{`SET LOCAL lc_monetary = E'a\nb';`, Setting}, {`DO 'BEGIN NULL; END';`, Block},
	{string(bytes.TrimSpace(AppendPieceTable(nil))), PieceTable}, {string(bytes.TrimSpace(AppendPieceEnd(nil))), PieceTable},
	{string(bytes.TrimSpace(AppendPiece(nil, 1, 0, []byte("\x00'\xff")))), PieceRow},
}

func TestOtherForms(t *testing.T) {
	for _, c := range otherForms {
		got, err := again([]byte(c.line))
		if err != nil || string(got) != c.line+"\n" || KindOf([]byte(c.line)) != c.kind {
			t.Errorf("%s is a %d, written again %q: %v", c.line, KindOf([]byte(c.line)), got, err)
		}
		for i := range c.line {
			if err := Check([]byte(c.line[:i])); err == nil {
				t.Errorf("%q is taken for complete", c.line[:i])
			}
		}
	}
	for _, line := range []string{`TRUNCATE "a";`, `TRUNCATE ONLY "a" RESTRICT;`, `COPY "a" FROM '/etc/passwd';`, `COPY "a" FROM stdin WITH (FORMAT csv);`,
		`COPY "a" () FROM stdin;`,
		`SELECT pg_catalog.lo_put(99999999999, 0, pg_catalog.decode('', 'base64'));`, `SELECT pg_catalog.lo_put(01, 0, pg_catalog.decode('', 'base64'));`,
		`SELECT pg_catalog.lo_unlink(1);`, `SET LOCAL a = 1 + 1;`, `SET a = 'x';`, `SET LOCAL a = 'x'; DROP TABLE t;`, `DO $$x$$;`, `DO 'x' LANGUAGE plperl;`,
		`DROP TABLE t;`, `INSERT INTO pg_temp.scribe_piece VALUES (1, 0, 'x');`, `COMMIT;`, `\q`} {
		if err := Check([]byte(line)); err == nil {
			t.Errorf("%q is taken for a form of segments", line)
		}
	}
}

// FuzzStatement: whatever is read as any kind is written again byte for byte.
func FuzzStatement(f *testing.F) {
	for _, c := range otherForms {
		f.Add([]byte(c.line))
	}
	for _, line := range forms {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		got, err := again(line)
		if err == nil && string(got) != string(line)+"\n" {
			t.Fatalf("%q is written again as %q", line, got)
		}
		if (err == nil) != (Check(line) == nil) {
			t.Fatalf("%q: %v, but %v", line, err, Check(line))
		}
	})
}
