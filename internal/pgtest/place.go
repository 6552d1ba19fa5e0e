package pgtest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// binDirs are where packages put the programs of one major version.
var binDirs = []string{
	"/usr/lib/postgresql/%s/bin", "/usr/pgsql-%s/bin", "/opt/homebrew/opt/postgresql@%s/bin", "/usr/local/opt/postgresql@%s/bin",
}

// findBinDir finds the programs of a server; see Options.Version.
func findBinDir(version string) (string, error) {
	if version != "" {
		for _, pattern := range append(slices.Clone(binDirs), filepath.Join(fetchedDir(), "%s", "bin")) {
			if dir := fmt.Sprintf(pattern, version); hasServer(dir) {
				return dir, nil
			}
		}
		return "", fmt.Errorf("no PostgreSQL %s server found (initdb and postgres): get one with .ci/postgresql %s", version, version)
	}
	if dir := os.Getenv("PG_SCRIBE_TEST_BIN"); dir != "" {
		if !hasServer(dir) {
			return "", fmt.Errorf("PG_SCRIBE_TEST_BIN: no initdb and postgres in %s", dir)
		}
		return dir, nil
	}
	if out, err := exec.Command("pg_config", "--bindir").Output(); err == nil {
		if dir := strings.TrimSpace(string(out)); hasServer(dir) {
			return dir, nil
		}
	}
	if dir := newestBinDir(); dir != "" {
		return dir, nil
	}
	return "", errors.New("no PostgreSQL server found (initdb and postgres): " +
		"install one with .ci/deps, or name its folder in PG_SCRIBE_TEST_BIN")
}

// fetchedDir is where .ci/postgresql puts the versions that are not installed.
func fetchedDir() string { return filepath.Join(CacheDir(), "postgresql") }

// CacheDir is where what was fetched for tests is kept, such that the server can read it.
func CacheDir() string {
	if dir := os.Getenv("PG_SCRIBE_TEST_CACHE"); dir != "" {
		return dir
	}
	if os.Geteuid() == 0 {
		return "/var/cache/pg_scribe" // the server runs as another user, who cannot look into root's cache
	}
	cache, _ := os.UserCacheDir() // without a home there is nothing in it either
	return filepath.Join(cache, "pg_scribe")
}

func newestBinDir() string {
	newest, found := 0, ""
	for _, pattern := range binDirs {
		before, after, _ := strings.Cut(pattern, "%s")
		dirs, _ := filepath.Glob(before + "*" + after) // the only error is a bad pattern
		for _, dir := range dirs {
			version, err := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(dir, before), after))
			if err == nil && version > newest && hasServer(dir) {
				newest, found = version, dir
			}
		}
	}
	return found
}

func hasServer(dir string) bool {
	for _, name := range []string{"initdb", "postgres"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode()&0o111 == 0 {
			return false
		}
	}
	return true
}

// serverCredential is whom the server runs as: nil for the user of this process, unless that is root.
func serverCredential() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, errors.New("PostgreSQL refuses to run as root, and there is neither a user postgres nor nobody")
}

func chown(path string, cred *syscall.Credential) error {
	if cred == nil {
		return nil
	}
	return os.Chown(path, int(cred.Uid), int(cred.Gid))
}

// makeDir makes a guarded temporary folder that the server's user owns.
func makeDir(cred *syscall.Credential) (string, *guard, error) {
	root, err := tempRoot(cred)
	if err != nil {
		return "", nil, err
	}
	dir, err := os.MkdirTemp(root, "pgtest-")
	if err != nil {
		return "", nil, err
	}
	err = errors.Join(os.Chmod(dir, 0o755), chown(dir, cred))
	if err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	g, err := newGuard(dir)
	if err != nil {
		return "", nil, errors.Join(err, os.RemoveAll(dir))
	}
	return dir, g, nil
}

// tempRoot is a folder whose sockets stay under the limit of a socket's path (104 bytes on some systems) and that the
// server's user can reach.
func tempRoot(cred *syscall.Credential) (string, error) {
	const longest = 104 - len("/pgtest-4294967295/.s.PGSQL.65535.lock") - 1
	candidates := []string{os.TempDir(), "/tmp", "/var/tmp"}
	i := slices.IndexFunc(candidates, func(dir string) bool {
		return len(dir) <= longest && (cred == nil || traversable(dir))
	})
	if i < 0 {
		return "", fmt.Errorf("no temporary folder with a short path that another user can reach among %q", candidates)
	}
	return candidates[i], nil
}

// traversable says whether any user can pass through dir and its parents.
func traversable(dir string) bool {
	for dir = filepath.Clean(dir); ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil || info.Mode()&0o001 == 0 {
			return false
		}
		if dir == filepath.Dir(dir) {
			return true
		}
	}
}

// guard is the shell that outlives this process by a moment: see "Nothing stays behind" in the package comment.
type guard struct {
	dir  string
	cmd  *exec.Cmd
	mu   sync.Mutex
	pipe io.WriteCloser
}

// guardScript reads a process number, or - for none, from each line. At end of file it stops the last one and removes the
// folder. The wait is bounded because a process that nobody reaps still counts as existing.
const guardScript = `
pid=-
while read -r line; do pid=$line; done
if [ "$pid" != - ]; then
	kill -QUIT "$pid"
	n=0
	while [ "$n" -lt 100 ] && kill -0 "$pid"; do sleep 0.1; n=$((n + 1)); done
fi
rm -rf -- "$1"
`

func newGuard(dir string) (*guard, error) {
	cmd := exec.Command("/bin/sh", "-c", guardScript, "pgtest", dir)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &guard{dir: dir, cmd: cmd, pipe: pipe}, nil
}

func (g *guard) watch(pid int) { g.tell(strconv.Itoa(pid)) }
func (g *guard) unwatch()      { g.tell("-") }

// tell cannot fail but when somebody killed the shell; then there is no guard, and nothing else to do about it.
func (g *guard) tell(line string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, _ = io.WriteString(g.pipe, line+"\n")
}

// release removes the folder and ends the shell.
func (g *guard) release() error {
	err := os.RemoveAll(g.dir)
	g.mu.Lock()
	defer g.mu.Unlock()
	return errors.Join(err, g.pipe.Close(), g.cmd.Wait())
}

// templates holds, by what initdb depends on, the data folders that initdb made in this process.
var templates = struct {
	sync.Mutex
	made map[string]*Cluster
}{made: map[string]*Cluster{}}

// copyTemplate fills c.DataDir with a copy.
func copyTemplate(c *Cluster, opts Options) error {
	key := fmt.Sprintf("%q", append([]string{c.BinDir, opts.Auth, opts.Password}, opts.InitArgs...))
	templates.Lock()
	defer templates.Unlock()
	t := templates.made[key]
	if t == nil {
		dir, g, err := makeDir(c.cred)
		if err != nil {
			return err
		}
		t = &Cluster{Dir: dir, DataDir: filepath.Join(dir, "data"), BinDir: c.BinDir, cred: c.cred, guard: g}
		if err := initDB(t, opts); err != nil {
			return errors.Join(err, t.Stop())
		}
		templates.made[key] = t
	}
	if out, err := exec.Command("cp", "-a", t.DataDir, c.DataDir).CombinedOutput(); err != nil {
		return fmt.Errorf("cp: %w\n%s", err, out)
	}
	return nil
}

// dropTemplates removes the folders that copyTemplate keeps.
func dropTemplates() error {
	templates.Lock()
	defer templates.Unlock()
	var err error
	for key, t := range templates.made {
		err = errors.Join(err, t.Stop())
		delete(templates.made, key)
	}
	return err
}
