package repo_test

import "pg_scribe/repo"

// Fixtures of the package's own tests, by the names that they have there.
var (
	ctx, testClock = repo.Ctx, repo.TestClock
	must           = repo.Must
	copyDir        = repo.CopyDir
	readItems      = repo.ReadItems
	testRepository = repo.NewTest
	filled         = repo.Filled
	mustOpen       = repo.MustOpen
	mended         = repo.Recovered
	writeBase      = repo.WriteBase
	baseHeader     = repo.BaseHeader
	createSegment  = repo.CreateSegment
	addTx, txLSN   = repo.AddTx, repo.TxLSN
	segmentAt      = repo.SegmentAt
	artifact       = repo.ArtifactOf
	mustArtifacts  = repo.MustArtifacts
	chain          = repo.ChainOf
	parseChain     = repo.ParseChain
	keysOf         = repo.KeysOf
	testIdentity   = repo.TestIdentity
	otherIdentity  = repo.OtherIdentity
	eachChain      = repo.EachChain
	flip, sealed   = repo.Flip, repo.Sealed
	partXIDs       = repo.PartXIDs
)

const apart = repo.Apart
