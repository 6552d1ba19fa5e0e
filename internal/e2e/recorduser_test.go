package e2e

import (
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"pg_scribe/catalog"
	"pg_scribe/repo"
	"pg_scribe/repo/segment"
)

// authors reads who ran what in all segments: a line for each, and for each command.
func (tr *trip) authors() (list []string) {
	tr.t.Helper()
	r, err := repo.OpenReadOnly(context.Background(), tr.dir)
	if err != nil {
		tr.t.Fatal(err)
	}
	defer r.Close()
	segments, err := r.Catalog().Artifacts(context.Background(), catalog.KindSegment)
	if err != nil {
		tr.t.Fatal(err)
	}
	for _, a := range segments {
		reader, err := r.OpenSegment(a)
		for err == nil {
			var item segment.Item
			if item, err = reader.Next(); err != nil {
				break
			}
			switch item.Kind {
			case segment.Begin:
				list = append(list, "begin")
			case segment.Author:
				list = append(list, item.String())
			case segment.DDL:
				if strings.HasPrefix(item.Tag, "CREATE") {
					list = append(list, string(item.SQL))
				}
			}
		}
		if !errors.Is(err, io.EOF) {
			tr.t.Fatal(err)
		}
		reader.Close()
	}
	return list
}

// With --record-user a transaction with commands tells whose session it was.
func TestRecordUser(t *testing.T) {
	tr := initTrip(t, "--record-user")
	tr.run("CREATE ROLE tr_author LOGIN", "GRANT CREATE ON SCHEMA public TO tr_author", "CREATE TABLE t (id int PRIMARY KEY)")
	defer tr.source.Exec(t, tr.db, "DROP OWNED BY tr_author; DROP ROLE tr_author")
	conn, err := pgx.Connect(context.Background(), strings.Replace(tr.conn(), "user=postgres", "user=tr_author", 1)+` application_name='it\'s an app'`)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	mustExec(t, conn, "BEGIN; CREATE TABLE a (); CREATE TABLE b (); SET application_name = 'later'; CREATE TABLE c (); COMMIT")
	super, err := pgx.Connect(context.Background(), tr.conn())
	if err != nil {
		t.Fatal(err)
	}
	defer super.Close(context.Background())
	mustExec(t, super, "BEGIN; INSERT INTO t VALUES (1); SET ROLE tr_author; CREATE TABLE d (); COMMIT", "RESET ROLE; INSERT INTO t VALUES (2)")
	tr.streamNow()
	list := tr.authors()
	want := []string{"begin", `by "tr_author" "it's an app" ""`, "CREATE TABLE a ();", "CREATE TABLE b ();", `by "tr_author" "later" ""`, "CREATE TABLE c ();",
		"begin", `by "postgres" "" ""`, "CREATE TABLE d ();", "begin"}
	if from := slices.Index(list, want[1]); from < 1 || !slices.Equal(list[from-1:min(from-1+len(want), len(list))], want) {
		t.Errorf("%s\nwant\n%s", strings.Join(list, "\n"), strings.Join(want, "\n"))
	}
	tr.rescue()

	// Installed again it goes on.
	tr.run("DROP SCHEMA scribe CASCADE")
	tr.mustScribe("full-backup", "-d", tr.conn(), "-f", tr.dir, "--new-slot")
	tr.run("CREATE TABLE e ()")
	tr.streamNow()
	if list := tr.authors(); len(list) < 3 || list[len(list)-1] != "CREATE TABLE e ();" || !strings.HasPrefix(list[len(list)-2], `by "postgres" `) {
		t.Errorf("%q", list)
	}
}

// Nobody is recorded unasked, and an init that fails records nobody.
func TestRecordUserIsOff(t *testing.T) {
	tr := initTrip(t)
	tr.run("CREATE TABLE a ()")
	file := tr.dir + "-file"
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	other := []string{"init", "-d", tr.conn(), "-f", tr.dir + "-other", "-S", tr.slot + "_other", "--record-user"}
	if out, code := tr.program(append(other, "--storage", file)...); code == 0 {
		t.Fatalf("a second repository began with a storage that is a file:\n%s", out)
	}
	tr.run("CREATE TABLE b ()")
	tr.streamNow()
	for _, line := range tr.authors() {
		if strings.HasPrefix(line, "by ") {
			t.Error(line)
		}
	}
	// The capture is one for all repositories of a database.
	tr.mustScribe(other...)
	defer tr.mustScribe("drop", "-d", tr.conn(), "-S", tr.slot+"_other", "--keep-capture", "--yes")
	tr.run("CREATE TABLE c ()")
	tr.streamNow()
	if list := tr.authors(); len(list) < 2 || !strings.HasPrefix(list[len(list)-2], "by ") {
		t.Errorf("%q", list)
	}
}
