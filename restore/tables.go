package restore

import (
	"bytes"
	"io"

	"pg_scribe/catalog"
	"pg_scribe/internal/sqltext"
	"pg_scribe/repo"
)

// countItem counts the rows that a statement or COPY block of a segment
// changes.
func countItem(counts map[string]catalog.TableCount, reader *repo.SegmentReader, item repo.Item) error {
	if item.Kind == repo.ItemCopy {
		c := catalog.TableCount{Table: sqltext.DisplayName(string(item.SQL[len("COPY "):]))}
		var n lineCounter
		if _, err := io.Copy(&n, reader.CopyData()); err != nil {
			return err
		}
		c.Inserted = int64(n)
		addCount(counts, c)
		return nil
	}
	for _, c := range changes(item.SQL) {
		addCount(counts, c)
	}
	return nil
}

type lineCounter int64

func (n *lineCounter) Write(p []byte) (int, error) {
	*n += lineCounter(bytes.Count(p, []byte{'\n'}))
	return len(p), nil
}

// changes is repo.RowChanges with tables named in one form. Of a TRUNCATE every
// table counts.
func changes(sql []byte) []catalog.TableCount {
	list := repo.RowChanges(sql)
	for i := range list {
		list[i].Table = sqltext.DisplayName(list[i].Table)
	}
	return list
}
