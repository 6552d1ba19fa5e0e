package segment

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"pg_scribe/catalog"
)

// A Frame is a stretch of a segment's text that begins and ends between two
// transactions, and what is in it, so that a reader can go to a transaction, and
// pass over what does not touch a table. Each but the first begins with the line
// that AppendFrame writes. One without a transaction is not in the index.
type Frame struct {
	Offset   int64       // of its first byte in the text
	Line     int64       // number of its first line
	LSN      catalog.LSN // of the commit record of its first transaction
	At       time.Time   // of that commit
	Commands bool        // it holds commands that may define something, or what they made
	All      bool        // so many tables that any may be among them
	Tables   []int       // in Trailer.Tables, ascending: those whose rows it changes
}

const frameLine = ownPrefix + "frame\n"

// AppendFrame begins a frame, between two transactions.
func AppendFrame(dst []byte) []byte { return append(dst, frameLine...) }

// Touches says whether a frame changes rows of a table, named as in Tables, or may
// change what the table is.
func (t *Trailer) Touches(f *Frame, table string) bool {
	if f.All || f.Commands {
		return true
	}
	for _, i := range f.Tables {
		if t.Tables[i].Table == table {
			return true
		}
	}
	return false
}

// value is the frame as a field of the trailer has it.
func (f *Frame) value() string {
	b := strconv.AppendInt(nil, f.Offset, 10)
	b = strconv.AppendInt(append(b, ' '), f.Line, 10)
	b = appendLSN(append(b, ' '), f.LSN)
	b = appendTime(append(b, ' '), f.At)
	if f.Commands {
		b = append(b, " ddl"...)
	}
	if f.All {
		return string(append(b, " *"...))
	}
	for i := 0; i < len(f.Tables); {
		n := 1
		for i+n < len(f.Tables) && f.Tables[i+n] == f.Tables[i]+n {
			n++
		}
		b = strconv.AppendInt(append(b, ' '), int64(f.Tables[i]), 10)
		if n > 1 {
			b = strconv.AppendInt(append(b, '-'), int64(f.Tables[i]+n-1), 10)
		}
		i += n
	}
	return string(b)
}

// parseFrame is the inverse of value, in a trailer of so many tables.
func parseFrame(value string, tables int) (f Frame, err error) {
	malformed := fmt.Errorf("%q is malformed", value)
	words := strings.Split(value, " ")
	if len(words) < 4 {
		return f, malformed
	}
	var errs [4]error
	f.Offset, errs[0] = strconv.ParseInt(words[0], 10, 64)
	f.Line, errs[1] = strconv.ParseInt(words[1], 10, 64)
	f.LSN, errs[2] = catalog.ParseLSN(words[2])
	f.At, errs[3] = parseTime(words[3])
	if slices.ContainsFunc(errs[:], func(err error) bool { return err != nil }) || f.Offset < 0 || f.Line < 1 {
		return f, malformed
	}
	words = words[4:]
	if len(words) > 0 && words[0] == "ddl" {
		f.Commands, words = true, words[1:]
	}
	if len(words) == 1 && words[0] == "*" {
		f.All = true
		return f, nil
	}
	next := 0
	for _, w := range words {
		from, to, several := strings.Cut(w, "-")
		first, err1 := strconv.Atoi(from)
		last, err2 := first, error(nil)
		if several {
			last, err2 = strconv.Atoi(to)
		}
		if err1 != nil || err2 != nil || first < next || last < first || last >= tables {
			return f, malformed
		}
		for i := first; i <= last; i++ {
			f.Tables = append(f.Tables, i)
		}
		next = last + 1
	}
	return f, nil
}

const (
	// frameBytes is how much text a frame has, about: little enough to be read for
	// one row, and enough to be compressed apart from the others.
	frameBytes = 1 << 20
	// frameCount bounds the index: the frames of a large segment grow with it.
	frameCount = 2048
	// frameTables is how many tables are told apart in a frame.
	frameTables = 256
)

