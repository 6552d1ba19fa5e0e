package restore

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"pg_scribe/internal/simple"
	"pg_scribe/internal/sqltext"
)

// spaces knows the tablespaces of the target. What the source kept in one that
// the target lacks goes to the default one: the folders of another machine are
// no reason to lose the tables.
type spaces struct {
	known map[string]bool
	own   bool            // there are other tablespaces than the default ones
	plain bool            // the database lies in pg_default
	told  map[string]bool // missing ones that a notice was made of
}

func readSpaces(ctx context.Context, conn *pgconn.PgConn) (*spaces, error) {
	rows, err := simple.Query(ctx, conn, `SELECT spcname, oid = (SELECT dattablespace FROM pg_catalog.pg_database
		WHERE datname = pg_catalog.current_database()) FROM pg_catalog.pg_tablespace`)
	if err != nil {
		return nil, err
	}
	s := &spaces{known: map[string]bool{"": true}, told: map[string]bool{}}
	for _, row := range rows {
		s.known[row[0]] = true
		s.plain = s.plain || row[0] == "pg_default" && row[1] == "t"
		s.own = s.own || row[0] != "pg_default" && row[0] != "pg_global"
	}
	return s, nil
}

var (
	spaceWord    = regexp.MustCompile(`(?i)tablespace`)
	spaceSetting = regexp.MustCompile(`(?i)^(SET(?: LOCAL| SESSION)? default_tablespace (?:=|TO) )(.*);$`)
	spaceCreate  = regexp.MustCompile(`(?i)^CREATE\s+(?:UNLOGGED\s+TABLE|TABLE|(?:UNIQUE\s+)?INDEX|MATERIALIZED\s+VIEW)\s`)
	spaceSet     = regexp.MustCompile(`(?i)\bSET\s+$`)
	spaceNextSet = regexp.MustCompile(`(?i),\s*SET\s+$`)
	// spaceAsName: what stands before the word where it is a name itself.
	spaceAsName = regexp.MustCompile(`(?i)(?:\.|\b(?:TABLE|INDEX|VIEW|ON|OF|ONLY|EXISTS|CONCURRENTLY))\s*$`)
	// spaceAll moves all that is in a tablespace.
	spaceAll   = regexp.MustCompile(`(?i)^\s*ALTER\s+(?:TABLE|INDEX|MATERIALIZED\s+VIEW)\s+ALL\s+IN\s+TABLESPACE\s+`)
	spaceIndex = regexp.MustCompile(`(?i)\bUSING\s+INDEX\s+$`)
)

// rewrite returns the statement as the target can run it: empty when nothing
// is left of it. The notice, if any, says what was left out.
func (s *spaces) rewrite(sql string) (rewritten, notice string) {
	if !spaceWord.MatchString(sql) {
		return sql, ""
	}
	if m := spaceSetting.FindStringSubmatch(sql); m != nil {
		name := settingName(m[2])
		if name == "pg_default" && s.plain {
			// Said explicitly, no partitioned table can be made whose own clause is left out.
			return m[1] + "'';", ""
		}
		if s.known[name] {
			return sql, ""
		}
		return m[1] + "'';", s.tell(name)
	}
	if m := spaceAll.FindStringIndex(sql); m != nil {
		if name, _ := sqltext.Part(sql[m[1]:]); !s.known[name] {
			return "", s.tell(name) // nothing is in it
		}
	}
	for _, c := range spaceClauses(sql) {
		if s.known[c.name] {
			continue
		}
		if m := spaceSet.FindStringIndex(sql[:c.from]); m != nil {
			more, ok := strings.CutPrefix(strings.TrimLeft(sql[c.to:], " \t\r\n"), ",")
			if !ok {
				return "", s.tell(c.name) // the statement says nothing else
			}
			c.from, c.to = m[0], len(sql)-len(more)
		}
		notice = s.tell(c.name)
		// The other clauses have moved: read the shorter statement anew.
		rest, more := s.rewrite(sql[:c.from] + sql[c.to:])
		return rest, joinNotices(notice, more)
	}
	return sql, ""
}

func joinNotices(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + "; " + b
}

func (s *spaces) tell(name string) string {
	if s.told[name] {
		return ""
	}
	s.told[name] = true
	return fmt.Sprintf("the target has no tablespace %s: what belongs there is in the default tablespace", sqltext.Quoted(name))
}

// settingName is the name in the value of SET default_tablespace.
func settingName(value string) string {
	value = strings.TrimSpace(value)
	if strings.HasPrefix(value, "'") {
		// '"x"' is the way to write a name that is no plain word, but 'x' means the
		// same as x here: the setting is not parsed as an identifier.
		return strings.ReplaceAll(strings.Trim(value, "'"), "''", "'")
	}
	if strings.EqualFold(value, "DEFAULT") {
		return ""
	}
	name, _ := sqltext.Part(value)
	return name
}

// spaceUse is a TABLESPACE clause within a statement.
type spaceUse struct {
	from, to int
	name     string
}

// spaceClauses finds the TABLESPACE clauses of a statement. The word is no
// reserved one, so a column may bear it: only the places count where the
// grammar has the clause.
func spaceClauses(sql string) []spaceUse {
	var found []spaceUse
	create, alter := spaceCreate.MatchString(sql), strings.HasPrefix(sql, "ALTER ")
	depth, behindAs, from := 0, false, 0
	for _, t := range sqltext.Tokens(sql, true) {
		switch {
		case t.Start < from:
		case t.Is("("):
			depth++
		case t.Is(")"):
			depth--
		case depth == 0 && t.Is("as"):
			behindAs = true
		case t.Is("tablespace"):
			before := sql[:t.Start]
			set := alter && depth == 0 && spaceSet.MatchString(before)
			if set || spaceIndex.MatchString(before) || create && depth == 0 && !behindAs && !spaceAsName.MatchString(before) {
				u := spaceUseAt(sql, t.Start, t.End())
				found = append(found, u)
				from = u.to
			}
		}
	}
	return found
}

// spaceUseAt reads the clause whose word TABLESPACE stands at [at, end).
func spaceUseAt(sql string, at, end int) spaceUse {
	nameAt := len(sql) - len(strings.TrimLeft(sql[end:], " \t\r\n"))
	name, n := sqltext.Part(sql[nameAt:])
	u := spaceUse{from: at, to: nameAt + n, name: name}
	if m := spaceIndex.FindStringIndex(sql[:at]); m != nil {
		u.from = m[0]
	} else if m := spaceNextSet.FindStringIndex(sql[:at]); m != nil {
		u.from = m[0]
	}
	return u
}
