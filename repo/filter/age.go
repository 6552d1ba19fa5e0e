package filter

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"filippo.io/age"
)

// Keys are what is needed to read encrypted files. They are read from their
// files when the first one needs them. A nil *Keys holds none.
type Keys struct {
	IdentityFiles  []string // as age-keygen writes them
	PassphraseFile string

	once sync.Once
	list []age.Identity
	err  error
}

// KeyFault says what is wrong with a key.
type KeyFault string

// What can be wrong.
const (
	KeyMissing    KeyFault = "missing"    // none was given
	KeyWrong      KeyFault = "wrong"      // those that were given open something else
	KeyUnreadable KeyFault = "unreadable" // its file cannot be read or holds no key
)

// KeyError says that something encrypted cannot be read, or written, for want
// of a key.
type KeyError struct {
	Fault KeyFault
	File  string // KeyUnreadable: the key's
	Err   error
}

func (e *KeyError) Error() string {
	switch e.Fault {
	case KeyMissing:
		return "it is encrypted with age, and no key was given"
	case KeyWrong:
		return "it is encrypted with age for another key than the one that was given"
	}
	return fmt.Sprintf("key file %s: %v", e.File, e.Err)
}

// Inconclusive reports that the bytes themselves may be whole.
func (e *KeyError) Inconclusive() bool { return true }

// NotText says that the text of the file may be in order.
func (e *KeyError) NotText() bool { return true }

func (e *KeyError) Unwrap() error { return e.Err }

// DataError says that bytes are not what the filter wrote.
type DataError struct{ Reason string }

func (e *DataError) Error() string { return e.Reason }

// Given says whether the user gave any.
func (k *Keys) Given() bool {
	return k != nil && (len(k.IdentityFiles) > 0 || k.PassphraseFile != "")
}

// Load reads the files of the keys, to complain about them early.
func (k *Keys) Load() error {
	_, err := k.identities()
	return err
}

func (k *Keys) identities() ([]age.Identity, error) {
	if k == nil {
		return nil, nil
	}
	k.once.Do(func() { k.list, k.err = k.read() })
	return k.list, k.err
}

func (k *Keys) read() (list []age.Identity, err error) {
	for _, path := range k.IdentityFiles {
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, &KeyError{KeyUnreadable, path, plainPathError(err)}
		}
		if bytes.HasPrefix(content, []byte(ageMagic)) || bytes.Contains(content, []byte("BEGIN AGE ENCRYPTED FILE")) {
			return nil, &KeyError{KeyUnreadable, path, errors.New("it is itself encrypted; decrypt it with age -d first")}
		}
		// The library's error may quote the line, which is the secret.
		found, err := age.ParseIdentities(bytes.NewReader(content))
		if err != nil {
			return nil, &KeyError{KeyUnreadable, path, errors.New("it holds no age identity (a line AGE-SECRET-KEY-1…)")}
		}
		list = append(list, found...)
	}
	if k.PassphraseFile != "" {
		passphrase, err := readPassphrase(k.PassphraseFile)
		if err != nil {
			return nil, err
		}
		identity, err := age.NewScryptIdentity(passphrase)
		if err != nil {
			return nil, &KeyError{KeyUnreadable, k.PassphraseFile, err}
		}
		list = append(list, identity)
	}
	return list, nil
}

func plainPathError(err error) error {
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

// readPassphrase takes the first line of a file.
func readPassphrase(path string) (string, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return "", &KeyError{KeyUnreadable, path, plainPathError(err)}
	}
	line, rest, _ := strings.Cut(string(content), "\n")
	line = strings.TrimSuffix(line, "\r")
	if line == "" || strings.TrimSpace(rest) != "" {
		return "", &KeyError{KeyUnreadable, path, errors.New("it must hold a passphrase on one line, and nothing else")}
	}
	return line, nil
}

func checkRecipient(value string) error {
	if strings.HasPrefix(strings.ToUpper(value), "AGE-SECRET-KEY-") {
		return errors.New("that is a secret key; a recipient is its public part, age1…")
	}
	list, err := age.ParseRecipients(strings.NewReader(value))
	if err != nil || len(list) != 1 {
		return fmt.Errorf("%q is not an age recipient", shown(value))
	}
	return nil
}

