package restore

import (
	"context"
	_ "embed"
	"fmt"
	"math"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"pg_scribe/catalog"
	"pg_scribe/internal/simple"
	"pg_scribe/internal/sqltext"
	"pg_scribe/repo"
	"pg_scribe/repo/segment"
)

// Sequences are not in the stream: what the base, the commands and the
// samples of the stream say of one may lie behind the values that it had handed
// out by the moment of the restore. settleSequences moves it on. It is never
// moved back.
//
//   - If the last sample that was replayed saw everything, nothing is to be done.
//   - Else the first sample that did stands further on in the repository: its
//     values are at or ahead of those of the moment.
//   - Where there is no such sample, one that fills a column is moved behind the
//     column's values, and a margin is added to the last value known of others.

// settleSequences returns how many sequences were moved.
func (x *execution) settleSequences(ctx context.Context, conn *pgconn.PgConn) (int, error) {
	if x.sampled != 0 && x.changed <= x.sampled {
		return 0, nil
	}
	if _, err := simple.Query(ctx, conn, "SET search_path = ''"); err != nil {
		return 0, err
	}
	before, err := readSequences(ctx, conn)
	if err != nil {
		return 0, err
	}
	after := before
	later := &laterSample{}
	if x.changed != 0 {
		if later, err = x.p.findSample(ctx, x.changed); err != nil {
			return 0, err
		}
		for _, sql := range later.sql {
			if _, err := simple.Query(ctx, conn, sql); err != nil {
				return 0, err
			}
		}
		if after, err = readSequences(ctx, conn); err != nil {
			return 0, err
		}
	}
	filling, err := simple.Query(ctx, conn, listSequences)
	if err != nil {
		return 0, err
	}
	fills := map[string]bool{} // the column's values tell enough
	for _, row := range filling {
		fills[row[0]] = true
	}
	moved := 0
	for name, was := range before {
		is, there := after[name]
		if !there || was.cycle || x.changed == 0 {
			continue
		}
		want := is
		if is.behind(was) {
			want = was
		}
		if margin := was.ahead(); !fills[name] && (!later.found || later.unsettled || is.behind(was)) && want.behind(margin) {
			want = margin
		}
		if want != is {
			if _, err := simple.Query(ctx, conn, fmt.Sprintf("SELECT pg_catalog.setval(%s, %d, %t)", sqltext.Literal(name), want.last, want.called)); err != nil {
				return moved, fmt.Errorf("sequence %s: %w", name, err)
			}
		}
		if want != was {
			moved++
		}
	}
	n, err := syncSequences(ctx, conn, filling)
	return moved + n, err
}

// sequence is the state of one.
type sequence struct {
	last                    int64
	called                  bool
	step, least, most, hold int64 // hold is what a session takes at once
	cycle                   bool
}

// used is the last value that may have been handed out, as far as there is room
// before the first one.
func (s sequence) used() int64 {
	if s.called || s.step > 0 && s.last < math.MinInt64+s.step || s.step < 0 && s.last > math.MaxInt64+s.step {
		return s.last
	}
	return s.last - s.step
}

// behind tells that o has handed out more values.
func (s sequence) behind(o sequence) bool {
	if s.step > 0 {
		return s.used() < o.used()
	}
	return s.used() > o.used()
}

// A sequence writes to the WAL that it is 32 values further on than it is, and
// takes the cache's number of values at once.
const marginSteps = 32

// ahead is the sequence with a margin, but never more than half of what it has
// left.
func (s sequence) ahead() sequence {
	bound := s.most
	if s.step < 0 {
		bound = s.least
	}
	room := new(big.Int).Sub(big.NewInt(bound), big.NewInt(s.used()))
	steps := new(big.Int).Quo(room, big.NewInt(s.step))
	steps.Quo(steps, big.NewInt(2))
	if most := new(big.Int).Mul(big.NewInt(marginSteps), big.NewInt(max(s.hold, marginSteps))); steps.Cmp(most) > 0 {
		steps = most
	}
	if steps.Sign() <= 0 {
		return s
	}
	s.last, s.called = new(big.Int).Add(big.NewInt(s.used()), steps.Mul(steps, big.NewInt(s.step))).Int64(), true
	return s
}

