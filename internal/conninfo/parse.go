package conninfo

import (
	"fmt"
	"regexp"
	"strings"
)

const blanks = " \t\n\v\f\r" // as isspace has them

// uriPrefix is the scheme that s begins with, or "".
func uriPrefix(s string) string {
	for _, prefix := range []string{"postgresql://", "postgres://"} {
		if strings.HasPrefix(s, prefix) {
			return prefix
		}
	}
	return ""
}

// IsString says whether libpq takes a name of a database for a connection string.
func IsString(dbname string) bool { return uriPrefix(dbname) != "" || strings.Contains(dbname, "=") }

var likeURI = regexp.MustCompile(`(?s):.*@`)

// ParseName reads what stands for the name of a database, as psql's -d does: a name, or a connection string.
func ParseName(dbname string) (Info, error) {
	switch {
	case IsString(dbname):
		return Parse(dbname)
	case dbname == "":
		return Info{}, nil
	case strings.Contains(dbname, "://"):
		return Info{}, bad("", "it has another scheme than postgresql://")
	case likeURI.MatchString(dbname):
		return Info{}, bad("", "it looks like a URI without its postgresql://")
	}
	return Info{}.With("dbname", dbname), nil
}

// Parse reads a connection string, in keyword form or as a URI, by libpq's rules.
func Parse(s string) (Info, error) {
	var p parser
	var err error
	if strings.IndexByte(s, 0) >= 0 {
		return Info{}, bad("", "it holds a zero byte")
	}
	if prefix := uriPrefix(s); prefix != "" {
		err = p.uri(s, len(prefix))
	} else {
		err = p.keywords(s)
	}
	if err != nil {
		return Info{}, err
	}
	return p.info, nil
}

type parser struct {
	info    Info
	guarded bool // what follows may be part of a password
}

// plainName is a name that may be repeated where no password can have come before.
var plainName = regexp.MustCompile(`^[a-z_]{1,30}$`)

// store keeps a parameter that begins at a byte of the string.
func (p *parser) store(name, value string, at int) error {
	if name == "requiressl" { // libpq's oldest spelling
		name, value = "sslmode", map[bool]string{true: "require", false: "prefer"}[strings.HasPrefix(value, "1")]
	}
	if !known(name) {
		text := fmt.Sprintf("an unknown parameter begins at position %d", at+1)
		if !p.guarded && plainName.MatchString(name) {
			text = fmt.Sprintf("unknown parameter %q", name)
		}
		if like := nearest(name); like != "" {
			text += "; did you mean " + like + "?"
		}
		return bad("", "%s", text)
	}
	if err := misplaced(name, value); err != nil {
		return err
	}
	p.guarded = p.guarded || isSecret(name)
	p.info = p.info.With(name, value)
	return nil
}

var inner = regexp.MustCompile(`(?is)://|passw.*=`)

// misplaced refuses a connection string in the place of a name, which would be shown with the password in it.
func misplaced(name, value string) error {
	if (name == "dbname" || name == "host") && inner.MatchString(value) {
		return bad(name, "it holds a connection string")
	}
	return nil
}

// keywords reads KEYWORD = VALUE, any number of times.
func (p *parser) keywords(s string) error {
	for at := 0; ; {
		at += len(s[at:]) - len(strings.TrimLeft(s[at:], blanks))
		if at == len(s) {
			return nil
		}
		begin := at
		length := strings.IndexAny(s[at:], "="+blanks)
		if length < 0 {
			return bad("", `a "=" is missing behind position %d`, at+1)
		}
		name := s[at : at+length]
		at += length
		at += len(s[at:]) - len(strings.TrimLeft(s[at:], blanks))
		if at == len(s) || s[at] != '=' {
			return bad("", `a "=" is missing behind position %d`, begin+1)
		}
		at++
		at += len(s[at:]) - len(strings.TrimLeft(s[at:], blanks))
		value, end := keywordValue(s, at)
		if end < 0 {
			return bad("", "the quoted value at position %d does not end", at+1)
		}
		if err := p.store(name, value, begin); err != nil {
			return err
		}
		at = end
	}
}

// keywordValue reads a value up to its end, which is negative if the closing quote is missing.
func keywordValue(s string, at int) (value string, end int) {
	quoted := at < len(s) && s[at] == '\''
	if quoted {
		at++
	}
	var b strings.Builder
	for ; at < len(s); at++ {
		switch {
		case s[at] == '\\':
			if at++; at == len(s) {
				continue
			}
		case quoted && s[at] == '\'':
			return b.String(), at + 1
		case !quoted && strings.IndexByte(blanks, s[at]) >= 0:
			return b.String(), at
		}
		b.WriteByte(s[at])
	}
	if quoted {
		return "", -1
	}
	return b.String(), len(s)
}

