package ddl

import (
	"fmt"
	"regexp"
	"strings"

	"pg_scribe/internal/sqltext"
	"pg_scribe/stream/event"
)

// largeObjectList is that of a GRANT or REVOKE.
var largeObjectList = regexp.MustCompile(`(?is)^(\s*(?:grant|revoke)\s.*?\son\s+large\s+object\s+)([\d\s,]+?)(\s+(?:to|from)\s.*)$`)

// onLargeObjects says whether a command is about large objects.
func onLargeObjects(sql string, objects []event.Object) bool {
	return largeObjectList.MatchString(sql) || len(objects) == 1 && objects[0].Class == event.ClassLargeObject
}

// guardLargeObjects makes a command on large objects one that passes over
// those which are not there yet, or belong to another role: the next sample
// brings them as the command left them.
func guardLargeObjects(sql string, objects []event.Object) (guarded []string) {
	guard := func(oid, sql string) {
		guarded = append(guarded, "DO "+sqltext.Escaped(fmt.Sprintf(
			"BEGIN IF EXISTS (SELECT FROM pg_catalog.pg_largeobject_metadata WHERE oid = %s) THEN EXECUTE %s; END IF; EXCEPTION WHEN insufficient_privilege THEN "+
				"NULL; END",
			oid, sqltext.Escaped(sql))))
	}
	m := largeObjectList.FindStringSubmatch(sql)
	if m == nil {
		guard(fmt.Sprint(objects[0].OID), sql)
		return guarded
	}
	for oid := range strings.SplitSeq(m[2], ",") {
		oid = strings.TrimSpace(oid)
		guard(oid, m[1]+oid+m[3])
	}
	return guarded
}
