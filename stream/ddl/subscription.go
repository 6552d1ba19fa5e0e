package ddl

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"pg_scribe/internal/sqltext"
	"pg_scribe/stream/event"
)

// subscriptions brings them about as they are now, and such that a restored
// database leaves the publisher alone: not connected, not enabled, and without
// the production's slot.
func subscriptions(start *event.Command, subs []event.Subscription, text string) (commands []Command) {
	for _, s := range subs {
		quoted := make([]string, len(s.Publications))
		for i, p := range s.Publications {
			quoted[i] = sqltext.Identifier(p)
		}
		name, publications := sqltext.Identifier(s.Name), strings.Join(quoted, ", ")
		var options []string
		for _, key := range slices.Sorted(maps.Keys(s.Options)) {
			options = append(options, key+" = "+sqltext.Literal(s.Options[key]))
		}
		sql := []string{
			fmt.Sprintf("ALTER SUBSCRIPTION %s CONNECTION %s", name, sqltext.Literal(s.Connection)),
			fmt.Sprintf("ALTER SUBSCRIPTION %s SET PUBLICATION %s WITH (refresh = false)", name, publications),
		}
		switch t := sqltext.Tokens(text, start.Conforming()); {
		case start.Tag == "CREATE SUBSCRIPTION":
			sql = []string{fmt.Sprintf("CREATE SUBSCRIPTION %s CONNECTION %s PUBLICATION %s WITH (connect = false, enabled = false, create_slot = false, slot_name "+
				"= NONE)",
				name, sqltext.Literal(s.Connection), publications)}
		case len(t) > 3 && (t[3].Is("owner") || t[3].Is("rename")):
			sql = []string{text}
		default:
			sql = append(sql, detachSubscription(s.Name))
		}
		if len(options) > 0 && (start.Tag == "CREATE SUBSCRIPTION" || len(sql) > 1) {
			sql = append(sql, fmt.Sprintf("ALTER SUBSCRIPTION %s SET (%s)", name, strings.Join(options, ", ")))
		}
		commands = append(commands, tagged(start.Tag, sql)...)
	}
	return commands
}

// dropSubscriptions drops subscriptions without touching the publisher's slot,
// which one that came from a base still names.
func dropSubscriptions(dropped []event.Object) (sql []string) {
	for _, o := range dropped {
		if o.Type == "subscription" && o.Original {
			sql = append(sql, detach(o.Identity, "; DROP SUBSCRIPTION "+o.Identity))
		}
	}
	return sql
}

// detachSubscription takes the slot away from a subscription, if it has one.
func detachSubscription(name string) string { return detach(sqltext.Identifier(name), "") }

// detach does it for a quoted name, and something more after it.
func detach(name, then string) string {
	return "DO " + sqltext.Literal(fmt.Sprintf("BEGIN IF EXISTS (SELECT FROM pg_catalog.pg_subscription s JOIN pg_catalog.pg_database d ON d.oid = s.subdbid "+
		"WHERE d.datname = pg_catalog.current_database() AND pg_catalog.quote_ident(s.subname) = pg_catalog.quote_ident((pg_catalog.parse_ident(%s))[1])) THEN "+
		"ALTER SUBSCRIPTION %s DISABLE; ALTER SUBSCRIPTION %s SET (slot_name = NONE)%s; END IF; END", sqltext.Literal(name), name, name, then))
}
