package filter

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
)

const recipient = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"

func TestParseFilter(t *testing.T) {
	dir := t.TempDir()
	list := filepath.Join(dir, "recipients")
	other, err := age.GenerateX25519Identity()
	must(t, err)
	must(t, os.WriteFile(list, []byte("# ours\n\n"+other.Recipient().String()+"\n"+recipient+"\n"), 0o600))
	both := []string{recipient, other.Recipient().String()}
	if both[0] > both[1] {
		both[0], both[1] = both[1], both[0]
	}
	good := map[string]Filter{
		"zstd":                        {Name: "zstd"},
		"  zstd  level=19  threads=4": {Name: "zstd", Level: 19, Threads: 4},
		"lz4 level=9":                 {Name: "lz4", Level: 9},
		"gzip level='6'":              {Name: "gzip", Level: 6},
		"age recipient=" + recipient:  {Name: "age", Recipients: []string{recipient}, Key: fingerprint(recipient)},
		"age recipients-file=" + list + " recipient=" + recipient: {Name: "age", Recipients: both, Key: fingerprint(strings.Join(both, " "))},
		"age passphrase-file='/etc/a key'":                        {Name: "age", PassphraseFile: "/etc/a key", Key: fingerprint("passphrase-file /etc/a key")},
		`shell write='gpg -e -r ''me''' read="sh -c ""gpg -d"""`:  {Name: "shell", Write: "gpg -e -r 'me'", Read: `sh -c "gpg -d"`},
		"shell write=cat read=cat timeout=60":                     {Name: "shell", Write: "cat", Read: "cat", Timeout: time.Minute},
	}
	for spec, want := range good {
		got, err := ParseFilter(spec)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v, want %+v", spec, got, err, want)
		}
		if again, err := ParseFilter(got.Spec()); err != nil || !reflect.DeepEqual(again, want) {
			t.Errorf("%s: its Spec %s reads %+v, %v", spec, got.Spec(), again, err)
		}
	}
	bad := map[string]string{
		"": "the filters are", "xz": "the filters are", "zstd:3": "the filters are", "ZSTD": "the filters are",
		"zstd -19": "KEY=VALUE", "lz4 9": "KEY=VALUE", "zstd =3": "KEY=VALUE", "zstd level =3": "KEY=VALUE",
		"zstd level=": "empty", "zstd level=''": "empty", "zstd level=23": "1 to 22", "zstd level=x": "1 to 22", "zstd level=3 level=3": "twice",
		"zstd level='3": "not closed", "zstd level='3'x": "behind the closing quote", "zstd level=3'": "quote", "zstd window=3": "no option",
		"gzip threads=2": "no option", "lz4 threads=0": "1 to 64",
		"age": "recipients", "age recipient=age1x": "not an age recipient", "age recipient=ssh-ed25519": "not an age recipient",
		"age recipient=" + other.String():                    "secret key",
		"age recipients-file=/nowhere":                       "no such file",
		"age recipient=" + recipient + " passphrase-file=/x": "beside",
		"age recipient=" + recipient + "\nage1":              "not an age recipient",
		"shell write=cat":                                    "both", "shell read=cat": "both", "shell write='a\nb' read=cat": "one line",
		"shell write=cat read=cat timeout=0": "1 to 86400",
	}
	for spec, reason := range bad {
		_, err := ParseFilter(spec)
		var e *SpecError
		if !errors.As(err, &e) || !strings.Contains(e.Reason, reason) || e.Hint == "" || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want a SpecError with %q", spec, err, reason)
		}
		if err != nil && strings.Contains(e.Reason, "AGE-SECRET") {
			t.Errorf("%s: the secret is shown: %v", spec, err)
		}
	}
}

func chainOf(t testing.TB, specs ...string) Chain {
	t.Helper()
	c := Chain{}
	for _, s := range specs {
		f, err := ParseFilter(s)
		must(t, err)
		c = append(c, f)
	}
	return c
}

func TestChainMakesSense(t *testing.T) {
	secret := "age recipient=" + recipient
	for _, c := range []struct {
		chain  Chain
		reason string
	}{
		{Chain{}, ""}, {chainOf(t, "zstd", secret), ""}, {chainOf(t, secret), ""}, {chainOf(t, "shell write=cat read=cat", "zstd"), ""},
		{chainOf(t, "zstd", "lz4"), "shrink"}, {chainOf(t, secret, "gzip"), "encrypted bytes"},
		{chainOf(t, strings.Split(strings.Repeat("shell write=cat read=cat;", 9)[:9*25-1], ";")...), "more than 8"},
	} {
		err := c.chain.Check()
		if (err == nil) != (c.reason == "") || err != nil && !strings.Contains(err.Error(), c.reason) {
			t.Errorf("%v: %v", c.chain, err)
		}
	}
}

