package restore

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"pg_scribe/internal/conninfo"
	"pg_scribe/internal/simple"
	"pg_scribe/internal/sqltext"
	"pg_scribe/repo"
)

// directoryFormat is the Artifact.Format of a base that pg_dump made with
// several jobs.
const directoryFormat = "directory"

// loadDirectory brings in a base that pg_dump made with several jobs, and then
// the settings of the database, which stand beside it.
func (x *execution) loadDirectory(ctx context.Context) error {
	dir, release, err := x.archive(ctx)
	if err != nil {
		return err
	}
	defer release()
	name := "pg_restore"
	args := []string{"--no-password", "--jobs=" + strconv.Itoa(x.o.sessions())}
	lenient := x.server.major < 17 && toolMajor(x.o.Command(ctx, name, "--version")) >= 17
	if !lenient {
		args = append(args, "--exit-on-error")
	}
	if x.p.definitions {
		args = append(args, "--schema-only")
	}
	if !x.spaces.own {
		args = append(args, "--no-tablespaces") // whichever there were, they are missing here
	}
	way, err := conninfo.ForTool(x.o.TargetConn, "-c synchronous_commit=off -c statement_timeout=0 -c lock_timeout=0")
	if err != nil {
		return err
	}
	defer way.Close()
	if list := filepath.Join(dir, repo.DirListName); present(list) {
		if x.p.definitions {
			if list, err = withoutRefresh(list); err != nil {
				return err
			}
			defer os.Remove(list)
		}
		args = append(args, "--use-list="+list)
	}
	args = append(args, "--dbname="+way.Dbname, dir)
	cmd := x.o.Command(ctx, name, args...)
	// Its workers are processes of their own, which it ends when it is asked to
	// stop, and leaves alone when it is killed.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	if cmd.Env == nil {
		cmd.Env = os.Environ()
	}
	cmd.Env = append(way.Environ(cmd.Env), "LC_ALL=C")
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	x.progress(PhaseBase, &name, 0, x.p.Plan.Base.Bytes)
	if err := cmd.Run(); err != nil && !(lenient && ctx.Err() == nil && onlyUnknownTimeout(said.String())) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return &ToolError{Name: name, Output: lastLines(said.String()), Err: err}
	}
	if err := x.witness.ofDirectory(dir); err != nil {
		return err
	}
	return x.loadSettings(ctx, filepath.Join(dir, repo.DirSettingsIn))
}

// archive is the directory for pg_restore: the base itself or, if its files
// went through filters, a copy without them, which release removes. pg_restore
// reads an archive from several processes, so a stream will not do.
func (x *execution) archive(ctx context.Context) (dir string, release func(), err error) {
	reader, err := x.p.repo.OpenDir(x.p.Plan.Base)
	if err != nil {
		return "", nil, err
	}
	if dir, plain := reader.Plain(); plain {
		return dir, func() {}, nil
	}
	if dir, err = os.MkdirTemp("", "pg_scribe-restore-"); err != nil {
		return "", nil, err
	}
	release = func() { os.RemoveAll(dir) }
	unpack := reader.Unpack
	if x.p.definitions {
		unpack = reader.UnpackSchema
	}
	if err := unpack(ctx, dir); err != nil {
		release()
		return "", nil, err
	}
	return dir, release, nil
}

// toolMajor is the major version that a client program's --version tells, or 0.
func toolMajor(cmd *exec.Cmd) int {
	out, err := cmd.Output()
	if err != nil {
		return 0
	}
	_, version, _ := strings.Cut(string(out), ") ")
	return MajorOf(version)
}

// onlyUnknownTimeout tells that pg_restore got to its end with no other error
// than that of a setting which it makes in every session from version 17 on,
// and which older servers do not know.
func onlyUnknownTimeout(said string) bool {
	ended := false
	for line := range strings.Lines(said) {
		switch {
		case strings.Contains(line, "pg_restore: error: "):
			if !strings.Contains(line, `"transaction_timeout"`) {
				return false
			}
		case strings.Contains(line, "errors ignored on restore: "):
			ended = true
		}
	}
	return ended
}

func present(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// loadSettings executes the settings of the database.
func (x *execution) loadSettings(ctx context.Context, path string) error {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	conn, err := x.server.open(ctx, x.o.TargetConn)
	if err != nil {
		return err
	}
	defer closeNow(conn)
	list, _ := sqltext.Split(string(text), true)
	for _, sql := range list {
		if _, err := simple.Query(ctx, conn, sql); err != nil {
			at := &place{file: x.p.Plan.Base.Name + "/" + filepath.Base(path)}
			return (&answer{at: at, sql: shorten(sql)}).fail(err)
		}
	}
	return nil
}

// lastLines is the end of a program's output, as one line.
func lastLines(s string) string {
	const limit = 500
	s = strings.TrimSpace(s)
	if len(s) > limit {
		s = "…" + strings.ToValidUTF8(s[len(s)-limit:], "")
	}
	return strings.Join(strings.Fields(s), " ")
}
