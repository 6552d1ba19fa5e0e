package storage

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"pg_scribe/internal/spec"
)

// parseShell reads shell key='value' …. What a command holds may be secret: errors
// name the keys alone.
func parseShell(text string) (Storage, error) {
	t := &shellStorage{spec: text, timeout: shellTimeout}
	bad := func(format string, args ...any) error { return &SpecError{text, fmt.Sprintf(format, args...)} }
	given := map[string]bool{}
	for o, wrong := range spec.Options(strings.TrimPrefix(text, "shell")) {
		switch {
		case wrong != nil && wrong.Fault == spec.NoValue:
			return nil, bad("what it ends with is not of the form name='command'")
		case wrong != nil:
			return nil, bad("%s: %s", wrong.Word, string(wrong.Fault))
		case given[o.Key]:
			return nil, bad("%s is given twice", o.Key)
		}
		given[o.Key] = true
		if err := t.set(o.Key, o.Value); err != nil {
			return nil, bad("%v", err)
		}
	}
	for _, c := range []struct {
		key, template string
		names         bool // takes %f
	}{{"write", t.write, true}, {"read", t.read, true}, {"list", t.list, false}, {"remove", t.remove, true}} {
		if !given[c.key] {
			return nil, bad("%s is missing", c.key)
		}
		if err := checkTemplate(c.template, c.names, given["detail"]); err != nil {
			return nil, bad("%s: %v", c.key, err)
		}
	}
	return t, nil
}

// set takes one option.
func (t *shellStorage) set(key, value string) (err error) {
	switch key {
	case "write":
		t.write = value
	case "read":
		t.read = value
	case "list":
		t.list = value
	case "remove":
		t.remove = value
	case "detail":
		for i := 0; i < len(value); i++ {
			if !safe(value[i]) && value[i] != '/' {
				return errors.New("detail may hold letters, digits and ._-+=@,:/ only")
			}
		}
		t.detail = value
	case "timeout":
		if t.timeout, err = time.ParseDuration(value); err != nil || t.timeout <= 0 {
			return fmt.Errorf("timeout: %q is not a time such as 10m", value)
		}
	default:
		return fmt.Errorf("%q is none of write, read, list, remove, detail, timeout", key)
	}
	return nil
}

// checkTemplate knows %f, %d and %%. The names that take their place are put
// in quotes, so the template must not do it as well.
func checkTemplate(s string, names, detail bool) error {
	if strings.TrimSpace(s) == "" {
		return errors.New("the command is empty")
	}
	found := false
	var quote byte
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && quote != '\'':
			i++
			if i < len(s) && s[i] == '%' {
				return errors.New(`\% has no meaning`)
			}
			continue
		case c == quote:
			quote = 0
			continue
		case quote == 0 && (c == '\'' || c == '"'):
			quote = c
			continue
		case c != '%':
			continue
		}
		i++
		switch {
		case i == len(s):
			return errors.New("it ends with a single %")
		case s[i] == '%':
		case quote != 0 && (s[i] == 'f' || s[i] == 'd'):
			return fmt.Errorf("%%%c is put in quotes by itself, and must stand outside of any", s[i])
		case s[i] == 'f' && names:
			found = true
		case s[i] == 'f':
			return errors.New("%f has no meaning here")
		case s[i] == 'd' && detail:
		case s[i] == 'd':
			return errors.New("%d stands for the detail, and none is given")
		default:
			return fmt.Errorf("%%%c has no meaning: there are %%f, %%d and %%%%", s[i])
		}
	}
	if names && !found {
		return errors.New("it must hold %f, the file's name")
	}
	return nil
}

// expand fills a template that checkTemplate has seen.
func (t *shellStorage) expand(template, name string) string {
	return strings.NewReplacer("%%", "%", "%f", "'"+name+"'", "%d", "'"+t.detail+"'").Replace(template)
}
