package main

import (
	"strings"

	"pg_scribe/repo/filter"
)

// filterFlags say what the bytes of new files go through.
type filterFlags struct {
	Compress compression `short:"Z" placeholder:"METHOD[:LEVEL]" help:"Compression: zstd, lz4, gzip or none; stands for a first --filter."`
	Filter   []string    `sep:"none" placeholder:"FILTER" help:"What the bytes go through, in this order; may be repeated: 'zstd level=9', 'age recipient=age1…', 'shell write=… read=…'."`
}

// compression is METHOD[:LEVEL], or nothing when the flag was not given.
type compression struct {
	chain filter.Chain
	given bool
}

func (c *compression) UnmarshalText(text []byte) (err error) {
	c.chain, err = filter.ParseShorthand(string(text))
	c.given = true
	return err
}

// chain is what was asked for; nil: nothing was.
func (f filterFlags) chain() (filter.Chain, error) {
	if !f.Compress.given && len(f.Filter) == 0 {
		return nil, nil
	}
	chain := append(filter.Chain{}, f.Compress.chain...)
	for _, text := range f.Filter {
		if strings.TrimSpace(text) == "" { // an empty variable of a script must not mean: in clear
			_, err := filter.ParseFilter(text)
			return nil, err
		}
		// In the environment several stand on lines of their own.
		for line := range strings.Lines(strings.TrimSpace(text)) {
			if strings.TrimSpace(line) == "none" && len(f.Filter) == 1 {
				continue
			}
			one, err := filter.ParseFilter(strings.TrimSpace(line))
			if err != nil {
				return nil, err
			}
			chain = append(chain, one)
		}
	}
	return chain, chain.Check()
}

// keyFlags say how to read what is encrypted.
type keyFlags struct {
	Identity       []string `short:"i" placeholder:"FILE" help:"File with the age identity (secret key) that opens encrypted files; may be repeated."`
	PassphraseFile string   `placeholder:"FILE" help:"File with the passphrase that opens encrypted files, on its only line."`
}

// keys reads the files at once: a wrong path should not show hours later.
func (k keyFlags) keys() (*filter.Keys, error) {
	keys := &filter.Keys{IdentityFiles: k.Identity, PassphraseFile: k.PassphraseFile}
	return keys, keys.Load()
}
