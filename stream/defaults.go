package stream

import (
	"strings"

	"pg_scribe/catalog"
)

// Default privileges count when an object is made, and the stream has
// transactions in the order in which they committed: one that made an object
// before another one changed the defaults may come behind that.

const defaultsFact = "defaults"

// defaultsKey is where facts.defaults is stored.
var defaultsKey = catalog.FactKey{Kind: defaultsFact}

// defaultTags are the commands that change default privileges.
var defaultTags = map[string]bool{"ALTER DEFAULT PRIVILEGES": true, "DROP OWNED": true}

// defaultKinds are the objects that default privileges are for. Large objects
// are sampled.
var defaultKinds = map[string]bool{"table": true, "view": true, "materialized view": true, "foreign table": true, "sequence": true,
	"function": true, "procedure": true, "aggregate": true, "type": true, "domain": true, "schema": true}

// checkDefaults marks objects that were made before other defaults came about
// which a restore will have by then.
func (r *renderer) checkDefaults(start, end captureMessage) error {
	if defaultTags[start.Tag] {
		r.ddl.defaults = true
	}
	if start.lsn >= r.facts.defaults {
		return nil
	}
	for _, o := range end.Objects {
		made := strings.HasPrefix(o.Tag, "CREATE ") || o.Tag == "SELECT INTO" || o.Tag == "IMPORT FOREIGN SCHEMA"
		if made && defaultKinds[o.Type] && !o.temporary() {
			return r.gap(o.Type + " " + o.Identity + " was made while another transaction changed default privileges (pg_scribe full-backup heals it)")
		}
	}
	return nil
}

// changeDefaults notes at its end that a transaction changed default privileges.
func (f *facts) changeDefaults(commit catalog.LSN) {
	f.defaults = commit
	f.dirty[defaultsKey] = true
}
