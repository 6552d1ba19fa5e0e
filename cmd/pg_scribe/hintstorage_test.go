package main

import (
	"context"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"pg_scribe/internal/s3test"
	"pg_scribe/repo/storage"
)

func contextWithTimeout(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), d)
}

// targetHints are errors of the places that files are sent to.
var targetHints = []hintCase{
	{"storages that cannot be meant", func(h *hinter) {
		s := h.fresh()
		f := h.fails("*storage.SpecError", "copy", "-f", s.dir, "--storage", "ftp://x")
		h.must("copy", "-f", s.dir, "--storage", h.t.TempDir())
		f.came("with a /DIRECTORY, as the hint writes it, it is sent")
		f = h.fails("*upload.UnknownError", "copy", "-f", s.dir, "--forget", "/elsewhere")
		_, known, _ := strings.Cut(f.hint, "it has ")
		h.must(append([]string{"copy", "-f", s.dir}, strings.Fields(known)...)...)
		f.came("with the flags of the hint that storage is forgotten")
	}},
	{"a storage of another repository", func(h *hinter) {
		place := h.t.TempDir()
		h.fresh("--storage", place)
		s := h.fresh()
		f := h.fails("*layout.TakenError", "copy", "-f", s.dir, "--storage", place)
		h.must("copy", "-f", s.dir, "--storage", h.t.TempDir())
		f.came("with a directory of its own it is sent")
	}},
	{"a storage that was emptied", func(h *hinter) {
		place := h.t.TempDir()
		s := h.fresh("--storage", place)
		entries, _ := os.ReadDir(place)
		for _, e := range entries {
			h.ok(os.RemoveAll(filepath.Join(place, e.Name())))
		}
		h.must("full-backup", "-d", s.db, "-f", s.dir)
		f := h.fails("*layout.LostError", "copy", "-f", s.dir)
		f.follow(0)
		h.must("restore", "-f", "file:"+place, "-C", "-d", h.newDB())
		f.came("the storage has all files again, and restores")
	}},
	{"a storage that is not there", func(h *hinter) {
		s := h.fresh()
		place := filepath.Join(h.t.TempDir(), "disk")
		f := h.fails("the bucket or directory does not exist", "copy", "-f", s.dir, "--storage", place)
		f.follow(0)
		h.ok(os.Mkdir(place, 0o700))
		h.must("copy", "-f", s.dir, "--storage", place)
		f.came("the list shows what is there; with the directory made it is sent")
	}},
	{"a server that is not there", func(h *hinter) {
		s := h.fresh()
		f := h.fails("it cannot be reached", "copy", "-f", s.dir, "--storage", "s3://b/p?endpoint=http://127.0.0.1:1&region=us-east-1")
		h.must("copy", "-f", s.dir, "--storage", h.t.TempDir())
		f.came("nothing is lost: another storage takes the files")
	}},
	{"a storage that start fills", func(h *hinter) {
		s := h.fresh("--storage", h.t.TempDir())
		stop, said := s.background()
		waitFor(h.t, "the streamer", func() bool {
			return strings.Contains(said(), "streaming database") && held(s.dir, "pg_scribe.lock") == 0
		})
		waitFor(h.t, "the uploader", func() bool {
			_, name := h.runNamed(context.Background(), "copy", "-f", s.dir)
			return name == "*upload.BusyError"
		})
		f := h.fails("*upload.BusyError", "copy", "-f", s.dir)
		f.follow(0)
		stop()
		f.came("status shows how far it is")
	}},
	{"more waits than may", func(h *hinter) {
		place := filepath.Join(h.t.TempDir(), "disk")
		h.ok(os.Mkdir(place, 0o700))
		s := h.fresh("--storage", place)
		h.ok(os.Rename(place, place+".away"))
		h.c.Exec(h.t, s.db, "CREATE TABLE big (id int PRIMARY KEY, v text); INSERT INTO big SELECT g, md5(g::text) || md5((g * 3)::text) FROM generate_series(1, "+
			"20000) g")
		f := h.fails("*upload.BacklogError", "start", "-d", s.db, "-f", s.dir, "-F", "100ms", "--segment-size", "100kB", "--spool-limit", "200kB", "-s", "0.2")
		h.ok(os.Rename(place+".away", place))
		f.follow(0)
		s.catchUp("--spool-limit", "200kB")
		f.came("what waits is sent, and start goes on")
	}},
	{"a storage that the server relies on", func(h *hinter) {
		place := h.t.TempDir()
		s := h.fresh("--storage", place)
		stop, said := s.background("--durability", "storage")
		waitFor(h.t, "the streamer", func() bool { return strings.Contains(said(), "streaming database") })
		time.Sleep(300 * time.Millisecond)
		stop()
		f := h.fails("*upload.ReliedOnError", "copy", "-f", s.dir, "--forget", place)
		f.follow(0, "WHERE", h.t.TempDir())
		f.follow(1)
		f.came("with another in its place it is forgotten")
	}},
	{"a storage that belongs to somebody else", func(h *hinter) {
		s := h.fresh()
		base, err := os.MkdirTemp(h.c.Dir, "closed")
		h.ok(err, os.Chmod(base, 0o755))
		place, dir := filepath.Join(base, "place"), filepath.Join(base, "repo")
		h.ok(os.CopyFS(dir, os.DirFS(s.dir)), os.Mkdir(place, 0o755))
		nobody, owner := h.users(dir)
		h.ok(os.Chown(place, int(owner.Uid), int(owner.Gid)), os.Chmod(dir, 0o777), os.Chmod(filepath.Join(dir, "catalog.db"), 0o666))
		f := h.failsAs(nobody, "", "*storage.Error of a directory", "copy", "-f", dir, "--storage", place)
		f.sudo(h, owner)
		f.came("run as the owner, as the hint says, it is sent")
	}},
	{"an S3 store", func(h *hinter) {
		server := s3test.Start(h.t)
		spec := server.URL("p")
		s := h.fresh()
		env := h.env
		h.env = append(slices.Clone(env), "AWS_SECRET_ACCESS_KEY=wrong")
		f := h.fails("access is denied", "copy", "-f", s.dir, "--storage", spec)
		h.env = env
		h.must("copy", "-f", s.dir, "--storage", spec)
		f.came("with the right AWS_SECRET_ACCESS_KEY it is sent")
		base := h.oneFile(filepath.Join(server.Root, "backups", "p"), "base-*")
		h.ok(os.Rename(base, filepath.Join(h.c.Dir, "away")))
		f = h.fails("*repo.MissingFileError / storage", "restore", "-f", spec, "-C", "-d", h.newDB())
		h.ok(os.Rename(filepath.Join(h.c.Dir, "away"), base))
		f.follow(0)
		f.came("begun again, with the file there, it is restored")
	}},
	{"a storage with other files", func(h *hinter) {
		place := h.t.TempDir()
		s := h.fresh("--storage", place)
		base := h.oneFile(place, "base-*")
		h.ok(os.Truncate(base, 10))
		h.must("full-backup", "-d", s.db, "-f", s.dir)
		h.must("copy", "-f", s.dir, "--forget", place)
		f := h.fails("*upload.CollisionError", "copy", "-f", s.dir, "--storage", place)
		f.follow(0)
		h.must("copy", "-f", s.dir, "--storage", place)
		f.came("moved aside, the file is sent anew")
	}},
	{"a damaged catalog on a storage", func(h *hinter) {
		place := h.t.TempDir()
		h.fresh("--storage", place)
		found, _ := filepath.Glob(filepath.Join(place, "catalog-*"))
		h.write(found[len(found)-1], "no catalog")
		f := h.fails("*repo.SnapshotError", "list", "-f", "file:"+place)
		dir := h.newDir()
		f.follow(0, "NEW_DIRECTORY", dir)
		h.must("restore", "-f", dir, "-C", "-d", h.newDB())
		f.came("the directory that is made from its files restores")
	}},
	{"a full storage", func(h *hinter) {
		mount, ok := h.tmpfs("16k")
		if !ok {
			h.unmounted(storage.Full.Error())
			return
		}
		s := h.fresh()
		h.c.Exec(h.t, s.db, "CREATE TABLE big (id int PRIMARY KEY, v text); INSERT INTO big SELECT g, md5(g::text) FROM generate_series(1, 20000) g")
		h.must("full-backup", "-d", s.db, "-f", s.dir)
		f := h.fails(storage.Full.Error(), "copy", "-f", s.dir, "--storage", mount)
		h.ok(syscall.Mount("tmpfs", mount, "tmpfs", syscall.MS_REMOUNT, "size=50m"))
		h.must("copy", "-f", s.dir)
		f.came("with room, what was kept is sent")
	}},
	{"commands that do not list", func(h *hinter) {
		s := h.fresh()
		list := regexp.MustCompile(`list="[^"]*"`)
		f := h.fails("*storage.Error", "copy", "-f", s.dir, "--storage", list.ReplaceAllString(shellTarget(h.t.TempDir()), `list="echo no key >&2; exit 3"`))
		if o := h.shell("echo no key >&2; exit 3"); o.code != 3 || !strings.Contains(o.errors, "no key") {
			h.t.Error(o.errors)
		}
		h.must("copy", "-f", s.dir, "--storage", shellTarget(h.t.TempDir()))
		f.came("the command says by itself what it lacks; with one that prints SIZE NAME it is sent")
	}},
}

