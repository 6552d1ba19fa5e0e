package segment

import (
	"fmt"
	"math/rand"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"testing/quick"

	"pg_scribe/repo/segment/segmenttest"
)

// The decoder here reads as PostgreSQL does, written from its documentation
// and apart from the writer.

// readCopyRow splits a line of COPY's text format into its columns; nil is
// null.
func readCopyRow(line string) ([]any, error) {
	var row []any
	for field := range strings.SplitSeq(line, "\t") {
		if field == `\N` {
			row = append(row, nil)
			continue
		}
		var b strings.Builder
		for i := 0; i < len(field); i++ {
			if field[i] != '\\' {
				b.WriteByte(field[i])
				continue
			}
			i++
			if i == len(field) {
				return nil, fmt.Errorf("ends within an escape")
			}
			if c := strings.IndexByte("btnvfr", field[i]); c >= 0 {
				b.WriteByte("\b\t\n\v\f\r"[c])
			} else if field[i] >= '0' && field[i] <= '7' {
				end := i + 1
				for end < len(field) && end < i+3 && field[end] >= '0' && field[end] <= '7' {
					end++
				}
				n, _ := strconv.ParseUint(field[i:end], 8, 32)
				b.WriteByte(byte(n))
				i = end - 1
			} else {
				b.WriteByte(field[i])
			}
		}
		row = append(row, b.String())
	}
	return row, nil
}

func oneLine(s string) bool { return !strings.ContainsAny(s, "\n\r") }

// copyRow renders a row as stream does.
func copyRow(dst []byte, row []any) []byte {
	var values []Value
	for _, v := range row {
		if v == nil {
			values = append(values, Value{})
		} else {
			values = append(values, Value{Text, []byte(v.(string))})
		}
	}
	return AppendRow(dst, values)
}

func checkCopyRow(row []any) error {
	const before = "row before\n"
	text := string(copyRow([]byte(before), row))
	line, found := strings.CutPrefix(text, before)
	line, ended := strings.CutSuffix(line, "\n")
	got, err := readCopyRow(line)
	switch {
	case !found || !ended || !oneLine(line):
		return fmt.Errorf("row %q is not one line: %q", row, text)
	case err != nil || !reflect.DeepEqual(got, row):
		return fmt.Errorf("row %q is written %q and read %q, error %v", row, line, got, err)
	case line == `\.` || isOwn([]byte(line)):
		return fmt.Errorf("row %q is written as a line that means something: %q", row, line)
	}
	return checkRowLine(line, row)
}

// checkRowLine: a line that is read is written again, byte for byte, also from
// the values themselves. row, if there is one, is what it holds.
func checkRowLine(line string, row []any) error {
	values, err := ParseRow([]byte(line), nil)
	if err != nil {
		return fmt.Errorf("%q: %w", line, err)
	}
	if again := string(AppendRow(nil, values)); again != line+"\n" {
		return fmt.Errorf("%q is written again as %q", line, again)
	}
	var read []any
	for i, v := range values {
		if v.Form == Null {
			read = append(read, nil)
			continue
		}
		plain := string(v.Decode(nil))
		read, values[i] = append(read, plain), Value{Text, []byte(plain)}
	}
	if row != nil && !reflect.DeepEqual(read, row) {
		return fmt.Errorf("row %q comes back as %q", row, read)
	}
	if again := string(AppendRow(nil, values)); again != line+"\n" {
		return fmt.Errorf("%q with its values decoded is %q", line, again)
	}
	return nil
}