// An Index collects the frames of a segment while its text is written, or read.
type Index struct {
	Bytes int64 // of text in a frame, about; 0: the usual

	ids    map[string]int32 // of tables, by name as it is written
	names  []string
	frames []openFrame
	size   int64  // text so far
	lines  int64  // ended so far
	rest   []byte // the begin of a line that has not ended
}

// openFrame is a frame whose tables have no places in the trailer yet.
type openFrame struct {
	Frame
	tables map[int32]bool
}

// IndexState is where Restore goes back to.
type IndexState struct {
	frames      int
	last        openFrame
	size, lines int64
}

// State is the index as it is, between two lines.
func (x *Index) State() IndexState {
	s := IndexState{frames: len(x.frames), size: x.size, lines: x.lines}
	if n := len(x.frames); n > 0 {
		s.last = x.frames[n-1]
		tables := make(map[int32]bool, len(s.last.tables))
		for id := range s.last.tables {
			tables[id] = true
		}
		s.last.tables = tables
	}
	return s
}

// Restore forgets what came since a state.
func (x *Index) Restore(s IndexState) {
	x.frames, x.size, x.lines, x.rest = x.frames[:s.frames], s.size, s.lines, nil
	if s.frames > 0 {
		x.frames[s.frames-1] = s.last
		x.frames[s.frames-1].tables = make(map[int32]bool, len(s.last.tables))
		for id := range s.last.tables {
			x.frames[s.frames-1].tables[id] = true
		}
	}
}

// Full says that a new frame is to begin with the next transaction.
func (x *Index) Full() bool {
	if len(x.frames) == 0 {
		return false
	}
	want := x.Bytes
	if want == 0 {
		want = frameBytes
	}
	return x.size-x.frames[len(x.frames)-1].Offset >= max(want, x.size/frameCount)
}

// Start begins the first frame behind what was written.
func (x *Index) Start() { x.Begin(x.size, x.lines+1) }

// Begin begins a frame that was read: at an offset of the text, in a line.
func (x *Index) Begin(offset, line int64) {
	x.frames = append(x.frames, openFrame{Frame: Frame{Offset: offset, Line: line}, tables: map[int32]bool{}})
}

// last is the frame that is being filled.
func (x *Index) last() *openFrame { return &x.frames[len(x.frames)-1] }

// Write takes text up that was written. It finds the beginnings of frames, their
// first transactions and their commands; what tables there are is told by Touch.
func (x *Index) Write(text []byte) (int, error) {
	n := len(text)
	if len(x.rest) > 0 {
		end := bytes.IndexByte(text, '\n') + 1
		if end == 0 {
			x.rest = append(x.rest, text...)
			return n, nil
		}
		line := append(x.rest, text[:end]...)
		x.rest = nil
		x.scan(line)
		text = text[end:]
	}
	end := bytes.LastIndexByte(text, '\n') + 1
	x.scan(text[:end])
	x.rest = append(x.rest, text[end:]...)
	return n, nil
}

// scan takes complete lines up.
func (x *Index) scan(text []byte) {
	for len(x.frames) > 0 && len(text) > 0 {
		at := lineWith(text, frameLine)
		if at < 0 {
			break
		}
		x.scanFrame(text[:at])
		x.Begin(x.size, x.lines+1)
		x.count(text[at : at+len(frameLine)])
		text = text[at+len(frameLine):]
	}
	x.scanFrame(text)
}

func (x *Index) scanFrame(text []byte) {
	if len(x.frames) > 0 {
		f := x.last()
		if f.LSN == 0 {
			if at := lineWith(text, beginPrefix); at >= 0 {
				line, _, _ := bytes.Cut(text[at+len(beginPrefix):], []byte{'\n'})
				if tx, err := parseBegin(string(line)); err == nil {
					x.Transaction(tx)
				}
			}
		}
		if !f.Commands && (defines(text) || lineWith(text, objectPrefix) >= 0) {
			f.Commands = true
		}
	}
	x.count(text)
}

