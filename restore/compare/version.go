package compare

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"pg_scribe/internal/describe"
	"pg_scribe/internal/simple"
	"pg_scribe/internal/sqltext"
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

// rolesToCome reports whether an owner or privileges name a role that the target
// has not yet: it comes with the next sample, and they with it.
func (c *Comparer) rolesToCome(d describe.Difference) bool {
	if !d.OfRoles() {
		return false
	}
	if strings.HasSuffix(d.Attribute, "owner") {
		owner, _ := sqltext.Part(d.Source)
		return !c.roles[owner]
	}
	return slices.ContainsFunc(parseACL(d.Source), func(i item) bool {
		return i.grantee != "" && !c.roles[i.grantee] || i.grantor != "" && !c.roles[i.grantor]
	})
}

// compare lists the differences of a pair that count.
func (c *Comparer) compare(p pair, o Options) (list []describe.Difference, passed int) {
	if c.source != c.target && (member(p.source) || member(p.target)) {
		return nil, 1 // extensions have the target's version
	}
	all, passed := describe.Compare(p.source, p.target)
	f := newFixer(p)
	for _, d := range all {
		switch {
		case d.Kind == describe.Missing && !c.canRead(p.source, d), f.unfinished(d):
			passed++
		case d.Catalog == "pg_database" && slices.Contains(ofTheCluster, d.Attribute):
			passed++
		case o.NoRows && d.Attribute == "relispopulated":
			passed++
		case o.Quiet && (slices.Contains(quiet[d.Catalog], d.Attribute) || c.rolesToCome(d)):
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

// unfinished reports whether a difference is that of an index which is not
// valid in the source, as CREATE INDEX CONCURRENTLY leaves one that it could
// not build: it has no use there, and the target may have it or not.
func (f *fixer) unfinished(d describe.Difference) bool {
	if d.Catalog == "" || d.Kind == describe.Extra {
		return false
	}
	for key, c := range f.s {
		if key[0] != "pg_index" || c.text("indisvalid") != "false" || f.s[[2]string{"pg_class", key[1] + " i"}] == nil {
			continue
		}
		of := d.Row == key[1] || d.Row == key[1]+" i" || strings.HasPrefix(d.Row, key[1]+" < ") || d.Row == "index "+key[1]
		if d.Catalog == "pg_attribute" {
			relation, _ := columnOf(d.Row, f.s.of(d).text("attname"))
			of = relation == key[1]
		}
		if of && (f.t[key] == nil || d.Catalog == "pg_index" && strings.HasPrefix(d.Attribute, "indis")) {
			return true
		}
	}
	return false
}

// canRead reports whether the role in the target would see what is missing.
func (c *Comparer) canRead(source describe.Object, d describe.Difference) bool {
	if d.Catalog != "" {
		return c.reads[d.Catalog]
	}
	return slices.ContainsFunc(source.Rows, func(r describe.Row) bool { return c.reads[r.Catalog] })
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

// printed are the attributes that a server prints from what it has parsed, which
// versions do in different ways, and that can be made anew without the rows.
var printed = map[string][]string{
	"pg_rewrite": {"ev_action"}, "pg_policy": {"polqual", "polwithcheck"}, "pg_proc": {"prosqlbody", "proargdefaults"}, "pg_attrdef": {"adbin"},
	"pg_trigger": {"tgqual"}, "pg_publication_rel": {"prqual"}, "pg_type": {"typdefaultbin"},
}

// reprinted reports whether two texts differ only because the servers' versions
// print them in different ways: the target prints the source's as its own.
func (c *Comparer) reprinted(ctx context.Context, p pair, d describe.Difference) (bool, error) {
	if c.source == c.target || d.Kind != describe.Changed || !slices.Contains(printed[d.Catalog], d.Attribute) {
		return false, nil
	}
	same := false
	err := c.within(ctx, false, func() error {
		if name, on, _ := strings.Cut(d.Row, " on "); d.Catalog == "pg_rewrite" && name == `"_RETURN"` {
			_, text, _ := strings.Cut(d.Source, " DO INSTEAD ")
			rows, err := simple.Query(ctx, c.conn, "CREATE TEMPORARY VIEW pg_scribe_printed AS "+text+"; SELECT pg_catalog.pg_get_viewdef('pg_temp.pg_scribe_printed'::"+
				"pg_catalog.regclass) = pg_catalog.pg_get_viewdef("+sqltext.Literal(on)+"::pg_catalog.regclass)")
			same = err == nil && rows[0][0] == "t"
			return err
		}
		for _, g := range newFixer(p).fix(d) {
			for _, sql := range g {
				if _, err := simple.Query(ctx, c.conn, sql); err != nil {
					return err
				}
			}
		}
		targets, err := c.read(ctx, []describe.Object{p.source})
		same = err == nil && rowsOf(targets[p.key()]).of(d).text(d.Attribute) == d.Target
		return err
	})
	var refused *pgconn.PgError
	if errors.As(err, &refused) && !c.conn.IsClosed() {
		return false, nil
	}
	return same, err
}
