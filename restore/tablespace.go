package restore

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
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
	rows, err := query(ctx, conn, `SELECT spcname, oid = (SELECT dattablespace FROM pg_catalog.pg_database
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
		if name, _ := parsePart(sql[m[1]:]); !s.known[name] {
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
	return fmt.Sprintf("the target has no tablespace %s: what belongs there is in the default tablespace", quoteIdent(name))
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
	name, _ := parsePart(value)
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
	depth, behindAs := 0, false
	for i := 0; i < len(sql); {
		if end := quotedEnd(sql, i); end > i {
			i = end
			continue
		}
		switch b := sql[i]; {
		case b == '(':
			depth++
		case b == ')':
			depth--
		case isLetter(b):
			end := i
			for end < len(sql) && (isLetter(sql[end]) || isDigit(sql[end])) {
				end++
			}
			word := sql[i:end]
			behindAs = behindAs || depth == 0 && strings.EqualFold(word, "AS")
			if strings.EqualFold(word, "TABLESPACE") {
				set := alter && depth == 0 && spaceSet.MatchString(sql[:i])
				if set || spaceIndex.MatchString(sql[:i]) ||
					create && depth == 0 && !behindAs && !spaceAsName.MatchString(sql[:i]) {
					u := spaceUseAt(sql, i, end)
					found = append(found, u)
					end = u.to
				}
			}
			i = end
			continue
		}
		i++
	}
	return found
}

// spaceUseAt reads the clause whose word TABLESPACE stands at [at, end).
func spaceUseAt(sql string, at, end int) spaceUse {
	nameAt := len(sql) - len(strings.TrimLeft(sql[end:], " \t\r\n"))
	name, n := parsePart(sql[nameAt:])
	u := spaceUse{from: at, to: nameAt + n, name: name}
	if m := spaceIndex.FindStringIndex(sql[:at]); m != nil {
		u.from = m[0]
	} else if m := spaceNextSet.FindStringIndex(sql[:at]); m != nil {
		u.from = m[0]
	}
	return u
}

// quotedEnd is where the quoted text or comment that begins at i ends, or i.
func quotedEnd(sql string, i int) int {
	rest := sql[i:]
	find := func(text string, from int) int {
		if n := strings.Index(rest[from:], text); n >= 0 {
			return i + from + n + len(text)
		}
		return len(sql)
	}
	switch {
	case rest[0] == '\'' || rest[0] == '"':
		if i > 0 && (sql[i-1] == 'E' || sql[i-1] == 'e') && (i == 1 || !isLetter(sql[i-2])) {
			if end := escapedClose(rest); end > 0 {
				return i + end
			}
		}
		return find(rest[:1], 1) // a doubled quote begins the next piece
	case strings.HasPrefix(rest, "--"):
		return find("\n", 2)
	case strings.HasPrefix(rest, "/*"):
		return find("*/", 2)
	case rest[0] == '$':
		if tag := dollarTag.FindString(rest); tag != "" {
			return find(tag, len(tag))
		}
	}
	return i
}

// escapedClose is the length of the rest of an escape string, from its quote.
func escapedClose(s string) int {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '\'':
			return i + 1
		}
	}
	return 0
}

var dollarTag = regexp.MustCompile(`^\$(?:[A-Za-z_\x{80}-\x{10FFFF}][A-Za-z0-9_\x{80}-\x{10FFFF}]*)?\$`)
