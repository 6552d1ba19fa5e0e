//go:build !linux

package conninfo

import (
	"errors"
	"net"
	"syscall"
)

// setUserTimeout does nothing where the system has no such setting, as in libpq.
func setUserTimeout(syscall.RawConn, int) error { return nil }

func peerOf(*net.UnixConn) (uint32, error) {
	return 0, errors.New("requirepeer is not supported on this platform")
}
