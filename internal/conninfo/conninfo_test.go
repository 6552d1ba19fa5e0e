package conninfo

import "testing"

func TestWithoutPassword(t *testing.T) {
	for in, want := range map[string]string{
		"host=a password=b dbname=c":                        "host=a dbname=c ",
		`host = 'a b' password = 'x\' y' dbname='it\'s \\'`: `host = 'a b' dbname='it\'s \\' `,
		"password=b":                           "",
		`password=a\ b host=c`:                 "host=c ",
		"postgres://u:p@h:5/d?sslmode=require": "postgres://u@h:5/d?sslmode=require",
		"postgresql://h/d?password=x&user=u":   "postgresql://h/d?user=u",
		"postgresql:///d":                      "postgresql:///d",
	} {
		if got, err := WithoutPassword(in); got != want || err != nil {
			t.Errorf("%s became %s, %v", in, got, err)
		}
	}
}
