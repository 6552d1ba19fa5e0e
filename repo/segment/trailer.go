package segment

import (
	"errors"
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

// fields says what reads the value of each line of a trailer.
func (t *Trailer) fields() fields {
	return fields{
		"end": into(&t.End, catalog.ParseLSN), "fence": into(&t.Fence, catalog.ParseLSN), "reached": into(&t.Reached, parseTime),
		"finished": into(&t.Finished, parseTime), "first-commit": into(&t.FirstCommit, parseTime), "last-commit": into(&t.LastCommit, parseTime),
		"transactions": into(&t.Transactions, func(value string) (int64, error) { return strconv.ParseInt(value, 10, 64) }),
		"xids": func(value string) error {
			_, err := fmt.Sscanf(value, "%d %d", &t.MinXID, &t.MaxXID)
			return err
		},
		"table": func(value string) error {
			c, err := parseCount(value)
			t.Tables = append(t.Tables, c)
			return err
		},
		"frame": func(value string) error {
			one, err := parseFrame(value, len(t.Tables))
			t.Frames = append(t.Frames, one)
			return err
		},
		"rows": func(value string) error {
			var r Rows
			_, err := fmt.Sscanf(value, "%d %d %d", &r.From, &r.To, &r.Line)
			t.Rows = append(t.Rows, r)
			return err
		},
		sumKey: func(value string) error {
			_, err := fmt.Sscanf(value, "%d sha256 %s", &t.TextBytes, &t.TextSHA256)
			return err
		},
	}
}

func parseCount(value string) (c catalog.TableCount, err error) {
	parts := strings.SplitN(value, " ", 5)
	if len(parts) != 5 {
		return c, errors.New("it is malformed")
	}
	if _, err = fmt.Sscanf(strings.Join(parts[:4], " "), "%d %d %d %d", &c.Inserted, &c.Updated, &c.Deleted, &c.Truncated); err == nil {
		c.Table, err = Unquote(parts[4])
	}
	return c, err
}
