package segment

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	textHeader = "-- pg_scribe segment\n-- format: 2\n-- start: 0/10\n--\n"
	textStream = "SET client_encoding = 'UTF8';\n-- pg_scribe stream\n"
	textBegin  = "BEGIN; -- xid 1 commit 0/10 at 2026-11-21T01:57:58.268382Z\n"
	textCommit = "COMMIT; -- 0/18\n"
	textEnd    = "-- pg_scribe end\n"
	textObject = `-- pg_scribe object "table" "public.\"a b\" sha256 x" sha256 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff` + "\n"
)

// textDescribed is the line of an object with its description.
var textDescribed = string(AppendObject(nil, NewFingerprint("view", "public.v", []byte(`{"class": "view", "it's": "\u00e4 :x \\"}`))))

// testClock is a time that test texts bear.
var testClock = time.Date(2026, 11, 21, 1, 57, 58, 268382000, time.UTC)

// items reads to the end and returns a line for each item but the preamble.
func items(reader *Reader) (list []string, err error) {
	for {
		item, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return list, err
		}
		if item.Kind != Preamble {
			list = append(list, item.String())
		}
		if item.Kind == CopyBlock {
			rows, err := io.ReadAll(reader.CopyData())
			if err != nil {
				return list, err
			}
			list = append(list, string(rows))
		}
	}
}

// readText reads a text as a segment.
func readText(text string, open bool) ([]string, error) {
	reader, err := NewReader("file", strings.NewReader(text), open)
	if err != nil {
		return nil, err
	}
	return items(reader)
}

