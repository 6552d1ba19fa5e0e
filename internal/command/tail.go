package command

import (
	"strings"
	"sync"
)

// maxLine is how much of a program's words an error holds.
const maxLine = 1000

// tailKept is how much of a program's words is kept at least; twice as much may be.
const tailKept = 8 << 10

// Tail keeps the end of what a program says.
type Tail struct {
	mu  sync.Mutex
	buf []byte
}

// Write never fails: a program must not end because of what it says.
func (t *Tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if over := len(p) - tailKept; over > 0 {
		t.buf = append(t.buf[:0], p[over:]...)
		return len(p), nil
	}
	if t.buf = append(t.buf, p...); len(t.buf) > 2*tailKept {
		t.buf = append(t.buf[:0], t.buf[len(t.buf)-tailKept:]...)
	}
	return len(p), nil
}

// String is all that is kept, as it was said.
func (t *Tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf)
}

// Line is the end of what is kept in one line of valid text, of at most limit bytes
// and a sign that something is left out.
func (t *Tail) Line(limit int) string {
	text := strings.Join(strings.Fields(strings.ToValidUTF8(t.String(), "?")), " ")
	if len(text) > limit {
		text = "…" + strings.ToValidUTF8(text[len(text)-limit:], "")
	}
	return text
}
