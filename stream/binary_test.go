package stream

import (
	"context"
	"strings"
	"testing"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/stream/source"
)

// What comes in binary form is written as what comes as text, but for large
// values, which are put together from pieces.
func TestBinaryFormIsWrittenAlike(t *testing.T) {
	s := newSource(t, `CREATE TYPE mood AS ENUM ('so', 'la la'); CREATE DOMAIN dom AS bytea; CREATE TYPE pair AS (a int, b text);
	  CREATE TABLE v (id int PRIMARY KEY, b bytea, e mood, d dom, p pair, f float8, f4 float4, ts timestamptz, dt date, j json, jb jsonb, a text[],
	    n numeric, m money, r regclass, c "char", i interval, bp char(5), vc varchar(9), nm name, u uuid, inet inet, ra int4range, x xml, bits bit varying,
	    ok bool, oid oid, lsn pg_lsn, box box, ts2 tsvector);
	  CREATE TABLE f (b bytea, e mood); ALTER TABLE f REPLICA IDENTITY FULL`)
	s.exec("SELECT pg_copy_logical_replication_slot('" + s.slot + "', '" + s.slot + "_b')")
	s.exec(`INSERT INTO v SELECT 1, '\x00ff5c27', 'la la', '\x', '(1,"x, ""y")', 0.1 + 0.2::float8, 1.1754944e-38, '2026-02-01 03:04:05.678901+00',
	    '0044-03-15 BC', '{"a" : 1.0, "a":2}', '{"b": [1.50, null]}', '{"x,\"y",NULL,"NULL"}', 'NaN', 12.34, 'v', '\341', '1 mon -2 days 00:00:01.5',
	    'ab', 'it''s \', 'nm',
	    gen_random_uuid(), '10.0.0.0/8',
	    '[1,5)',
	    '<a/>b', B'10110', true, 4294967295, 'FF/1', '((1,2),(3,4))', '''a'':1A ''it''''s'':2';
	  INSERT INTO v (id) VALUES (2), (3)`)
	s.exec(`UPDATE v SET id = 4, b = '\x41' WHERE id = 2; UPDATE v SET n = 1.50 WHERE id = 1; DELETE FROM v WHERE id = 3;
	  INSERT INTO f VALUES ('\x41', 'so'); UPDATE f SET e = 'la la'; DELETE FROM f`)
	end := s.lsn()
	write := func(slot string, binaryUntil catalog.LSN) string {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		var out strings.Builder
		st := &streamer{binaryUntil: binaryUntil, opts: RunOptions{ConnString: s.conn(), Slot: slot, Publication: DefaultPublication,
			StatusInterval: 100 * time.Millisecond, Endpos: end, Text: &out, Report: func(Progress) {}, Notice: func(text string) { t.Log(text) }}}
		if _, err := st.session(ctx); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	text, binary := write(s.slot, 0), write(s.slot+"_b", end)
	if text != binary || !strings.Contains(text, "'la la'") || !strings.Contains(text, "DELETE FROM ONLY") {
		t.Errorf("as text:\n%s\nin binary form:\n%s", text, binary)
	}
	s.exec(`INSERT INTO v (id, b, d) SELECT 9, convert_to(repeat('x', 70000000), 'UTF8'), '\x42'`)
	end = s.lsn()
	for what, want := range map[string]int{"CREATE TEMPORARY TABLE pg_temp.scribe_piece": 1, "INSERT INTO pg_temp.scribe_piece VALUES (1, ": 3,
		"'9', (SELECT pg_catalog.string_agg(piece, '' ORDER BY n) FROM pg_temp.scribe_piece WHERE value = 1), NULL, '\\x42'": 1,
		"DROP TABLE pg_temp.scribe_piece": 1} {
		if binary == "" || !strings.Contains(binary, "scribe_piece") {
			binary = write(s.slot+"_b", end)
		}
		if got := strings.Count(binary, what); got != want {
			t.Errorf("%q stands there %d times, want %d", what, got, want)
		}
	}
}

// The form changes for one transaction.
func TestChangeForm(t *testing.T) {
	s := &streamer{opts: RunOptions{Notice: func(string) {}, Endpos: 200}}
	ctx := context.Background()
	large := &source.LargeValueError{Commit: 100}
	if !s.changeForm(ctx, large) || s.binaryUntil != 100 {
		t.Errorf("binary until %s", s.binaryUntil)
	}
	if s.changeForm(ctx, large) {
		t.Error("what cannot be sent in binary form either is tried again")
	}
	if !s.changeForm(ctx, nil) || s.binaryUntil != 0 || s.changeForm(ctx, nil) || s.changeForm(ctx, &source.LargeValueError{}) {
		t.Errorf("binary until %s", s.binaryUntil)
	}
}
