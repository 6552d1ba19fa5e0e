package source

import (
	"reflect"
	"testing"

	"pg_scribe/catalog"
)

func TestParseHistory(t *testing.T) {
	src := Server{SystemID: "7", Timeline: 5}
	got, err := parseHistory("# made by hand\n1\t0/3000180\tno recovery target specified\n\n2\tA/4\tbefore 2026-01-01\n4\tB/0\t\n", src)
	want := []catalog.Switch{{SystemID: "7", Timeline: 2, Parent: 1, At: 0x3000180}, {SystemID: "7", Timeline: 4, Parent: 2, At: 0xA00000004},
		{SystemID: "7", Timeline: 5, Parent: 4, At: 0xB00000000}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"x\t0/1\n", "1\n", "1\tnowhere\n", "5\t0/1\n", "2\t0/1\tx\n1\t0/2\tx\n"} {
		if got, err := parseHistory(bad, src); err == nil {
			t.Errorf("%q: %v", bad, got)
		}
	}
}