func TestReaderRefusesDamagedFraming(t *testing.T) {
	head := textHeader + textStream
	first := int64(strings.Count(head, "\n")) // the lines below count from here
	cases := []struct {
		name, body string
		line       int64
		want       string
	}{
		{"ends in a transaction", textBegin + "SELECT 1;\n", 2, "ends too early"},
		{"ends in a line", textBegin + "SELECT 1", 1, "ends too early"},
		{"ends in a COPY", textBegin + "COPY t (a) FROM stdin;\n1\n", 3, "ends too early"},
		{"ends in a row", textBegin + "COPY t (a) FROM stdin;\n1", 2, "ends too early"},
		{"ends in a ddl", textBegin + "-- pg_scribe ddl 2 X\nSELECT\n", 3, "ends too early"},
		{"statement outside", "SELECT 1;\n", 1, "outside of a transaction"},
		{"COPY outside", "COPY t (a) FROM stdin;\n", 1, "outside of a transaction"},
		{"BEGIN twice", textBegin + textBegin, 2, "within another"},
		{"COMMIT alone", textCommit, 1, "without a BEGIN"},
		{"COMMIT twice", textBegin + textCommit + textCommit, 3, "without a BEGIN"},
		{"end within", textBegin + textEnd, 2, `"end"`},
		{"reached within", textBegin + "-- pg_scribe reached 0/20\n", 2, `"reached"`},
		{"ddl outside", "-- pg_scribe ddl 1 X\nSELECT 1;\n", 1, `"ddl"`},
		{"mark outside", "-- pg_scribe mark \"x\"\n", 1, `"mark"`},
		{"origin outside", "-- pg_scribe origin 0/1 \"x\"\n", 1, `"origin"`},
		{"by outside", "-- pg_scribe by \"a\" \"\" \"\"\n", 1, `"by"`},
		{"by of two", textBegin + "-- pg_scribe by \"a\" \"b\"\n", 2, `malformed line "by"`},
		{"by of four", textBegin + "-- pg_scribe by \"a\" \"b\" \"c\" \"d\"\n", 2, `malformed line "by"`},
		{"by without quotes", textBegin + "-- pg_scribe by a b c\n", 2, `malformed line "by"`},
		{"by in other quotes", textBegin + "-- pg_scribe by `a` \"b\" \"c\"\n", 2, `malformed line "by"`},
		{"object outside", textObject, 1, `"object" stands where none may`},
		{"object of another sum", textBegin + strings.Replace(textObject, "sha256 0", "sha256 O", 1), 2, `malformed line "object"`},
		{"object of a short sum", textBegin + strings.Replace(textObject, "sha256 0", "sha256 ", 1), 2, `malformed line "object"`},
		{"object without a sum", textBegin + "-- pg_scribe object \"table\" \"t\"\n", 2, `it has no checksum`},
		{"object with one name", textBegin + "-- pg_scribe object \"table\" sha256 " + Gone + "\n", 2, `malformed line "object"`},
		{"object gone with a description", textBegin + "-- pg_scribe object \"table\" \"t\" sha256 " + Gone + " {}\n", 2, `its description has another checksum`},
		{"object with another description", textBegin + strings.Replace(textDescribed, "}", "} ", 1), 2, `its description has another checksum`},
		{"object with half a description", textBegin + strings.Replace(textDescribed, " {", " ", 1), 2, `its description has another checksum`},
		{"object with an empty description", textBegin + strings.Replace(textObject, "\n", " \n", 1), 2, `its description has another checksum`},
		{"object described in no JSON", textBegin + string(AppendObject(nil, NewFingerprint("table", "t", []byte("x")))), 2, `no JSON in ASCII`},
		{"object described in other than ASCII", textBegin + string(AppendObject(nil, NewFingerprint("table", "t", []byte("{ä}")))), 2, `no JSON in ASCII`},
		{"frame within", textBegin + frameLine, 2, `"frame"`},
		{"frame with more", "-- pg_scribe frame 7\n", 1, `malformed line "frame"`},
		{"unknown line within", textBegin + "-- pg_scribe +fancy\n", 2, `unknown line "-- pg_scribe +fancy"`},
		{"unknown line", "-- pg_scribe fancy\n", 1, `unknown line "-- pg_scribe fancy"`},
		{"statement over two lines", textBegin + "SELECT\n1;\n", 2, "does not end with its line"},
		{"empty line", textBegin + "\n", 2, "does not end with its line"},
		{"ddl too long", textBegin + "-- pg_scribe ddl 2 X\nSELECT 1;\nCOMMIT; -- 0/18\n", 4, "cut off"},
		{"ddl too short", textBegin + "-- pg_scribe ddl 1 X\nSELECT\n1;\n", 3, "does not end"},
		{"ddl without number", textBegin + "-- pg_scribe ddl X\n", 2, "malformed ddl"},
		{"ddl of none", textBegin + "-- pg_scribe ddl 0 X\n", 2, "malformed ddl"},
		{"ddl of too many", textBegin + "-- pg_scribe ddl 99999999999999999999 X\n", 2, "malformed ddl"},
		{"ddl with a bad tag", textBegin + "-- pg_scribe ddl 1 \"X\nSELECT 1;\n", 2, "malformed ddl"},
		{"COPY that reads a file", textBegin + "COPY t FROM '/etc/passwd';\n", 2, "malformed COPY"},
		{"malformed xid", "BEGIN; -- xid -1 commit 0/10 at 2026-11-21T01:57:58Z\n", 1, "malformed BEGIN"},
		{"malformed LSN", "BEGIN; -- xid 1 commit 010 at 2026-11-21T01:57:58Z\n", 1, "malformed BEGIN"},
		{"malformed time", "BEGIN; -- xid 1 commit 0/10 at now\n", 1, "malformed BEGIN"},
		{"half a BEGIN", "BEGIN; -- xid 1\n", 1, "malformed BEGIN"},
		{"malformed COMMIT", textBegin + "COMMIT; -- x\n", 2, "malformed COMMIT"},
		{"malformed reached", "-- pg_scribe reached x\n", 1, `malformed line "reached"`},
		{"malformed mark", textBegin + "-- pg_scribe mark x\n", 2, `malformed line "mark"`},
		{"before the start", strings.Replace(textBegin, "0/10", "0/F", 1), 1, "LSN 0/F follows"},
		{"transaction again", textBegin + textCommit + textBegin, 3, "LSN 0/10 follows what reaches up to 0/18"},
		{"behind what was reached", "-- pg_scribe reached 0/11\n" + textBegin, 2, "0/10 follows"},
		{"reached goes back", "-- pg_scribe reached 0/20\n-- pg_scribe reached 0/1F\n", 2, "goes back"},
		{"ends before it begins", textBegin + "COMMIT; -- 0/10\n", 2, "ends at 0/10"},
	}
	for _, c := range cases {
		for _, open := range []bool{false, true} {
			_, err := readText(head+c.body, open)
			var e *FormatError
			if !errors.As(err, &e) || e.Line != first+c.line || !strings.Contains(e.Reason, c.want) {
				t.Errorf("%s: error %v, want one of line %d with %q", c.name, err, first+c.line, c.want)
			}
		}
	}
}