// readSequences reads all sequences of the target.
func readSequences(ctx context.Context, conn *pgconn.PgConn) (map[string]sequence, error) {
	list, err := simple.Query(ctx, conn, `SELECT s.seqrelid::pg_catalog.regclass, s.seqincrement, s.seqmin, s.seqmax, s.seqcache, s.seqcycle
		FROM pg_catalog.pg_sequence s JOIN pg_catalog.pg_class c ON c.oid = s.seqrelid WHERE c.relpersistence <> 't' ORDER BY 1`)
	if err != nil {
		return nil, err
	}
	all := make(map[string]sequence, len(list))
	for part := range slices.Chunk(list, 500) {
		var sql []string
		for _, row := range part {
			sql = append(sql, "SELECT last_value, is_called FROM "+row[0])
		}
		values, err := simple.Query(ctx, conn, strings.Join(sql, " UNION ALL "))
		if err != nil {
			return nil, err
		}
		for i, row := range part {
			s := sequence{called: values[i][1] == "t", cycle: row[5] == "t"}
			for j, n := range []*int64{&s.step, &s.least, &s.most, &s.hold} {
				if *n, err = strconv.ParseInt(row[j+1], 10, 64); err != nil {
					return nil, err
				}
			}
			if s.last, err = strconv.ParseInt(values[i][0], 10, 64); err != nil {
				return nil, err
			}
			all[row[0]] = s
		}
	}
	return all, nil
}

// laterSample is what stands behind the moment of a restore, up to the first
// sample that saw everything before it.
type laterSample struct {
	found     bool
	sql       []string // that set sequences, in order
	unsettled bool     // commands there may have made, renamed or reset sequences
}

// laterSegments is how far a sample is looked for.
const laterSegments = 8

// resets tells commands that may concern sequences.
var resets = regexp.MustCompile(`(?i)sequence|identity|serial|rename|set\s+schema|drop`)

// findSample looks for a sample behind the last transaction that was replayed
// which saw everything up to moment. Files that cannot be read end the search.
func (p *Prepared) findSample(ctx context.Context, moment catalog.LSN) (*laterSample, error) {
	inv, err := p.repo.Catalog().Inventory(ctx)
	if err != nil {
		return nil, err
	}
	last := p.Plan.Segments[len(p.Plan.Segments)-1]
	var chain []catalog.Artifact
	for next := &last; next != nil && len(chain) < laterSegments; {
		chain = append(chain, *next)
		end := next.End
		i := slices.IndexFunc(inv.Artifacts, func(a catalog.Artifact) bool {
			return a.Kind == catalog.KindSegment && a.Start == end && a.End > end && a.Timeline == last.Timeline && a.SystemID == last.SystemID
		})
		if next = nil; i >= 0 {
			next = &inv.Artifacts[i]
		}
	}
	later := &laterSample{}
	for _, a := range chain {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if p.repo.Check(a) != nil || later.read(p.repo, a, p.Last.LSN, moment) != nil {
			return &laterSample{}, nil
		}
		if later.found {
			return later, nil
		}
	}
	return &laterSample{}, nil
}

// read reads one segment behind the transaction that commits at from.
func (l *laterSample) read(r *repo.Repository, a catalog.Artifact, from, moment catalog.LSN) error {
	reader, err := r.OpenSegment(a)
	if err != nil {
		return err
	}
	defer reader.Close()
	var tx txReader
	for {
		item, ok, err := tx.next(reader)
		if err != nil || !ok {
			return err
		}
		if tx.moment.LSN <= from || item.Kind == segment.Begin {
			continue
		}
		position, sampled := item.Sampled()
		switch {
		case item.Kind == segment.Commit && l.found:
			return nil
		case position >= moment && position != 0:
			l.found = true
		case item.Kind == segment.DDL && item.Tag == segment.TagSequence:
			l.sql = append(l.sql, string(item.SQL))
		case (item.Kind == segment.DDL || item.Kind == segment.TruncateTable) && !sampled:
			l.unsettled = l.unsettled || resets.Match(item.SQL)
		}
	}
}

// listSequences finds the sequences that fill a column of integers or
// numerics: by belonging to it, or as its default. One that cycles is used
// again from its start by design.
//
//go:embed sequences.sql
var listSequences string

// syncSequences moves sequences behind the values of the columns that they
// fill, and returns how many were moved.
func syncSequences(ctx context.Context, conn *pgconn.PgConn, list [][]string) (int, error) {
	moved := 0
	for _, row := range list {
		rows, err := simple.Query(ctx, conn, moveSequence(row))
		if err != nil {
			return moved, fmt.Errorf("sequence %s: %w", row[0], err)
		}
		moved += len(rows)
	}
	return moved, nil
}

// moveSequence is the statement that moves one, and returns a row if it does.
func moveSequence(row []string) string {
	sequence, table, column, least, most := row[0], row[1], row[2], row[4], row[5]
	// A value outside of the sequence's bounds cannot come from it.
	aggregate, beyond := "max", ">"
	if row[3] != "t" {
		aggregate, beyond = "min", "<"
	}
	return fmt.Sprintf(`SELECT pg_catalog.setval(%s, used.v, true)
		FROM (SELECT pg_catalog.%s(%s)::bigint AS v FROM %s WHERE %s BETWEEN %s AND %s) used, %s s
		WHERE used.v %s s.last_value OR used.v = s.last_value AND NOT s.is_called`,
		sqltext.Literal(sequence), aggregate, column, table, column, least, most, sequence, beyond)
}
