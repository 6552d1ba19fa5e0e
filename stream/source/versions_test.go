package source

import (
	"strings"
	"testing"
)

func TestServerVersionFinding(t *testing.T) {
	for version, want := range map[string]string{ // "": nothing to say, "!": critical
		"14.17": "!14.18", "14.18": "14.19", "14.19": "", "14.22": "",
		"15.0": "!15.13", "15.12": "!15.13", "15.13": "15.14", "15.14": "", "15.20": "",
		"16.8": "!16.9", "16.9": "16.10", "16.10": "", "16.11": "",
		"17.4": "!17.5", "17.5": "17.6", "17.6": "", "18.0": "", "18beta1": "", "17devel": "", "15": "", "": "",
	} {
		f, ok := ServerVersionFinding(version)
		critical := strings.HasPrefix(want, "!")
		switch {
		case ok != (want == "") || f.Critical != critical:
			t.Errorf("%s: %+v, %t; want %q", version, f, ok, want)
		case !ok && (!strings.Contains(f.Problem, "fixed in "+strings.TrimPrefix(want, "!")+")") || f.Fix == ""):
			t.Errorf("%s: %+v; want %q", version, f, want)
		}
	}
}
