package segment

import (
	"sort"
	"time"

	"pg_scribe/catalog"
)

// Stats counts what a piece of a segment holds. The zero value is nothing.
type Stats struct {
	End                     catalog.LSN // position reached; 0: unchanged
	Reached                 time.Time   // source's clock for which End is complete; zero: unchanged
	Transactions            int64
	FirstCommit, LastCommit time.Time
	MinXID, MaxXID          uint32
	Tables                  map[string]catalog.TableCount
	Points                  []catalog.RestorePoint
	Gaps                    []catalog.Gap
	State                   *catalog.StateChanges // of the source's objects; nil: not followed
}

// Add takes up what follows.
func (s *Stats) Add(next Stats) {
	s.End = max(s.End, next.End)
	if next.Reached.After(s.Reached) {
		s.Reached = next.Reached
	}
	if next.Transactions > 0 {
		if s.Transactions == 0 || next.MinXID < s.MinXID {
			s.MinXID = next.MinXID
		}
		s.MaxXID = max(s.MaxXID, next.MaxXID)
	}
	if !next.FirstCommit.IsZero() {
		if s.FirstCommit.IsZero() || next.FirstCommit.Before(s.FirstCommit) {
			s.FirstCommit = next.FirstCommit
		}
		if next.LastCommit.After(s.LastCommit) {
			s.LastCommit = next.LastCommit
		}
	}
	s.Transactions += next.Transactions
	if s.Tables == nil && len(next.Tables) > 0 {
		s.Tables = make(map[string]catalog.TableCount, len(next.Tables))
	}
	for name, c := range next.Tables {
		s.Tables[name] = sumCounts(name, s.Tables[name], c)
	}
	s.Points = append(s.Points, next.Points...)
	s.Gaps = append(s.Gaps, next.Gaps...)
	s.State = s.State.Add(next.State)
}

func sumCounts(name string, a, b catalog.TableCount) catalog.TableCount {
	return catalog.TableCount{Table: name, Inserted: a.Inserted + b.Inserted, Updated: a.Updated + b.Updated,
		Deleted: a.Deleted + b.Deleted, Truncated: a.Truncated + b.Truncated}
}

// Progress is what a checkpoint tells the catalog: the totals of s and next,
// with only those tables, points, gaps and state that next brings.
func (s Stats) Progress(next Stats) catalog.Progress {
	total := s
	total.Tables, total.Points, total.Gaps, total.State = nil, nil, nil, nil
	total.Add(next)
	for name, c := range total.Tables {
		total.Tables[name] = sumCounts(name, s.Tables[name], c)
	}
	return catalog.Progress{
		End: total.End, ReachedAt: total.Reached,
		Commits: catalog.Commits{FirstCommitAt: total.FirstCommit, LastCommitAt: total.LastCommit,
			Transactions: total.Transactions, MinXID: total.MinXID, MaxXID: total.MaxXID},
		Tables: total.Counts(), Points: total.Points, Gaps: total.Gaps, State: total.State,
	}
}

// Counts lists the counts by name.
func (s Stats) Counts() []catalog.TableCount {
	list := make([]catalog.TableCount, 0, len(s.Tables))
	for _, c := range s.Tables {
		list = append(list, c)
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Table < list[j].Table })
	return list
}

// Trailer is what the counts say at the end of a segment.
func (s Stats) Trailer() Trailer {
	return Trailer{End: s.End, Reached: s.Reached, Transactions: s.Transactions, FirstCommit: s.FirstCommit,
		LastCommit: s.LastCommit, MinXID: s.MinXID, MaxXID: s.MaxXID, Tables: s.Counts()}
}
