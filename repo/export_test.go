package repo

// What the tests of the uploads, whose package imports this one, take from its own tests.
var (
	Ctx            = ctx
	TestClock      = testClock
	Must           = must
	NewTest        = testRepository
	Filled         = filled
	MustOpen       = mustOpen
	WriteBase      = writeBase
	CreateSegment  = createSegment
	AddTx          = addTx
	TxLSN          = txLSN
	KindOfName     = kindOfName
	VerifyForTest  = verify
	Findings       = findings
	CatalogScratch = catalogScratch
)

// SetFailpoint makes f see each step of what is done, and end it by an error.
func (r *Repository) SetFailpoint(f func(step string) error) { r.hook = f }
