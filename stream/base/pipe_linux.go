package base

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// widenPipe lets a tool run on while what it wrote is compressed. Where the
// system does not allow it, the pipe stays as it is.
func widenPipe(out io.ReadCloser) {
	f, ok := out.(*os.File)
	if !ok {
		return
	}
	if raw, err := f.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { unix.FcntlInt(fd, unix.F_SETPIPE_SZ, 1<<20) })
	}
}
