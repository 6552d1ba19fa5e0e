package sample

import (
	"embed"
	"strings"
)

//go:embed *.sql
var files embed.FS

// query returns the text of an embedded query. In the place of {{name}} stands
// the part that follows that name; a part is SQL itself.
func query(name string, parts ...string) string {
	text, err := files.ReadFile(name)
	if err != nil {
		panic(err) // it is a name in this package
	}
	pairs := make([]string, len(parts))
	for i, part := range parts {
		if i%2 == 0 {
			part = "{{" + part + "}}"
		}
		pairs[i] = part
	}
	return strings.NewReplacer(pairs...).Replace(strings.TrimSpace(string(text)))
}
