// Package pgtest starts throwaway PostgreSQL clusters for tests, the demo and the benchmarks, and says whether two
// databases hold the same.
//
// A test asks for a database on the cluster that its whole test process shares, or for a cluster of its own when it
// needs settings, crashes or a second server:
//
//	func TestMain(m *testing.M) { pgtest.Main(m) }
//
//	func TestSomething(t *testing.T) {
//		c := pgtest.Shared(t)
//		db := c.CreateDB(t, "something")
//		c.Exec(t, db, "CREATE TABLE t (i int); INSERT INTO t VALUES (1)")
//	}
//
// Without a server the helpers that take a testing.TB fail the test; they never skip it. Which server is used is said at
// [Options.Version].
//
// How a server is run, as whom, and why nothing stays behind is said in package throwaway.
//
// # The oracle
//
// [Snapshot] hashes the rows of a database, [Cluster.SchemaDump] and [Cluster.NormalSchema] give its schema as comparable
// text, and [Diff] puts the difference of two states into words. Not covered are sequences, large objects,
// materialized views, unlogged tables and what belongs to the whole cluster.
package pgtest
