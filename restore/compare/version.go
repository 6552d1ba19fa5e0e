package compare

import (
	"slices"
	"strings"

	"pg_scribe/internal/describe"
)

// What cannot be the same between two servers is passed over here, each for a
// reason, and counted.

// ofTheCluster are attributes of the database that its creation decides, and a
// restore has compared before.
var ofTheCluster = []string{"encoding", "datcollate", "datctype", "datistemplate", "datallowconn"}

// quiet are the attributes that a replay has out of force, by catalog.
var quiet = map[string][]string{
	"pg_trigger": {"tgenabled"}, "pg_rewrite": {"ev_enabled"}, "pg_event_trigger": {"evtenabled"},
	"pg_publication": {"pubinsert", "pubupdate", "pubdelete", "pubtruncate"},
}

// maintain is the first version with the privilege MAINTAIN, which ALL
// includes from then on.
const maintain = 17

// compare lists the differences of a pair that count.
func (c *Comparer) compare(p pair, o Options) (list []describe.Difference, passed int) {
	if c.source != c.target && (member(p.source) || member(p.target)) {
		return nil, 1 // extensions have the target's version
	}
	all, passed := describe.Compare(p.source, p.target)
	f := newFixer(p)
	for _, d := range all {
		switch {
		case d.Catalog == "pg_database" && slices.Contains(ofTheCluster, d.Attribute):
			passed++
		case o.Quiet && slices.Contains(quiet[d.Catalog], d.Attribute):
			passed++
		case d.Attribute == "reltablespace" && d.Kind == describe.Changed && !c.spaces[d.Source]:
			passed++ // a restore leaves it where there is room
		case c.source != c.target && c.betweenVersions(f, d):
			passed++
		default:
			list = append(list, d)
		}
	}
	return list, passed
}

// betweenVersions tells what only the version makes different.
func (c *Comparer) betweenVersions(f *fixer, d describe.Difference) bool {
	before := func(version int) bool { return c.source < version && c.target >= version }
	switch {
	case d.Catalog == "pg_extension" && (d.Attribute == "extversion" || d.Attribute == "extrelocatable" || d.Attribute == "extconfig"):
		return true
	case d.Catalog == "pg_constraint" && d.Kind == describe.Extra && f.t.of(d).text("contype") == "n":
		// NOT NULL became a constraint: of domains with 17, of tables with 18.
		return before(17) && f.t.of(d).text("conrelid") == "-" || before(18)
	case before(maintain) && strings.HasSuffix(d.Attribute, "acl") && (d.Catalog == "pg_class" || d.Catalog == "pg_default_acl"):
		return sameItems(parseACL(d.Source), without(parseACL(d.Target), 'm'))
	}
	return false
}

// member reports whether an object belongs to an extension.
func member(o describe.Object) bool {
	for _, r := range o.Rows {
		if r.Catalog == "pg_depend" && describe.Text(r.Attributes()["deptype"]) == "e" {
			return true
		}
	}
	return false
}
