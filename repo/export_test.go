package repo

// What the tests of packages that import this one (the uploads, verify, rebuild)
// take from its own tests.
var (
	Ctx            = ctx
	TestClock      = testClock
	Must           = must
	NewTest        = testRepository
	Filled         = filled
	MustOpen       = mustOpen
	Recovered      = mended
	WriteBase      = writeBase
	WriteDirBase   = writeDirBase
	BaseHeader     = baseHeader
	CreateSegment  = createSegment
	AddTx          = addTx
	TxLSN          = txLSN
	SegmentAt      = segmentAt
	ArtifactOf     = artifact
	MustArtifacts  = mustArtifacts
	ChainOf        = chain
	ParseChain     = parseChain
	KeysOf         = keysOf
	TestIdentity   = testIdentity
	OtherIdentity  = otherIdentity
	EachChain      = eachChain
	Flip           = flip
	Sealed         = sealed
	PartXIDs       = partXIDs
	CatalogScratch = catalogScratch
	CopyDir        = copyDir
	FileNames      = fileNames
	IsWorking      = isWorking
	FirstLine      = firstLine
	ReadItems      = readItems
	Chains         = chains
)

const (
	Apart         = apart
	PartialSuffix = partialSuffix
	ClearSuffix   = clearSuffix
	OwnerName     = ownerName
	DirDescribes  = dirDescribes
)

// SetFailpoint makes f see each step of what is done, and end it by an error.
func (r *Repository) SetFailpoint(f func(step string) error) { r.hook = f }

// Name is that of the open file.
func (w *SegmentWriter) Name() string { return w.name }
