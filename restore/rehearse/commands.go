package rehearse

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/internal/sqltext"
	"pg_scribe/repo"
	"pg_scribe/repo/segment"
	"pg_scribe/restore"
)

// defines says whether anything that is stored at or behind a position may define
// something, up to the end of the plan. It reads no more than it has to.
func (x *run) defines(ctx context.Context, from catalog.LSN) (bool, error) {
	for _, a := range x.p.Plan.Segments {
		if a.End <= from {
			continue
		}
		found, err := x.segmentDefines(ctx, a, from)
		if found || err != nil {
			return found, err
		}
	}
	return false, nil
}

func (x *run) segmentDefines(ctx context.Context, a catalog.Artifact, from catalog.LSN) (bool, error) {
	part, err := x.repo.OpenPart(ctx, a, repo.Wanted{Definitions: true, From: from})
	if err != nil {
		return false, err
	}
	defer part.Close()
	for {
		item, err := part.Next()
		switch {
		case errors.Is(err, io.EOF):
			return false, nil
		case err != nil:
			return false, err
		case item.Tx.Commit >= from && (item.Kind == segment.DDL && item.Defines() || item.Kind == segment.Object):
			return item.Tx.Commit < x.p.Plan.Until, nil
		}
	}
}

// committed is when a transaction was; zero: it is not known.
func (x *run) committed(ctx context.Context, lsn catalog.LSN) time.Time {
	for _, a := range x.p.Plan.Segments {
		if lsn == 0 || lsn < a.Start || lsn >= a.End {
			continue
		}
		part, err := x.repo.OpenPart(ctx, a, repo.Wanted{From: lsn, To: lsn + 1})
		if err != nil {
			return time.Time{}
		}
		defer part.Close()
		for {
			item, err := part.Next()
			if err != nil || item.Tx.Commit > lsn {
				return time.Time{}
			}
			if item.Tx.Commit == lsn {
				return item.Tx.At
			}
		}
	}
	return time.Time{}
}

// command is one of the source that a segment holds.
type command struct {
	tag    string
	at     time.Time // of its transaction's commit
	object string    // that it names; empty: it names none
}

// commandAt finds the command that an error is about; ok is false if it is about
// none of a segment.
func (x *run) commandAt(ctx context.Context, e *restore.StatementError) (c command, ok bool) {
	for _, a := range x.p.Plan.Segments {
		if a.Name != e.File || e.LSN == 0 {
			continue
		}
		part, err := x.repo.OpenPart(ctx, a, repo.Wanted{From: e.LSN, To: e.LSN + 1})
		if err != nil {
			return c, false
		}
		defer part.Close()
		for {
			item, err := part.Next()
			switch {
			case err != nil, item.Line > e.Line && item.Kind == segment.Commit:
				return c, false
			case item.Line >= e.Line && item.Kind == segment.DDL: // settings stand before it
				return command{tag: item.Tag, at: item.Tx.At, object: objectOf(item.Tag, string(item.SQL))}, true
			}
		}
	}
	return c, false
}

// tagOf is the begin of a statement that pg_dump wrote, which is its tag or most of it.
func tagOf(sql string) string {
	var words []string
	for _, t := range sqltext.Tokens(sql, true) {
		if len(words) == 2 || !startsName(t) || t.Text != strings.ToUpper(t.Text) {
			break
		}
		words = append(words, t.Text)
	}
	return strings.Join(words, " ")
}

// beforeName are words that may stand between a command's tag and the name of its
// object.
var beforeName = []string{"if", "not", "exists", "concurrently", "only", "on"}

// objectOf is the object that a command names first, or, behind ON, last.
func objectOf(tag, sql string) string {
	t := sqltext.Tokens(sql, true)
	words := strings.Fields(strings.TrimSuffix(tag, " AS"))
	at := -1
	switch {
	case len(words) == 0:
		return ""
	case slices.Contains([]string{"GRANT", "REVOKE", "COMMENT", "SECURITY"}, words[0]):
		if at = slices.IndexFunc(t, func(t sqltext.Token) bool { return t.Is("on") }); at < 0 {
			return ""
		}
		for at++; at+1 < len(t) && startsName(t[at+1]); at++ { // ON TABLE t, ON ALL TABLES IN SCHEMA s
		}
	case slices.Contains([]string{"CREATE", "ALTER", "DROP"}, words[0]) && len(words) > 1 && words[1] != "DEFAULT":
		if at = slices.IndexFunc(t, func(t sqltext.Token) bool { return t.Is(words[len(words)-1]) }); at < 0 {
			return ""
		}
		for at++; at < len(t) && slices.ContainsFunc(beforeName, t[at].Is); at++ {
		}
	default:
		return ""
	}
	if at >= len(t) {
		return ""
	}
	parts, ok := sqltext.TokensName(t[at:])
	if !ok {
		return ""
	}
	for i, part := range parts {
		parts[i] = sqltext.Bare(part)
	}
	return strings.Join(parts, ".")
}

// startsName says whether a token is a name or a word, and none that ends what
// stands behind ON.
func startsName(t sqltext.Token) bool {
	c := t.Text[0]
	return (c == '"' || c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80) && !t.Is("to") && !t.Is("from") && !t.Is("is")
}