// What a file's record and name say is enough to read it.
func TestRecords(t *testing.T) {
	shell := chainOf(t, "shell write='rev' read='rev'")[0]
	shell.Number = 2
	secret := chainOf(t, "age recipient="+recipient)[0]
	key := secret.Key
	for record, want := range map[string]struct {
		chain                    Chain
		extension, command, bare string
	}{
		"none":               {Chain{}, "", "cat < x", "none"},
		"zstd:19":            {Chain{{Name: "zstd", Level: 19, Threads: 3}}, ".zst", "zstd -dc < x", "zstd"},
		"lz4+age@" + key:     {Chain{{Name: "lz4"}, secret}, ".lz4.age", "age -d -i KEY_FILE < x | lz4 -dc", "lz4+age@"},
		"f2":                 {Chain{shell}, ".f2", "rev < x", "f2"},
		"gzip+f2+age@" + key: {Chain{{Name: "gzip"}, shell, secret}, ".gz.f2.age", "age -d -i KEY_FILE < x | rev | gzip -dc", "gzip+f2+age@"},
	} {
		if got := want.chain.String(); got != record {
			t.Errorf("String() = %s, want %s", got, record)
		}
		read, err := ParseRecord(record, func(n int) (Filter, error) {
			if n != 2 {
				return Filter{}, errors.New("unknown")
			}
			return shell, nil
		})
		must(t, err)
		if read.Extension() != want.extension || read.Command("x") != want.command || read.String() != record {
			t.Errorf("%s: read as %s, ending %s, command %s", record, read, read.Extension(), read.Command("x"))
		}
		if got := RecordOfName("incremental-0000000000000010.sql" + want.extension); got != want.bare {
			t.Errorf("%s: the name says %s", record, got)
		}
	}
	for _, record := range []string{"", "xz", "zstd+", "f", "f3", "fx"} {
		if c, err := ParseRecord(record, func(int) (Filter, error) { return Filter{}, errors.New("unknown") }); err == nil {
			t.Errorf("%q reads as %v", record, c)
		}
	}
}

// identity writes a new key to a file.
func identity(t testing.TB) (recipient string, keys *Keys) {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	must(t, err)
	path := filepath.Join(t.TempDir(), "key.txt")
	must(t, os.WriteFile(path, []byte("# created\n"+id.String()+"\n"), 0o600))
	return id.Recipient().String(), &Keys{IdentityFiles: []string{path}}
}

func passphrase(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "passphrase")
	must(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func TestTry(t *testing.T) {
	to, keys := identity(t)
	hybrid, err := age.GenerateHybridIdentity()
	must(t, err)
	pass := passphrase(t, "correct horse\n")
	for _, c := range []struct {
		name  string
		chain Chain
		keys  *Keys
	}{
		{"nothing", Chain{}, nil},
		{"zstd", chainOf(t, "zstd level=19 threads=4"), nil},
		{"lz4", chainOf(t, "lz4 level=12 threads=4"), nil},
		{"gzip", chainOf(t, "gzip level=9"), nil},
		{"age, key elsewhere", chainOf(t, "zstd", "age recipient="+to), nil},
		{"age, key here", chainOf(t, "lz4", "age recipient="+to+" recipient="+recipient), keys},
		{"age, post-quantum", chainOf(t, "age recipient="+hybrid.Recipient().String()), nil},
		{"age, passphrase", chainOf(t, "zstd", "age passphrase-file="+pass), nil},
		{"shell", chainOf(t, "shell write='gzip -c' read='gzip -dc'"), nil},
		{"shell within", chainOf(t, "shell write='tr a-z b-za' read='tr b-za a-z'", "zstd", "age recipient="+to), keys},
		{"shell twice", chainOf(t, "shell write='gzip -1' read='gzip -d'", "shell write='base64' read='base64 -d'"), nil},
	} {
		t.Run(c.name, func(t *testing.T) { must(t, c.chain.Try(c.keys)) })
	}
}

func TestTryRefuses(t *testing.T) {
	to, _ := identity(t)
	_, wrong := identity(t)
	for name, c := range map[string]struct {
		chain Chain
		keys  *Keys
		want  string
	}{
		"other bytes":         {chainOf(t, "shell write='tr a-z A-Z' read='cat'"), nil, "other bytes"},
		"less":                {chainOf(t, "shell write='head -c 1000000; cat >/dev/null' read='cat'"), nil, "returned 1000000"},
		"nothing":             {chainOf(t, "shell write='cat >/dev/null' read='cat'"), nil, "returned 0"},
		"more":                {chainOf(t, "shell write='cat; echo' read='cat'"), nil, "with 0 bytes returned 1"},
		"early end":           {chainOf(t, "shell write='head -c 10; exit 0' read='cat'"), nil, "with 4096 bytes returned 10"},
		"status of the write": {chainOf(t, "shell write='cat; echo no room >&2; exit 3' read='cat'"), nil, "ended with status 3: no room"},
		"status of the read":  {chainOf(t, "shell write='cat' read='cat; echo bad key >&2; exit 2'"), nil, "ended with status 2: bad key"},
		"no such command":     {chainOf(t, "shell write='no-such-command-here' read='cat'"), nil, "status 127"},
		"signal":              {chainOf(t, "shell write='kill -9 $$' read='cat'"), nil, "signal"},
		"hangs at its end":    {chainOf(t, "shell write='cat; sleep 600' read='cat' timeout=1"), nil, "neither took nor gave a byte for 1s"},
		"takes nothing":       {chainOf(t, "shell write='sleep 600' read='cat' timeout=1"), nil, "neither took nor gave a byte for 1s"},
		"gives nothing":       {chainOf(t, "shell write='cat' read='sleep 600' timeout=1"), nil, "neither took nor gave a byte for 1s"},
		"another's key":       {chainOf(t, "zstd", "age recipient="+to), wrong, "for another key"},
		"no passphrase":       {chainOf(t, "age passphrase-file=/nowhere"), nil, "/nowhere: no such file"},
		"empty passphrase":    {chainOf(t, "age passphrase-file="+passphrase(t, "\n")), nil, "must hold a passphrase"},
		"two lines":           {chainOf(t, "age passphrase-file="+passphrase(t, "a\nb\n")), nil, "must hold a passphrase"},
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			err := c.chain.Try(c.keys)
			var e *TrialError
			if !errors.As(err, &e) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("Try gives %v, want a TrialError with %q", err, c.want)
			}
			if time.Since(began) > 30*time.Second {
				t.Errorf("it took %s", time.Since(began))
			}
		})
	}
}

