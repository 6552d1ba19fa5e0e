package repo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/internal/s3test"
	"pg_scribe/repo/filter"
	"pg_scribe/repo/storage"
)

// BenchmarkOpenTarget10000 opens a repository of 10,000 segments by the
// snapshot of its catalog on an S3 server, as restore does.
func BenchmarkOpenTarget10000(b *testing.B) {
	ctx := context.Background()
	r := testRepository(b, "zstd")
	server := s3test.Start(b)
	t, err := storage.Parse(server.URL("p"), storage.Env{Lookup: func(name string) (string, bool) {
		v, ok := map[string]string{"AWS_ACCESS_KEY_ID": s3test.AccessKey, "AWS_SECRET_ACCESS_KEY": s3test.SecretKey}[name]
		return v, ok
	}})
	must(b, err)
	bound, err := Bind(ctx, "", []storage.Storage{t})
	must(b, err)
	must(b, bound.Record(ctx, r))
	_, err = r.cat.AddBase(ctx, catalog.Artifact{Name: "base-1.sql.zst", SystemID: "7", Timeline: 1, Start: 16}, catalog.Artifact{Name: "globals-1.sql"})
	must(b, err)
	must(b, addSegments(ctx, r, 10_000))
	must(b, copyAll(ctx, r))
	dir := b.TempDir()
	began := time.Now()
	must(b, r.cat.Snapshot(ctx, dir+"/snapshot.db", 1))
	info, err := os.Stat(dir + "/snapshot.db")
	must(b, err)
	b.Logf("the snapshot has %d kB and takes %s", info.Size()>>10, time.Since(began))
	session, err := t.Begin(ctx)
	must(b, err)
	defer session.End()
	began = time.Now()
	catalogs := snapshotChain(filter.Default)
	name := snapshotName(1, 1, catalogs)
	must(b, r.sendSnapshot(ctx, session, t, 1, catalogs, name))
	stored, err := session.Stat(ctx, name)
	must(b, err)
	b.Logf("it is sent as %d kB in %s", stored.Size>>10, time.Since(began))
	for b.Loop() {
		again, err := OpenStorage(ctx, t, nil)
		must(b, err)
		all, err := again.Catalog().Artifacts(ctx, catalog.KindSegment)
		if err != nil || len(all) != 10_000 {
			b.Fatalf("%d segments, error %v", len(all), err)
		}
		must(b, again.Close())
	}
}

// addSegments enters segments that join, with the counts of five tables each.
func addSegments(ctx context.Context, r *Repository, n int) error {
	for i := range n {
		start := catalog.LSN(16 + i*1000)
		id, err := r.cat.OpenSegment(ctx, catalog.Artifact{Name: fmt.Sprintf("s%d.open", i), SystemID: "7", Timeline: 1, Database: "db", Start: start, Filters: "zstd"})
		if err != nil {
			return err
		}
		p := catalog.Progress{End: start + 1000, Transactions: 100, Bytes: 1e6, TextBytes: 1e7}
		for j := range 5 {
			p.Tables = append(p.Tables, catalog.TableCount{Table: fmt.Sprintf("public.table_%d", j), Inserted: int64(i), Updated: 7})
		}
		sum := func(what string) string { return fmt.Sprintf("%x", sha256.Sum256(fmt.Appendf(nil, "%s %d", what, i))) }
		if err := r.cat.SealSegment(ctx, id, SegmentName(start, filter.Default), "zstd", p, sum("bytes"), sum("text"), time.Now()); err != nil {
			return err
		}
	}
	return nil
}

func copyAll(ctx context.Context, r *Repository) error {
	pending, err := r.cat.Pending(ctx, 1)
	for _, a := range pending {
		if err == nil {
			err = r.cat.AddCopy(ctx, a, 1, time.Now())
		}
	}
	return err
}

// A streamer that dies after any step of sending goes on where it was: all is
// there once, and no attempt is taken for another's file.
func TestShippingSurvivesCrashes(t *testing.T) {
	ctx := context.Background()
	for _, step := range []string{"sending", "sent", "snapshot sent"} {
		for after := range 3 {
			r := testRepository(t, "zstd")
			place := t.TempDir()
			tgt, err := storage.Parse(place, storage.Env{})
			must(t, err)
			bound, err := Bind(ctx, "", []storage.Storage{tgt})
			must(t, err)
			must(t, bound.Record(ctx, r))
			writeBase(t, r, filter.Default)
			w := createSegment(t, r, txLSN(1))
			for n := 1; n <= 3; n++ {
				addTx(t, w, n, `INSERT INTO "t" DEFAULT VALUES;`)
				w, err = w.Next(ctx)
				must(t, err)
			}
			must(t, w.Close())
			known, err := r.cat.Storages(ctx)
			must(t, err)
			s := r.NewShipper(map[int64]storage.Storage{known[0].ID: tgt}, func(string) {})
			seen := 0
			crash := fmt.Errorf("crash")
			r.hook = func(at string) error {
				if at == step {
					if seen++; seen > after {
						return crash
					}
				}
				return nil
			}
			if err := s.Drain(ctx); err == nil && (step != "snapshot sent" || after == 0) {
				t.Errorf("%s %d was not reached", step, after)
			}
			r.hook = nil
			must(t, os.Mkdir(r.Path(snapshotScratch+"dead"), 0o700))
			must(t, r.NewShipper(map[int64]storage.Storage{known[0].ID: tgt}, func(string) {}).Drain(ctx))
			sealed, err := r.cat.Copies(ctx, known[0].ID)
			must(t, err)
			if len(sealed) != 5 { // base, globals, segments
				t.Errorf("%s %d: %d copies", step, after, len(sealed))
			}
			for _, a := range sealed {
				want, err := os.ReadFile(r.Path(a.Name))
				must(t, err)
				if got, err := os.ReadFile(place + "/" + a.Name); err != nil || !bytes.Equal(got, want) {
					t.Errorf("%s %d: %s: %v", step, after, a.Name, err)
				}
			}
			again, err := OpenStorage(ctx, tgt, nil)
			must(t, err)
			if all, err := again.Catalog().Artifacts(ctx); err != nil || len(all) != 5 {
				t.Errorf("%s %d: the target's catalog knows %d files, error %v", step, after, len(all), err)
			}
			must(t, again.Close())
			if left, _ := os.ReadDir(r.dir); strings.Contains(fmt.Sprint(left), ".snapshot") {
				t.Errorf("%s %d: left %v", step, after, left)
			}
		}
	}
}
