package main

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// TestDocs: docs/CLI.md names every flag of every command and every field of
// every document.
func TestDocs(t *testing.T) {
	content, err := os.ReadFile("../../docs/CLI.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(content)
	parser, err := kong.New(&cli{}, kong.NoDefaultHelp(), kong.Name("pg_scribe"))
	if err != nil {
		t.Fatal(err)
	}
	common, _, _ := strings.Cut(text, "\n## init\n")
	for _, command := range parser.Model.Children {
		if command.Name == "help" {
			continue
		}
		_, section, found := strings.Cut(text, "\n## "+command.Name+"\n")
		section, _, _ = strings.Cut(section, "\n## ")
		if !found {
			t.Errorf("command %s has no section", command.Name)
		}
		for _, f := range command.Flags {
			if !strings.Contains(section, "--"+f.Name) && !strings.Contains(common, "`--"+f.Name) {
				t.Errorf("command %s: --%s is not described", command.Name, f.Name)
			}
		}
	}
	for _, document := range []any{baseJSON{}, restoreJSON{}, statusJSON{}, listJSON{}, markJSON{}, dropJSON{}, reencryptJSON{},
		expireJSON{}, keepJSON{}, verifyJSON{}, catalogCheckJSON{}, rebuildJSON{}, rehearsalJSON{}} {
		for _, field := range jsonFields(reflect.TypeOf(document)) {
			if !strings.Contains(text, "`"+field+"`") {
				t.Errorf("%T: field %s is not described", document, field)
			}
		}
	}
}

func jsonFields(typ reflect.Type) []string {
	for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice {
		typ = typ.Elem()
	}
	var fields []string
	if typ.Kind() != reflect.Struct || typ == reflect.TypeFor[moment]() {
		return nil
	}
	for i := range typ.NumField() {
		name, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
		if !typ.Field(i).Anonymous {
			fields = append(fields, name)
		}
		fields = append(fields, jsonFields(typ.Field(i).Type)...)
	}
	return fields
}
