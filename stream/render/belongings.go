package render

import (
	"fmt"
	"slices"
	"strings"

	"pg_scribe/repo/segment"
	"pg_scribe/stream/ddl"
)

// belongings are what the stream has brought to the target's cluster on this
// connection beside the samples, which have to put it right again.
type belongings struct {
	needs map[ddl.NeedKind]map[string]string
	once  map[string]bool // commands that are written once only
}

func newBelongings() belongings {
	b := belongings{needs: map[ddl.NeedKind]map[string]string{}, once: map[string]bool{}}
	for _, kind := range []ddl.NeedKind{ddl.NeedRole, ddl.NeedMembership, ddl.NeedCreate, ddl.NeedOwner} {
		b.needs[kind] = map[string]string{}
	}
	return b
}

// bring notes that the target gets what a command needs, and says whether it
// had it already.
func (b belongings) bring(n ddl.Need) (had bool) {
	value, known := b.needs[n.Kind][n.Key]
	b.needs[n.Kind][n.Key] = n.Value
	return known && value == n.Value
}

// first leaves out commands that are written once only, and were.
func (b belongings) first(commands []ddl.Command) []ddl.Command {
	return slices.DeleteFunc(commands, func(c ddl.Command) bool {
		was := b.once[c.SQL]
		if c.Once {
			b.once[c.SQL] = true
		}
		return c.Once && was
	})
}

// forgetGrants forgets memberships, and rights in the database.
func (b belongings) forgetGrants() {
	clear(b.needs[ddl.NeedMembership])
	clear(b.needs[ddl.NeedCreate])
}

func (b belongings) forgetOwners() { clear(b.needs[ddl.NeedOwner]) }

// sampled forgets what was brought along of a state that a sample now brings.
func (b belongings) sampled(tag string) {
	if tag == segment.TagOwner {
		b.forgetOwners()
	}
	if tag != segment.TagDatabase && !strings.HasPrefix(tag, segment.TagRole+" ") {
		return
	}
	b.forgetGrants()
	for name := range b.needs[ddl.NeedRole] {
		if ddl.RoleTag(name) == tag {
			delete(b.needs[ddl.NeedRole], name)
		}
	}
}

// nameRole gives a role the name that it has on the source from here on; none:
// it is gone. What had that name before has another one by now, or is gone,
// which the sample tells.
func (c *commands) nameRole(oid uint32, name string) {
	was := c.schema.RoleName(oid)
	if oid == 0 || was == name {
		return
	}
	if holder := c.schema.RoleNamed(name); name != "" && holder != 0 {
		c.out.resample(ddl.State{Kind: ddl.StateRoleName, Key: fmt.Sprint(holder)})
		c.renameRole(holder, name, ddl.RoleAside(holder))
	}
	if was == "" || name == "" {
		c.schema.NameRole(oid, name)
		return
	}
	c.renameRole(oid, was, name)
}

func (c *commands) renameRole(oid uint32, was, name string) {
	c.has.forgetGrants()
	c.has.forgetOwners()
	c.schema.NameRole(oid, name)
	c.out.append(ddl.RenameRole(was, name))
	c.out.touched.All = true
}
