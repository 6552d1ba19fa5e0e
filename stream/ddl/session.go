package ddl

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"pg_scribe/internal/sqltext"
	"pg_scribe/stream/event"
)

// pinned is what the preamble of a segment sets, and so what a command's
// setting is compared with and set back to.
var pinned = []struct{ name, value string }{
	{"DateStyle", "ISO, MDY"}, {"IntervalStyle", "postgres"}, {"TimeZone", "UTC"},
	{"default_tablespace", ""}, {"default_table_access_method", "heap"}, {"default_toast_compression", "pglz"},
	{"standard_conforming_strings", "on"}, {"xmloption", "content"}, {"array_nulls", "on"},
	{"transform_null_equals", "off"}, {"backslash_quote", "safe_encoding"}, {"lc_monetary", "C"},
	{"bytea_output", "hex"},
}

// sharedTablespace may be a session's default, but no command can put anything
// there: the one that succeeded was told another by its table.
const sharedTablespace = "pg_global"

// A Session is what a command runs under.
type Session struct {
	Needs []Need    // before it, of what the target does not have yet
	Set   []Command // the settings, before the command
	Reset []Command // those that rows need again, behind it
}

// A Need is something of the target that a command rests on: a role as it was, a
// membership, the right to create in the database, or an object's owner. None
// of its commands fires an event of its own.
type Need struct {
	Kind       NeedKind
	Key, Value string // whoever brought the same value of a key need not do it again
	Commands   []Command
	Sample     State // to be sampled again: the target has another one than the last sample now
}

// NeedKind is a kind of needs.
type NeedKind byte

// Kinds of needs.
const (
	NeedRole NeedKind = iota
	NeedMembership
	NeedCreate
	NeedOwner
)

// session is what a command ran under, as far as it differs from what rows need.
func session(m *event.Command, path string) *Session {
	s := &Session{Needs: append(roleNeeds(m), ownerNeeds(m.Owners)...)}
	line := func(to *[]Command, format string, args ...any) {
		*to = append(*to, Command{SQL: fmt.Sprintf(format, args...)})
	}
	var reset []Command
	for _, p := range pinned {
		value, known := m.Set[p.name]
		if !known || value == p.value || value == sharedTablespace {
			continue
		}
		line(&s.Set, "SET LOCAL %s = %s", p.name, sqltext.Literal(value))
		line(&reset, "SET LOCAL %s = %s", p.name, sqltext.Literal(p.value))
	}
	for _, name := range slices.Sorted(maps.Keys(m.Custom)) {
		line(&s.Set, "SET LOCAL %s = %s", settingName(name), sqltext.Literal(m.Custom[name]))
		line(&reset, "SET LOCAL %s = ''", settingName(name))
	}
	line(&s.Set, "SET LOCAL search_path = %s", quotePath(path))
	if m.Role != "" {
		line(&s.Set, "SET LOCAL ROLE %s", sqltext.Identifier(m.Role))
		line(&s.Reset, "SET LOCAL ROLE NONE")
	}
	line(&s.Reset, "SET LOCAL search_path = ''")
	s.Reset = append(s.Reset, reset...)
	return s
}

// settingName quotes the parts of a setting's name, which may be key words.
func settingName(name string) string {
	parts := strings.Split(name, ".")
	for i, p := range parts {
		parts[i] = sqltext.Identifier(p)
	}
	return strings.Join(parts, ".")
}

// roleNeeds are what a command needs of the cluster.
func roleNeeds(m *event.Command) (needs []Need) {
	for _, f := range m.Roles {
		needs = append(needs, Need{Kind: NeedRole, Key: f.Name, Value: fmt.Sprintf("%+v", f), Sample: State{StateRole, f.Name}, Commands: []Command{
			{SQL: createRole(f)}, {Tag: RoleTag(f.Name), SQL: "ALTER ROLE " + sqltext.Identifier(f.Name) + roleAttributes(f)}}})
	}
	for _, b := range m.Members {
		key := b.Role + "\x1f" + b.Member
		// It may have been the other way round when it was sampled.
		role, member := sqltext.Identifier(b.Role), sqltext.Identifier(b.Member)
		grant := fmt.Sprintf("GRANT %s TO %s", role, member) + membershipOptions(b)
		needs = append(needs, Need{Kind: NeedMembership, Key: key, Value: grant, Sample: State{StateMembership, key}, Commands: []Command{
			{Tag: RoleTag(b.Member), SQL: "DO " + sqltext.Literal(fmt.Sprintf(
				"BEGIN %s; EXCEPTION WHEN invalid_grant_operation THEN REVOKE %s FROM %s; %s; END", grant, member, role, grant))}}})
	}
	if m.Create {
		needs = append(needs, Need{Kind: NeedCreate, Key: m.Role, Sample: State{StateDatabase, "acl"}, Commands: []Command{
			{Tag: "GRANT", SQL: "DO " + sqltext.Literal(fmt.Sprintf(
				"BEGIN EXECUTE pg_catalog.format('GRANT CREATE ON DATABASE %%I TO %%I', pg_catalog.current_database(), %s); END", sqltext.Literal(m.Role)))}}})
	}
	return needs
}

