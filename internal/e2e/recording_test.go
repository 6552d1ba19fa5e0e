package e2e

import (
	"bytes"
	"context"
	"encoding/hex"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"pg_scribe/internal/recording"
	"pg_scribe/stream"
	"pg_scribe/stream/ddl"
	"pg_scribe/stream/event"
	"pg_scribe/stream/pgoutput"
)

var record = flag.Bool("record", false, "write the recordings anew that the golden files of stream/ddl are made from")

// TestRecordings runs the scripts of the golden files of stream/ddl, so that
// what their capture says is what they were made from. A script is of strings
// that are sent one after the other, with lines "-- then" between them; what is
// before a line "-- record" prepares, what is behind "-- clean" tidies up.
func TestRecordings(t *testing.T) {
	scripts, err := filepath.Glob("../../stream/ddl/testdata/*/*.sql")
	if err != nil || len(scripts) == 0 {
		t.Fatal("no scripts", err)
	}
	tr := begin(t)
	secret, err := hex.DecodeString(tr.source.Query(t, tr.db, "SELECT value FROM scribe.config WHERE key = 'secret'"))
	if err != nil {
		t.Fatal(err)
	}
	view := everything
	if major := tr.source.Query(t, tr.db, "SELECT current_setting('server_version_num')::int / 10000"); major != recordedOn {
		t.Logf("version %s has other options: only the kinds of the commands are compared", major)
		view = heads
	}
	for _, script := range scripts {
		base := strings.TrimSuffix(script, ".sql")
		t.Run(strings.TrimPrefix(base, "../../stream/ddl/testdata/"), func(t *testing.T) {
			text, err := os.ReadFile(script)
			if err != nil {
				t.Fatal(err)
			}
			got := tr.record(t, secret, string(text))
			if *record {
				if err := os.WriteFile(base+".in", got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(base + ".in")
			if err != nil {
				t.Fatal(err)
			}
			if g, w := printed(t, got, view), printed(t, want, view); !slices.Equal(words(g), words(w)) {
				said, says := strings.Split(w, "\n"), strings.Split(g, "\n")
				n := 0
				for n < min(len(said), len(says)) && said[n] == says[n] {
					n++
				}
				t.Errorf("from line %d on the capture says\n%s\nand said\n%s", n+1, strings.Join(says[n:], "\n"), strings.Join(said[n:], "\n"))
			}
		})
	}
}

// record runs a script and returns the messages of the capture.
func (tr *trip) record(t *testing.T, secret []byte, script string) []byte {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, tr.conn())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	send := func(script string) {
		for _, sql := range strings.Split(script, "-- then\n") {
			sql, fails := strings.CutPrefix(sql, "-- fails\n")
			if _, err := conn.PgConn().Exec(ctx, strings.TrimSpace(sql)).ReadAll(); (err != nil) != fails {
				t.Errorf("%s: %v", sql, err)
			}
		}
	}
	setup, rest, found := strings.Cut(script, "-- record\n")
	if !found {
		setup, rest = "", script
	}
	rest, clean, _ := strings.Cut(rest, "-- clean\n")
	defer send(clean + "-- then\nDROP SCHEMA IF EXISTS g CASCADE")
	send("CREATE SCHEMA g; SET search_path = g; SET TimeZone = 'UTC'; SET lc_monetary = 'C'; SET DateStyle = 'ISO, MDY'")
	send(setup)
	tr.messages(t, secret)
	send(rest)
	return tr.messages(t, secret)
}

// messages takes what the slot has of the capture, without its signatures.
func (tr *trip) messages(t *testing.T, secret []byte) []byte {
	ctx := context.Background()
	conn := tr.source.Conn(t, tr.db)
	rows, err := conn.Query(ctx, `SELECT data FROM pg_logical_slot_get_binary_changes($1, NULL, NULL, 'proto_version', '1', 'messages', 'true', `+
		`'publication_names', $2)`,
		tr.slot, stream.DefaultPublication)
	if err != nil {
		t.Fatal(err)
	}
	messages, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	if err != nil {
		t.Fatal(err)
	}
	var dec pgoutput.Decoder
	var out bytes.Buffer
	said := false
	for _, b := range messages {
		switch b[0] {
		case 'M':
			m, err := dec.Message(b[1:])
			if err != nil {
				t.Fatal(err)
			}
			payload, ok := event.Verify(secret, m.Content)
			if ok && string(m.Prefix) == event.Prefix && !bytes.HasPrefix(payload, []byte("rows ")) { // contents are no command
				out.Write(append(payload, '\n'))
				said = true
			}
		case 'C':
			if said {
				out.WriteString(recording.Commit + "\n")
			}
			said = false
		}
	}
	return out.Bytes()
}

// ofTheRun is what differs from run to run: numbers of objects, and times.
var ofTheRun = regexp.MustCompile(`\d{4}-\d\d-\d\d( \d\d:\d\d:\d\d[.\d]*[-+\d]*)?|\d{5,}`)

// recordedOn is the version of the server that the recordings are of.
const recordedOn = "15"

func everything(c *ddl.Case) string {
	return recording.Print(c) + recording.PrintSession(c) + recording.PrintStates(c)
}

// words are those of a text in order: the capture lists objects as the server
// finds them in its catalogs, which is another order in another database.
func words(text string) []string {
	list := strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" \n,;", r) })
	slices.Sort(list)
	return list
}

// heads are the command and the kind that it is of.
func heads(c *ddl.Case) string {
	head, _, _ := strings.Cut(recording.Print(c), "\n")
	return head + "\n"
}

func printed(t *testing.T, recorded []byte, view func(*ddl.Case) string) string {
	cases, err := recording.Cases(recorded)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, c := range cases {
		out.WriteString(view(c))
	}
	return ofTheRun.ReplaceAllString(out.String(), "#")
}
