package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// ok is for steps that prepare a row.
func (h *hinter) ok(errs ...error) {
	h.t.Helper()
	for _, err := range errs {
		if err != nil {
			h.t.Fatal(err)
		}
	}
}

func (h *hinter) write(path, text string) {
	h.t.Helper()
	h.ok(os.WriteFile(path, []byte(text), 0o600))
}

// tmpfs is a small file system of its own; false: this user may not mount.
func (h *hinter) tmpfs(size string) (dir string, ok bool) {
	h.t.Helper()
	dir = h.t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		return dir, false
	}
	h.t.Cleanup(func() { syscall.Unmount(dir, 0) })
	return dir, true
}

// unmounted is the row of who may not mount.
func (h *hinter) unmounted(rule string) {
	h.rows = append(h.rows, hintRow{rule: rule, outcome: "not made: this user may not mount a file system"})
}

// encrypted is a source whose files are encrypted.
func (h *hinter) encrypted(flags ...string) (s *sourceDB, recipient, key string) {
	h.t.Helper()
	recipient, key = newKey(h.t)
	return h.fresh(append([]string{"-Z", "zstd", "--filter", recipient}, flags...)...), recipient, key
}

// repositoryHints are errors of directories, catalogs and files.
var repositoryHints = []hintCase{
	{"init into a repository", func(h *hinter) {
		s := h.fresh()
		f := h.fails("*repo.NotEmptyError / repository", "init", "-d", s.db, "-f", s.dir)
		o := h.shell("timeout -s INT 3 " + hintCommands(f.hint)[0])
		if o.code != 124 && o.code != 0 || !strings.Contains(o.errors, "streaming database") || !strings.Contains(o.args[0], "-d "+s.db) {
			h.t.Errorf("%d %s %s", o.code, o.args, o.errors)
		}
		h.rows[len(h.rows)-1].ran = o.args[0]
		f.came("it streams")
	}},
	{"init into a directory that is not empty", func(h *hinter) {
		dir := h.t.TempDir()
		h.write(filepath.Join(dir, "x"), "x")
		f := h.fails("*repo.NotEmptyError / other", "init", "-d", h.database(), "-f", dir)
		h.must("init", "-d", h.database(), "-f", h.newDir(), "-S", "hint_empty")
		f.came("with another directory, init succeeds")
	}},
	{"a file of a repository", func(h *hinter) {
		f := h.fails("*repo.NotRepositoryError / file", "restore", "-f", h.oneFile(h.src.dir, "base-*"), "-C", "-d", h.newDB())
		f.follow(0)
		f.came("the repository of that file is restored")
	}},
	{"the directory above", func(h *hinter) {
		f := h.fails("*repo.NotRepositoryError / above", "list", "-f", filepath.Dir(h.src.dir))
		f.follow(0)
		f.came("the repository below is listed")
	}},
	{"a directory that does not exist", func(h *hinter) {
		f := h.fails("*repo.NotRepositoryError / absent", "full-backup", "-d", h.database(), "-f", h.newDir())
		f.follow(0)
		f.came("a repository is begun there")
		f = h.fails("*repo.NotRepositoryError / absent, restore", "restore", "-f", filepath.Join(filepath.Dir(h.src.dir), "rep"), "-C", "-d", "x")
		if o := f.follow(0); !strings.Contains(o.out, "repo") {
			h.t.Errorf("%s", o.out)
		}
		f.came("the list shows the right name")
	}},
	{"a catalog that is gone", func(h *hinter) {
		dir := h.copyOf(h.src.dir)
		h.ok(os.Remove(filepath.Join(dir, "catalog.db")))
		f := h.fails("*repo.DamagedCatalogError", "list", "-f", dir)
		f.follow(0)
		h.must("list", "-f", dir)
		f.came("the repository is listed")
		f = h.fails("*rebuild.HealthyCatalogError", "catalog", "rebuild", "-f", dir)
		f.follow(0)
		f.came("it is rebuilt all the same")
	}},
	{"a catalog of something else", func(h *hinter) {
		dir := h.t.TempDir()
		h.write(filepath.Join(dir, "catalog.db"), "no database")
		f := h.fails("*repo.NotRepositoryError / catalog", "list", "-f", dir)
		if o := f.follow(0); strings.Contains(o.out, "base-") {
			h.t.Errorf("%s", o.out)
		}
		f.came("the list shows that no file of a repository is there: it is another directory")
	}},
	{"a missing segment", func(h *hinter) {
		dir := h.copyOf(h.src.dir)
		h.ok(os.Remove(h.oneFile(dir, "incremental-*")))
		f := h.fails("*repo.MissingFileError", "restore", "-f", dir, "-C", "-d", h.newDB(), "--base-backup", filepath.Base(h.oneFile(dir, "base-*")))
		f.followTo(exitWarnings, 0)
		f.came("status names the missing file and what can be restored")
	}},
	{"a damaged segment", func(h *hinter) {
		dir := h.copyOf(h.src.dir)
		file := h.oneFile(dir, "incremental-*")
		content, err := os.ReadFile(file)
		h.ok(err)
		content[len(content)/2] ^= 0xff
		h.write(file, string(content))
		f := h.fails("*segment.FormatError", "restore", "-f", dir, "-C", "-d", h.newDB(), "--base-backup", filepath.Base(h.oneFile(dir, "base-*")))
		f.follow(0)
		h.ok(os.WriteFile(file, mustRead(h, h.oneFile(h.src.dir, "incremental-*")), 0o600))
		h.must("restore", "-f", dir, "-C", "-d", h.newDB())
		f.came("the list shows the points before it; with the file brought back, all is restored")
	}},
	{"a folder for working files that is gone", func(h *hinter) {
		spool := h.t.TempDir()
		s := h.fresh("--spool-dir", spool)
		h.ok(os.RemoveAll(h.oneFile(spool, "pg_scribe-*")))
		f := h.fails("*repo.SpoolMissingError", "start", "-d", s.db, "-f", s.dir)
		f.follow(0)
		s.catchUp()
		f.came("the catalog is made again, and start streams")
	}},
	{"a copy beside its folder", func(h *hinter) {
		s := h.fresh("--spool-dir", h.t.TempDir())
		dir := h.copyOf(s.dir)
		f := h.fails("*repo.SpoolTakenError", "list", "-f", dir)
		f.follow(0)
		h.must("list", "-f", dir)
		h.must("list", "-f", s.dir)
		f.came("the copy has a catalog of its own")
	}},
	{"a folder that does not fit", func(h *hinter) {
		f := h.fails("*repo.SpoolUnfitError", "init", "-d", h.database(), "-f", h.newDir(), "-S", "hint_unfit", "--spool-dir", "/nonexistent")
		h.must("init", "-d", h.database(), "-f", h.newDir(), "-S", "hint_unfit", "--spool-dir", h.t.TempDir())
		f.came("with an existing directory, init succeeds")
	}},
	{"a rebuild that does not know for whom", func(h *hinter) {
		s, recipient, key := h.encrypted()
		h.ok(os.Remove(filepath.Join(s.dir, "catalog.db")), os.Remove(filepath.Join(s.dir, "pg_scribe_metadata.txt")))
		f := h.fails("*rebuild.FiltersUnknownError", "catalog", "rebuild", "-f", s.dir, "-i", key)
		f.follow(0, "RECIPIENT", strings.TrimPrefix(recipient, "age recipient="))
		h.must("list", "-f", s.dir)
		f.came("the catalog is rebuilt")
	}},
	{"no key and the wrong one", func(h *hinter) {
		s, _, key := h.encrypted()
		_, other := newKey(h.t)
		restore := func(flags ...string) []string {
			return append([]string{"restore", "-f", s.dir, "-C", "-d", h.newDB()}, flags...)
		}
		f := h.fails("*filter.KeyError / missing", restore()...)
		h.must(restore("--identity", key)...)
		f.came("with --identity it is restored")
		f = h.fails("*filter.KeyError / wrong", restore("-i", other)...)
		h.must(restore("-i", other, "-i", key)...)
		f.came("with the right one beside it is restored")
		f = h.fails("*filter.KeyError / no file", restore("-i", filepath.Join(filepath.Dir(key), "kee"))...)
		if o := f.follow(0); !strings.Contains(o.out, "key") {
			h.t.Errorf("%s", o.out)
		}
		f.came("the list shows the right name")
	}},
	{"filters that cannot be meant", func(h *hinter) {
		db := h.database()
		try := func(flags ...string) []string {
			return append([]string{"init", "-d", db, "-f", h.newDir(), "-S", "hint_filter"}, flags...)
		}
		f := h.fails("*filter.SpecError", try("--filter", "zstd level=x")...)
		h.must("help", "init")
		f.came("the hint writes it as help does")
		f = h.fails("*filter.TrialError", try("--filter", "shell write='cat; echo' read=cat")...)
		if o := h.shell("F=$(mktemp); echo x > $F; (cat; echo) < $F | cat | cmp - $F"); o.code != 1 {
			h.t.Errorf("cmp finds no difference: %d %s", o.code, o.errors)
		}
		f.came("the commands by hand show the difference")
		h.must(try("-Z", "zstd:9")...)
	}},
	{"a filter that writes something else later", func(h *hinter) {
		broken := filepath.Join(h.t.TempDir(), "broken")
		s := h.fresh("--filter", "shell write='cat; test ! -e "+broken+" || echo more' read=cat")
		h.write(broken, "")
		f := h.fails("*repo.UnfaithfulError", "full-backup", "-d", s.db, "-f", s.dir)
		h.ok(os.Remove(broken))
		f.follow(0)
		f.came("with the filter fixed the base is taken")
		s = h.fresh("--filter", "shell write='test ! -e "+broken+" || { echo no key >&2; exit 3; }; cat' read=cat")
		h.write(broken, "")
		f = h.fails("*filter.ShellError", "full-backup", "-d", s.db, "-f", s.dir)
		if o := f.followTo(3, 0); !strings.Contains(o.errors, "no key") {
			h.t.Errorf("%s", o.errors)
		}
		h.ok(os.Remove(broken))
		h.must("full-backup", "-d", s.db, "-f", s.dir)
		f.came("the command says by itself what it lacks; with that the base is taken")
	}},
	{"a parallel dump and another compression", func(h *hinter) {
		s := h.fresh("-Z", "lz4")
		f := h.fails("*base.ArchiveCodecError", "full-backup", "-d", s.db, "-f", s.dir, "--jobs", "2", "-Z", "lz4")
		if !strings.Contains(f.hint, "-Z gzip") {
			h.t.Error(f.hint)
		}
		h.must("full-backup", "-d", s.db, "-f", s.dir, "--jobs", "2", "-Z", "gzip")
		f.came("with the flags of the hint the archive is made")
	}},
	{"a base that nobody has", func(h *hinter) {
		f := h.fails("catalog.UnknownBaseError", "keep", "base-1", "-f", h.src.dir)
		_, flag, _ := strings.Cut(f.hint, ", ")
		_ = flag
		o := h.shell("pg_scribe keep " + filepath.Base(h.oneFile(h.src.dir, "base-*")) + " -f " + h.src.dir)
		if !strings.Contains(f.hint, filepath.Base(h.oneFile(h.src.dir, "base-*"))) || o.code != exitOK {
			h.t.Errorf("%s\n%s", f.hint, o.errors)
		}
		h.must("unkeep", filepath.Base(h.oneFile(h.src.dir, "base-*")), "-f", h.src.dir)
		f.came("the bases are named; with such a name it is kept")
	}},
	{"targets that the repository does not reach", func(h *hinter) {
		plan := func(flags ...string) []string {
			return append([]string{"restore", "-f", h.src.dir, "--dry-run"}, flags...)
		}
		flags := func(hint, from string) []string {
			_, text, _ := strings.Cut(hint, from)
			text, _, _ = strings.Cut(from+text, ",")
			words := strings.SplitN(text, " ", 2)
			return []string{words[0], strings.Trim(words[1], "'")}
		}
		f := h.fails("catalog.UnknownPointError", plan("--target-name", "there")...)
		h.must(plan(flags(f.hint, "--target-name")...)...)
		f.came("the mark that the hint names shows the plan")
		f = h.fails("catalog.UnknownXIDError", plan("--target-xid", "4000000000")...)
		f.follow(0)
		f.came("the list shows what there is")
		bases, _ := filepath.Glob(filepath.Join(h.src.dir, "base-*"))
		f = h.fails("catalog.BaseAfterTargetError", plan("--base-backup", filepath.Base(bases[len(bases)-1]), "--target-name", "here")...)
		f.follow(0)
		f.came("an older base is chosen")
		f = h.fails("catalog.TargetBeforeFirstBaseError", plan("--target-lsn", "0/1")...)
		f.follow(0)
		f.came("the earliest point shows the plan")
		f = h.fails("catalog.TargetAfterEndError", plan("--target-lsn", "FF/0")...)
		f.follow(0)
		f.came("the end shows the plan")
	}},
	{"a repository without base", func(h *hinter) {
		s := h.fresh()
		h.c.Exec(h.t, s.db, "INSERT INTO t VALUES (6)")
		s.catchUp()
		h.ok(os.Remove(h.oneFile(s.dir, "base-*")))
		h.run("catalog", "rebuild", "--force", "-f", s.dir)
		f := h.fails("catalog.NoBaseError", "restore", "-f", s.dir, "-C", "-d", h.newDB())
		f.follow(0)
		h.must("restore", "-f", s.dir, "-C", "-d", h.newDB())
		f.came("a base is taken, and it is restored")
	}},
	{"a chain with a hole", func(h *hinter) {
		s := h.fresh()
		for range 3 {
			h.c.Exec(h.t, s.db, "INSERT INTO t SELECT max(id) + 1 FROM t")
			s.catchUp()
		}
		segments := decode[listJSON2](h.t, h.must("list", "-f", s.dir, "--output", "json")).Segments
		h.ok(os.Remove(filepath.Join(s.dir, segments[1].Name)))
		h.run("catalog", "rebuild", "--force", "-f", s.dir)
		f := h.fails("catalog.HoleError", "restore", "-f", s.dir, "-C", "-d", h.newDB())
		f.follow(0)
		f.came("up to the hole it is restored")
	}},
	{"a schema change that nobody captured", func(h *hinter) {
		s := h.fresh()
		h.c.Exec(h.t, s.db, `ALTER EVENT TRIGGER "!scribe_y" DISABLE`)
		h.c.Exec(h.t, s.db, "CREATE TABLE unseen (i int PRIMARY KEY)")
		s.catchUp()
		f := h.fails("catalog.SchemaGapError", "restore", "-f", s.dir, "-C", "-d", h.newDB())
		f.follow(0)
		f.came("before it, it is restored")
	}},
	{"a read-only file system", func(h *hinter) {
		mount, ok := h.tmpfs("50m")
		if !ok {
			h.unmounted(syscall.EROFS.Error())
			return
		}
		s := h.fresh()
		dir := filepath.Join(mount, "repo")
		h.ok(os.CopyFS(dir, os.DirFS(s.dir)), syscall.Mount("tmpfs", mount, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
		for _, reads := range [][]string{{"list"}, {"status"}, {"verify"}, {"expire"}, {"catalog", "check"}, {"restore", "-C", "-d", h.newDB()}} {
			h.must(append(reads, "-f", dir)...)
		}
		f := h.fails(syscall.EROFS.Error(), "full-backup", "-d", s.db, "-f", dir)
		if !strings.Contains(f.errors, "read-only file system") {
			h.t.Error(f.errors)
		}
		f.follow(0)
		h.must("full-backup", "-d", s.db, "-f", dir)
		f.came("list, status, verify, expire and restore work before it; mounted for writing, the base is taken")
	}},
	{"a full disk", func(h *hinter) {
		mount, ok := h.tmpfs("1m")
		if !ok {
			h.unmounted(syscall.ENOSPC.Error())
			return
		}
		db := h.database()
		h.c.Exec(h.t, db, "INSERT INTO t SELECT g FROM generate_series(2, 300000) g; CREATE TABLE b AS SELECT id, md5(id::text) FROM t; ALTER TABLE b ADD PRIMARY "+
			"KEY (id)")
		args := []string{"init", "-d", db, "-f", filepath.Join(mount, "repo"), "-S", "hint_space"}
		f := h.fails(syscall.ENOSPC.Error(), args...)
		f.follow(0)
		h.ok(syscall.Mount("tmpfs", mount, "tmpfs", syscall.MS_REMOUNT, "size=100m"))
		h.must(args...)
		f.came("df runs, as the directory was removed again, on what is left; with room init succeeds")
	}},
	{"a repository of somebody else", func(h *hinter) {
		s := h.fresh()
		base, err := os.MkdirTemp(h.c.Dir, "closed")
		h.ok(err, os.Chmod(base, 0o755))
		dir := filepath.Join(base, "repo")
		h.ok(os.CopyFS(dir, os.DirFS(s.dir)))
		nobody, owner := h.users(dir)
		h.ok(os.Chmod(dir, 0o700))
		h.shell("chown -R postgres " + dir)
		f := h.failsAs(nobody, "", fs.ErrPermission.Error(), "list", "-f", dir)
		f.sudo(h, owner)
		f.came("run as the owner, as the hint says, it is listed")
	}},
	{"a rebuild beside a dump", func(h *hinter) {
		s := h.fresh()
		real, flag := filepath.Join(h.c.BinDir, "pg_dump"), filepath.Join(h.t.TempDir(), "flag")
		slow := h.script("pg_dump", `case "$*" in *--version*) exec `+real+` --version;; esac; echo > `+flag+`; sleep 3; exec `+real+` "$@"`)
		done := make(chan outcome, 1)
		go func() { done <- slow.run("full-backup", "-d", s.db, "-f", s.dir) }()
		waitFor(h.t, "the dump", func() bool { _, err := os.Stat(flag); return err == nil })
		f := h.fails("*repo.BeingWrittenError", "catalog", "rebuild", "--force", "-f", s.dir)
		if o := <-done; o.code != exitOK {
			h.t.Error(o.errors)
		}
		f.follow(0)
		f.came("when the dump is done, the catalog is rebuilt")
	}},
	{"a path through a file", func(h *hinter) {
		file := filepath.Join(h.t.TempDir(), "file")
		h.write(file, "x")
		f := h.fails(syscall.ENOTDIR.Error(), "init", "-d", h.database(), "-f", filepath.Join(file, "repo"), "-S", "hint_notdir")
		h.must("init", "-d", h.database(), "-f", h.newDir(), "-S", "hint_notdir")
		f.came("with a directory, init succeeds")
	}},
	{"an interrupted run", func(h *hinter) {
		ctx, cancel := contextWithTimeout(time.Millisecond)
		defer cancel()
		time.Sleep(5 * time.Millisecond)
		o, _ := h.runNamed(ctx, "restore", "-f", h.src.dir, "-C", "-d", h.newDB())
		hint := lineAfter(o.errors, "hint: ")
		f := &failure{o, h, hint}
		h.rows = append(h.rows, hintRow{rule: "interrupted", problem: lineAfter(o.errors, "error: "), hint: hint})
		f.follow(0)
		f.came("the printed command line restores")
	}},
}

func mustRead(h *hinter, path string) []byte {
	h.t.Helper()
	content, err := os.ReadFile(path)
	h.ok(err)
	return content
}
