package conninfo

import (
	"errors"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for in, want := range map[string]string{
		"": "",
		"host=a  port = 5\tuser\n=\n'x y' dbname='it\\'s \\\\'": `host=a port=5 user='x y' dbname='it\'s \\'`,
		`options=-c\ a=b\\\ c application_name='a'dbname=b`:     `options='-c a=b\\ c' application_name=a dbname=b`,
		`host=a\`:               "host=a",
		"host= port=1 host=b":   "host=b", // the blanks behind = are skipped, and of several the last counts
		"requiressl=1 user=u":   "sslmode=require user=u",
		"postgresql://":         "",
		"postgres://u@":         "user=u",
		"postgresql:///d?user=": "dbname=d user=''",
		"postgresql://u%40x@%2Frun%2Fx:5/d%2Fe?application_name=a%20b%2Bc+d": `user='u@x' host=/run/x port=5 dbname=d/e application_name='a b+c+d'`,
		"postgresql://a:1,[::1],b:/d":                                        "host=a,::1,b port=1,, dbname=d",
		"postgresql://h?ssl=true&options=-c%20work_mem%3D8MB":                "host=h sslmode=require options='-c work_mem=8MB'",
	} {
		got, err := Parse(in)
		if err != nil || got.Keywords() != want {
			t.Errorf("%q became %s, %v, want %s", in, got.Keywords(), err, want)
			continue
		}
		again, err := Parse(got.Keywords())
		if err != nil || again.Keywords() != want {
			t.Errorf("%s reads back as %s, %v", want, again.Keywords(), err)
		}
	}
}

// TestParseRefuses: each error says where or what, and shows nothing that could be a password.
func TestParseRefuses(t *testing.T) {
	for in, want := range map[string]string{
		"host=h keepalive=1":                    `unknown parameter "keepalive"; did you mean keepalives?`,
		"password=a b=c":                        "an unknown parameter begins at position 12",
		"password=a b":                          `a "=" is missing behind position 12`,
		"password='a":                           "the quoted value at position 10 does not end",
		"me:pw@host/db?sslmod=x":                "an unknown parameter begins at position 1",
		"postgresql://h/d?sslmod=disable":       `unknown parameter "sslmod"; did you mean sslmode?`,
		"postgresql://u:p@h/d?sslmodes=disable": "an unknown parameter begins at position 22; did you mean sslmode?",
		"postgresql://u:p@h/d?password=a&b":     `the parameter at position 33 has no "="`,
		"postgresql://u:p@h/d?password=a=b":     `the parameter at position 22 has more than one "=": write %3D in a value`,
		"postgresql://u:p%w@h":                  "connection parameter password: a % is not followed by two hexadecimal digits: write it as %25",
		"postgresql://u:p%00@h":                 "connection parameter password: %00 is not allowed",
		"postgresql://u:p@w@h/d":                "a @ follows where host and database stand: write one as %40 and a / as %2F, in the password too",
		"postgresql://u:p/w@h/d":                "a @ follows where host and database stand: write one as %40 and a / as %2F, in the password too",
		"postgresql://u:pw":                     "connection parameter port: it must be a number",
		"postgresql://u:p@[::1":                 "the ] of an IPv6 address is missing",
		"postgresql://u:p@[]/d":                 "an IPv6 address is empty",
		"postgresql://u:p@[::1]x/d":             "something stands between the ] of an IPv6 address and what may follow, at position 23",
		"host='postgresql://u:p@h/d'":           "connection parameter host: it holds a connection string",
		"dbname='host=h password=p'":            "connection parameter dbname: it holds a connection string",
		"host=h\x00":                            "it holds a zero byte",
		"=x":                                    "an unknown parameter begins at position 1",
	} {
		got, err := Parse(in)
		var e *Error
		if !errors.As(err, &e) || err.Error() != want {
			t.Errorf("%q: %v %v, want %s", in, got, err, want)
		}
	}
	for in, want := range map[string]string{"postgre://u:p@h/d": "it has another scheme than postgresql://",
		"u:p@h/d": "it looks like a URI without its postgresql://"} {
		if _, err := ParseName(in); err == nil || err.Error() != want {
			t.Errorf("%q: %v", in, err)
		}
	}
	if i, err := ParseName("a b'c"); err != nil || i.Keywords() != `dbname='a b\'c'` {
		t.Error(i, err)
	}
}

func TestInfo(t *testing.T) {
	i, err := Parse("host=h password=secret sslpassword=hidden dbname=d port=''")
	if err != nil {
		t.Fatal(err)
	}
	j := i.With("dbname", "e").Default("port", "7").Default("host", "other").Default("user", "")
	if got := j.Keywords(); got != "host=h password=secret sslpassword=hidden dbname=e port=7" {
		t.Error(got)
	}
	if got := j.String() + j.GoString(); strings.Contains(got, "secret") || strings.Contains(got, "hidden") || j.String() != "host=h dbname=e port=7" {
		t.Error(got)
	}
	if i.Only("host", "dbname", "port", "password") || !i.Without("sslpassword").Only("host", "dbname", "port", "password") {
		t.Error("Only does not say what there is")
	}
	if v, _ := i.Get("dbname"); v != "d" {
		t.Error("With changed the original")
	}
}
