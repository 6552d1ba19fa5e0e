package restore

import (
	"bytes"
	"io"
	"strings"

	"pg_scribe/catalog"
	"pg_scribe/repo"
)

// countItem counts the rows that a statement or COPY block of a segment
// changes.
func countItem(counts map[string]catalog.TableCount, reader *repo.SegmentReader, item repo.Item) error {
	if item.Kind == repo.ItemCopy {
		c := catalog.TableCount{Table: displayName(string(item.SQL[len("COPY "):]))}
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
		list[i].Table = displayName(list[i].Table)
	}
	return list
}

// displayName is one form for a table's name, whichever way it is quoted: the
// name that sql begins with, quoted only where it has to be.
func displayName(sql string) string {
	parts, n := parseName(sql)
	if n == 0 {
		return sql
	}
	for i, part := range parts {
		if !plainName(part) {
			parts[i] = repo.Identifier(part)
		}
	}
	return strings.Join(parts, ".")
}

func plainName(s string) bool {
	for i := 0; i < len(s); i++ {
		b := s[i]
		if !(b >= 'a' && b <= 'z' || b == '_' || i > 0 && (isDigit(b) || b == '$')) {
			return false
		}
	}
	return s != ""
}

// parseName reads the qualified name that sql begins with, and how long it is.
func parseName(sql string) (parts []string, n int) {
	for {
		part, size := parsePart(sql[n:])
		if size == 0 {
			return nil, 0
		}
		parts = append(parts, part)
		n += size
		if n >= len(sql) || sql[n] != '.' {
			return parts, n
		}
		n++
	}
}

func parsePart(sql string) (part string, n int) {
	unicode := strings.HasPrefix(sql, `U&"`)
	if unicode {
		n = 2
	}
	if n < len(sql) && sql[n] == '"' {
		end := closing([]byte(sql), n+1, '"')
		if end < 0 {
			return "", 0
		}
		part = strings.ReplaceAll(sql[n+1:end], `""`, `"`)
		if unicode {
			part = strings.NewReplacer(`\000a`, "\n", `\000d`, "\r", `\\`, `\`).Replace(part)
		}
		return part, end + 1
	}
	for n < len(sql) && (isLetter(sql[n]) || isDigit(sql[n]) || sql[n] == '$' || sql[n] >= 0x80) {
		n++
	}
	return strings.ToLower(sql[:n]), n
}
