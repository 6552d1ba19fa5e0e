package throwaway

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
	"sync"
	"syscall"
)

// credential is whom the server runs as: nil for the user of this process, unless that is root.
func credential() (*syscall.Credential, error) {
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
func makeDir(prefix string, mode os.FileMode, cred *syscall.Credential) (string, *guard, error) {
	root, err := tempRoot(prefix, cred)
	if err != nil {
		return "", nil, err
	}
	dir, err := os.MkdirTemp(root, prefix)
	if err != nil {
		return "", nil, err
	}
	err = errors.Join(os.Chmod(dir, mode), chown(dir, cred))
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
func tempRoot(prefix string, cred *syscall.Credential) (string, error) {
	longest := 104 - len("/"+prefix+"4294967295/.s.PGSQL.65535.lock") - 1
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

// guard is the shell that outlives this process by a moment: see the package comment.
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
	cmd := exec.Command("/bin/sh", "-c", guardScript, "throwaway", dir)
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
