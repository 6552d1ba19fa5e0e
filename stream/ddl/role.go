package ddl

import (
	_ "embed"
	"fmt"
	"strings"

	"pg_scribe/internal/sqltext"
	"pg_scribe/repo/segment"
)

// RoleTag names the role that a command changes, because roles belong to the
// target's cluster and not to the restored database: restore may leave alone
// those that it finds there.
func RoleTag(name string) string { return segment.TagRole + " " + sqltext.Quoted(name) }

// RoleAside is the name of a role whose old name another role bears, until a
// sample tells its own.
func RoleAside(oid uint32) string { return fmt.Sprint(asidePrefix, oid) }

const asidePrefix = "scribe_role_"

// RenameTag names a command that renames a role.
func RenameTag(was, name string) string {
	return segment.TagRename + " " + sqltext.Quoted(was) + " " + sqltext.Quoted(name)
}

// RenameRole is the command of a rename, if the target has the role by its old name.
// What has the new name there already is another database's, or the one that
// restores says by a setting that it does not own the role: then what the role
// has in this database goes to the one of the new name instead.
func RenameRole(was, name string) Command {
	drop := ""
	if strings.HasPrefix(was, asidePrefix) {
		drop = "BEGIN EXECUTE format('DROP ROLE %I', was); EXCEPTION WHEN OTHERS THEN RAISE WARNING 'role % is % now: %', was, now, SQLERRM; END;\n"
	}
	block := strings.NewReplacer("{{was}}", sqltext.Literal(was), "{{now}}", sqltext.Literal(name), "{{keep}}", segment.KeepRole,
		"{{alterable}}", Alterable("s.classid", "s.objid"), "{{drop}}", drop).Replace(strings.TrimSpace(renameRole))
	return Command{Tag: RenameTag(was, name), SQL: "DO " + sqltext.Literal(block)}
}

// renameRole moves what one role has in the database to another; none of it
// stops a restore. Extensions keep their owner: nothing can change it. All
// privileges on an object are taken and given anew in their order, which
// pg_dump relies on, each by who granted it: a CASCADE leaves what a role may
// still grant as a member of another. Who does that must see the schema. Of
// default privileges a row for all schemas holds everything; others add to it.
//
//go:embed rename_role.sql
var renameRole string
