package segment

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"reflect"
	"strings"
	"testing"
	"time"

	"pg_scribe/catalog"
)

// writeFramed writes a segment's text in frames, and its index as a writer makes it:
// text comes in pieces of any size, and tables are told at the end of transactions.
func writeFramed(t *testing.T, r *rand.Rand, x *Index) (text string, tables []catalog.TableCount) {
	t.Helper()
	counts := Stats{}
	write := func(b []byte) {
		text += string(b)
		for len(b) > 0 {
			n := 1 + r.Intn(len(b))
			if r.Intn(3) > 0 {
				n = len(b)
			}
			x.Write(b[:n])
			b = b[n:]
		}
	}
	write([]byte(textHeader + textStream))
	x.Start()
	lsn := catalog.LSN(0x10)
	for n := range 80 {
		if x.Full() {
			write(AppendFrame(nil))
		}
		if r.Intn(5) == 0 {
			write(AppendReached(nil, lsn, testClock))
		}
		b := AppendBegin(nil, uint32(n), lsn, testClock)
		for range r.Intn(4) {
			name := fmt.Sprintf(`"t%d"`, r.Intn(1+n/8))
			one := catalog.TableCount{Table: name}
			switch r.Intn(4) {
			case 0:
				b = AppendChange(b, &Change{Op: Delete, Only: true, Table: []byte(name), Key: []Match{{Column: []byte(`"a"`), How: IsNull}}})
				one.Deleted = 1
			case 1:
				b = AppendCopy(b, &Copy{Table: []byte(name), Columns: [][]byte{[]byte(`"a"`)}})
				b = AppendCopyEnd(AppendRow(b, []Value{{Text, []byte("COMMIT; -- x")}}))
				one.Inserted = 1
			case 2:
				b = AppendTruncate(b, &Truncate{Tables: [][]byte{[]byte(name)}})
				one.Truncated = 1
			default:
				b = append(b, `INSERT INTO `+name+` ("a") OVERRIDING SYSTEM VALUE VALUES ('-- pg_scribe ddl 1 X');`+"\n"...)
				one.Inserted = 1
			}
			counts.Add(Stats{Tables: map[string]catalog.TableCount{name: one}})
			x.Touch([]byte(name))
		}
		if r.Intn(20) == 0 {
			b = AppendDDL(b, "X", "SELECT 'a\nb'")
		}
		if r.Intn(5) == 0 {
			b = AppendDDL(b, []string{TagSample, TagSequence, TagLargeObject + " 7"}[r.Intn(3)], "DO 'x'")
		}
		if r.Intn(20) == 0 {
			b = append(b, textDescribed...)
		}
		lsn += 16
		write(AppendCommit(b, lsn))
	}
	return text, counts.Counts()
}

// What a writer notes is what a reader finds, and a state is gone back to.
func TestIndexOfWriterAndReader(t *testing.T) {
	for seed := range int64(200) {
		r := rand.New(rand.NewSource(seed))
		w := Index{Bytes: int64(1 + r.Intn(2000))}
		text, tables := writeFramed(t, r, &w)
		want := w.Frames(tables)
		state := w.State()
		w.Write([]byte(textBegin + frameLine + textBegin + "-- pg_scribe ddl"))
		w.Touch([]byte("x"))
		w.Restore(state)
		if got := w.Frames(tables); !reflect.DeepEqual(got, want) {
			t.Fatalf("%d: after Restore\n%v\nwas\n%v", seed, got, want)
		}
		reader, err := NewReader("file", strings.NewReader(text), true)
		if err != nil {
			t.Fatal(err)
		}
		var read Index
		reader.Collect(&read)
		for err == nil {
			_, err = reader.Next()
		}
		if !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		if got := read.Frames(tables); !reflect.DeepEqual(got, want) || len(got) < 2 {
			t.Fatalf("%d: the reader finds\n%v\nwritten\n%v", seed, got, want)
		}
		for _, f := range want {
			line := text[f.Offset:]
			if strings.Count(text[:f.Offset], "\n")+1 != int(f.Line) || f.Offset != want[0].Offset && !strings.HasPrefix(line, frameLine) {
				t.Fatalf("%d: frame at byte %d, line %d: %.60q", seed, f.Offset, f.Line, line)
			}
		}
	}
}

func TestTooManyTablesAreAll(t *testing.T) {
	var x Index
	x.Start()
	x.Transaction(Tx{1, 16, testClock})
	var tables []catalog.TableCount
	for n := range frameTables + 1 {
		if f := x.Frames(tables); f[0].All {
			t.Fatalf("%d tables are too many", n)
		}
		name := fmt.Sprintf("t%04d", n)
		tables = append(tables, catalog.TableCount{Table: name})
		x.Touch([]byte(name))
	}
	trailer := Trailer{Tables: tables, Frames: x.Frames(tables)}
	if f := &trailer.Frames[0]; !f.All || f.Tables != nil || !trailer.Touches(f, "t9999") {
		t.Errorf("%+v", f)
	}
}

// FuzzFrame: whatever is read as a frame of the index is written again as one that
// says the same.
func FuzzFrame(f *testing.F) {
	for _, s := range []string{"1 2 0/10 2026-11-21T01:57:58.268382Z", "1 2 0/10 2026-11-21T01:57:58.268382Z ddl 0-3 5 7",
		"1 2 0/10 2026-11-21T01:57:58.268382Z ddl *", "1 2 0/10 2026-11-21T01:57:58.268382Z 9-8"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		one, err := parseFrame(s, 100)
		if err != nil || one.At.Year() < 1 {
			return // no time that is written as it is
		}
		again, err := parseFrame(one.value(), 100)
		if err != nil || !again.At.Equal(one.At.Truncate(1000)) {
			t.Fatalf("%q is written %q: %v", s, one.value(), err)
		}
		if again.At = one.At; !reflect.DeepEqual(again, one) {
			t.Fatalf("%q is written %q", s, one.value())
		}
		if bytes.ContainsAny([]byte(one.value()), "\n\r") {
			t.Fatal("more than a line")
		}
	})
}

// What a sample says of values defines nothing: a frame with such commands alone is
// not one with commands, whoever makes the index.
func TestFramesThatDefine(t *testing.T) {
	for tag, want := range map[string]bool{TagSample: false, TagSequence: false, TagLargeObject: false, TagLargeObject + " 4711": false,
		"CREATE TABLE": true, TagDatabase: true, TagOwner: true, TagRole + ` "x"`: true, "ROLE \"a\nb\"": true} {
		text := AppendDDL(AppendBegin(nil, 1, 0x100, time.Unix(0, 0)), TagSample, "DO ''")
		text = AppendCommit(AppendDDL(text, tag, "DO 'x'"), 0x110)
		var x Index
		x.Start()
		x.Write(text)
		if frames := x.Frames(nil); len(frames) != 1 || frames[0].Commands != want {
			t.Errorf("%s: %+v", tag, frames)
		}
		if got := (Item{Kind: DDL, Tag: tag}).Defines(); got != want {
			t.Errorf("%s defines: %v", tag, got)
		}
	}
}
