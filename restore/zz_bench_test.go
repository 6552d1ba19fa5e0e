package restore

import (
	"bytes"
	"context"
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/internal/pgtest"
	"pg_scribe/repo"
)

func TestZZBench(t *testing.T) {
	if os.Getenv("ZZ") == "" {
		t.Skip()
	}
	n := 100000
	if s := os.Getenv("ZZN"); s != "" {
		n, _ = strconv.Atoi(s)
	}
	const scale = 20
	c := pgtest.New(t, pgtest.Options{Settings: map[string]string{"shared_buffers": "1GB", "max_wal_size": "8GB", "fsync": "on", "full_page_writes": "on"}})
	b := build(t)
	var sql bytes.Buffer
	sql.WriteString(`SET client_encoding='UTF8';
CREATE TABLE public.pgbench_accounts (aid integer NOT NULL, bid integer, abalance integer, filler character(84)) WITH (fillfactor='100');
CREATE TABLE public.pgbench_branches (bid integer NOT NULL, bbalance integer, filler character(88)) WITH (fillfactor='100');
CREATE TABLE public.pgbench_tellers (tid integer NOT NULL, bid integer, tbalance integer, filler character(84)) WITH (fillfactor='100');
CREATE TABLE public.pgbench_history (tid integer, bid integer, aid integer, delta integer, mtime timestamp without time zone, filler character(22));
COPY public.pgbench_accounts (aid, bid, abalance, filler) FROM stdin;
`)
	for i := 1; i <= scale*100000; i++ {
		fmt.Fprintf(&sql, "%d\t%d\t0\t%84s\n", i, (i-1)/100000+1, "")
	}
	sql.WriteString("\\.\nCOPY public.pgbench_branches (bid, bbalance, filler) FROM stdin;\n")
	for i := 1; i <= scale; i++ {
		fmt.Fprintf(&sql, "%d\t0\t\\N\n", i)
	}
	sql.WriteString("\\.\nCOPY public.pgbench_tellers (tid, bid, tbalance, filler) FROM stdin;\n")
	for i := 1; i <= scale*10; i++ {
		fmt.Fprintf(&sql, "%d\t%d\t0\t\\N\n", i, (i-1)/10+1)
	}
	sql.WriteString(`\.
ALTER TABLE ONLY public.pgbench_accounts ADD CONSTRAINT pgbench_accounts_pkey PRIMARY KEY (aid);
ALTER TABLE ONLY public.pgbench_branches ADD CONSTRAINT pgbench_branches_pkey PRIMARY KEY (bid);
ALTER TABLE ONLY public.pgbench_tellers ADD CONSTRAINT pgbench_tellers_pkey PRIMARY KEY (tid);
`)
	base := b.base(100, 5, sql.String(), "")
	b.open(100)
	rng := rand.New(rand.NewSource(1))
	for i := range n {
		aid, tid := rng.Intn(scale*100000)+1, rng.Intn(scale*10)+1
		bid := rng.Intn(scale) + 1
		b.tx(catalog.LSN(1000+i*100), uint32(1000+i), i/1000,
			fmt.Sprintf(`UPDATE ONLY "public"."pgbench_accounts" SET "aid" = '%d', "bid" = '%d', "abalance" = '%d', "filler" = '%84s' WHERE "aid" = '%d';`, aid, (aid-1)/100000+1, i, "", aid),
			fmt.Sprintf(`UPDATE ONLY "public"."pgbench_tellers" SET "tid" = '%d', "bid" = '%d', "tbalance" = '%d', "filler" = NULL WHERE "tid" = '%d';`, tid, (tid-1)/10+1, i, tid),
			fmt.Sprintf(`UPDATE ONLY "public"."pgbench_branches" SET "bid" = '%d', "bbalance" = '%d', "filler" = NULL WHERE "bid" = '%d';`, bid, i, bid),
			fmt.Sprintf(`INSERT INTO "public"."pgbench_history" ("tid", "bid", "aid", "delta", "mtime", "filler") VALUES ('%d', '%d', '%d', '17', '2026-11-21 02:00:00.123456', NULL);`, tid, bid, aid))
	}
	b.reach(1e9, 1e6)
	b.seal()
	p := b.prepare(catalog.Target{})
	t.Logf("prepared: %d tx, text %d MB", p.Transactions, p.Plan.TextBytes>>20)
	for range 2 {
		o := Options{TargetConn: c.ConnString("bench"), MaintenanceConn: c.ConnString("postgres"), CreateDatabase: true}
		report := execute(t, p, o)
		for _, ph := range report.Phases {
			t.Logf("%s %.2fs", ph.Name, ph.Duration.Seconds())
			if ph.Name == "replay" {
				t.Logf("   %.0f statements/s, %.1f us", float64(report.Statements)/ph.Duration.Seconds(), ph.Duration.Seconds()*1e6/float64(report.Statements))
			}
		}
		t.Log(c.Query(t, "bench", "select sum(abalance::bigint), (select sum(tbalance::bigint) from pgbench_tellers), (select sum(bbalance::bigint) from pgbench_branches), (select count(*) from pgbench_history), pg_relation_size('pgbench_branches') from pgbench_accounts"))
		c.Exec(t, "postgres", "drop database bench")
		c.Exec(t, "postgres", "checkpoint")
	}
	if os.Getenv("ZZPSQL") == "" {
		return
	}
	c.Exec(t, "postgres", "create database bench")
	dir := t.TempDir()
	for i, a := range []catalog.Artifact{base, p.Plan.Segments[0]} {
		f := fmt.Sprintf("%s/%d.sql", dir, i)
		if out, err := exec.Command("sh", "-c", "zstd -dc '"+b.repo.Path(a.Name)+"' > "+f).CombinedOutput(); err != nil {
			t.Fatal(string(out))
		}
		start := time.Now()
		cmd := c.Command("psql", "-X", "-q", "-o", "/dev/null", "-v", "ON_ERROR_STOP=1", "-f", f, "bench")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatal(string(out))
		}
		t.Logf("psql %s %.2fs", a.Name, time.Since(start).Seconds())
	}
	if out, err := c.Command("pg_dump", "-Fd", "-j2", "-f", dir+"/d", "bench").CombinedOutput(); err != nil {
		t.Fatal(string(out))
	}
	for range 3 {
		c.Exec(t, "postgres", "drop database if exists bench2")
		c.Exec(t, "postgres", "create database bench2 template template0")
		c.Exec(t, "postgres", "checkpoint")
		start := time.Now()
		if out, err := c.Command("pg_restore", "-j2", "-d", "bench2", dir+"/d").CombinedOutput(); err != nil {
			t.Fatal(string(out))
		}
		t.Logf("pg_restore -j2 %.2fs", time.Since(start).Seconds())
		c.Exec(t, "postgres", "drop database bench2")
		c.Exec(t, "postgres", "checkpoint")
		o := Options{TargetConn: c.ConnString("bench2"), MaintenanceConn: c.ConnString("postgres"), CreateDatabase: true}
		for _, ph := range execute(t, b.prepare(catalog.Target{Kind: catalog.ByLSN, LSN: 100}), o).Phases {
			if ph.Name == "base" {
				t.Logf("base %.2fs", ph.Duration.Seconds())
			}
		}
	}
	_ = context.Background
	_ = repo.Literal
}