func TestRowsOfOtherFormsAreRefused(t *testing.T) {
	for _, line := range []string{`\.`, `\`, `a\`, `\a`, `\x41`, `a\N`, `\Nb`, "\\\t", "a\rb", "a\bb", `\055`, `\055x`, `\101- pg_scribe x`, `x	\055- pg_scribe x`,
		"-- pg_scribe end", "BEGIN; -- xid 1", "COMMIT; -- 0/1", `\05`, `\55- pg_scribe x`, `\055- pg_scribe`, `\055- pg_scribe \x`} {
		if row, err := ParseRow([]byte(line), nil); err == nil {
			t.Errorf("%q is read as %q", line, row)
		}
	}
}

// FuzzParseRow: whatever is read as a row is written again byte for byte.
func FuzzParseRow(f *testing.F) {
	for _, v := range segmenttest.Hostile {
		f.Add(v)
		f.Add(strings.TrimSuffix(string(copyRow(nil, []any{v, nil, v})), "\n"))
	}
	f.Fuzz(func(t *testing.T, line string) {
		if _, err := ParseRow([]byte(line), nil); err != nil || strings.Contains(line, "\n") {
			return
		}
		if err := checkRowLine(line, nil); err != nil {
			t.Fatal(err)
		}
	})
}

func TestCopyRowsOfHostileText(t *testing.T) {
	for _, v := range segmenttest.Hostile {
		for _, err := range []error{checkCopyRow([]any{v}), checkCopyRow([]any{v, nil, v}), checkCopyRow([]any{nil, v})} {
			if err != nil {
				t.Error(err)
			}
		}
	}
}

func TestCopyRowsQuick(t *testing.T) {
	// Bytes that mean something come far more often than chance has them.
	alphabet := []byte("'\\\n\r\t\b\f\v\"$;-: aN.0\x00\x1f\x7f\x80\xff/*EU&BCG")
	random := rand.New(rand.NewSource(1))
	text := func() string {
		b := make([]byte, random.Intn(40))
		for i := range b {
			b[i] = alphabet[random.Intn(len(alphabet))]
		}
		return string(b)
	}
	for range 50_000 {
		a, b := text(), text()
		for _, err := range []error{checkCopyRow([]any{a, b, nil})} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	same := func(b []byte) bool {
		return checkCopyRow([]any{string(b)}) == nil
	}
	if err := quick.Check(same, nil); err != nil {
		t.Error(err)
	}
}

func FuzzCopyRows(f *testing.F) {
	for _, v := range segmenttest.Hostile {
		f.Add([]byte(v), []byte("x"))
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		for _, err := range []error{checkCopyRow([]any{string(a), nil, string(b)})} {
			if err != nil {
				t.Error(err)
			}
		}
	})
}

func TestCopyRowsLookAsExpected(t *testing.T) {
	cases := []struct{ got, want string }{
		{string(copyRow(nil, []any{"1", nil, "a\tb"})), "1\t\\N\ta\\tb\n"},
		{string(copyRow(nil, []any{"-- pg_scribe end"})), "\\055- pg_scribe end\n"},
		{string(copyRow(nil, []any{"BEGIN; -- xid 1", "x"})), "\\102EGIN; -- xid 1\tx\n"},
		{string(copyRow(nil, []any{"COMMIT; -- 0/1"})), "\\103OMMIT; -- 0/1\n"},
		{string(copyRow(nil, []any{"COMMIT; --0/1"})), "COMMIT; --0/1\n"},
		{string(copyRow(nil, []any{""})), "\n"},
	}
	for _, c := range cases {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}

func TestFraming(t *testing.T) {
	cases := []struct{ got, want string }{
		{string(AppendBegin(nil, 743, 0x3829A018, testClock)), "BEGIN; -- xid 743 commit 0/3829A018 at 2026-11-21T01:57:58.268382Z\n"},
		{string(AppendCommit(nil, 0x1_3829A048)), "COMMIT; -- 1/3829A048\n"},
		{string(AppendOrigin(nil, "up\nstream", 5)), `-- pg_scribe origin 0/5 "up\nstream"` + "\n"},
		{string(AppendRestorePoint(nil, `before "it"`)), `-- pg_scribe mark "before \"it\""` + "\n"},
		{string(AppendGap(nil, "no\r\nprivilege")), `-- pg_scribe gap "no\r\nprivilege"` + "\n"},
		{string(AppendCopy(nil, &Copy{[]byte(`"s"."t"`), [][]byte{[]byte(`"a"`), []byte(`"b"`)}})), `COPY "s"."t" ("a", "b") FROM stdin;` + "\n"},
		{string(AppendCopyEnd(nil)), "\\.\n"},
	}
	for _, c := range cases {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}