// A command may say more than a pipe holds, and still be right.
func TestShellMaySpeak(t *testing.T) {
	c := chainOf(t, `shell write='head -c 300000 /dev/zero | tr "\0" x >&2; cat' read='echo using key 1 >&2; cat'`)
	must(t, c.Try(nil))
}

// A command that ends with status 0 without having read everything has failed.
func TestShellEndsEarly(t *testing.T) {
	w, err := chainOf(t, "shell write='head -c 10' read=cat").NewWriter(io.Discard)
	must(t, err)
	_, err = w.Write(make([]byte, 1<<20))
	var e *ShellError
	if !errors.As(err, &e) || !strings.Contains(e.Reason, "ended before it had read everything") {
		t.Errorf("Write gives %v", err)
	}
	w.Abort()
}

// A slow reader is no fault of the command's.
func TestShellWaitsForItsReader(t *testing.T) {
	c := chainOf(t, "shell write=cat read=cat timeout=1")
	r, err := c.NewReader(bytes.NewReader(make([]byte, 1<<20)), nil)
	must(t, err)
	defer r.Close()
	_, err = io.ReadFull(r, make([]byte, 10))
	must(t, err)
	time.Sleep(1500 * time.Millisecond)
	rest, err := io.ReadAll(r)
	if err != nil || len(rest) != 1<<20-10 {
		t.Errorf("%d bytes, %v", len(rest), err)
	}
}

// Giving up ends the commands, and nothing passes any more.
func TestAbort(t *testing.T) {
	mark := filepath.Join(t.TempDir(), "alive")
	for _, specs := range [][]string{
		{"zstd", "shell write='cat; touch " + mark + "' read=cat"},
		{"shell write='cat; touch " + mark + "' read=cat", "lz4", "age recipient=" + recipient},
	} {
		var out bytes.Buffer
		w, err := chainOf(t, specs...).NewWriter(&out)
		must(t, err)
		_, err = w.Write(make([]byte, 300_000))
		must(t, err)
		w.Abort()
		n := out.Len()
		w.Abort()
		time.Sleep(50 * time.Millisecond)
		if out.Len() != n {
			t.Error("bytes passed behind the abort")
		}
		if _, err := os.Stat(mark); err == nil {
			t.Error("the command went on to its end")
		}
	}
	r, err := chainOf(t, "shell write=cat read='cat; sleep 600'").NewReader(strings.NewReader("x"), nil)
	must(t, err)
	began := time.Now()
	must(t, r.Close())
	if time.Since(began) > 10*time.Second {
		t.Error("Close waited for the command")
	}
}

type failingWriter struct{ left int }

func (w *failingWriter) Write(p []byte) (int, error) {
	if w.left -= len(p); w.left < 0 {
		return 0, errors.New("disk full")
	}
	return len(p), nil
}

