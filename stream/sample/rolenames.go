package sample

import (
	"context"
	"maps"
	"slices"
	"strings"

	"pg_scribe/stream/ddl"
	"pg_scribe/stream/source"
)

// A rename of a role fires no event, and everything that it may do and owns
// follows it. So samples and commands carry the OIDs of roles, and the state of
// the stream knows the name that each has in the target.

const roleNamesQuery = "SELECT oid::text, rolname::text FROM pg_roles WHERE oid >= 16384"

// renames are what became of the names of roles since the last sample.
type renames struct {
	// Names, old and new, that belong to other roles than before: what is
	// sampled by name means something else, even where it reads the same.
	changed map[string]bool
	to      map[string]string // of roles that are still there
}

// findRenames compares names by OID. stale are roles that the stream may have
// named otherwise.
func findRenames(before, now map[string]string, stale map[string]bool) renames {
	r := renames{changed: map[string]bool{}, to: map[string]string{}}
	bearer := map[string]string{}
	for oid, name := range now {
		bearer[name] = oid
	}
	for oid, was := range before {
		name := now[oid]
		if stale[oid] || name != was && (name != "" || bearer[was] != "") {
			r.changed[was], r.changed[name] = true, true
		}
		if name != "" && name != was {
			r.to[was] = name
		}
	}
	for oid := range stale {
		r.changed[now[oid]] = true
	}
	delete(r.changed, "")
	return r
}

// follow makes a kind's last sample differ from any where it names roles by
// names that belong to others now, and adds what followed roles to other names.
func (r renames) follow(kind stateKind, before map[string]string) {
	if len(r.changed) == 0 {
		return
	}
	if kind.owners {
		for key, name := range before {
			if r.changed[name] {
				before[key] = ""
			}
		}
	} else if kind.named {
		for _, key := range slices.Collect(maps.Keys(before)) {
			before[key] = ""
			names := strings.Split(key, "\x1f")
			for i, name := range names {
				setting, _ := strings.CutPrefix(name, databaseRole)
				if to := r.to[setting]; to != "" {
					names[i] = strings.TrimSuffix(name, setting) + to
				}
			}
			before[strings.Join(names, "\x1f")] = ""
		}
	}
}

// RoleNames reads the names of the roles in a transaction's snapshot, by their OIDs.
func RoleNames(ctx context.Context, q source.Querier) (map[string]string, error) {
	return readTexts(ctx, q, roleNamesQuery)
}

// KeptRoleNames are the names of roles that the stream has brought, as of the last
// sample; nil: there was none.
func KeptRoleNames(ctx context.Context, store Store) (map[string]string, error) {
	return keptSample(ctx, store, ddl.StateRoleName)
}
