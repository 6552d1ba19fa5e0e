package conninfo

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// resolved is a connection string with what libpq adds to it.
type resolved struct {
	explicit Info // of the string, then of the service file
	all      Info // and of the environment
}

// get is a value, or "" where there is none.
func (r resolved) get(name string) string {
	v, _ := r.all.Get(name)
	return v
}

// resolve adds what the service file and then the environment say.
func (i Info) resolve() (resolved, error) {
	r := resolved{explicit: i}
	service, has := i.Get("service")
	if !has {
		service = os.Getenv("PGSERVICE")
		has = service != ""
	}
	if has {
		var err error
		if r.explicit, err = i.withService(service); err != nil {
			return r, err
		}
	}
	r.explicit = r.explicit.Without("service", "servicefile")
	r.all = r.explicit
	for _, p := range parameters {
		if p.env == "" || p.env == "PGSERVICE" || p.env == "PGSERVICEFILE" {
			continue
		}
		if v := os.Getenv(p.env); v != "" {
			r.all = r.all.ifMissing(p.name, v)
		}
	}
	if v := os.Getenv("PGREQUIRESSL"); strings.HasPrefix(v, "1") {
		r.all = r.all.ifMissing("sslmode", "require")
	}
	return r, nil
}

// ifMissing sets a parameter that the string does not have, not even empty.
func (i Info) ifMissing(name, value string) Info {
	if _, has := i.Get(name); has {
		return i
	}
	return i.With(name, value)
}

// sysconfDirs are where packages have the service file of all users.
var sysconfDirs = []string{"/etc/postgresql-common", "/etc/sysconfig/pgsql", "/usr/local/pgsql/etc", "/etc"}

// withService adds what the service file says under a name and the string does not.
func (i Info) withService(service string) (Info, error) {
	own, named := i.Get("servicefile")
	if !named {
		own = os.Getenv("PGSERVICEFILE")
		named = own != ""
	}
	files := []string{own}
	if !named {
		files[0] = filepath.Join(os.Getenv("HOME"), ".pg_service.conf")
	}
	if dir := os.Getenv("PGSYSCONFDIR"); dir != "" {
		files = append(files, filepath.Join(dir, "pg_service.conf"))
	} else {
		for _, dir := range sysconfDirs {
			files = append(files, filepath.Join(dir, "pg_service.conf"))
		}
	}
	for n, file := range files {
		more, found, err := readService(file, service)
		switch {
		case errors.Is(err, fs.ErrNotExist) && (n > 0 || !named):
			continue
		case errors.Is(err, fs.ErrNotExist):
			return i, bad("service", "there is no service file %s", strconv.Quote(file))
		case err != nil:
			return i, err
		case found:
			for _, s := range more.list {
				i = i.ifMissing(s.name, s.value)
			}
			return i, nil
		}
	}
	return i, bad("service", "no service file defines it")
}

// readService reads one section of a service file.
func readService(file, service string) (settings Info, found bool, err error) {
	f, err := os.Open(file)
	if err != nil {
		return Info{}, false, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		line := strings.Trim(lines.Text(), blanks)
		if line == "" || line[0] == '#' {
			continue
		}
		if line[0] == '[' {
			if found {
				break
			}
			found = strings.HasPrefix(line[1:], service+"]")
			continue
		}
		if !found {
			continue
		}
		name, value, has := strings.Cut(line, "=")
		switch {
		case name == "service" || name == "servicefile":
			return Info{}, false, bad("service", "a service inside of a service, in line %d of %s", n, strconv.Quote(file))
		case !has || !known(name):
			return Info{}, false, bad("service", "line %d of %s is no connection parameter", n, strconv.Quote(file))
		}
		settings = settings.ifMissing(name, value)
	}
	return settings, found, lines.Err()
}

// An endpoint is one server that may be tried.
type endpoint struct {
	host    string // a name, an address, or the directory of a socket
	address string // what hostaddr says, or ""
	port    string
}

// endpoints are the servers that a string names, in the order in which they are to be tried.
func (r resolved) endpoints() ([]endpoint, error) {
	hosts, addresses, ports := strings.Split(r.get("host"), ","), strings.Split(r.get("hostaddr"), ","), strings.Split(r.get("port"), ",")
	n := len(hosts)
	if r.get("hostaddr") != "" {
		if n = len(addresses); r.get("host") == "" {
			hosts = make([]string, n)
		} else if len(hosts) != n {
			return nil, bad("hostaddr", "%d addresses for %d hosts", n, len(hosts))
		}
	}
	if len(ports) > 1 && len(ports) != n {
		return nil, bad("port", "%d ports for %d hosts", len(ports), n)
	}
	list := make([]endpoint, n)
	for i := range list {
		port := ports[0]
		if len(ports) > 1 {
			port = ports[i]
		}
		e := endpoint{host: hosts[i], port: "5432"}
		if r.get("hostaddr") != "" {
			e.address = addresses[i]
		}
		if e.host == "" && e.address == "" {
			e.host = defaultHost()
		}
		if port != "" {
			number, err := integer("port", port)
			if err != nil || number < 1 || number > 65535 {
				return nil, bad("port", "it must be a number between 1 and 65535")
			}
			e.port = fmt.Sprint(number)
		}
		list[i] = e
	}
	return list, nil
}

// defaultHost is the directory where packages have the server's socket.
func defaultHost() string {
	for _, dir := range []string{"/var/run/postgresql", "/private/tmp", "/tmp"} {
		if exists(dir) {
			return dir
		}
	}
	return "localhost"
}

// attempt is what is dialled, and name what the password file calls it.
func (e endpoint) attempt() string { return or(e.address, e.host) }
func (e endpoint) name() string {
	if e.host == defaultHost() {
		return "localhost"
	}
	return or(e.host, e.address)
}

// integer reads a number as libpq does, with blanks around it.
func integer(parameter, text string) (int, error) {
	n, err := strconv.ParseInt(strings.Trim(text, blanks), 10, 32)
	if err != nil {
		return 0, bad(parameter, "it must be a whole number")
	}
	return int(n), nil
}

// number is the value of a parameter that may be missing.
func (r resolved) number(name string, otherwise int) (int, error) {
	if r.get(name) == "" {
		return otherwise, nil
	}
	return integer(name, r.get(name))
}

// oneOf makes sure that a parameter has one of the values that libpq knows.
func (r resolved) oneOf(name string, values ...string) error {
	if v, has := r.all.Get(name); has && !slices.Contains(values, v) {
		return bad(name, "it must be one of %s", strings.Join(values, ", "))
	}
	return nil
}