// What goes wrong behind the chain is not taken for success.
func TestWriterPassesErrorsOn(t *testing.T) {
	random := samples()[5]
	for _, specs := range [][]string{{}, {"zstd"}, {"lz4"}, {"gzip"}, {"age recipient=" + recipient}, {"shell write=cat read=cat"},
		{"zstd", "shell write=cat read=cat"}, {"shell write=cat read=cat", "age recipient=" + recipient}} {
		for _, room := range []int{0, 10, 500_000, len(random) - 1} {
			w, err := chainOf(t, specs...).NewWriter(&failingWriter{left: room})
			if err != nil {
				continue // age writes its header at once
			}
			_, err = w.Write(random)
			if err == nil {
				err = w.Close()
			}
			w.Abort()
			if err == nil {
				t.Errorf("%v with room for %d bytes: no error", specs, room)
			}
		}
	}
}

func TestReadEncrypted(t *testing.T) {
	to, keys := identity(t)
	_, wrong := identity(t)
	chain := chainOf(t, "zstd", "age recipient="+to)
	var b bytes.Buffer
	w, err := chain.NewWriter(&b)
	must(t, err)
	text := samples()[5]
	_, err = w.Write(text)
	must(t, err)
	must(t, w.Close())
	stored := b.Bytes()
	if bytes.Contains(stored, text[:64]) {
		t.Error("the text can be read")
	}
	read := func(stored []byte, keys *Keys) ([]byte, error) {
		r, err := chain.NewReader(bytes.NewReader(stored), keys)
		if err != nil {
			return nil, err
		}
		defer r.Close()
		return io.ReadAll(r)
	}
	if got, err := read(stored, keys); err != nil || !bytes.Equal(got, text) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	// Of several keys the right one is found.
	if _, err := read(stored, &Keys{IdentityFiles: append(wrong.IdentityFiles, keys.IdentityFiles...), PassphraseFile: passphrase(t, "x")}); err != nil {
		t.Errorf("several keys: %v", err)
	}
	sealed := filepath.Join(t.TempDir(), "sealed")
	must(t, os.WriteFile(sealed, stored, 0o600))
	for name, c := range map[string]struct {
		keys  *Keys
		fault KeyFault
	}{
		"nil": {nil, KeyMissing}, "none": {&Keys{}, KeyMissing}, "wrong": {wrong, KeyWrong},
		"passphrase":   {&Keys{PassphraseFile: passphrase(t, "x")}, KeyWrong},
		"no file":      {&Keys{IdentityFiles: []string{"/nowhere/key"}}, KeyUnreadable},
		"no key in it": {&Keys{IdentityFiles: []string{passphrase(t, "not a key "+to)}}, KeyUnreadable},
		"encrypted":    {&Keys{IdentityFiles: []string{sealed}}, KeyUnreadable},
	} {
		_, err := read(stored, c.keys)
		var e *KeyError
		if !errors.As(err, &e) || e.Fault != c.fault {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, bad := range map[string][]byte{"empty": {}, "short": stored[:10], "in the header": stored[:100], "plain": []byte(strings.Repeat("SELECT 1;\n", 100)),
		"zstd": append([]byte("\x28\xb5\x2f\xfd"), text...)} {
		_, err := read(bad, keys)
		var e *DataError
		if !errors.As(err, &e) {
			t.Errorf("%s: %v, want a DataError", name, err)
		}
	}
	// Every cut and every flipped bit shows.
	for at := 0; at < len(stored); at += 9973 {
		if _, err := read(stored[:at], keys); err == nil {
			t.Errorf("cut at %d is read", at)
		}
		flipped := bytes.Clone(stored)
		flipped[at] ^= 4
		if got, err := read(flipped, keys); err == nil && !bytes.Equal(got, text) {
			t.Errorf("byte %d changed is read as something else", at)
		}
	}
}

func TestPassphrase(t *testing.T) {
	path := passphrase(t, "correct horse\n")
	chain := chainOf(t, "age passphrase-file="+path)
	var b bytes.Buffer
	w, err := chain.NewWriter(&b)
	must(t, err)
	fmt.Fprint(w, "hello")
	must(t, w.Close())
	record, err := ParseRecord(chain.String(), nil)
	must(t, err)
	for name, c := range map[string]struct {
		chain Chain
		keys  *Keys
		fault KeyFault
	}{
		"its own":   {chain, nil, ""},
		"given":     {record, &Keys{PassphraseFile: path}, ""},
		"none":      {record, nil, KeyMissing},
		"incorrect": {record, &Keys{PassphraseFile: passphrase(t, "wrong horse")}, KeyWrong},
	} {
		r, err := c.chain.NewReader(bytes.NewReader(b.Bytes()), c.keys)
		var e *KeyError
		switch {
		case c.fault == "" && err == nil:
			if got, err := io.ReadAll(r); err != nil || string(got) != "hello" {
				t.Errorf("%s: %q, %v", name, got, err)
			}
		case !errors.As(err, &e) || e.Fault != c.fault:
			t.Errorf("%s: %v", name, err)
		}
	}
}
