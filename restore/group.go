package restore

import "pg_scribe/catalog"

// Consecutive source transactions without commands share a transaction of the
// target, since each commit is a round trip. A group is kept moderate, because
// the versions of a row that is updated again and again can be cleared away
// only once the transaction that made them is over.
const (
	groupTransactions = 200
	groupStatements   = 2000
)

// endTransaction is called behind the last statement of a source transaction.
func (r *replayer) endTransaction(end catalog.LSN) error {
	if r.inThis > 0 && !r.own && !r.net.on {
		r.begin()
		r.move()
	}
	r.group++
	r.inGroup += r.inThis
	r.end, r.endAt = end, r.at
	if len(r.objects) > 0 {
		return r.compare()
	}
	if r.complete() {
		return r.commit()
	}
	return r.feed.room(false)
}

// complete says that the transaction of the target is to end here.
func (r *replayer) complete() bool {
	if r.net.on {
		return r.own || r.net.heavy || r.group >= r.net.limits.Transactions || r.net.slow >= groupStatements
	}
	return r.own || r.group >= groupTransactions || r.inGroup >= groupStatements
}

// compare compares the objects that the current source transaction describes,
// once it is committed.
func (r *replayer) compare() error {
	if err := r.commit(); err != nil {
		return err
	}
	objects, at := r.objects, r.at
	return r.feed.wait(func() error { return r.x.witness.behindLines(r.feed.ctx, objects, at) })
}

// begin opens a transaction of the target, if none is.
func (r *replayer) begin() {
	if !r.open {
		r.open, r.free = true, false
		r.feed.cur.query([]byte("BEGIN"), r.command("BEGIN", 0))
		r.switchChecks(true)
	}
}

// move takes over what was pending.
func (r *replayer) move() {
	cur := r.feed.cur
	cur.wire = append(cur.wire, r.pending.wire...)
	cur.answers = append(cur.answers, r.pending.answers...)
	r.pending.reset()
}

// freePlanner leaves the planner alone up to the next row change.
func (r *replayer) freePlanner() {
	if !r.free {
		r.free = true
		r.into().query([]byte(plannerFree), r.command(plannerFree, 0))
	}
}

// separate gives the current source transaction one of its own, or, if changes
// of it are among others in the window, what follows a place behind them.
func (r *replayer) separate() error {
	if r.own {
		return nil
	}
	end := r.commit
	if r.net.on && r.net.within {
		end = r.applyAll
	}
	if err := end(); err != nil {
		return err
	}
	r.own = true
	r.begin()
	r.move()
	return nil
}

// commit ends the transaction of the target, once all its answers are right.
func (r *replayer) commit() error {
	if !r.net.empty() {
		at := r.at
		r.at = r.endAt
		err := r.applyAll()
		if r.at = at; err != nil {
			return err
		}
	}
	r.net.heavy, r.net.slow = false, 0
	r.total.transactions += r.group
	r.total.statements += r.inGroup
	group := r.group
	r.group, r.inGroup = 0, 0
	if !r.open {
		return nil
	}
	r.open = false
	r.check()
	f := r.feed
	if r.own && r.commands {
		// The stream may have left another role behind.
		f.cur.query([]byte(ownRole), answer{rows: anyRows, at: r.endAt, sql: ownRole})
	}
	sql := advance(r.end, group)
	f.cur.query([]byte(sql), answer{rows: 1, at: r.endAt, sql: sql})
	if err := f.wait(nil); err != nil {
		return err
	}
	done := r.total
	done.end = r.end
	f.cur.net, f.net = f.net, false
	return f.query([]byte("COMMIT"), answer{kind: answerCommit, rows: anyRows, at: r.endAt, sql: "COMMIT", done: &done})
}
