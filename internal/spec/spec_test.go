package spec

import (
	"reflect"
	"testing"
)

func read(text string) (list []Option, err *Error) {
	for o, err := range Options(text) {
		if err != nil {
			return list, err
		}
		list = append(list, o)
	}
	return list, nil
}

func TestOptions(t *testing.T) {
	good := map[string][]Option{
		"":                   nil,
		"  ":                 nil,
		"a=1":                {{"a", "1", false}},
		"a=":                 {{"a", "", false}},
		"a=x=y b='1 2'":      {{"a", "x=y", false}, {"b", "1 2", true}},
		`a="it's" b='it''s'`: {{"a", "it's", true}, {"b", "it's", true}},
		`a="" b='' c=""""`:   {{"a", "", true}, {"b", "", true}, {"c", `"`, true}},
		"a=x'y'":             {{"a", "x'y'", false}},
		" \ta='1' \n b=2 ":   {{"a", "1", true}, {"b", "2", false}},
		"a=1 a=2":            {{"a", "1", false}, {"a", "2", false}},
		"write='cat > %f'":   {{"write", "cat > %f", true}},
		"a='x\ny'":           {{"a", "x\ny", true}},
	}
	for text, want := range good {
		if got, err := read(text); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q reads %+v, %v", text, got, err)
		}
	}
	bad := map[string]Error{
		"x": {NoValue, "x"}, "-19": {NoValue, "-19"}, "=3": {NoValue, "=3"}, "a =3": {NoValue, "a"}, "a=1 b c=2": {NoValue, "b"},
		"a='1": {NotClosed, "a"}, "a='": {NotClosed, "a"}, "a='''": {NotClosed, "a"}, `a="x'`: {NotClosed, "a"},
		"a='1'x": {Behind, "a"}, "a='1'\tb=2": {Behind, "a"}, `a='1'"2"`: {Behind, "a"},
	}
	for text, want := range bad {
		if _, err := read(text); err == nil || *err != want {
			t.Errorf("%q: %v, want %v", text, err, &want)
		}
	}
}

// FuzzOptions: what Append writes reads back, and what is read can be written.
func FuzzOptions(f *testing.F) {
	for _, text := range []string{"a=1 b='x y'", `w="it's" r='it''s'`, "a=", "a='' b=\"\"", "a='x", "a b", " a=1\t"} {
		f.Add(text, "v")
		f.Add("k=1", text)
	}
	f.Fuzz(func(t *testing.T, text, value string) {
		list, err := read(text)
		if err != nil {
			return
		}
		again := ""
		for i := range list {
			again = Append(again, list[i].Key, list[i].Value)
			list[i].Quoted = false
		}
		again = Append(again, "last", value)
		list = append(list, Option{"last", value, false})
		got, err := read(again)
		for i := range got {
			got[i].Quoted = false
		}
		if err != nil || !reflect.DeepEqual(got, list) {
			t.Errorf("%q was written as %q, which reads %+v, %v", text, again, got, err)
		}
	})
}
