// Package filter passes the bytes of a repository's files through a chain of
// filters: compression, encryption by age, and commands of the shell.
//
// It knows no files and no repository. A Chain is parsed from what a user
// gives (ParseFilter), writes (NewWriter), reads back what it wrote
// (NewReader), and proves on real bytes that it can do both (Try).
//
// What it guarantees: a Writer whose Close returned nil has handed on every
// byte of every filter, and every command ended with status 0. A Reader
// returns io.EOF only behind the end of everything, after every command ended
// with status 0. That a command's output is right only reading it back shows.
package filter

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"pg_scribe/internal/spec"
)

// A Filter is one element of a chain.
type Filter struct {
	Name string // zstd, lz4, gzip, age or shell

	Level, Threads int // of compression; 0: the default

	Recipients     []string // age: those who can read
	PassphraseFile string   // age: instead of recipients
	Key            string   // age: names the recipients or the passphrase, and gives nothing away

	Write, Read string        // shell: the commands
	Timeout     time.Duration // shell: how long one may take no byte and give none; 0: DefaultTimeout
	Number      int           // shell: its number in the repository, from 1; 0: none yet

	quick bool // age: a trial needs no costly passphrase
}

// A Chain is the filters that bytes pass through, in the order of writing. An
// empty one leaves them as they are.
type Chain []Filter

// DefaultTimeout is how long a command may stand still.
const DefaultTimeout = 5 * time.Minute

// Default is the chain of a repository for which none was chosen.
var Default = Chain{{Name: DefaultCodec.Name}}

// SpecError says that a filter cannot be meant as it was given.
type SpecError struct {
	Spec   string
	Reason string
	Hint   string // how it is written
}

func (e *SpecError) Error() string { return fmt.Sprintf("filter %q: %s", shown(e.Spec), e.Reason) }

// secretKey is what a secret key of age looks like.
var secretKey = regexp.MustCompile(`(?i)(AGE-SECRET-KEY-)[0-9A-Z]+`)

// shown makes a text fit for one line, which may go into a log.
func shown(s string) string {
	const limit = 120
	s = secretKey.ReplaceAllString(s, "${1}…")
	s = strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, s)
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return s
}

// usage is how each filter is written.
var usage = map[string]string{
	"zstd":  "zstd [level=1…22] [threads=N]",
	"lz4":   "lz4 [level=1…12] [threads=N]",
	"gzip":  "gzip [level=1…9]",
	"age":   "age recipient=age1… [recipient=…] [recipients-file=FILE], or age passphrase-file=FILE",
	"shell": "shell write='COMMAND' read='COMMAND' [timeout=SECONDS]",
}

const names = "zstd, lz4, gzip, age and shell"

// ParseFilter reads one filter as a user gives it: NAME KEY=VALUE …, where a
// value with spaces stands in single or double quotes, which are doubled
// inside. Files that it names are read now, so that the result stands alone;
// only a passphrase stays in its file.
func ParseFilter(text string) (Filter, error) {
	fail := func(hint, format string, args ...any) (Filter, error) {
		return Filter{}, &SpecError{text, fmt.Sprintf(format, args...), hint}
	}
	name, rest, _ := strings.Cut(strings.TrimSpace(text), " ")
	hint, known := usage[name]
	if !known {
		return fail("write it as NAME KEY=VALUE …, as in --filter 'zstd level=9'", "there is no filter %q: the filters are %s", shown(name), names)
	}
	hint = "write it as --filter " + strconv.Quote(hint)
	f := Filter{Name: name}
	seen := map[string]bool{}
	for o, wrong := range spec.Options(rest) {
		if err := sensible(o, wrong); err != nil {
			return fail(hint, "%v", err)
		}
		if seen[o.Key] && o.Key != "recipient" && o.Key != "recipients-file" {
			return fail(hint, "%s stands twice", o.Key)
		}
		seen[o.Key] = true
		if err := f.set(o.Key, o.Value); err != nil {
			return fail(hint, "%v", err)
		}
	}
	if err := f.complete(); err != nil {
		return fail(hint, "%v", err)
	}
	return f, nil
}

// sensible refuses what is no option, and values that cannot be meant.
func sensible(o spec.Option, wrong *spec.Error) error {
	switch {
	case wrong != nil && wrong.Fault == spec.NoValue:
		return fmt.Errorf("%q is not of the form KEY=VALUE", shown(wrong.Word))
	case wrong != nil && wrong.Fault == spec.NotClosed:
		return fmt.Errorf("the quote of %s is not closed", shown(wrong.Word))
	case wrong != nil:
		return fmt.Errorf("something stands behind the closing quote of %s", shown(wrong.Word))
	case o.Value == "" || !o.Quoted && strings.ContainsAny(o.Value, "'\""):
		return fmt.Errorf("the value of %s is empty or holds a quote", shown(o.Key))
	}
	return nil
}

