package restore

import (
	"cmp"
	"context"
	"regexp"
	"slices"
	"sync"

	"github.com/jackc/pgx/v5/pgconn"

	"pg_scribe/internal/simple"
	"pg_scribe/internal/sqltext"
)

// buildPlan is a run of statements of a dump that build indexes, by table:
// those of one table stay in their order, tables are independent.
type buildPlan struct {
	groups  map[string]*buildGroup
	order   []*buildGroup
	byIndex map[string]*buildGroup
}

type buildGroup struct {
	table string
	steps []buildStep
}

type buildStep struct {
	sql   string
	line  int64
	space string // the statement that set the tablespace for it
}

// Names are matched up to where they can end; sqltext reads them.
var (
	createIndex  = regexp.MustCompile(`^CREATE (?:UNIQUE )?INDEX `)
	indexOn      = regexp.MustCompile(`^ ON (?:ONLY )?`)
	alterTable   = regexp.MustCompile(`^ALTER TABLE (?:ONLY )?`)
	addKey       = regexp.MustCompile(`^\s+ADD CONSTRAINT (?:"(?:[^"]|"")*"|\S+) (?:PRIMARY KEY|UNIQUE|EXCLUDE)\b`)
	followTable  = regexp.MustCompile(`^\s+(?:CLUSTER ON|REPLICA IDENTITY USING INDEX) `)
	followIndex  = regexp.MustCompile(`^(?:COMMENT ON INDEX |ALTER INDEX )`)
	attachIndex  = regexp.MustCompile(`^\s+ATTACH PARTITION `)
	onConstraint = regexp.MustCompile(`^COMMENT ON CONSTRAINT (?:"(?:[^"]|"")*"|\S+) ON `)
)

// take puts a statement aside if it builds an index, or says something of one
// that is to be built.
func (b *buildPlan) take(sql string, step buildStep) bool {
	if m := createIndex.FindString(sql); m != "" {
		index, n := sqltext.Part(sql[len(m):])
		on := indexOn.FindString(sql[len(m)+n:])
		if n == 0 || on == "" {
			return false
		}
		table := sql[len(m)+n+len(on):]
		parts, size := sqltext.Name(table)
		if size == 0 {
			return false
		}
		g := b.group(sqltext.DisplayName(table))
		g.steps = append(g.steps, step)
		parts[len(parts)-1] = index // an index lies in its table's schema
		b.byIndex[joinName(parts)] = g
		return true
	}
	if m := alterTable.FindString(sql); m != "" {
		name := sql[len(m):]
		_, n := sqltext.Name(name)
		if n > 0 && addKey.MatchString(name[n:]) {
			g := b.group(sqltext.DisplayName(name))
			g.steps = append(g.steps, step)
			return true
		}
		return n > 0 && followTable.MatchString(name[n:]) && b.follow(b.groups[sqltext.DisplayName(name)], step)
	}
	if m := onConstraint.FindString(sql); m != "" {
		return b.follow(b.groups[sqltext.DisplayName(sql[len(m):])], step)
	}
	if m := followIndex.FindString(sql); m != "" {
		name := sql[len(m):]
		parts, n := sqltext.Name(name)
		return n > 0 && !attachIndex.MatchString(name[n:]) && b.follow(b.byIndex[joinName(parts)], step)
	}
	return false
}

func joinName(parts []string) string {
	s := ""
	for _, p := range parts {
		s += sqltext.Quoted(p) + "."
	}
	return s
}

func (b *buildPlan) group(table string) *buildGroup {
	g := b.groups[table]
	if g == nil {
		g = &buildGroup{table: table}
		b.groups[table] = g
		b.order = append(b.order, g)
	}
	return g
}

// follow adds a statement that has to come behind others of its group.
func (b *buildPlan) follow(g *buildGroup, step buildStep) bool {
	if g == nil {
		return false
	}
	g.steps = append(g.steps, step)
	return true
}

// largestFirst orders the tables so that no large one is left to the end.
func (b *buildPlan) largestFirst(bytes map[string]int64) {
	slices.SortStableFunc(b.order, func(a, b *buildGroup) int { return cmp.Compare(bytes[b.table], bytes[a.table]) })
}

// buildIndexes builds on several sessions at once.
func (l *loader) buildIndexes(ctx context.Context, plan *buildPlan, session []string) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	queue := make(chan *buildGroup, len(plan.order))
	for _, g := range plan.order {
		queue <- g
	}
	close(queue)
	var workers sync.WaitGroup
	for range min(l.x.o.sessions(), len(plan.order)) {
		workers.Go(func() {
			if err := l.buildWorker(ctx, queue, session); err != nil {
				cancel(err)
			}
		})
	}
	workers.Wait()
	return context.Cause(ctx)
}

func (l *loader) buildWorker(ctx context.Context, queue <-chan *buildGroup, session []string) error {
	conn, err := l.x.server.open(ctx, l.x.o.TargetConn)
	if err != nil {
		return err
	}
	defer closeNow(conn)
	for _, sql := range session {
		if _, err := simple.Query(ctx, conn, sql); err != nil {
			return (&answer{at: l.at, sql: shorten(sql)}).fail(err)
		}
	}
	for g := range queue {
		for _, step := range g.steps {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := buildOne(ctx, conn, step); err != nil && !l.forgive(step, err) {
				return (&answer{at: l.at, line: step.line, sql: shorten(step.sql)}).fail(err)
			}
		}
	}
	return nil
}

func buildOne(ctx context.Context, conn *pgconn.PgConn, step buildStep) error {
	if step.space != "" {
		if _, err := simple.Query(ctx, conn, step.space); err != nil {
			return err
		}
	}
	for try := 1; ; try++ {
		_, err := simple.Query(ctx, conn, step.sql)
		// Keys of partitions lock their parents too, in an order of their own.
		if state(err) != stateDeadlock || try == 10 {
			return err
		}
	}
}
