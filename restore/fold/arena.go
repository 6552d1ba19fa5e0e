package fold

// An arena holds many small texts in few large pieces of memory, which the
// garbage collector need not look into.
type arena struct {
	chunks [][]byte
	used   int // of the last one
}

const (
	firstChunk = 1 << 10
	fullChunk  = 256 << 10
)

// A ref is where a text lies in its arena, and how much it may grow there.
type ref struct {
	chunk, at, size, room uint32
}

func (a *arena) bytes(r ref) []byte {
	if r.size == 0 {
		return nil
	}
	return a.chunks[r.chunk][r.at : r.at+r.size]
}

// put copies a text, and returns how many bytes were asked of the system for it.
func (a *arena) put(spare *[][]byte, text []byte) (r ref, grown int64) {
	room := (len(text) + 7) &^ 7 // a number may get a digit more
	if n := len(a.chunks); n == 0 || len(a.chunks[n-1])-a.used < room {
		chunk := a.next(spare, room)
		a.chunks = append(a.chunks, chunk)
		a.used = 0
		grown = int64(len(chunk))
	}
	last := len(a.chunks) - 1
	copy(a.chunks[last][a.used:], text)
	r = ref{uint32(last), uint32(a.used), uint32(len(text)), uint32(room)}
	a.used += room
	return r, grown
}

func (a *arena) next(spare *[][]byte, room int) []byte {
	size := min(firstChunk<<min(len(a.chunks), 16), fullChunk)
	if room > size {
		return make([]byte, room)
	}
	if n := len(*spare); size == fullChunk && n > 0 {
		chunk := (*spare)[n-1]
		*spare = (*spare)[:n-1]
		return chunk
	}
	return make([]byte, size)
}

// set puts another text in the place of one.
func (a *arena) set(spare *[][]byte, r *ref, text []byte) (grown int64) {
	if len(text) > int(r.room) {
		*r, grown = a.put(spare, text)
		return grown
	}
	copy(a.chunks[r.chunk][r.at:], text)
	r.size = uint32(len(text))
	return 0
}

// clear forgets all texts. Chunks of the usual size are kept for the next ones.
func (a *arena) clear(spare *[][]byte, most int) {
	for _, chunk := range a.chunks {
		if len(chunk) == fullChunk && len(*spare) < most {
			*spare = append(*spare, chunk)
		}
	}
	*a = arena{}
}
