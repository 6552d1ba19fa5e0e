package base

import (
	"bytes"
	"strings"
	"testing"

	"pg_scribe/stream/charset"
)

// What is no text is replaced byte by byte, everything else stays; what comes
// out is text.
func TestTextEncodings(t *testing.T) {
	for _, c := range []struct{ encoding, text, want string }{
		{"UTF8", "é … \U0001f680 \ufffd", "é … \U0001f680 \ufffd"},
		{"UTF8", "caf\xc3", "caf\uf7c3"},
		{"UTF8", "\xe2\x80", "\uf7e2\uf780"},
		{"UTF8", "a\xed\xa0\x80b", "a\uf7ed\uf7a0\uf780b"},
		{"UTF8", "\xc0\xaf\xf4\x90\x80\x80\xff", "\uf7c0\uf7af\uf7f4\uf790\uf780\uf780\uf7ff"},
		{"EUC_JP", "\xc6\xfc a\x8e\xb1\x8f\xa2\xaf", "\xc6\xfc a\x8e\xb1\x8f\xa2\xaf"},
		{"EUC_JP", "\xc6 \x8ea\x8f\xa2\x80\xa1\xff", repairedEUC("\xc6") + " " + repairedEUC("\x8e") + "a" + repairedEUC("\x8f\xa2\x80\xa1\xff")},
		{"EUC_TW", "\x8e\xa1\xa1\xa1\xb0\xa1\x8e\xa1", "\x8e\xa1\xa1\xa1\xb0\xa1" + repairedEUC("\x8e\xa1")},
		{"EUC_KR", "\x8e\xb1\xb0\xa1", repairedEUC("\x8e") + "\xb1\xb0" + repairedEUC("\xa1")},
		{"EUC_CN", "\xb0\xa1\xb0", "\xb0\xa1" + repairedEUC("\xb0")},
	} {
		e := charset.New(c.encoding)
		got := string(e.AppendMended(nil, []byte(c.text)))
		if got != c.want || !e.Valid([]byte(got)) || e.Valid([]byte(c.text)) != (c.text == c.want) {
			t.Errorf("%s %q: %q, want %q", c.encoding, c.text, got, c.want)
		}
		// However a dump comes in pieces, the same comes out.
		rows := strings.Repeat("x"+c.text+"\t"+c.text+"\n", 3)
		for size := 1; size < 20; size++ {
			var out bytes.Buffer
			table := "t"
			m := repairedRows{Writer: &out, encoding: e, table: &table}
			for rest := rows; rest != ""; {
				n := min(size, len(rest))
				if written, err := m.Write([]byte(rest[:n])); written != n || err != nil {
					t.Fatal(written, err)
				}
				rest = rest[n:]
			}
			if want := strings.Repeat("x"+c.want+"\t"+c.want+"\n", 3); out.String() != want || m.found["t"] != (c.text != c.want) {
				t.Errorf("%s in pieces of %d: %q, want %q", c.encoding, size, out.String(), want)
			}
		}
	}
	for _, name := range []string{"LATIN1", "WIN1252", "SQL_ASCII", "KOI8R"} {
		if charset.New(name) != nil {
			t.Errorf("%s: any bytes are text", name)
		}
	}
}

func repairedEUC(text string) string {
	var out []byte
	for _, b := range []byte(text) {
		out = append(out, 0xFD+b>>6&1, 0xA1+b&0x3F)
	}
	return string(out)
}

func TestWithoutServerOption(t *testing.T) {
	for statement, want := range map[string]string{
		`ALTER TABLE ONLY public.t ALTER COLUMN v SET (pg_attver=7);`:                               "",
		`ALTER FOREIGN TABLE ONLY public."a SET (pg_attver=1)" ALTER COLUMN v SET (pg_attver=123);`: "",
		`ALTER TABLE ONLY public.t ALTER COLUMN v SET (pg_attver=7, n_distinct=5);`:                 `ALTER TABLE ONLY public.t ALTER COLUMN v SET (n_distinct=5);`,
		`ALTER TABLE ONLY public.t ALTER COLUMN v SET (n_distinct=5, pg_attver=7);`:                 `ALTER TABLE ONLY public.t ALTER COLUMN v SET (n_distinct=5);`,
		`ALTER TABLE ONLY public.t ALTER COLUMN v SET (n_distinct=5);`:                              `ALTER TABLE ONLY public.t ALTER COLUMN v SET (n_distinct=5);`,
		`ALTER TABLE ONLY public."pg_attver=7" OWNER TO o;`:                                         `ALTER TABLE ONLY public."pg_attver=7" OWNER TO o;`,
		`CREATE VIEW v AS SELECT ' SET (pg_attver=7);';`:                                            `CREATE VIEW v AS SELECT ' SET (pg_attver=7);';`,
	} {
		if got := string(withoutServerOption([]byte(statement))); got != want {
			t.Errorf("%s: %q", statement, got)
		}
	}
}
