package migrations

import (
	"strings"
	"testing"
	"testing/fstest"
)

func TestAllIsNumberedWithoutHoles(t *testing.T) {
	all, err := All()
	if err != nil {
		t.Fatal(err)
	}
	for i, m := range all {
		if m.Number != i+1 {
			t.Errorf("%s: number %d, want %d", m.Name, m.Number, i+1)
		}
		if strings.TrimSpace(m.SQL) == "" {
			t.Errorf("%s is empty", m.Name)
		}
	}
}

func TestLoadRefusesBadNumbering(t *testing.T) {
	cases := []struct {
		name  string
		files []string
		want  string
	}{
		{"none", nil, "no files"},
		{"does not start at one", []string{"0002_b.sql"}, "0001 belongs"},
		{"hole", []string{"0001_a.sql", "0003_c.sql"}, "0002 belongs"},
		{"twice", []string{"0001_a.sql", "0001_b.sql"}, "0002 belongs"},
		{"bad name", []string{"1_a.sql"}, "not named"},
		{"other file", []string{"0001_a.sql", "notes.txt"}, "not named"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			fsys := fstest.MapFS{}
			for _, f := range c.files {
				fsys[f] = &fstest.MapFile{Data: []byte("SELECT 1;")}
			}
			_, err := load(fsys)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want one with %q", err, c.want)
			}
		})
	}
}