// unprovoked are the rules without a row here, and why.
var unprovoked = map[string]string{
	"*restore.SwapError":              "TestSwapLater makes it, and runs its hint",
	"*owner.Error":                    "a file system on which root may not give files away, as NFS with root_squash",
	"no password was given":           "needs a person at a terminal; TestTerminal plays one",
	"*pgconn.ConnectError":            "a server that stops between two connections of one run: stream.Connect wraps all others",
	"*source.LargeValueError":         "takes a value of half a GB and several GB of memory; internal/e2e makes it",
	"*base.FenceError":                "ten dumps that all meet DDL take a minute; the tests of package stream make it",
	"*source.SlotError / blocked":     "the server waits for half a minute by design",
	"*filter.CodecError":              "kong has the same words first, as a usage error; a catalog by hand could bring it",
	"catalog.DivergedError":           "a primary that lost what was stored; internal/e2e fails over",
	"catalog.SchemaVersionError":      "there is no newer version yet",
	"it can be read, but not written": "a store whose credentials may read only; a directory has the rule above, S3 the conformance tests",
	"its clock and the clock of this machine differ too much": "this machine's clock must not be moved",
	"the file is there already":                               "two senders of one file at one moment; the conformance tests of package storage make it",
	"it cannot be used so":                                    "a region or an encryption that a store refuses; the test server takes any",
	"*restore.OlderTargetError":                               "takes a second, older server",
	"*restore.OlderTargetError of rehearse":                   "the same",
	"*restore.LocaleError of rehearse":                        "takes a locale that this machine lacks",
	"*throwaway.NoServerError":                                "takes a source that is newer than all installed servers; the test of package throwaway makes it",
	"*restore.LocaleError":                                    "takes a locale that the target's machine lacks",
	"*restore.UnreachableError":                               "a catalog that disagrees with its segments",
	"there is no such file":                                   "package repo makes it a MissingFileError, whose row for S3 is above",
	fs.ErrNotExist.Error():                                    "what may be missing has an error of its own, in the rows above",
	"*restore.BusyError":                                      "two restores at one moment; the tests of package restore make it",
	"*restore.StatementError":                                 "comes inside of IncompleteError, whose row is above, once the target was touched",
	"*restore.RowCountError":                                  "the same",
	syscall.EFBIG.Error():                                     "a limit on the size of files; TestFullDisk where it may not mount",
	syscall.EDQUOT.Error():                                    "no file system with quotas is here",
}