// membershipOptions are what the member may do by it, where the source says so.
func membershipOptions(b event.Membership) string {
	if b.Inherit == nil || b.Set == nil {
		return ""
	}
	return strings.ToUpper(fmt.Sprintf(" with inherit %t, set %t", *b.Inherit, *b.Set))
}

// createRole is the SQL that makes a role where it is missing. It gets no
// password, so that it cannot be used before the globals give it one.
func createRole(f event.Role) string {
	sql := "CREATE ROLE " + sqltext.Identifier(f.Name) + roleAttributes(f)
	return "DO " + sqltext.Literal(fmt.Sprintf("BEGIN IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = %s) THEN %s; END IF; END",
		sqltext.Literal(f.Name), sql))
}

// roleAttributes are those that decide what a role may do.
func roleAttributes(f event.Role) (sql string) {
	for _, a := range []struct {
		on   bool
		word string
	}{{f.Super, "SUPERUSER"}, {f.Inherit, "INHERIT"}, {f.CreateRole, "CREATEROLE"}, {f.CreateDB, "CREATEDB"},
		{f.Login, "LOGIN"}, {f.Replication, "REPLICATION"}, {f.BypassRLS, "BYPASSRLS"}} {
		if a.on {
			sql += " " + a.word
		} else {
			sql += " NO" + a.word
		}
	}
	return sql
}

// quotePath quotes each name of a search_path setting, read as PostgreSQL's
// SplitIdentifierString does. The setting is the user's own text, in which an
// unquoted name may hold anything but space, comma and quote.
func quotePath(path string) string {
	var names []string
	for rest := strings.TrimSpace(path); rest != ""; {
		var name string
		if rest[0] == '"' {
			i := 1
			for ; i < len(rest); i++ {
				if rest[i] == '"' {
					if i+1 < len(rest) && rest[i+1] == '"' {
						i++
					} else {
						break
					}
				}
				name += rest[i : i+1]
			}
			rest = rest[min(i+1, len(rest)):]
		} else {
			i := strings.IndexAny(rest, ", \t\r\n\f\v")
			if i < 0 {
				i = len(rest)
			}
			name, rest = strings.ToLower(rest[:i]), rest[i:]
		}
		if name == "" {
			names = append(names, "''") // no quoted name may be empty
		} else {
			names = append(names, sqltext.Identifier(name))
		}
		rest = strings.TrimLeft(rest, ", \t\r\n\f\v")
	}
	if len(names) == 0 {
		return "''"
	}
	return strings.Join(names, ", ")
}

// beforeRole are the words behind which SESSION_USER means a role to act on.
var beforeRole = map[string]bool{"to": true, "for": true, "by": true, "authorization": true, "role": true, "user": true}

// withSessionUser names the role of the source's session where a command says
// SESSION_USER for a role: at replay that is the one that restores. In an
// expression it stays, and is evaluated when that is.
func withSessionUser(sql string, m *event.Command) string {
	if m.Session == "" || !strings.Contains(strings.ToLower(sql), "session_user") {
		return sql
	}
	var out strings.Builder
	depth, done := 0, 0
	t := sqltext.Tokens(sql, m.Conforming())
	lists := m.Tag == "GRANT" || m.Tag == "REVOKE" || strings.HasSuffix(m.Tag, " POLICY") || m.Tag == "ALTER DEFAULT PRIVILEGES" || m.Tag == "DROP OWNED"
	for i, token := range t {
		switch {
		case token.Is("("):
			depth++
		case token.Is(")"):
			depth--
		case depth == 0 && i > 0 && token.Is("session_user") && (beforeRole[strings.ToLower(t[i-1].Text)] || lists && (t[i-1].Is(",") || t[i-1].Is("from"))):
			out.WriteString(sql[done:token.Start])
			out.WriteString(sqltext.Identifier(m.Session))
			done = token.End()
		}
	}
	return out.String() + sql[done:]
}