// uri reads SCHEME://[USER[:PASSWORD]@][HOST[:PORT][,…]][/DBNAME][?NAME=VALUE[&…]], whose parts may be
// percent-encoded.
func (p *parser) uri(s string, at int) error {
	p.guarded = strings.ContainsAny(s[at:], ":@") // libpq's reading of a password with odd characters is not its owner's
	if end := strings.IndexAny(s[at:], "@/"); end >= 0 && s[at+end] == '@' {
		user, password, has := strings.Cut(s[at:at+end], ":")
		if err := p.part("user", user, at); err != nil {
			return err
		}
		if has {
			if err := p.part("password", password, at+len(user)+1); err != nil {
				return err
			}
		}
		at += end + 1
	}
	// A further @ is mostly that of a password whose own / or @ is not encoded: what follows would be shown as names.
	if place, _, _ := strings.Cut(s[at:], "?"); strings.Contains(place, "@") {
		return bad("", "a @ follows where host and database stand: write one as %%40 and a / as %%2F, in the password too")
	}
	at, err := p.hosts(s, at)
	if err != nil {
		return err
	}
	if at < len(s) && s[at] == '/' {
		name, _, _ := strings.Cut(s[at+1:], "?")
		if err := p.part("dbname", name, at+1); err != nil {
			return err
		}
		at += 1 + len(name)
	}
	if at == len(s) {
		return nil
	}
	return p.query(s, at+1)
}

// hosts reads the list of hosts and ports and returns where it ends.
func (p *parser) hosts(s string, at int) (end int, err error) {
	begin := at
	var hosts, ports strings.Builder
	until := func(stops string) string {
		length := strings.IndexAny(s[at:], stops)
		if length < 0 {
			length = len(s) - at
		}
		at += length
		return s[at-length : at]
	}
	for {
		if at < len(s) && s[at] == '[' {
			at++
			address := until("]")
			switch {
			case at == len(s):
				return 0, bad("", "the ] of an IPv6 address is missing")
			case address == "":
				return 0, bad("", "an IPv6 address is empty")
			}
			hosts.WriteString(address)
			if at++; at < len(s) && strings.IndexByte(":/?,", s[at]) < 0 {
				return 0, bad("", "something stands between the ] of an IPv6 address and what may follow, at position %d", at+1)
			}
		} else {
			hosts.WriteString(until(":/?,"))
		}
		if at < len(s) && s[at] == ':' {
			at++
			ports.WriteString(until("/?,"))
		}
		if at == len(s) || s[at] != ',' {
			break
		}
		at++
		hosts.WriteByte(',')
		ports.WriteByte(',')
	}
	if err := p.part("host", hosts.String(), begin); err != nil {
		return 0, err
	}
	if strings.Trim(ports.String(), "0123456789,%") != "" { // or the password of a URI without its host
		return 0, bad("port", "it must be a number")
	}
	return at, p.part("port", ports.String(), begin)
}

// part keeps a part of a URI, unless it is empty.
func (p *parser) part(name, text string, at int) error {
	if text == "" {
		return nil
	}
	value, err := decode(text, name)
	if err != nil {
		return err
	}
	return p.store(name, value, at)
}

// query reads the parameters behind the question mark.
func (p *parser) query(s string, at int) error {
	for at < len(s) {
		text, _, _ := strings.Cut(s[at:], "&")
		rawName, rawValue, has := strings.Cut(text, "=")
		switch {
		case !has:
			return bad("", `the parameter at position %d has no "="`, at+1)
		case strings.Contains(rawValue, "="):
			return bad("", `the parameter at position %d has more than one "=": write %%3D in a value`, at+1)
		}
		name, err := decode(rawName, "")
		if err != nil {
			return err
		}
		value, err := decode(rawValue, name)
		if err != nil {
			return err
		}
		if name == "ssl" && value == "true" { // as JDBC has it
			name, value = "sslmode", "require"
		}
		if err := p.store(name, value, at); err != nil {
			return err
		}
		at += len(text) + 1
	}
	return nil
}

// decode takes the percent signs out of a part of a URI.
func decode(text, name string) (string, error) {
	if !known(name) {
		name = ""
	}
	var b strings.Builder
	for at := 0; at < len(text); at++ {
		if text[at] != '%' {
			b.WriteByte(text[at])
			continue
		}
		if at+2 >= len(text) {
			return "", bad(name, "a %% is not followed by two hexadecimal digits: write it as %%25")
		}
		high, low := hexDigit(text[at+1]), hexDigit(text[at+2])
		switch {
		case high < 0 || low < 0:
			return "", bad(name, "a %% is not followed by two hexadecimal digits: write it as %%25")
		case high == 0 && low == 0:
			return "", bad(name, "%%00 is not allowed")
		}
		b.WriteByte(byte(high<<4 | low))
		at += 2
	}
	return b.String(), nil
}

func hexDigit(c byte) int {
	if c >= 'A' && c <= 'F' {
		c += 'a' - 'A'
	}
	return strings.IndexByte("0123456789abcdef", c)
}

// nearest is the parameter that differs from a name in one letter, or "".
func nearest(name string) string {
	for _, p := range parameters {
		short, long := name, p.name
		if len(short) > len(long) {
			short, long = long, short
		}
		same := 0
		for same < len(short) && short[same] == long[same] {
			same++
		}
		rest := short[same:]
		if len(short) == len(long) && same < len(short) {
			rest = short[same+1:]
		}
		if len(long)-len(short) <= 1 && same > 0 && strings.HasSuffix(long[same:], rest) && len(long)-same-len(rest) <= 1 {
			return p.name
		}
	}
	return ""
}
