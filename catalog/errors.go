package catalog

import (
	"fmt"
	"time"
)

// NoBaseError: there is no base to restore.
type NoBaseError struct{}

func (NoBaseError) Error() string { return "the repository holds no base backup" }

// UnknownBaseError: no base has the name that was asked for.
type UnknownBaseError struct {
	Name  string
	Known []string // oldest first
}

func (e UnknownBaseError) Error() string { return fmt.Sprintf("no base backup is named %q", e.Name) }

// BaseAfterTargetError: the base that was asked for holds more than the target.
type BaseAfterTargetError struct {
	Base   Artifact
	Target Target
}

func (e BaseAfterTargetError) Error() string {
	return fmt.Sprintf("base backup %q, taken at %s, is later than %s", e.Base.Name, place(e.Base.Start, basedAt(e.Base)), e.Target)
}

// TargetBeforeFirstBaseError: every base holds more than the target.
type TargetBeforeFirstBaseError struct {
	Target Target
	First  Artifact
}

func (e TargetBeforeFirstBaseError) Error() string {
	return fmt.Sprintf("%s is before the first base backup, taken at %s", e.Target, place(e.First.Start, basedAt(e.First)))
}

// TargetAfterEndError: the repository does not reach the target, or not yet.
type TargetAfterEndError struct {
	Target    Target
	End       LSN
	ReachedAt time.Time
}

func (e TargetAfterEndError) Error() string {
	return fmt.Sprintf("%s is after the end of the repository at %s", e.Target, place(e.End, e.ReachedAt))
}

// HoleError: the chain of segments breaks before the target. Everything up to Reachable can be restored.
type HoleError struct {
	Kind        HoleKind
	From, To    LSN
	Since       time.Time // the last moment known before the hole
	Reachable   LSN
	ReachableAt time.Time // zero when not known
}

func (e HoleError) Error() string {
	var what string
	switch e.Kind {
	case HoleOverlap:
		what = fmt.Sprintf("segments overlap between %s and %s", place(e.From, time.Time{}), e.To)
	case HoleTimeline:
		what = fmt.Sprintf("the timeline ends at %s and another one starts at %s", place(e.From, e.Since), e.To)
	default:
		what = fmt.Sprintf("changes between %s and %s are missing", place(e.From, e.Since), e.To)
	}
	return fmt.Sprintf("%s; reachable up to %s", what, place(e.Reachable, e.ReachableAt))
}

// DivergedError: the target lies on a branch that the source has left, behind the place where it did.
type DivergedError struct {
	Target   Target
	Timeline uint32
	At       LSN // transactions that commit below it are common
	Base     Artifact
}

func (e DivergedError) Error() string {
	return fmt.Sprintf("%s is on timeline %d behind LSN %s, where the source left it: what is there, the source has lost",
		e.Target, e.Timeline, e.At)
}

// SchemaGapError: a command between base and target changed the schema and could not be captured, so what follows it
// may not fit.
type SchemaGapError struct {
	Gap Gap
}

func (e SchemaGapError) Error() string {
	// The reason comes from the source and may hold line breaks.
	return fmt.Sprintf("a schema change at %s could not be captured: %q", place(e.Gap.From, e.Gap.DetectedAt), e.Gap.Reason)
}

// UnknownPointError: no restore point has the name.
type UnknownPointError struct {
	Name  string
	Known []string // by LSN
}

func (e UnknownPointError) Error() string { return fmt.Sprintf("no restore point is named %q", e.Name) }

// UnknownXIDError: no segment can hold the transaction.
type UnknownXIDError struct {
	XID uint32
}

func (e UnknownXIDError) Error() string {
	return fmt.Sprintf("no segment can hold transaction %d", e.XID)
}

// place writes a position with its moment, if that is known.
func place(l LSN, t time.Time) string {
	if t.IsZero() {
		return "LSN " + l.String()
	}
	return fmt.Sprintf("LSN %s (%s)", l, moment(t))
}

func moment(t time.Time) string {
	return t.UTC().Format(time.RFC3339Nano)
}
