package repo_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"pg_scribe/catalog"
	"pg_scribe/internal/s3test"
	"pg_scribe/repo"
	"pg_scribe/repo/filter"
	"pg_scribe/repo/layout"
	"pg_scribe/repo/storage"
	"pg_scribe/repo/upload"
)

// BenchmarkOpenTarget10000 opens a repository of 10,000 segments by the
// snapshot of its catalog on an S3 server, as restore does.
func BenchmarkOpenTarget10000(b *testing.B) {
	ctx := context.Background()
	r := repo.NewTest(b, "zstd")
	server := s3test.Start(b)
	t, err := storage.Parse(server.URL("p"), storage.Env{Lookup: func(name string) (string, bool) {
		v, ok := map[string]string{"AWS_ACCESS_KEY_ID": s3test.AccessKey, "AWS_SECRET_ACCESS_KEY": s3test.SecretKey}[name]
		return v, ok
	}})
	repo.Must(b, err)
	bound, err := upload.Bind(ctx, "", []storage.Storage{t})
	repo.Must(b, err)
	repo.Must(b, bound.Record(ctx, r))
	_, err = r.Catalog().AddBase(ctx, catalog.Artifact{Name: "base-1.sql.zst", SystemID: "7", Timeline: 1, Start: 16}, catalog.Artifact{Name: "globals-1.sql"})
	repo.Must(b, err)
	repo.Must(b, addSegments(ctx, r, 10_000))
	repo.Must(b, copyAll(ctx, r))
	dir := b.TempDir()
	began := time.Now()
	repo.Must(b, r.Catalog().Snapshot(ctx, dir+"/snapshot.db", 1))
	info, err := os.Stat(dir + "/snapshot.db")
	repo.Must(b, err)
	b.Logf("the snapshot has %d kB and takes %s", info.Size()>>10, time.Since(began))
	session, err := t.Begin(ctx)
	repo.Must(b, err)
	defer session.End()
	began = time.Now()
	catalogs := layout.CatalogChain(filter.Default)
	name := layout.CatalogName(1, 1, catalogs)
	c, err := r.CatalogFor(ctx, 1, catalogs, name)
	repo.Must(b, err)
	text, err := os.ReadFile(c.Path)
	repo.Must(b, err)
	f, err := session.Create(ctx, name, c.Bytes)
	repo.Must(b, err)
	_, err = f.Write(text)
	repo.Must(b, errors.Join(err, f.Commit(), c.Remove()))
	stored, err := session.Stat(ctx, name)
	repo.Must(b, err)
	b.Logf("it is sent as %d kB in %s", stored.Size>>10, time.Since(began))
	for b.Loop() {
		again, err := repo.OpenStorage(ctx, t, nil)
		repo.Must(b, err)
		all, err := again.Catalog().Artifacts(ctx, catalog.KindSegment)
		if err != nil || len(all) != 10_000 {
			b.Fatalf("%d segments, error %v", len(all), err)
		}
		repo.Must(b, again.Close())
	}
}

// addSegments enters segments that join, with the counts of five tables each.
func addSegments(ctx context.Context, r *repo.Repository, n int) error {
	for i := range n {
		start := catalog.LSN(16 + i*1000)
		id, err := r.Catalog().OpenSegment(ctx, catalog.Artifact{Name: fmt.Sprintf("s%d.open", i), SystemID: "7", Timeline: 1, Database: "db", Start: start,
			Filters: "zstd"})
		if err != nil {
			return err
		}
		p := catalog.Progress{End: start + 1000, Commits: catalog.Commits{Transactions: 100}, Bytes: 1e6, TextBytes: 1e7}
		for j := range 5 {
			p.Tables = append(p.Tables, catalog.TableCount{Table: fmt.Sprintf("public.table_%d", j), Inserted: int64(i), Updated: 7})
		}
		sum := func(what string) string { return fmt.Sprintf("%x", sha256.Sum256(fmt.Appendf(nil, "%s %d", what, i))) }
		if err := r.Catalog().SealSegment(ctx, id, repo.SegmentName(start, filter.Default), "zstd", p, sum("bytes"), sum("text"), time.Now()); err != nil {
			return err
		}
	}
	return nil
}

func copyAll(ctx context.Context, r *repo.Repository) error {
	pending, err := r.Catalog().Pending(ctx, 1)
	for _, a := range pending {
		if err == nil {
			err = r.Catalog().AddCopy(ctx, a, 1, time.Now())
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
			r := repo.NewTest(t, "zstd")
			place := t.TempDir()
			tgt, err := storage.Parse(place, storage.Env{})
			repo.Must(t, err)
			bound, err := upload.Bind(ctx, "", []storage.Storage{tgt})
			repo.Must(t, err)
			repo.Must(t, bound.Record(ctx, r))
			repo.WriteBase(t, r, filter.Default)
			w := repo.CreateSegment(t, r, repo.TxLSN(1))
			for n := 1; n <= 3; n++ {
				repo.AddTx(t, w, n, `INSERT INTO "t" DEFAULT VALUES;`)
				w, err = w.Next(ctx)
				repo.Must(t, err)
			}
			repo.Must(t, w.Close())
			known, err := r.Catalog().Storages(ctx)
			repo.Must(t, err)
			s := upload.New(r, map[int64]storage.Storage{known[0].ID: tgt}, func(string) {})
			seen := 0
			crash := fmt.Errorf("crash")
			r.SetFailpoint(func(at string) error {
				if at == step {
					if seen++; seen > after {
						return crash
					}
				}
				return nil
			})
			if err := s.Drain(ctx); err == nil && (step != "snapshot sent" || after == 0) {
				t.Errorf("%s %d was not reached", step, after)
			}
			r.SetFailpoint(nil)
			repo.Must(t, os.Mkdir(r.Path(repo.CatalogScratch+"dead"), 0o700))
			repo.Must(t, upload.New(r, map[int64]storage.Storage{known[0].ID: tgt}, func(string) {}).Drain(ctx))
			sealed, err := r.Catalog().Copies(ctx, known[0].ID)
			repo.Must(t, err)
			if len(sealed) != 5 { // base, globals, segments
				t.Errorf("%s %d: %d copies", step, after, len(sealed))
			}
			for _, a := range sealed {
				want, err := os.ReadFile(r.Path(a.Name))
				repo.Must(t, err)
				if got, err := os.ReadFile(place + "/" + a.Name); err != nil || !bytes.Equal(got, want) {
					t.Errorf("%s %d: %s: %v", step, after, a.Name, err)
				}
			}
			again, err := repo.OpenStorage(ctx, tgt, nil)
			repo.Must(t, err)
			if all, err := again.Catalog().Artifacts(ctx); err != nil || len(all) != 5 {
				t.Errorf("%s %d: the storage's catalog knows %d files, error %v", step, after, len(all), err)
			}
			repo.Must(t, again.Close())
			if left, _ := os.ReadDir(r.Dir()); strings.Contains(fmt.Sprint(left), ".snapshot") {
				t.Errorf("%s %d: left %v", step, after, left)
			}
		}
	}
}
