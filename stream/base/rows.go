package base

import (
	"bytes"
	"context"
	"io"
	"maps"
	"slices"

	"pg_scribe/repo/dump"
	"pg_scribe/stream/capture"
	"pg_scribe/stream/charset"
)

// repairedRows is a dump on its way into its file: rows with bytes that are no
// text are repaired as those of the stream are.
type repairedRows struct {
	io.Writer
	file     dump.Marker
	encoding *charset.Encoding // nil: any bytes are text
	table    *string           // whose rows are written
	found    map[string]bool   // tables with such rows
	held     []byte            // may be the beginning of a character
	out      []byte
}

// Write takes statements, and rows in pieces that may end within a character.
func (m *repairedRows) Write(p []byte) (int, error) {
	if m.encoding == nil || len(m.held) == 0 && m.encoding.Valid(p) {
		return m.Writer.Write(p)
	}
	b := append(m.held, p...)
	m.out = m.out[:0]
	for len(b) > 0 {
		n := m.encoding.ValidLen(b)
		m.out = append(m.out, b[:n]...)
		if b = b[n:]; len(b) < charset.LongestChar && !bytes.ContainsRune(b, '\n') {
			break
		}
		m.out = m.encoding.AppendMend(m.out, b[0])
		b = b[1:]
		if m.found == nil {
			m.found = map[string]bool{}
		}
		m.found[*m.table] = true
	}
	m.held = append(m.held[:0], b...)
	if _, err := m.Writer.Write(m.out); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Rows tells the file where rows begin and end. Nothing is held then.
func (m *repairedRows) Rows(begin bool) error { return m.file.Rows(begin) }

// markRepaired says in the stream, behind the base, that it has rows with bytes
// that are no text.
func (d *Dumper) markRepaired(ctx context.Context) error {
	for _, name := range slices.Sorted(maps.Keys(d.repaired.found)) {
		reason := d.repaired.encoding.Reason(name)
		if d.Options.Notice != nil {
			d.Options.Notice(reason)
		}
		if err := capture.EmitGap(ctx, d.Conn, reason); err != nil {
			return err
		}
	}
	return nil
}