// The lines of format 2 are read as what they were written from, and a line that
// a later version may add is passed over. A file of format 1 has none of them.
func TestLinesOfFormat2(t *testing.T) {
	by := Identity{User: "a \"b\"", Application: "x\n-- pg_scribe end", Client: ""}
	of := Fingerprint{Class: "table", Identity: `public."a b" sha256 x`, SHA256: strings.Repeat("00112233445566778899aabbccddeeff", 2)}
	body := string(AppendAuthor(AppendOrigin([]byte(textBegin), "up", 5), by)) + "-- pg_scribe + SHAPE of things to come\n"
	whole := NewFingerprint("view", "public.v", []byte(`{"class": "view", "it's": "\u00e4 :x \\"}`))
	body = string(AppendObject(AppendDDL(AppendObject([]byte(body), of), "X", "SELECT 1"), whole)) + textCommit + string(AppendFrame(nil)) +
		"-- pg_scribe + LATER\n"
	want := []string{"begin 1 0/10 2026-11-21T01:57:58.268382Z", `origin 0/5 "up"`, `by "a \"b\"" "x\n-- pg_scribe end" ""`,
		`object "table" "public.\"a b\" sha256 x" ` + of.SHA256,
		"ddl X: SELECT 1;", `object "view" "public.v" ` + whole.SHA256 + " " + whole.Description, "commit 0/18", "frame"}
	if got, err := readText(textHeader+textStream+body, true); err != nil || !slices.Equal(got, want) {
		t.Errorf("%v\n%s\nwant\n%s", err, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if textObject != string(AppendObject(nil, of)) {
		t.Errorf("an object is written %q", AppendObject(nil, of))
	}
	if got, ok, err := ReadObject([]byte(strings.TrimSuffix(textDescribed, "\n"))); got != whole || !ok || err != nil {
		t.Errorf("%+v %v %v", got, ok, err)
	}
	if _, ok, err := ReadObject([]byte("-- pg_scribe gap \"x\"")); ok || err != nil {
		t.Errorf("another line is an object: %v", err)
	}
	old := strings.Replace(textHeader, "format: 2", "format: 1", 1) + textStream
	for _, line := range []string{string(AppendAuthor(nil, by)), textObject, textDescribed, "-- pg_scribe + X\n"} {
		var e *FormatError
		text := textBegin + "-- pg_scribe ddl 1 X\nSELECT 1;\n" + line + textCommit
		if _, err := readText(old+text, true); !errors.As(err, &e) || !strings.Contains(e.Reason, "unknown line") || e.Line != 10 {
			t.Errorf("%q in format 1: %v", line, err)
		}
	}
	if _, err := readText(old+frameLine, true); err == nil {
		t.Error("a frame in format 1")
	}
}

// Rows are read as values, one after another, and what is not read of them is
// passed over.
func TestRowsOfABlock(t *testing.T) {
	body := textBegin + "COPY t (a, b) FROM stdin;\n1\tit\\ts\n\\055- pg_scribe x\t\\N\n\\.\n" + "COPY t (a) FROM stdin;\n1\n2\n\\.\n" +
		"COPY t (a) FROM stdin;\n\\x\n\\.\n" + textCommit
	r, err := NewReader("file", strings.NewReader(textHeader+textStream+body), true)
	if err != nil {
		t.Fatal(err)
	}
	next := func() { // up to the next block
		for item := (Item{}); item.Kind != CopyBlock; {
			if item, err = r.Next(); err != nil {
				t.Fatal(err)
			}
		}
	}
	read := func() string {
		row, err := r.Row(nil)
		if err != nil {
			return err.Error()
		}
		var list []string
		for _, v := range row {
			list = append(list, fmt.Sprintf("%d %s", v.Form, v.Decode(nil)))
		}
		return strings.Join(list, "|")
	}
	next()
	for _, want := range []string{"1 1|4 it\ts", "4 -- pg_scribe x|0 ", "EOF", "EOF"} {
		if got := read(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	next()
	if got := read(); got != "1 1" {
		t.Error(got)
	}
	next()
	if got, want := read(), "file, line 17: no row of a COPY block: malformed escape in column 1"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestReaderRefusesBrokenPreamble(t *testing.T) {
	for name, text := range map[string]string{
		"other statement": textHeader + "DROP TABLE t;\n" + textStream, "no stream": textHeader + "SET x = 1;\n" + textBegin,
		"two lines": textHeader + "SET x\n = 1;\n" + textStream, "ends": textHeader + "SET x = 1;\n",
	} {
		var e *FormatError
		if _, err := readText(text, true); !errors.As(err, &e) || e.Line == 0 {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestReaderOfOpenAndSealed(t *testing.T) {
	body := textHeader + textStream + textBegin + "SELECT 1;\n" + textCommit
	if list, err := readText(body, true); err != nil || len(list) != 3 {
		t.Errorf("open: %v, error %v", list, err)
	}
	if _, err := readText(body, false); err == nil {
		t.Error("a sealed segment without a trailer")
	}
	end, _ := sealed(body, Trailer{End: 0x18, Transactions: 1})
	if list, err := readText(body+end, false); err != nil || len(list) != 4 {
		t.Errorf("sealed: %v, error %v", list, err)
	}
	if _, err := readText(body+end, true); err == nil {
		t.Error("an open segment with a trailer")
	}
	for name, tr := range map[string]Trailer{"count": {End: 0x18, Transactions: 2}, "end": {End: 0x17, Transactions: 1}} {
		end, _ := sealed(body, tr)
		if _, err := readText(body+end, false); err == nil || !strings.Contains(err.Error(), "the trailer tells") {
			t.Errorf("trailer with another %s: error %v", name, err)
		}
	}
	reader, err := NewReader("file", strings.NewReader(body+end), false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := items(reader); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := reader.Next(); !errors.Is(err, io.EOF) {
			t.Errorf("behind the end: %v", err)
		}
	}
}

func FuzzSegmentReader(f *testing.F) {
	body := string(AppendGap(AppendRestorePoint(AppendOrigin(nil, "up", 5), "a\nb"), "x")) + textObject + textDescribed
	body = string(AppendDDL([]byte(body), "CREATE TABLE", "CREATE TABLE t (\n a int)"))
	body += "COPY t (a) FROM stdin;\n1\n\\N\n\\.\n" + forms[1] + "\n" + otherForms[0].line + "\n"
	text := textHeader + textStream + textBegin + body + textCommit
	end, _ := sealed(text, Trailer{End: 0x18, Transactions: 1})
	f.Add([]byte(text), true)
	f.Add([]byte(text+end), false)
	f.Add([]byte(textHeader+textStream+"-- pg_scribe reached 0/20 at 2026-11-21T01:57:58.268382Z\n"), true)
	f.Fuzz(func(t *testing.T, text []byte, open bool) {
		list, err := readText(string(text), open)
		var e *FormatError
		if err != nil && !errors.As(err, &e) {
			t.Fatalf("%v is no FormatError", err)
		}
		if err == nil && !open && (len(list) == 0 || !strings.HasPrefix(list[len(list)-1], "end ")) {
			t.Fatalf("read without an end: %q", list)
		}
	})
}
