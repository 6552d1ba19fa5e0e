package pgtest

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"pg_scribe/internal/throwaway"
)

// findBinDir finds the programs of a server; see Options.Version.
func findBinDir(version string) (string, error) {
	if version != "" {
		for _, dir := range append(throwaway.Packaged(version), filepath.Join(fetchedDir(), version, "bin")) {
			if throwaway.HasServer(dir) {
				return dir, nil
			}
		}
		return "", fmt.Errorf("no PostgreSQL %s server found (initdb and postgres): get one with .ci/postgresql %s", version, version)
	}
	if dir := os.Getenv("PG_SCRIBE_TEST_BIN"); dir != "" {
		if !throwaway.HasServer(dir) {
			return "", fmt.Errorf("PG_SCRIBE_TEST_BIN: no initdb and postgres in %s", dir)
		}
		return dir, nil
	}
	if out, err := exec.Command("pg_config", "--bindir").Output(); err == nil {
		if dir := strings.TrimSpace(string(out)); throwaway.HasServer(dir) {
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
	installed := throwaway.Installed()
	return installed[slices.Max(append(slices.Collect(maps.Keys(installed)), 0))]
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
		var err error
		if t, err = newCluster(c.BinDir, ""); err != nil {
			return err
		}
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
