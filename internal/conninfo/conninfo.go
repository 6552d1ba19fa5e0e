// Package conninfo prepares connection strings for external programs.
package conninfo

import (
	"net/url"
	"strings"
)

// WithoutPassword takes the password out of a conninfo, because everybody on
// the machine can see the arguments of a program.
func WithoutPassword(conninfo string) (string, error) {
	if strings.HasPrefix(conninfo, "postgres://") || strings.HasPrefix(conninfo, "postgresql://") {
		u, err := url.Parse(conninfo)
		if err != nil {
			return "", err
		}
		if u.User != nil {
			u.User = url.User(u.User.Username())
		}
		q := u.Query()
		if q.Has("password") {
			q.Del("password")
			u.RawQuery = q.Encode()
		}
		return u.String(), nil
	}
	var b strings.Builder
	for rest := conninfo; ; {
		rest = strings.TrimLeft(rest, " \t\r\n")
		if rest == "" {
			return b.String(), nil
		}
		n := settingLength(rest)
		if key, _, _ := strings.Cut(rest[:n], "="); strings.TrimSpace(key) != "password" {
			b.WriteString(rest[:n] + " ")
		}
		rest = rest[n:]
	}
}

// settingLength is the length of the KEY = VALUE that s begins with.
func settingLength(s string) int {
	i := strings.IndexByte(s, '=')
	if i < 0 {
		return len(s)
	}
	for i++; i < len(s) && strings.IndexByte(" \t\r\n", s[i]) >= 0; i++ {
	}
	quoted := i < len(s) && s[i] == '\''
	if quoted {
		i++
	}
	for ; i < len(s); i++ {
		switch {
		case s[i] == '\\':
			i++
		case quoted && s[i] == '\'':
			return i + 1
		case !quoted && strings.IndexByte(" \t\r\n", s[i]) >= 0:
			return i
		}
	}
	return len(s)
}
