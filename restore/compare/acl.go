package compare

import (
	"slices"
	"strings"

	"pg_scribe/internal/sqltext"
)

// An item is one of a list of privileges: what a grantor gave a grantee.
type item struct {
	grantee, grantor string // empty: everybody
	privileges       string // letters
	grantable        string // … those with grant option
}

// parseACL reads items as a description has them: grantee=privileges/grantor,
// joined by a comma and a space, odd names in quotes.
func parseACL(text string) (list []item) {
	for text != "" {
		var i item
		i.grantee, text = name(text)
		text = strings.TrimPrefix(text, "=")
		for text != "" && text[0] != '/' {
			if text[0] == '*' && i.privileges != "" {
				i.grantable += i.privileges[len(i.privileges)-1:]
			} else {
				i.privileges += text[:1]
			}
			text = text[1:]
		}
		i.grantor, text = name(strings.TrimPrefix(text, "/"))
		text = strings.TrimPrefix(text, ", ")
		list = append(list, i)
	}
	return list
}

// name reads a role's name, which may stand in quotes.
func name(text string) (role, rest string) {
	if !strings.HasPrefix(text, `"`) {
		if end := strings.IndexAny(text, "=/,"); end >= 0 {
			return text[:end], text[end:]
		}
		return text, ""
	}
	var b strings.Builder
	for i := 1; i < len(text); i++ {
		if text[i] != '"' {
			b.WriteByte(text[i])
		} else if i+1 < len(text) && text[i+1] == '"' {
			b.WriteByte('"')
			i++
		} else {
			return b.String(), text[i+1:]
		}
	}
	return b.String(), ""
}

// without leaves a privilege out.
func without(list []item, letter byte) []item {
	out := make([]item, len(list))
	for i, it := range list {
		it.privileges = strings.ReplaceAll(it.privileges, string(letter), "")
		it.grantable = strings.ReplaceAll(it.grantable, string(letter), "")
		out[i] = it
	}
	return slices.DeleteFunc(out, func(i item) bool { return i.privileges == "" })
}

func sameItems(a, b []item) bool { return slices.Equal(a, b) }

var privilegeWords = map[byte]string{'r': "SELECT", 'a': "INSERT", 'w': "UPDATE", 'd': "DELETE", 'D': "TRUNCATE", 'x': "REFERENCES", 't': "TRIGGER",
	'm': "MAINTAIN", 'X': "EXECUTE", 'U': "USAGE", 'C': "CREATE", 'c': "CONNECT", 'T': "TEMPORARY", 's': "SET", 'A': "ALTER SYSTEM"}

// grants are the commands that turn a list of privileges into another. on is
// the object, as "ON TABLE public.t"; columns, if any, stand behind each word.
// Revoking comes first.
func grants(on, columns, owner string, source, target []item) (list []group) {
	find := func(list []item, like item) item {
		for _, i := range list {
			if i.grantee == like.grantee && i.grantor == like.grantor {
				return i
			}
		}
		return item{}
	}
	add := func(i item, verb, letters, tail string) {
		if letters == "" {
			return
		}
		var words []string
		for _, l := range []byte(letters) {
			words = append(words, privilegeWords[l]+columns)
		}
		to := " TO "
		if strings.HasPrefix(verb, "REVOKE") {
			to = " FROM "
		}
		list = append(list, as(i.grantor, owner, verb+" "+strings.Join(words, ", ")+" "+on+to+grantee(i.grantee)+tail))
	}
	for _, have := range target {
		want := find(source, have)
		add(have, "REVOKE", minus(have.privileges, want.privileges), " CASCADE")
		add(have, "REVOKE GRANT OPTION FOR", minus(minus(have.grantable, want.grantable), minus(have.privileges, want.privileges)), " CASCADE")
	}
	for _, want := range source {
		have := find(target, want)
		add(want, "GRANT", minus(minus(want.privileges, have.privileges), want.grantable), "")
		add(want, "GRANT", minus(want.grantable, have.grantable), " WITH GRANT OPTION")
	}
	return list
}

func minus(a, b string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(b, r) {
			return -1
		}
		return r
	}, a)
}

func grantee(role string) string {
	if role == "" {
		return "PUBLIC"
	}
	return sqltext.Quoted(role)
}

// as runs a command as the role that gave the privilege, which is the owner's
// doing anyway.
func as(grantor, owner, sql string) group {
	if grantor == owner || grantor == "" {
		return group{sql}
	}
	return group{"SET LOCAL ROLE " + sqltext.Quoted(grantor), sql, "SET LOCAL ROLE NONE"}
}
