package storage

import (
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestPartsFitTheLimits(t *testing.T) {
	const gib = int64(1) << 30
	var unknown s3Storage
	var total int64
	for number := 1; number <= s3MaxParts; number++ {
		part := unknown.partSizeOf(number, -1)
		if part < 5<<20 || part > 5*gib || number > 1 && part < unknown.partSizeOf(number-1, -1) {
			t.Fatalf("part %d has %d bytes", number, part)
		}
		if total += part; number == 2_560 && part != s3MinPart {
			t.Errorf("at %d GiB a part has %d bytes", total/gib, part)
		}
	}
	if total < 5<<40 {
		t.Errorf("all parts are %d GiB", total/gib)
	}
	for _, size := range []int64{0, 1, 8 << 20, 20 * gib, 80 * gib, 1 << 40, 5 << 40} {
		part := unknown.partSizeOf(1, size)
		if n := (size + part - 1) / part; n > s3MaxParts || part > 5*gib || part != unknown.partSizeOf(10_000, size) {
			t.Errorf("%d bytes: %d parts of %d", size, n, part)
		}
	}
}

func TestParse(t *testing.T) {
	env := Env{Home: "/nonexistent", Lookup: func(name string) (string, bool) {
		v, ok := map[string]string{"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "USER": "u"}[name]
		return v, ok
	}}
	const all = ` write='cat > %f' read='cat %f' list='ls' remove='rm %f'`
	good := []string{"/backups", "file:/backups", "file:///backups", "s3://bucket", "s3://bucket/a/b",
		"s3://bucket/p?endpoint=http://h:1&region=r&path-style=true",
		"s3://bucket/p?sse=AES256", "s3://bucket/p?sse=aws:kms&sse-kms-key=k", "s3://b-u/p?storage-class=STANDARD_IA&part-size=16MB",
		"sftp://host/path", "sftp://me@host:2222/path?identity=/k&known-hosts=/h", "shell" + all, "shell " + all + " detail=db1/x timeout=5m",
		`shell write="ssh me@host 'cat > /b/'%f" read='ssh me@host cat %f' list='date +%%s' remove='echo ''it'' %f'`}
	for _, spec := range good {
		if _, err := Parse(spec, env); err != nil {
			t.Errorf("%s: %v", spec, err)
		}
	}
	bad := map[string]string{
		"": "absolute", "relative": "absolute", "file:relative": "absolute", "gs://b/p": "kinds", "http://h": "kinds",
		"s3://": "form", "s3:///p": "form", "s3://b:80/p": "form", "s3://b/a/../c": "prefix", "s3://b/a//c": "prefix",
		"s3://key:secret@b/p": "do not belong", "s3://b?endpoint=h:1": "endpoint", "s3://b?endpoint=ftp://h": "endpoint", "s3://b?endpoint=http://h/path": "endpoint",
		"s3://b?path-style=maybe": "path-style", "s3://b?sse=rot13": "sse", "s3://b?sse-kms-key=k": "sse", "s3://b?part-size=1MB": "part-size",
		"s3://b?part-size=16": "part-size", "s3://b?colour=red": "colour",
		"sftp://host": "form", "sftp://me:pw@host/p": "password", "sftp://host/p?port=1": "port",
		"shell x": "form", "shell write='x %f'": "read is missing", "shell" + all + " write='y %f'": "twice", "shell" + all + " verify=yes": "none of",
		"shell" + all + " detail='a b'": "detail", "shell" + all + " detail='$(id)'": "detail", "shell" + all + " timeout=0": "timeout", "shell" + all +
			" timeout=-1s": "timeout",
	}
	for spec, reason := range bad {
		_, err := Parse(spec, env)
		if e, ok := err.(*SpecError); !ok || !strings.Contains(e.Error(), reason) {
			t.Errorf("%q: %v, want a SpecError with %q", spec, err, reason)
		}
		if err != nil && (strings.Contains(err.Error(), "secret@") || strings.Contains(err.Error(), "pw@")) {
			t.Errorf("the error tells the secret: %v", err)
		}
	}
	for text, want := range map[string]bool{"s3://b/p": true, "sftp://h/p": true, "shell write=x": true, "file:/x": true, "/x": false, "x": false, "-": false} {
		if IsSpec(text) != want {
			t.Errorf("IsSpec(%q) = %v", text, !want)
		}
	}
}

func TestTemplates(t *testing.T) {
	good := []struct{ template, want string }{
		{"cat > %f", "cat > 'n'"}, {"x %f %f", "x 'n' 'n'"}, {"date +%%s; cat %f", "date +%s; cat 'n'"}, {"%%f %f", "%f 'n'"},
		{"cp /in /%d/%f", "cp /in /'d1'/'n'"}, {"ssh h 'cat > /x/'%f", "ssh h 'cat > /x/''n'"}, {`echo "it's" %f`, `echo "it's" 'n'`}, {`a\'%f`, `a\''n'`},
	}
	for _, c := range good {
		if err := checkTemplate(c.template, true, true); err != nil {
			t.Errorf("%s: %v", c.template, err)
		}
		if got := (&shellStorage{detail: "d1"}).expand(c.template, "n"); got != c.want {
			t.Errorf("%s gives %s, want %s", c.template, got, c.want)
		}
	}
	bad := []struct {
		template string
		detail   bool
		reason   string
	}{
		{"", true, "empty"}, {"  ", true, "empty"}, {"cat", true, "%f"}, {"cat %%f", true, "%f"}, {"cat %f %", true, "single"}, {"cat %f %x", true,
			"%x has no meaning"},
		{"cat %F", true, "%F"}, {"cat % f", true, "% "}, {"cat %f %d", false, "detail"}, {"cat '%f'", true, "outside"}, {`cat "%f"`, true, "outside"},
		{`cat "x'%f"`, true, "outside"}, {`cat %f '%d'`, true, "outside"}, {`cat %f \%f`, true, "no meaning"},
	}
	for _, c := range bad {
		if err := checkTemplate(c.template, true, c.detail); err == nil || !strings.Contains(err.Error(), c.reason) {
			t.Errorf("%q: %v, want %q", c.template, err, c.reason)
		}
	}
	if err := checkTemplate("ls %f", false, false); err == nil {
		t.Error("a listing takes no name")
	}
}

// Words follow what a store says, which may end like a sentence.
func TestErrorEndsWithoutPeriod(t *testing.T) {
	err := &Error{Storage: "s3://b/p", Op: "list", Fault: Denied, Err: errors.New("Access Denied.\n")}
	if got, want := err.Error(), "storage s3://b/p: access is denied: Access Denied"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestSpecErrorHidesSecrets: however a URL is broken, what could be a secret in it is not repeated.
func TestSpecErrorHidesSecrets(t *testing.T) {
	env := Env{Home: "/nonexistent", Lookup: func(string) (string, bool) { return "", false }}
	for _, spec := range []string{
		"s3://key:Zebra@b/p", "s3://key:Zebra/Quokka@b/p", "s3://key:Zebra%zz@b/p", "s3://key:Zebra#Quokka@b/p", "s3://key:1/p?Quokka=Zebra@b/p",
		"s3://key:a@b/Zebra@c", "s3://b/p?endpoint=https://key:Zebra@h", "s3://b/p?secret=Zebra", "s3://b/p?endpoint=%zzZebra", "gs://key:Zebra@b/p",
		"sftp://me:Zebra@h/p", "sftp://me:Zebra/Quokka@h/p", "sftp://me:Zebra^|{}@h/p", "sftp://me:1/p?Zebra=Quokka@h/p", "sftp://me:Zebra@[h/p",
		"https://me:Zebra@h/p", "shell write='curl -u me:Zebra %f' x", "shell write=\"curl -u me:Zebra",
	} {
		_, err := Parse(spec, env)
		if e, ok := err.(*SpecError); !ok || strings.Contains(e.Error(), "Zebra") || strings.Contains(e.Error(), "Quokka") {
			t.Errorf("%q: %v", spec, err)
		}
	}
	t.Setenv("HTTPS_PROXY", "http://me:Zebra%zz@proxy:1")
	transport, err := s3Transport("")
	if err != nil {
		t.Fatal(err)
	}
	_, err = transport.RoundTrip(httptest.NewRequest("GET", "https://bucket.invalid/", nil))
	if err == nil || strings.Contains(err.Error(), "Zebra") {
		t.Errorf("through a malformed proxy: %v", err)
	}
}
