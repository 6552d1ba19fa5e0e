package storage

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/minio/minio-go/v7"
)

// The limits of an upload in parts, which all stores share.
const (
	s3MaxParts = 10_000
	s3MinPart  = 8 << 20
	s3MaxPart  = 4 << 30
)

// partSizeOf is the size of the part with the given number, from 1. A stream
// of unknown size begins with small parts, which keep memory small for the
// first 31 GiB, and goes on with larger ones, so that the largest file that a
// store takes, 5 TiB, fits in. Some stores want all parts alike; the size of a
// file that is known gives that, and so does part-size.
func (t *s3Storage) partSizeOf(number int, size int64) int64 {
	switch {
	case t.partSize != 0:
		return t.partSize
	case size >= 0:
		part := int64(s3MinPart)
		for part*9_000 < size {
			part += 1 << 20
		}
		return part
	case number <= 4_000:
		return s3MinPart
	}
	return min(int64(s3MinPart)<<min((number-4_001)/500+1, 16), s3MaxPart)
}

// Create begins a file. It asks for the name although Commit makes its own
// condition: some stores do not know that, and a collision is better known
// before the bytes are sent.
func (s *s3Session) Create(ctx context.Context, name string, size int64) (File, error) {
	_, err := s.Stat(ctx, name)
	if err == nil {
		return nil, s.fail("create", name, Exists, nil)
	}
	if !errors.Is(err, NotFound) {
		return nil, err
	}
	opts, token := s.putOptions()
	ctx, cancel := context.WithCancel(ctx)
	return &s3File{s: s, ctx: ctx, cancel: cancel, name: name, size: size, opts: opts, token: token}, nil
}

// s3File is sent as one request if it is small, else in parts of which a few
// are on their way while the next is filled.
type s3File struct {
	s      *s3Session
	ctx    context.Context
	cancel func()
	name   string
	size   int64 // -1: unknown
	opts   minio.PutObjectOptions
	token  string

	part   []byte // being filled
	sent   int64  // bytes before part
	upload string // ID; empty while all fits in one part
	number int    // of the last part that was sent

	sending sync.WaitGroup
	slots   chan struct{} // parts on their way
	mu      sync.Mutex
	spare   [][]byte
	parts   map[int]string // ETags
	failed  error
}

func (f *s3File) Write(p []byte) (int, error) {
	total := 0
	for len(p) > 0 {
		limit := f.s.partSizeOf(f.number+1, f.size)
		n := min(len(p), int(limit)-len(f.part))
		f.part = append(f.part, p[:n]...)
		p, total = p[n:], total+n
		if int64(len(f.part)) == limit && len(p) > 0 {
			if err := f.send(); err != nil {
				return total, err
			}
		}
	}
	return total, nil
}

// send begins to upload the filled part.
func (f *s3File) send() error {
	if f.upload == "" {
		id, err := f.s.core.NewMultipartUpload(f.ctx, f.s.bucket, f.s.key(f.name), f.opts)
		if err != nil {
			return f.s.failWrite("write", f.name, err)
		}
		f.upload, f.parts = id, map[int]string{}
		f.slots = make(chan struct{}, 2)
	}
	if f.number == s3MaxParts {
		return f.s.fail("write", f.name, Misused, fmt.Errorf("it is too large for %d parts; raise part-size", s3MaxParts))
	}
	f.slots <- struct{}{}
	f.mu.Lock()
	err := f.failed
	f.mu.Unlock()
	if err != nil {
		<-f.slots
		return err
	}
	f.number++
	number, part := f.number, f.part
	f.sent += int64(len(part))
	f.sending.Go(func() {
		defer func() { <-f.slots }()
		etag, err := f.put(number, part)
		f.mu.Lock()
		defer f.mu.Unlock()
		f.spare = append(f.spare, part[:0])
		if err != nil && f.failed == nil {
			f.failed = f.s.failWrite("write", f.name, err)
		}
		f.parts[number] = etag
	})
	f.part = f.buffer()
	return nil
}

func (f *s3File) buffer() []byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := len(f.spare); n > 0 {
		b := f.spare[n-1]
		f.spare = f.spare[:n-1]
		return b
	}
	return make([]byte, 0, f.s.partSizeOf(f.number+1, f.size))
}

