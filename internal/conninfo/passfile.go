package conninfo

import (
	"bufio"
	"os"
	"path/filepath"
	"strings"
)

// passwordOf is what the password file says for one server. A file that others can read does not count, as in libpq.
func passwordOf(file string, host, port, database, user string) string {
	if file == "" {
		file = filepath.Join(os.Getenv("HOME"), ".pgpass")
	}
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0 {
		return ""
	}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		line := strings.TrimRight(lines.Text(), "\r")
		if strings.HasPrefix(line, "#") {
			continue
		}
		fits := true
		for _, want := range []string{host, port, database, user} {
			field, rest, ok := passField(line)
			fits, line = fits && ok && (field == want || field == "*" && !strings.HasPrefix(line, `\`)), rest
		}
		if fits {
			password, _, _ := passField(strings.ReplaceAll(line, ":", `\:`)) // it may hold colons
			return password
		}
	}
	return ""
}

// passField reads a field up to its colon. A backslash takes the next byte as it is.
func passField(line string) (field, rest string, ended bool) {
	var b strings.Builder
	for at := 0; at < len(line); at++ {
		switch {
		case line[at] == ':':
			return b.String(), line[at+1:], true
		case line[at] == '\\' && at+1 < len(line):
			at++
		}
		b.WriteByte(line[at])
	}
	return b.String(), "", false
}
