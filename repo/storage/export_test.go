package storage

import "time"

// SetS3BeginTimeout makes tests of servers that hang short.
func SetS3BeginTimeout(d time.Duration) (restore func()) {
	before := s3BeginTimeout
	s3BeginTimeout = d
	return func() { s3BeginTimeout = before }
}
