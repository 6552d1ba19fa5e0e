// Package conninfo reads connection strings as libpq does, and makes of them what pgx, libpq's programs and people need.
// Nothing that it returns for people holds a password, errors included.
package conninfo

import (
	"fmt"
	"slices"
	"strings"
)

// An Info is what a connection string says, in the order written. The zero value says nothing.
type Info struct{ list []setting }

type setting struct{ name, value string }

// parameter is what is known of one of libpq's connection parameters.
type parameter struct {
	name   string
	env    string // the environment variable that stands in for it
	secret bool   // it must not be shown, nor stand in the arguments of a program
}

// parameters are all that the versions 15 to 18 of libpq take.
var parameters = []parameter{
	{name: "service", env: "PGSERVICE"},
	{name: "servicefile", env: "PGSERVICEFILE"},
	{name: "user", env: "PGUSER"},
	{name: "password", env: "PGPASSWORD", secret: true},
	{name: "passfile", env: "PGPASSFILE"},
	{name: "channel_binding", env: "PGCHANNELBINDING"},
	{name: "connect_timeout", env: "PGCONNECT_TIMEOUT"},
	{name: "dbname", env: "PGDATABASE"},
	{name: "host", env: "PGHOST"},
	{name: "hostaddr", env: "PGHOSTADDR"},
	{name: "port", env: "PGPORT"},
	{name: "client_encoding", env: "PGCLIENTENCODING"},
	{name: "options", env: "PGOPTIONS"},
	{name: "application_name", env: "PGAPPNAME"},
	{name: "fallback_application_name"},
	{name: "keepalives"},
	{name: "keepalives_idle"},
	{name: "keepalives_interval"},
	{name: "keepalives_count"},
	{name: "tcp_user_timeout"},
	{name: "sslmode", env: "PGSSLMODE"},
	{name: "sslnegotiation", env: "PGSSLNEGOTIATION"},
	{name: "sslcompression", env: "PGSSLCOMPRESSION"},
	{name: "sslcert", env: "PGSSLCERT"},
	{name: "sslkey", env: "PGSSLKEY"},
	{name: "sslcertmode", env: "PGSSLCERTMODE"},
	{name: "sslpassword", secret: true},
	{name: "sslrootcert", env: "PGSSLROOTCERT"},
	{name: "sslcrl", env: "PGSSLCRL"},
	{name: "sslcrldir", env: "PGSSLCRLDIR"},
	{name: "sslsni", env: "PGSSLSNI"},
	{name: "sslkeylogfile"},
	{name: "requirepeer", env: "PGREQUIREPEER"},
	{name: "require_auth", env: "PGREQUIREAUTH"},
	{name: "min_protocol_version", env: "PGMINPROTOCOLVERSION"},
	{name: "max_protocol_version", env: "PGMAXPROTOCOLVERSION"},
	{name: "ssl_min_protocol_version", env: "PGSSLMINPROTOCOLVERSION"},
	{name: "ssl_max_protocol_version", env: "PGSSLMAXPROTOCOLVERSION"},
	{name: "gssencmode", env: "PGGSSENCMODE"},
	{name: "krbsrvname", env: "PGKRBSRVNAME"},
	{name: "gsslib", env: "PGGSSLIB"},
	{name: "gssdelegation", env: "PGGSSDELEGATION"},
	{name: "replication"},
	{name: "target_session_attrs", env: "PGTARGETSESSIONATTRS"},
	{name: "load_balance_hosts", env: "PGLOADBALANCEHOSTS"},
	{name: "scram_client_key", secret: true},
	{name: "scram_server_key", secret: true},
	{name: "oauth_issuer"},
	{name: "oauth_client_id"},
	{name: "oauth_client_secret", secret: true},
	{name: "oauth_scope"},
}

func known(name string) bool {
	return slices.ContainsFunc(parameters, func(p parameter) bool { return p.name == name })
}

func isSecret(name string) bool {
	return slices.ContainsFunc(parameters, func(p parameter) bool { return p.name == name && p.secret })
}

// Get returns the value of a parameter, and whether the string has it.
func (i Info) Get(name string) (string, bool) {
	for _, s := range i.list {
		if s.name == name {
			return s.value, true
		}
	}
	return "", false
}

// With returns a copy in which a parameter has another value.
func (i Info) With(name, value string) Info {
	list := slices.Clone(i.list)
	if at := slices.IndexFunc(list, func(s setting) bool { return s.name == name }); at >= 0 {
		list[at].value = value
		return Info{list}
	}
	return Info{append(list, setting{name, value})}
}

// Without returns a copy that lacks some parameters.
func (i Info) Without(names ...string) Info {
	return Info{slices.DeleteFunc(slices.Clone(i.list), func(s setting) bool { return slices.Contains(names, s.name) })}
}

// Default returns a copy in which a parameter that the string lacks has a value. An empty one is none.
func (i Info) Default(name, value string) Info {
	if had, _ := i.Get(name); had != "" || value == "" {
		return i
	}
	return i.With(name, value)
}

// Only says whether the string has no other parameters than these.
func (i Info) Only(names ...string) bool {
	return !slices.ContainsFunc(i.list, func(s setting) bool { return !slices.Contains(names, s.name) })
}

// String is the connection string in keyword form, without what must stay secret. It is for people and for the
// arguments of programs.
func (i Info) String() string {
	return Info{slices.DeleteFunc(slices.Clone(i.list), setting.hidden)}.Keywords()
}

// GoString is String, so that no way of printing shows a password.
func (i Info) GoString() string { return fmt.Sprintf("conninfo.Info(%q)", i.String()) }

func (s setting) hidden() bool { return isSecret(s.name) }

// Keywords is the complete connection string in keyword form. It may hold a password: see String.
func (i Info) Keywords() string {
	words := make([]string, len(i.list))
	for n, s := range i.list {
		words[n] = s.name + "=" + quote(s.value)
	}
	return strings.Join(words, " ")
}

// quote writes a value so that it reads back as it is.
func quote(value string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-:,", r)
	}
	if value != "" && !strings.ContainsFunc(value, func(r rune) bool { return !plain(r) }) {
		return value
	}
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(value) + "'"
}

// An Error says why a connection string cannot be used. It never holds a part of the string that could be a password.
type Error struct {
	Parameter string // of libpq, or empty
	Reason    string
}

func (e *Error) Error() string {
	if e.Parameter != "" {
		return "connection parameter " + e.Parameter + ": " + e.Reason
	}
	return e.Reason
}

func bad(parameter, format string, args ...any) error {
	return &Error{parameter, fmt.Sprintf(format, args...)}
}