// users are one without rights, and the one that a directory is to belong to.
func (h *hinter) users(dir string) (nobody, owner *syscall.Credential) {
	h.t.Helper()
	if os.Geteuid() != 0 {
		h.t.Skip("only root can be several users")
	}
	account, err := user.Lookup("postgres")
	h.ok(err)
	uid, _ := strconv.Atoi(account.Uid)
	gid, _ := strconv.Atoi(account.Gid)
	return &syscall.Credential{Uid: 65534, Gid: 65534}, &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// failsAs is fails in a process of its own, as another user or under a limit.
func (h *hinter) failsAs(who *syscall.Credential, limit, rule string, args ...string) *failure {
	h.t.Helper()
	file := filepath.Join(h.c.Dir, "rule")
	h.ok(os.WriteFile(file, nil, 0o666), os.Chmod(file, 0o666))
	env := h.env
	h.env = append(slices.Clone(env), ruleVariable+"="+file)
	o := h.asUser(who, limit, args...)
	h.env = env
	return h.failed(rule, string(mustRead(h, file)), o)
}

// sudo runs the hint's command as sudo would, which is not installed everywhere.
func (f *failure) sudo(h *hinter, owner *syscall.Credential) {
	h.t.Helper()
	command, ok := strings.CutPrefix(hintCommands(f.hint)[0], "sudo -u postgres pg_scribe ")
	if !ok {
		h.t.Fatal(f.hint)
	}
	words, err := exec.Command("/bin/bash", "-c", "printf '%s\\n' "+command).Output()
	h.ok(err)
	if o := h.asUser(owner, "", strings.Split(strings.TrimSuffix(string(words), "\n"), "\n")...); o.code != exitOK {
		h.t.Errorf("%d %s", o.code, o.errors)
	}
	h.rows[len(h.rows)-1].ran = hintCommands(f.hint)[0]
}