func (f *Filter) set(key, value string) error {
	number := func(to *int, low, high int) error {
		n, err := strconv.Atoi(value)
		if err != nil || n < low || n > high {
			return fmt.Errorf("%s must be a number from %d to %d", key, low, high)
		}
		*to = n
		return nil
	}
	levels := codecLevels[f.Name]
	switch f.Name + " " + key {
	case "zstd level", "lz4 level", "gzip level":
		return number(&f.Level, levels.min, levels.max)
	case "zstd threads", "lz4 threads":
		return number(&f.Threads, 1, 64)
	case "age recipient":
		if err := checkRecipient(value); err != nil {
			return err
		}
		f.Recipients = append(f.Recipients, value)
		return nil
	case "age recipients-file":
		list, err := readRecipients(value)
		f.Recipients = append(f.Recipients, list...)
		return err
	case "age passphrase-file":
		return f.setPassphraseFile(value)
	case "shell write":
		f.Write = value
		return nil
	case "shell read":
		f.Read = value
		return nil
	case "shell timeout":
		var seconds int
		err := number(&seconds, 1, 86400)
		f.Timeout = time.Duration(seconds) * time.Second
		return err
	}
	return fmt.Errorf("%s has no option %q", f.Name, shown(key))
}

// complete makes sure that nothing is missing.
func (f *Filter) complete() error {
	switch f.Name {
	case "age":
		return f.completeAge()
	case "shell":
		if f.Write == "" || f.Read == "" {
			return fmt.Errorf("both write and read are needed: what cannot be read back is no backup")
		}
		if strings.ContainsAny(f.Write+f.Read, "\n\x00") {
			return fmt.Errorf("a command stands on one line")
		}
	}
	return nil
}

// shorthand is a filter for METHOD[:LEVEL].
func shorthand(c Codec) Chain {
	if c.Name == "none" {
		return Chain{}
	}
	return Chain{{Name: c.Name, Level: c.Level}}
}

// ParseShorthand reads METHOD[:LEVEL]; none is an empty chain.
func ParseShorthand(text string) (Chain, error) {
	c, err := ParseCodec(text)
	return shorthand(c), err
}

// Check refuses chains that make no sense.
func (c Chain) Check() error {
	sealed, packed := false, ""
	for _, f := range c {
		switch {
		case !f.compresses():
			sealed = sealed || f.Name == "age"
		case packed != "":
			return &SpecError{f.Name, "bytes that " + packed + " has compressed do not shrink again", "give one compression only, by -Z or by --filter"}
		case sealed:
			return &SpecError{f.Name, "encrypted bytes do not shrink", "give the compression before age"}
		default:
			packed = f.Name
		}
	}
	if len(c) > 8 {
		return &SpecError{c.String(), "more than 8 filters", "one compression and one encryption are enough"}
	}
	return nil
}

func (f Filter) compresses() bool { return f.Name == "zstd" || f.Name == "lz4" || f.Name == "gzip" }

func (f Filter) codec() Codec { return Codec{Name: f.Name, Level: f.Level, Threads: f.Threads} }

// Codec is the chain as a codec, if it is no more than that: then files can be
// written frame by frame.
func (c Chain) Codec() (Codec, bool) {
	switch {
	case len(c) == 0:
		return Codec{Name: "none"}, true
	case len(c) == 1 && c[0].compresses():
		return c[0].codec(), true
	}
	return Codec{}, false
}

// Opaque reports that what the chain writes may be unreadable without a key or
// a command.
func (c Chain) Opaque() bool {
	_, simple := c.Codec()
	return !simple && slices.ContainsFunc(c, func(f Filter) bool { return !f.compresses() })
}

// Proven reports that a damaged output of the chain shows when it is written:
// no command of the shell is part of it.
func (c Chain) Proven() bool {
	return !slices.ContainsFunc(c, func(f Filter) bool { return f.Name == "shell" })
}

// NeedsKey reports that reading takes a key.
func (c Chain) NeedsKey() bool {
	return slices.ContainsFunc(c, func(f Filter) bool { return f.Name == "age" })
}

// Compression is the codec that the chain begins with, and Sealing what
// follows it.
func (c Chain) Compression() Codec {
	if len(c) > 0 && c[0].compresses() {
		return c[0].codec()
	}
	return Codec{Name: "none"}
}

// Sealing is the chain without its compression.
func (c Chain) Sealing() Chain {
	return slices.DeleteFunc(slices.Clone(c), Filter.compresses)
}