func (x *Index) count(text []byte) {
	x.size += int64(len(text))
	x.lines += int64(bytes.Count(text, []byte{'\n'}))
}

// lineWith is where the first line begins that begins with a prefix, or -1.
func lineWith(text []byte, prefix string) int {
	if len(text) >= len(prefix) && string(text[:len(prefix)]) == prefix {
		return 0
	}
	if at := bytes.Index(text, []byte("\n"+prefix)); at >= 0 {
		return at + 1
	}
	return -1
}

// defines says whether text holds a command that may define something.
func defines(text []byte) bool {
	const line = ownPrefix + "ddl "
	for {
		at := lineWith(text, line)
		if at < 0 {
			return false
		}
		var head []byte
		head, text, _ = bytes.Cut(text[at+len(line):], []byte{'\n'})
		_, tag, _ := strings.Cut(string(head), " ")
		if tag, err := unplain(tag); err != nil || !ofState(tag) {
			return true
		}
	}
}

// Transaction takes up that one begins.
func (x *Index) Transaction(tx Tx) {
	if f := x.last(); f.LSN == 0 {
		f.LSN, f.At = tx.Commit, tx.At
	}
}

// Command takes up that the frame holds one that may define something, or what one made.
func (x *Index) Command() { x.last().Commands = true }

// Touch takes up that rows of a table change, whose name is as it is written.
func (x *Index) Touch(table []byte) {
	f := x.last()
	if f.All {
		return
	}
	id, known := x.ids[string(table)]
	if !known {
		if x.ids == nil {
			x.ids = map[string]int32{}
		}
		id = int32(len(x.names))
		x.names = append(x.names, string(table))
		x.ids[string(table)] = id
	}
	if f.tables[id] = true; len(f.tables) > frameTables {
		f.All, f.tables = true, nil
	}
}

// Frames is the index for a trailer with these tables.
func (x *Index) Frames(tables []catalog.TableCount) []Frame {
	place := make(map[string]int, len(tables))
	for i, c := range tables {
		place[c.Table] = i
	}
	var frames []Frame
	for _, o := range x.frames {
		if o.LSN == 0 {
			continue // no transaction
		}
		f := o.Frame
		for id := range o.tables {
			if i, known := place[x.names[id]]; known {
				f.Tables = append(f.Tables, i)
			} else {
				f.All = true
			}
		}
		if f.All {
			f.Tables = nil
		}
		slices.Sort(f.Tables)
		frames = append(frames, f)
	}
	return frames
}

// Check compares the index of a segment that was read with that of its trailer: it
// begins and ends where it says, and nothing is in a frame that it does not tell.
func (x *Index) Check(t *Trailer) error {
	found := x.Frames(t.Tables)
	if len(found) != len(t.Frames) {
		return fmt.Errorf("the index has %d frames, the text %d", len(t.Frames), len(found))
	}
	for i := range found {
		f, says := &found[i], &t.Frames[i]
		switch {
		case f.Offset != says.Offset, f.Line != says.Line, f.LSN != says.LSN, !f.At.Equal(says.At):
			return fmt.Errorf("frame %d of the index is at byte %d, line %d, LSN %s; the text has it at byte %d, line %d, LSN %s",
				i+1, says.Offset, says.Line, says.LSN, f.Offset, f.Line, f.LSN)
		case f.Commands && !says.Commands:
			return fmt.Errorf("frame %d has commands, of which the index does not tell", i+1)
		case says.All, says.Commands: // it touches all tables
			continue
		case f.All:
			return fmt.Errorf("frame %d changes rows of a table that the trailer does not have", i+1)
		}
		for _, table := range f.Tables {
			if _, there := slices.BinarySearch(says.Tables, table); !there {
				return fmt.Errorf("frame %d changes rows of %s, of which the index does not tell", i+1, t.Tables[table].Table)
			}
		}
	}
	return nil
}
