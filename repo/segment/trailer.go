package segment

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"pg_scribe/catalog"
)

// A Trailer closes every file, so that a file says by itself whether it is
// whole.
type Trailer struct {
	End          catalog.LSN
	Reached      time.Time // segments: source's clock for which End is complete
	Fence        catalog.LSN
	Finished     time.Time // pg_scribe's clock when the file was complete
	Transactions int64
	FirstCommit  time.Time // smallest and largest commit time
	LastCommit   time.Time
	MinXID       uint32
	MaxXID       uint32
	Tables       []catalog.TableCount
	Frames       []Frame // segments from format 2 on
	Rows         []Rows  // bases from format 2 on
	TextBytes    int64   // of everything before the trailer's last line
	TextSHA256   string  // of the same
}

// Rows is a long part of a COPY block that a reader may pass over. It ends with the
// block's rows.
type Rows struct {
	From int64 // offset in the text where one of the rows begins
	To   int64 // … of the line that ends the block
	Line int64 // number of that line
}

const (
	TrailerLine = ownPrefix + "end\n"
	sumKey      = "text" // of the trailer's last line
)

// Append writes the trailer without its last line.
func (t Trailer) Append(dst []byte) []byte {
	dst = append(dst, TrailerLine...)
	fields := []field{{"end", t.End.String()}, {"reached", optionalTime(t.Reached)}, {"finished", optionalTime(t.Finished)}}
	fields = append(fields, field{"fence", optionalLSN(t.Fence)},
		field{"transactions", strconv.FormatInt(t.Transactions, 10)},
		field{"first-commit", optionalTime(t.FirstCommit)},
		field{"last-commit", optionalTime(t.LastCommit)})
	if t.Transactions > 0 {
		fields = append(fields, field{"xids", fmt.Sprintf("%d %d", t.MinXID, t.MaxXID)})
	}
	for _, c := range t.Tables {
		fields = append(fields, field{"table", fmt.Sprintf("%d %d %d %d %s",
			c.Inserted, c.Updated, c.Deleted, c.Truncated, Quote(c.Table))})
	}
	for i := range t.Frames {
		fields = append(fields, field{"frame", t.Frames[i].value()})
	}
	for _, r := range t.Rows {
		fields = append(fields, field{"rows", fmt.Sprintf("%d %d %d", r.From, r.To, r.Line)})
	}
	return appendFields(dst, fields)
}

// AppendSum writes the trailer's last line.
func (t Trailer) AppendSum(dst []byte) []byte {
	return appendFields(dst, []field{{sumKey, fmt.Sprintf("%d sha256 %s", t.TextBytes, t.TextSHA256)}})
}

// set takes one line of a trailer.
func (t *Trailer) set(f field) error {
	var err error
	switch f.key {
	case "end":
		t.End, err = catalog.ParseLSN(f.value)
	case "reached":
		t.Reached, err = parseTime(f.value)
	case "finished":
		t.Finished, err = parseTime(f.value)
	case "fence":
		t.Fence, err = catalog.ParseLSN(f.value)
	case "transactions":
		t.Transactions, err = strconv.ParseInt(f.value, 10, 64)
	case "first-commit":
		t.FirstCommit, err = parseTime(f.value)
	case "last-commit":
		t.LastCommit, err = parseTime(f.value)
	case "xids":
		_, err = fmt.Sscanf(f.value, "%d %d", &t.MinXID, &t.MaxXID)
	case "table":
		var c catalog.TableCount
		parts := strings.SplitN(f.value, " ", 5)
		if len(parts) != 5 {
			return fmt.Errorf("trailer line %q is malformed", f.key)
		}
		if _, err = fmt.Sscanf(strings.Join(parts[:4], " "), "%d %d %d %d",
			&c.Inserted, &c.Updated, &c.Deleted, &c.Truncated); err == nil {
			c.Table, err = Unquote(parts[4])
		}
		t.Tables = append(t.Tables, c)
	case "frame":
		var one Frame
		one, err = parseFrame(f.value, len(t.Tables))
		t.Frames = append(t.Frames, one)
	case "rows":
		var r Rows
		_, err = fmt.Sscanf(f.value, "%d %d %d", &r.From, &r.To, &r.Line)
		t.Rows = append(t.Rows, r)
	case sumKey:
		_, err = fmt.Sscanf(f.value, "%d sha256 %s", &t.TextBytes, &t.TextSHA256)
	}
	if err != nil {
		return fmt.Errorf("trailer line %q: %w", f.key, err)
	}
	return nil
}
