package conninfo

import (
	"fmt"
	"math/rand/v2"
	"net/url"
	"os"
	"strings"
	"testing"
)

// forms are the places of a password in strings, good and broken. Each gets it as it is, in keyword quotes, and
// percent-encoded.
var forms = []string{
	"password=%[1]s", "host=h password = %[1]s dbname=d", "password='%[1]s", "password='%[1]s'", "password=%[2]s host=h", "password=%[2]s%[1]s=x",
	"sslpassword=%[2]s host=h", "sslpassword=%[1]s", "password=%[2]s user", "pasword=%[1]s", "PASSWORD=%[1]s", "host=h password %[1]s = x",
	"password=%[2]s sslmode=%[2]s", "scram_client_key=%[2]s", "oauth_client_secret=%[1]s host", "dbname='password=%[1]s'", "password=%[2]s port=x",
	"password=%[2]s connect_timeout=soon", "password=%[2]s service=nosuch", "password=%[2]s gssencmode=require", "password=%[2]s host=a,b port=1,2,3",
	"postgresql://u:%[1]s@h/d", "postgresql://u:%[3]s@h/d", "postgresql://:%[1]s@/d", "postgres://u:%[1]s@h:1,i:2/d?sslmode=off", "postgresql://u:%[1]s@h:port/d",
	"postgresql://h/d?password=%[1]s", "postgresql://h/d?password=%[3]s", "postgresql://h/d?user=u&password=%[1]s&nosuch=1", "postgresql://u:%[1]s@[h/d",
	"postgresql://u:%[1]s@h/d?x", "postgresql://u:%[1]s@h/d?sslmodes=1", "postgresql://u:%[3]s@h/d?sslpassword=%[1]s", "postgresql://h/d?sslpassword=%[3]s",
	"postgre://u:%[1]s@h/d", "u:%[1]s@h/d", "host='postgresql://u:%[3]s@h/d'", "postgresql://u:%[1]s", "postgresql://u:%%%[1]s@h", "postgresql://u:%[1]s%%zz@h",
	"postgresql://u:%[3]s@h:99999/d", "postgresql://u:%[3]s@h/d?hostaddr=1.2.3.4,5.6.7.8", "jdbc:postgresql://h/d?user=u&password=%[1]s",
}

// parts are what a password of the test is made of: words that stand nowhere else, and odd characters between them.
var parts = []string{"Zebra", "Quokka", "Xylem"}

func passwordFor(odd string) string {
	r := []rune(odd)
	return parts[0] + string(r[:len(r)/2]) + parts[1] + string(r[len(r)/2:]) + parts[2]
}

// shown is everything that is made of a connection string for people and for the arguments of programs.
func shown(s string) (texts []string) {
	note := func(v any) { texts = append(texts, fmt.Sprintf("%v %+v %#v", v, v, v)) }
	i, err := ParseName(s)
	if err != nil {
		// The fields of an error are shown too; %#v of a pointer has them.
		return append(texts, err.Error(), fmt.Sprintf("%+v", *err.(*Error)))
	}
	cfg, err := i.Config()
	if err != nil {
		return append(texts, err.Error())
	}
	note(i)
	texts = append(texts, cfg.Host, cfg.Database, cfg.User, fmt.Sprint(cfg.RuntimeParams))
	tool, err := ForTool(i.Keywords(), "-c a=b")
	if err != nil {
		return append(texts, err.Error())
	}
	defer tool.Close()
	return append(texts, tool.Dbname)
}

func checkSecret(t *testing.T, form int, odd string) {
	t.Helper()
	if forms[form] == "postgresql://u:%[1]s" && strings.Contains(odd, "@") {
		return // what follows the @ is a host then, and nobody could know better
	}
	password := passwordFor(odd)
	quoted := "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(password) + "'"
	s := fmt.Sprintf(forms[form], password, quoted, strings.ReplaceAll(url.QueryEscape(password), "+", "%20"))
	s, _, _ = strings.Cut(s, "%!(EXTRA")
	for _, text := range shown(s) {
		for _, part := range parts {
			if strings.Contains(text, part) {
				t.Errorf("%q shows %s: %s", s, part, text)
			}
		}
	}
}

// noEnvironment keeps the settings of who runs the tests out of them.
func noEnvironment(t testing.TB) {
	for _, p := range parameters {
		if p.env != "" {
			t.Setenv(p.env, "")
			os.Unsetenv(p.env)
		}
	}
	t.Setenv("HOME", t.TempDir())
	t.Setenv("PGSYSCONFDIR", t.TempDir())
}

const oddCharacters = "^|{}#?[]@:/%&=+ '\"\\,;<>!$*()~`\t\nä%4"

// TestNoPasswordIsShown is a bounded run of the fuzz below.
func TestNoPasswordIsShown(t *testing.T) {
	noEnvironment(t)
	r := rand.New(rand.NewPCG(7, 11))
	alphabet := []rune(oddCharacters)
	for range 400 {
		odd := make([]rune, r.IntN(7))
		for n := range odd {
			odd[n] = alphabet[r.IntN(len(alphabet))]
		}
		for form := range forms {
			checkSecret(t, form, string(odd))
		}
		if t.Failed() {
			return
		}
	}
}

func FuzzNoPasswordIsShown(f *testing.F) {
	noEnvironment(f)
	for form := range forms {
		f.Add(uint(form), "")
		f.Add(uint(form), "@/")
	}
	for _, c := range oddCharacters {
		f.Add(uint(21), string(c))
	}
	f.Fuzz(func(t *testing.T, form uint, odd string) {
		if len(odd) > 40 {
			return
		}
		checkSecret(t, int(form%uint(len(forms))), odd)
	})
}
