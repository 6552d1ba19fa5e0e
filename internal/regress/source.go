package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"pg_scribe/internal/pgtest"
)

// suite is PostgreSQL's own regression suite, made ready to run against packaged servers.
type suite struct {
	dir     string // src/test/regress of the source package
	contrib string // contrib of the source package
	dlpath  string // regress.so and the contrib libraries the suite loads
	runner  string // pg_regress
}

// fetchSuite finds the suite of a major version in the cache, or makes it: it downloads Debian's source package of the
// server and compiles the suite's C functions against the headers of the server's development package. Nothing is
// installed but a compiler where there is none.
func fetchSuite(ctx context.Context, major int, binDir string, say func(format string, args ...any)) (*suite, error) {
	root := filepath.Join(pgtest.CacheDir(), "regress", fmt.Sprint(major))
	s := &suite{dir: filepath.Join(root, "source/src/test/regress"), contrib: filepath.Join(root, "source/contrib"),
		dlpath: filepath.Join(root, "lib"), runner: filepath.Join(binDir, "../lib/pgxs/src/test/regress/pg_regress")}
	if _, err := os.Stat(s.runner); err != nil {
		return nil, fmt.Errorf("no pg_regress beside the server's programs (it is part of Debian's postgresql-client): %w", err)
	}
	if _, err := os.Stat(filepath.Join(s.dlpath, "regress.so")); err == nil {
		return s, nil
	}
	say("Fetching the source package of PostgreSQL %d into %s", major, root)
	if err := os.MkdirAll(root, 0o755); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, "bash", "-c", fetchScript, "fetch", fmt.Sprint(major), filepath.Clean(filepath.Join(binDir, "../lib")))
	cmd.Dir = root
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("fetching the regression suite: %w", errors.Join(err, os.RemoveAll(root)))
	}
	return s, nil
}

// fetchScript works in the cache folder. Its apt state is its own, so that the machine's list of sources stays as it is.
// The newest version may be missing from the mirror's pool of sources: the next older one serves as well.
var fetchScript = strings.TrimSpace(`
set -euo pipefail
major=$1 libdir=$2
command -v gcc >/dev/null || { apt-get update -qq; DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends gcc libc6-dev bzip2; } >&2
mkdir -p apt/lists/partial apt/cache/archives/partial apt/parts
shopt -s nullglob
for f in /etc/apt/sources.list.d/debian*.sources; do sed 's/^Types:.*/Types: deb deb-src/' "$f" >"apt/parts/${f##*/}"; done
for f in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
	[ -e "$f" ] || continue
	sed -nE 's/^deb(-src)? (.*debian.*)/deb \2\ndeb-src \2/p' "$f" | sort -u >"apt/parts/$(basename "$f" .list).list"
done
apt=(-qq -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$PWD/apt/parts" -o Dir::State::lists="$PWD/apt/lists"
	-o Dir::Cache="$PWD/apt/cache" -o APT::Sandbox::User=root)
apt-get "${apt[@]}" update >&2
installed=$(dpkg-query -W -f '${Version}' "postgresql-$major" 2>/dev/null || true)
got=
for version in $installed $(apt-cache "${apt[@]}" showsrc "postgresql-$major" | awk '/^Version:/ {print $2}' | sort -rVu); do
	if apt-get "${apt[@]}" source --download-only --only-source "postgresql-$major=$version" >&2 && ls ./*.orig.tar.* >/dev/null; then got=$version; break; fi
	rm -f ./postgresql-*
done
[ -n "$got" ] || { echo "no source package of postgresql-$major can be downloaded" >&2; exit 1; }
mkdir -p source headers lib.part
tar -xf ./*.orig.tar.* -C source --strip-components=1
apt-get "${apt[@]}" download "postgresql-server-dev-$major" libpq-dev >&2
for f in ./*.deb; do dpkg-deb -x "$f" headers; done
gcc -shared -fPIC -O1 -w -I"headers/usr/include/postgresql/$major/server" -o lib.part/regress.so source/src/test/regress/regress.c
isolation=source/src/test/isolation
gcc -O1 -w -o lib.part/isolationtester -I"headers/usr/include/postgresql/$major/server" -Iheaders/usr/include/postgresql/internal \
	-Iheaders/usr/include/postgresql -I"$isolation" "$isolation/isolationtester.c" "$isolation/specparse.c" \
	"headers/usr/lib/postgresql/$major/lib/libpgcommon.a" "headers/usr/lib/postgresql/$major/lib/libpgport.a" -l:libpq.so.5 -lm
cp "$libdir/refint.so" "$libdir/autoinc.so" lib.part/
rm -rf apt headers ./postgresql-* ./libpq-dev_*
chmod -R a+rX .
mv lib.part lib
`)
