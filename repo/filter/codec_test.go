package filter

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestParseCodec(t *testing.T) {
	good := []struct {
		spec string
		want Codec
	}{
		{"zstd", Codec{Name: "zstd", Level: 0}}, {"zstd:1", Codec{Name: "zstd", Level: 1}}, {"zstd:22", Codec{Name: "zstd", Level: 22}},
		{"lz4", Codec{Name: "lz4", Level: 0}}, {"lz4:12", Codec{Name: "lz4", Level: 12}},
		{"gzip", Codec{Name: "gzip", Level: 0}}, {"gzip:9", Codec{Name: "gzip", Level: 9}}, {"none", Codec{Name: "none", Level: 0}},
	}
	for _, c := range good {
		got, err := ParseCodec(c.spec)
		if err != nil || got != c.want {
			t.Errorf("ParseCodec(%q) = %v, %v, want %v", c.spec, got, err, c.want)
		}
		if got.String() != c.spec {
			t.Errorf("%v.String() = %q, want %q", got, got.String(), c.spec)
		}
		if back := RecordOfName("x.sql" + got.Extension()); back != got.Name {
			t.Errorf("%v: its extension %q belongs to %v", got, got.Extension(), back)
		}
	}
	bad := []struct{ spec, reason string }{
		{"", "methods"}, {"ZSTD", "methods"}, {"xz", "methods"}, {":3", "methods"}, {" zstd", "methods"},
		{"zstd:", "1 to 22"}, {"zstd:0", "1 to 22"}, {"zstd:23", "1 to 22"}, {"zstd:-1", "1 to 22"}, {"zstd:3:4", "1 to 22"},
		{"zstd:fast", "1 to 22"}, {"lz4:13", "1 to 12"}, {"gzip:10", "1 to 9"},
		{"none:", "no level"}, {"none:0", "no level"}, {"none:1", "no level"},
	}
	for _, c := range bad {
		_, err := ParseCodec(c.spec)
		var e *CodecError
		if !errors.As(err, &e) || e.Spec != c.spec || !strings.Contains(e.Reason, c.reason) {
			t.Errorf("ParseCodec(%q) gives error %v, want a CodecError with %q", c.spec, err, c.reason)
		}
	}
	if _, err := (Codec{Name: "xz"}).NewWriter(io.Discard); err == nil {
		t.Error("a writer of an unknown method")
	}
	if _, err := (Codec{Name: "xz"}).NewReader(strings.NewReader("")); err == nil {
		t.Error("a reader of an unknown method")
	}
}

var codecSpecs = []string{"zstd", "zstd:1", "zstd:9", "zstd:22", "lz4", "lz4:1", "lz4:12", "gzip", "gzip:1", "gzip:9", "none"}

// framesOf writes texts as one frame each, and returns where each ends.
func framesOf(t testing.TB, c Codec, texts [][]byte) (stored []byte, ends []int) {
	t.Helper()
	var b bytes.Buffer
	w, err := c.NewWriter(&b)
	must(t, err)
	for _, text := range texts {
		for piece := range slices.Chunk(text, 100_000) {
			_, err := w.Write(piece)
			must(t, err)
		}
		must(t, w.Close())
		ends = append(ends, b.Len())
		w.Reset(&b)
	}
	return b.Bytes(), ends
}

// sampleTexts are texts of many sizes, some that compress and some that do not.
func sampleTexts() [][]byte {
	random := rand.New(rand.NewPCG(1, 2))
	texts := [][]byte{[]byte("x"), []byte("-- pg_scribe segment\n")}
	for _, n := range []int{100, 65_536, 65_537, 5_000_000} {
		noise := make([]byte, n)
		for i := range noise {
			noise[i] = byte(random.Uint32())
		}
		lines := bytes.Repeat([]byte("INSERT INTO \"public\".\"t\" VALUES ('1');\n"), n/40+1)
		texts = append(texts, noise, lines)
	}
	return texts
}

func TestCodecRoundTrip(t *testing.T) {
	texts := sampleTexts()
	want := bytes.Join(texts, nil)
	for _, spec := range codecSpecs {
		t.Run(spec, func(t *testing.T) {
			c, err := ParseCodec(spec)
			must(t, err)
			stored, ends := framesOf(t, c, texts)
			got, err := decode(c, stored)
			if err != nil || !bytes.Equal(got, want) {
				t.Fatalf("read back %d bytes of %d, error %v", len(got), len(want), err)
			}
			// What ends with a frame is whole, and is what was in it.
			for i, end := range ends {
				got, err := decode(c, stored[:end])
				if want := bytes.Join(texts[:i+1], nil); err != nil || !bytes.Equal(got, want) {
					t.Fatalf("%d frames: %d bytes of %d, error %v", i+1, len(got), len(want), err)
				}
			}
		})
	}
}

func decode(c Codec, stored []byte) ([]byte, error) {
	r, err := c.NewReader(bytes.NewReader(stored))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// A frame that is cut or changed must not read as if it were whole.
func TestCodecNoticesDamage(t *testing.T) {
	texts := [][]byte{[]byte(strings.Repeat("one line of text\n", 50)), []byte(strings.Repeat("and another\n", 50))}
	want := bytes.Join(texts, nil)
	for _, spec := range []string{"zstd", "lz4", "gzip"} {
		t.Run(spec, func(t *testing.T) {
			c, err := ParseCodec(spec)
			must(t, err)
			stored, ends := framesOf(t, c, texts)
			for n := range len(stored) {
				if n == 0 || n == ends[0] {
					continue // nothing, or one whole frame
				}
				if got, err := decode(c, stored[:n]); err == nil && bytes.Equal(got, want) {
					t.Errorf("%d of %d bytes read as the whole", n, len(stored))
				}
			}
			for i := range stored {
				broken := bytes.Clone(stored)
				broken[i] ^= 0x10
				if got, err := decode(c, broken); err == nil && !bytes.Equal(got, want) {
					t.Errorf("byte %d changed: other text without an error", i)
				}
			}
		})
	}
}

// The commands of the same names read files of several frames.
func TestCommandsReadFrames(t *testing.T) {
	texts := sampleTexts()
	want := bytes.Join(texts, nil)
	for _, spec := range codecSpecs {
		t.Run(spec, func(t *testing.T) {
			c, err := ParseCodec(spec)
			must(t, err)
			command := strings.Fields(c.Command())
			need(t, command[0])
			stored, _ := framesOf(t, c, texts)
			path := filepath.Join(t.TempDir(), "x.sql"+c.Extension())
			must(t, os.WriteFile(path, stored, 0o600))
			var stderr bytes.Buffer
			cmd := exec.Command(command[0], append(command[1:], path)...)
			cmd.Stderr = &stderr
			got, err := cmd.Output()
			if err != nil || !bytes.Equal(got, want) {
				t.Fatalf("%v: %d bytes of %d, error %v %s", cmd, len(got), len(want), err, stderr.Bytes())
			}
		})
	}
}

func FuzzCodec(f *testing.F) {
	for _, s := range []string{"", "a", "line\n", strings.Repeat("ab", 1000)} {
		f.Add([]byte(s), []byte("next frame"))
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		for _, name := range []string{"zstd", "lz4", "gzip", "none"} {
			c := Codec{Name: name}
			stored, _ := framesOf(t, c, [][]byte{a, b})
			got, err := decode(c, stored)
			if err != nil || string(got) != fmt.Sprintf("%s%s", a, b) {
				t.Fatalf("%s: %q, error %v", name, got, err)
			}
		}
	})
}