// readRecipients reads a file of recipients, one a line, # begins a comment.
func readRecipients(path string) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("recipients-file %s: %w", shown(path), plainPathError(err))
	}
	defer f.Close()
	var list []string
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		if err := checkRecipient(line); err != nil {
			return nil, fmt.Errorf("recipients-file %s: %w", shown(path), err)
		}
		list = append(list, line)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("recipients-file %s: %w", shown(path), err)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("recipients-file %s holds no recipient", shown(path))
	}
	return list, nil
}

func (f *Filter) setPassphraseFile(path string) error {
	path, err := filepath.Abs(path)
	f.PassphraseFile = path
	return err
}

// completeAge checks what was given together, and names it.
func (f *Filter) completeAge() error {
	switch {
	case len(f.Recipients) == 0 && f.PassphraseFile == "":
		return errors.New("it needs recipients, or a file with a passphrase")
	case len(f.Recipients) > 0 && f.PassphraseFile != "":
		return errors.New("a passphrase cannot stand beside recipients")
	case f.PassphraseFile != "":
		// A name derived from the passphrase would help to guess it.
		f.Key = fingerprint("passphrase-file " + f.PassphraseFile)
		return nil
	}
	slices.Sort(f.Recipients)
	f.Recipients = slices.Compact(f.Recipients)
	f.Key = fingerprint(strings.Join(f.Recipients, " "))
	// Recipients that resist quantum computers and others do not mix.
	_, err := f.newAgeWriter(io.Discard)
	return err
}

// trialWork makes trials with a passphrase quick: log2 of scrypt's cost.
const trialWork = 10

func (f Filter) newAgeWriter(w io.Writer) (io.WriteCloser, error) {
	var recipients []age.Recipient
	if f.PassphraseFile != "" {
		passphrase, err := readPassphrase(f.PassphraseFile)
		if err != nil {
			return nil, err
		}
		r, err := age.NewScryptRecipient(passphrase)
		if err != nil {
			return nil, &KeyError{KeyUnreadable, f.PassphraseFile, err}
		}
		if f.quick {
			r.SetWorkFactor(trialWork)
		}
		recipients = append(recipients, r)
	}
	for _, text := range f.Recipients {
		list, err := age.ParseRecipients(strings.NewReader(text))
		if err != nil {
			return nil, fmt.Errorf("recipient %q: %w", shown(text), err)
		}
		recipients = append(recipients, list...)
	}
	return age.Encrypt(w, recipients...)
}

const ageMagic = "age-encryption.org/v1\n"

// newAgeReader decrypts the header, and so knows whether the key fits.
func (f Filter) newAgeReader(src io.Reader, keys *Keys) (io.Reader, error) {
	identities, err := keys.identities()
	if err != nil {
		return nil, err
	}
	if f.PassphraseFile != "" && !keys.Given() {
		own := &Keys{PassphraseFile: f.PassphraseFile}
		if identities, err = own.identities(); err != nil {
			return nil, err
		}
	}
	if len(identities) == 0 {
		return nil, &KeyError{Fault: KeyMissing}
	}
	in := bufio.NewReaderSize(src, 128<<10)
	magic, err := in.Peek(len(ageMagic))
	switch {
	case string(magic) == ageMagic:
	case err != nil && !errors.Is(err, io.EOF):
		return nil, err
	case strings.HasPrefix(ageMagic, string(magic)):
		return nil, &DataError{"it ends too early to be an age file"}
	default:
		return nil, &DataError{"it is not an age file"}
	}
	text, err := age.Decrypt(in, identities...)
	var other *age.NoIdentityMatchError
	switch {
	case errors.As(err, &other):
		return nil, &KeyError{Fault: KeyWrong}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return nil, &DataError{"its age header ends too early"}
	case err != nil:
		return nil, &DataError{"its age header is damaged: " + err.Error()}
	}
	return text, nil
}
