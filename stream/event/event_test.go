package event

import (
	"reflect"
	"testing"
)

// Names of a database that is not in UTF-8 arrive byte for byte, wherever in a
// message they stand.
func TestTextsKeepTheirBytes(t *testing.T) {
	parse := func(payload string) Event {
		e, err := Parse([]byte(payload))
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	start := parse("{\"ev\":\"start\",\"sql\":\"\xe9\",\"set\":{\"a\":\"\xe9\"},\"members\":[{\"role\":\"\xe9\"}]}").(*Start)
	end := parse("{\"ev\":\"end\",\"subscriptions\":[{\"name\":\"\xe9\",\"options\":{\"slot_name\":\"\xe9\"},\"publications\":[\"\xe9\"]}]}").(*End)
	late := parse("{\"ev\":\"end\",\"late\":true,\"sql\":\"\xe9\",\"folded\":{\"texts\":[\"\xe9\"]}}").(*End)
	refill := parse("{\"ev\":\"refill\",\"columns\":[\"\xe9\"]}").(*Refill)
	rows := parse("{\"ev\":\"rows\",\"rows\":[[\"\xe9\",null]]}").(*Rows)
	sample := parse("{\"ev\":\"state\",\"states\":[{\"role\":{\"name\":\"\xe9\"}}]}").(*Sample)
	s := end.Subs[0]
	for i, got := range []string{start.SQL, start.Set["a"], start.Members[0].Role, s.Name, s.Options["slot_name"], s.Publications[0],
		late.Command.SQL, late.Folded.Texts[0], refill.Columns[0], *rows.List[0][0], sample.States[0].Role.Name} {
		if got != "\xe9" {
			t.Errorf("text %d is %q", i, got)
		}
	}
	if rows.List[0][1] != nil {
		t.Error("NULL became a text")
	}
}

// Each kind of event is found wherever in the payload its name stands; what is
// none of them is nothing, and what is no JSON is an error.
func TestParse(t *testing.T) {
	for payload, want := range map[string]Event{
		`{"id": "1", "ev": "text", "text": "a"}`:                           &Text{"1", "a"},
		`{"at": "1", "ev": "start", "tag": "X", "sql": "x", "pid": 7}`:     &Start{Command{Tag: "X", SQL: "x", At: "1", PID: 7}},
		`{"tag": "X", "objects": null, "ev": "drop"}`:                      &Drop{Tag: "X"},
		`{"ev": "end", "tag": "X", "sql": "x"}`:                            &End{Tag: "X"},
		`{"ev": "end", "tag": "X", "sql": "x", "late": true}`:              &End{Tag: "X", Late: true, Command: &Command{Tag: "X", SQL: "x"}},
		`{"ev": "refill", "oid": 5, "table": "t"}`:                         &Refill{OID: 5, Table: "t"},
		`{"ev": "rows", "oid": 5, "rows": []}`:                             &Rows{OID: 5, List: [][]*string{}},
		`{"ev": "state", "slot": "s"}`:                                     &Sample{Slot: "s"},
		`{"ev": "lo", "oid": 5, "offset": 9, "data": "AA=="}`:              &LargeObject{5, 9, "AA=="},
		`{"ev": "mark", "name": "m"}`:                                      &Mark{"m"},
		`{"ev": "gap", "reason": "REINDEX went wrong", "tag": "REINDEX"}`:  &Gap{"REINDEX went wrong"},
		`{"ev": "start", "tag": "REINDEX"}`:                                nil,
		`{"ev": "end", "tag": "REINDEX", "late": true}`:                    nil,
		`{"ev": "another"}`:                                                nil,
		`{"nested": {"ev": "mark"}, "name": "ev", "list": ["ev", "mark"]}`: nil,
		`{}`: nil,
	} {
		got, err := Parse([]byte(payload))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %#v, %v; want %#v", payload, got, err, want)
		}
	}
	for _, payload := range []string{``, `[]`, `{"ev": "mark"`, `{"ev": 1}`, `{"ev": "mark", "name": 1}`, `{"ev": "end", "late": true, "sql": 1}`} {
		if got, err := Parse([]byte(payload)); err == nil {
			t.Errorf("%s: %#v", payload, got)
		}
	}
}

// Rows come as the server writes composite values.
func TestRowsAreRead(t *testing.T) {
	null := "NULL"
	for text, want := range map[string][][]string{
		`(1,a)(2,b)`: {{"1", "a"}, {"2", "b"}},
		`(,"")(,)`:   {{null, ""}, {null, null}},
		`("a,b","c)d","say ""hi""","back\\slash")`: {{"a,b", "c)d", `say "hi"`, `back\slash`}},
		"(\"two\nlines\",\" \")":                   {{"two\nlines", " "}},
		`("(1,""x y"")",\xff)`:                     {{`(1,"x y")`, "xff"}},
		"(\xe9)":                                   {{"\xe9"}},
		`()()`:                                     {{null}, {null}},
		``:                                         nil,
	} {
		var got [][]string
		err := (&Rows{Text: []byte(text)}).Each(func(values [][]byte) {
			row := []string{}
			for _, v := range values {
				if v == nil {
					row = append(row, null)
				} else {
					row = append(row, string(v))
				}
			}
			got = append(got, row)
		})
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %q, %v; want %q", text, got, err, want)
		}
	}
	for _, text := range []string{`(1`, `1)`, `(1)x`, `("1)`, `(`, `(1,`} {
		if err := (&Rows{Text: []byte(text)}).Each(func([][]byte) {}); err == nil {
			t.Errorf("%s is taken for a row", text)
		}
	}
}