// put uploads one part. The checksum is part of the signature, so the store
// takes the very bytes or none.
func (f *s3File) put(number int, part []byte) (etag string, err error) {
	p, err := f.s.core.PutObjectPart(f.ctx, f.s.bucket, f.s.key(f.name), f.upload, number, bytes.NewReader(part), int64(len(part)),
		minio.PutObjectPartOptions{Sha256Hex: sum(part)})
	return p.ETag, err
}

func sum(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

func (f *s3File) Commit() error {
	defer f.cancel()
	total := f.sent + int64(len(f.part))
	var err error
	if f.upload == "" {
		err = f.conditionally(func(opts minio.PutObjectOptions) error {
			_, err := f.s.core.PutObject(f.ctx, f.s.bucket, f.s.key(f.name), bytes.NewReader(f.part), int64(len(f.part)), "", sum(f.part), opts)
			return err
		})
	} else {
		err = f.complete()
	}
	if err == nil {
		err = f.check(total)
	}
	if err != nil && f.upload != "" {
		f.giveUp()
	}
	return err
}

func (f *s3File) complete() error {
	if len(f.part) > 0 {
		if err := f.send(); err != nil {
			return err
		}
	}
	f.sending.Wait()
	if f.failed != nil {
		return f.failed
	}
	parts := make([]minio.CompletePart, 0, f.number)
	for n := 1; n <= f.number; n++ {
		parts = append(parts, minio.CompletePart{PartNumber: n, ETag: f.parts[n]})
	}
	return f.conditionally(func(opts minio.PutObjectOptions) error {
		opts.UserMetadata, opts.StorageClass, opts.ContentType = nil, "", ""
		_, err := f.s.core.CompleteMultipartUpload(f.ctx, f.s.bucket, f.s.key(f.name), f.upload, parts, opts)
		return err
	})
}

// conditionally makes the request that gives a file its name, on condition
// that nobody has it. A request that was repeated, because its answer was
// lost, may find its own file there: the token shows whose it is.
func (f *s3File) conditionally(request func(minio.PutObjectOptions) error) error {
	opts := f.opts
	opts.SetMatchETagExcept("*")
	for try := 0; ; try++ {
		err := request(opts)
		if err == nil {
			return nil
		}
		switch code := minio.ToErrorResponse(err).Code; {
		case code == "NotImplemented": // a store without conditions; Create has looked
			return f.wrap(request(f.opts))
		case code == "ConditionalRequestConflict" && try < s3Retries:
			time.Sleep(time.Duration(try+1) * 100 * time.Millisecond)
			continue
		case f.isOurs():
			return nil
		}
		return f.wrap(err)
	}
}

func (f *s3File) wrap(err error) error {
	if err == nil {
		return nil
	}
	return f.s.failWrite("commit", f.name, err)
}

// isOurs says whether the file that is there is the one that was sent.
func (f *s3File) isOurs() bool {
	o, err := f.s.core.StatObject(f.ctx, f.s.bucket, f.s.key(f.name), minio.StatObjectOptions{})
	if err != nil {
		return false
	}
	for key, value := range o.UserMetadata {
		if strings.EqualFold(key, tokenKey) {
			return value == f.token
		}
	}
	return false
}

// check compares what the store has with what was sent. The bytes of each
// part were proven by their checksums.
func (f *s3File) check(total int64) error {
	info, err := f.s.Stat(f.ctx, f.name)
	if err != nil {
		return err
	}
	if info.Size != total {
		return f.s.fail("commit", f.name, Broken, fmt.Errorf("%d bytes were sent, it has %d", total, info.Size))
	}
	return nil
}

func (f *s3File) Abort() {
	f.cancel()
	if f.upload != "" {
		f.giveUp()
	}
}

// giveUp takes the parts back. Should that fail too, a later Sweep does it.
func (f *s3File) giveUp() {
	f.cancel()
	f.sending.Wait()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(f.ctx), 20*time.Second)
	defer cancel()
	f.s.core.AbortMultipartUpload(ctx, f.s.bucket, f.s.key(f.name), f.upload)
}