// String is the form that a file's record has: zstd:19+age@1f2e3d4c+f1. It
// tells one way of writing from another and holds no secret.
func (c Chain) String() string {
	if len(c) == 0 {
		return "none"
	}
	parts := make([]string, len(c))
	for i, f := range c {
		switch f.Name {
		case "age":
			parts[i] = "age@" + f.Key
		case "shell":
			parts[i] = "f" + strconv.Itoa(f.Number)
		default:
			parts[i] = f.codec().String()
		}
	}
	return strings.Join(parts, "+")
}

// Extension is the ending of a file's name, with its dots.
func (c Chain) Extension() string {
	ext := ""
	for _, f := range c {
		switch f.Name {
		case "age":
			ext += ".age"
		case "shell":
			ext += ".f" + strconv.Itoa(f.Number)
		default:
			ext += f.codec().Extension()
		}
	}
	return ext
}

// Command is the shell command that turns a stored file, given as a word of
// the shell, back into text.
func (c Chain) Command(file string) string {
	var parts []string
	for _, f := range slices.Backward(c) {
		switch {
		case f.Name == "age" && f.PassphraseFile != "":
			parts = append(parts, "age -d")
		case f.Name == "age":
			parts = append(parts, "age -d -i KEY_FILE")
		case f.Name == "shell" && strings.ContainsAny(f.Read, ";&|()#"):
			parts = append(parts, "sh -c '"+strings.ReplaceAll(f.Read, "'", `'\''`)+"'")
		case f.Name == "shell":
			parts = append(parts, f.Read)
		default:
			parts = append(parts, f.codec().Command())
		}
	}
	if len(parts) == 0 {
		parts = []string{"cat"}
	}
	parts[0] += " < " + file
	return strings.Join(parts, " | ")
}

// Spec is the filter as ParseFilter reads it, for the repository's settings.
func (f Filter) Spec() string {
	text := f.Name
	add := func(key, value string) { text = spec.Append(text, key, value) }
	for _, n := range []struct {
		key   string
		value int
	}{{"level", f.Level}, {"threads", f.Threads}} {
		if n.value != 0 {
			add(n.key, strconv.Itoa(n.value))
		}
	}
	for _, r := range f.Recipients {
		add("recipient", r)
	}
	for _, o := range []struct{ key, value string }{{"passphrase-file", f.PassphraseFile}, {"write", f.Write}, {"read", f.Read}} {
		if o.value != "" {
			add(o.key, o.value)
		}
	}
	if f.Timeout != 0 {
		add("timeout", strconv.Itoa(int(f.Timeout/time.Second)))
	}
	return text
}

// ParseRecord reads what String wrote, as far as reading needs it; number
// finds a command of the shell by its number.
func ParseRecord(record string, number func(n int) (Filter, error)) (Chain, error) {
	if record == "none" {
		return Chain{}, nil
	}
	var c Chain
	for part := range strings.SplitSeq(record, "+") {
		key, isAge := strings.CutPrefix(part, "age@")
		digits, isShell := strings.CutPrefix(part, "f")
		n, err := strconv.Atoi(digits)
		switch {
		case isAge:
			c = append(c, Filter{Name: "age", Key: key})
		case isShell && err == nil:
			f, err := number(n)
			if err != nil {
				return nil, err
			}
			c = append(c, f)
		default:
			codec, err := ParseCodec(part)
			if err != nil {
				return nil, err
			}
			c = append(c, shorthand(codec)...)
		}
	}
	return c, nil
}

// RecordOfName guesses the record of a file from the ending of its name, for
// a file whose record is lost: enough to read it.
func RecordOfName(name string) string {
	var parts []string
	for {
		i := strings.LastIndexByte(name, '.')
		if i < 0 {
			break
		}
		ext := name[i:]
		n, err := strconv.Atoi(strings.TrimPrefix(ext, ".f"))
		part := ""
		switch {
		case ext == ".age":
			part = "age@"
		case strings.HasPrefix(ext, ".f") && err == nil && n > 0:
			part = ext[1:]
		case ext == ".zst":
			part = "zstd"
		case ext == ".lz4":
			part = "lz4"
		case ext == ".gz":
			part = "gzip"
		}
		if part == "" {
			break
		}
		parts, name = append(parts, part), name[:i]
	}
	if len(parts) == 0 {
		return "none"
	}
	slices.Reverse(parts)
	return strings.Join(parts, "+")
}

// fingerprint names something without giving it away.
func fingerprint(what string) string {
	sum := sha256.Sum256([]byte(what))
	return hex.EncodeToString(sum[:4])
}
