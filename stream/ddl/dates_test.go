package ddl

import "testing"

func TestIsDate(t *testing.T) {
	for value, want := range map[string]bool{"now": true, "now()": true, "Tomorrow": true, "yesterday 05:30": true, " today zulu": true, "[now,tomorrow)": true,
		"{today,tomorrow}": true, `{"2020-01-01 00:00",today}`: true, "{[now,infinity)}": true, "": false, "later": false, "due today": false, "SELECT now()": false,
		`{"now": "today"}`: false, "[a,today]": false, "2020-01-01": false, "{1,2}": false, "BEGIN NEW.x = now(); END": false} {
		if got := isDate(value); got != want {
			t.Errorf("%q: %t", value, got)
		}
	}
}
