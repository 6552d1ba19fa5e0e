package storage

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/encrypt"
)

// s3Storage is a prefix in a bucket of an S3-compatible store.
type s3Storage struct {
	spec           string
	bucket, prefix string // prefix with its slash, or empty
	endpoint       *url.URL
	region         string
	lookup         minio.BucketLookupType
	encryption     encrypt.ServerSide
	storageClass   string
	partSize       int64 // 0: as the file needs
	creds          *credentials.Credentials
	transport      http.RoundTripper
}

// s3Retries is how often one request is tried, with growing pauses, before
// its error is the caller's. Together that takes some seconds.
const s3Retries = 6

// s3BeginTimeout is how long a server may take for the first answer. One that
// hangs would else be waited for through all retries of a request.
var s3BeginTimeout = 45 * time.Second

// parseS3 reads s3://BUCKET/PREFIX with its settings as a query. What is not
// said there comes from the environment and files that the AWS tools use.
func parseS3(spec string, env Env) (Storage, error) {
	bad := func(format string, args ...any) error { return &SpecError{spec, fmt.Sprintf(format, args...)} }
	u, err := url.Parse(spec)
	if err != nil {
		return nil, bad("it is no URL")
	}
	if u.User != nil {
		return nil, &SpecError{"s3://…@" + u.Host + u.Path, "credentials do not belong into it: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or use " +
			"~/.aws/credentials"}
	}
	if u.Host == "" || u.Port() != "" || u.Fragment != "" {
		return nil, bad("it must be of the form s3://BUCKET/PREFIX")
	}
	t := &s3Storage{spec: spec, bucket: u.Host}
	if prefix := strings.Trim(u.Path, "/"); prefix != "" {
		if prefix != path.Clean(prefix) {
			return nil, bad("the prefix must not hold empty parts, . or ..")
		}
		t.prefix = prefix + "/"
	}
	values, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, bad("what follows the ? is malformed")
	}
	option := func(name string) string { v := values.Get(name); values.Del(name); return v }
	profile, err := t.place(option, env)
	if err != nil {
		return nil, bad("%v", err)
	}
	if err := t.store(option); err != nil {
		return nil, bad("%v", err)
	}
	for name := range values {
		return nil, bad("%s", unknownOption(name, u.RawQuery, "endpoint, region, path-style, profile, sse, sse-kms-key, storage-class, part-size"))
	}
	if t.transport, err = s3Transport(env.get("AWS_CA_BUNDLE")); err != nil {
		return nil, bad("AWS_CA_BUNDLE: %v", err)
	}
	t.creds = awsCredentials(env, profile, t.transport)
	return t, nil
}

// place reads where the server is, and the profile of the AWS tools' files that
// says what neither the URL nor the environment does.
func (t *s3Storage) place(option func(name string) string, env Env) (profile string, err error) {
	profile = cmp.Or(option("profile"), env.get("AWS_PROFILE", "AWS_DEFAULT_PROFILE"), "default")
	config := readAWSConfig(cmp.Or(env.get("AWS_CONFIG_FILE"), filepath.Join(env.Home, ".aws", "config")), profile)
	t.region = cmp.Or(option("region"), env.get("AWS_REGION", "AWS_DEFAULT_REGION"), config["region"])
	endpoint := cmp.Or(option("endpoint"), env.get("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"), config["endpoint_url"])
	own := endpoint != ""
	if !own {
		endpoint = "https://s3.amazonaws.com"
	} else if t.region == "" {
		t.region = "us-east-1"
	}
	t.endpoint, err = url.Parse(endpoint)
	if err != nil || t.endpoint.Scheme != "http" && t.endpoint.Scheme != "https" || t.endpoint.Host == "" ||
		strings.Trim(t.endpoint.Path, "/") != "" || t.endpoint.User != nil {
		return "", errors.New("the endpoint must be of the form https://HOST:PORT")
	}
	switch style := option("path-style"); {
	case style == "true" || style == "" && own:
		t.lookup = minio.BucketLookupPath
	case style == "false":
		t.lookup = minio.BucketLookupDNS
	case style != "":
		return "", errors.New("path-style is true or false")
	}
	return profile, nil
}

// store reads how the server shall keep files.
func (t *s3Storage) store(option func(name string) string) (err error) {
	key := option("sse-kms-key")
	switch sse := option("sse"); {
	case sse == "" && key == "":
	case sse == "AES256" && key == "":
		t.encryption = encrypt.NewSSE()
	case sse == "aws:kms":
		if t.encryption, err = encrypt.NewSSEKMS(key, nil); err != nil {
			return fmt.Errorf("sse-kms-key: %w", err)
		}
	default:
		return errors.New("sse is AES256, or aws:kms with or without sse-kms-key")
	}
	t.storageClass = option("storage-class")
	if size := option("part-size"); size != "" {
		var n int64
		if _, err := fmt.Sscanf(size, "%dMB", &n); err != nil || size != fmt.Sprintf("%dMB", n) || n < 5 || n > 5000 {
			return errors.New("part-size is 5MB to 5000MB")
		}
		t.partSize = n << 20
	}
	return nil
}

func s3Transport(bundle string) (http.RoundTripper, error) {
	tr, err := minio.DefaultTransport(true)
	if err != nil {
		return nil, err
	}
	tr.ResponseHeaderTimeout = 2 * time.Minute
	tr.Proxy = func(r *http.Request) (*url.URL, error) {
		proxy, err := http.ProxyFromEnvironment(r)
		if err != nil { // it repeats the URL, which may hold a password
			return nil, errors.New("the URL of the proxy in HTTPS_PROXY or HTTP_PROXY is malformed")
		}
		return proxy, nil
	}
	if bundle != "" {
		pem, err := os.ReadFile(bundle)
		if err != nil {
			return nil, err
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, errors.New("it holds no certificate")
		}
		tr.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return tr, nil
}

// awsCredentials looks where the AWS tools look: environment, shared file,
// then the roles of containers and machines.
func awsCredentials(env Env, profile string, transport http.RoundTripper) *credentials.Credentials {
	client := &http.Client{Transport: transport, Timeout: 5 * time.Second}
	if id, secret := env.get("AWS_ACCESS_KEY_ID"), env.get("AWS_SECRET_ACCESS_KEY"); id != "" && secret != "" {
		return credentials.NewStaticV4(id, secret, env.get("AWS_SESSION_TOKEN"))
	}
	file := env.get("AWS_SHARED_CREDENTIALS_FILE")
	if file == "" {
		file = filepath.Join(env.Home, ".aws", "credentials")
	}
	return credentials.NewChainCredentials([]credentials.Provider{
		&credentials.FileAWSCredentials{Filename: file, Profile: profile},
		&credentials.IAM{Client: client},
	})
}

// readAWSConfig reads one profile of ~/.aws/config.
func readAWSConfig(file, profile string) map[string]string {
	found := map[string]string{}
	text, err := os.ReadFile(file)
	if err != nil {
		return found
	}
	within := false
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			name := strings.TrimSpace(strings.TrimPrefix(strings.Trim(line, "[]"), "profile "))
			within = name == profile
			continue
		}
		if key, value, ok := strings.Cut(line, "="); ok && within {
			found[strings.TrimSpace(key)] = strings.TrimSpace(value)
		}
	}
	return found
}

func (t *s3Storage) String() string { return t.spec }

// Begin asks for the first file of the prefix, which shows wrong
// credentials and missing buckets in the server's own words.
func (t *s3Storage) Begin(ctx context.Context) (Session, error) {
	s := &s3Session{scope: scope{"s3://" + t.bucket + "/" + strings.TrimSuffix(t.prefix, "/")}, s3Storage: t}
	client, err := minio.New(t.endpoint.Host, &minio.Options{Creds: t.creds, Secure: t.endpoint.Scheme == "https",
		Region: t.region, BucketLookup: t.lookup, MaxRetries: s3Retries, Transport: t.transport})
	if err != nil {
		return nil, s.fail("begin", "", Misused, err)
	}
	s.core = minio.Core{Client: client}
	began, cancel := context.WithTimeout(ctx, s3BeginTimeout)
	defer cancel()
	o, some := <-client.ListObjects(began, t.bucket, minio.ListObjectsOptions{Prefix: t.prefix, Recursive: true, MaxKeys: 1})
	if began.Err() != nil && ctx.Err() == nil {
		return nil, s.fail("begin", "", Unreachable, fmt.Errorf("no answer within %s", s3BeginTimeout))
	}
	if some && o.Err != nil {
		fault := s3Fault(o.Err)
		if fault == NotFound { // it cannot be about a file; some servers say so of unknown keys
			fault = Denied
		}
		return nil, s.fail("begin", "", fault, o.Err)
	}
	return s, nil
}

type s3Session struct {
	scope
	*s3Storage
	core minio.Core
}

// s3Fault reads the server's answer.
func s3Fault(err error) Fault {
	answer := minio.ToErrorResponse(err)
	switch answer.Code {
	case "NoSuchKey", "NoSuchVersion":
		return NotFound
	case "NoSuchBucket", "InvalidBucketName":
		return NoPlace
	case "PreconditionFailed":
		return Exists
	case "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken", "TokenRefreshRequired",
		"AllAccessDisabled", "AccountProblem", "InvalidTokenId":
		return Denied
	case "MethodNotAllowed", "ObjectLocked":
		return ReadOnly
	case "RequestTimeTooSkewed":
		return ClockSkew
	case "QuotaExceeded", "XMinioStorageFull", "InsufficientStorage":
		return Full
	case "SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout", "Throttling", "OperationAborted",
		"ConditionalRequestConflict", "SlowDownWrite", "SlowDownRead", "ServerNotInitialized":
		return Unreachable
	case "PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "NotImplemented", "InvalidArgument",
		"InvalidStorageClass", "KMS.NotFoundException", "EntityTooLarge":
		return Misused
	case "BadDigest", "XAmzContentSHA256Mismatch", "InvalidDigest":
		return Unreachable // damaged on the way
	}
	switch {
	case answer.StatusCode == http.StatusPreconditionFailed:
		return Exists
	case answer.StatusCode == http.StatusNotFound:
		return NotFound
	case answer.StatusCode == http.StatusForbidden, answer.StatusCode == http.StatusUnauthorized:
		return Denied
	case answer.StatusCode == http.StatusInsufficientStorage:
		return Full
	case answer.StatusCode >= 500, answer.StatusCode == http.StatusTooManyRequests:
		return Unreachable
	case errors.Is(err, context.Canceled):
		return Broken
	}
	var trust *tls.CertificateVerificationError
	if errors.As(err, &trust) {
		return Denied
	}
	var network *url.Error
	if errors.As(err, &network) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) || answer.StatusCode == 0 {
		return Unreachable
	}
	return Broken
}

// failWrite tells a place that can be listed but not written from one that is
// closed altogether: Begin has listed it.
func (s *s3Session) failWrite(op, name string, err error) error {
	fault := s3Fault(err)
	switch minio.ToErrorResponse(err).Code {
	case "AccessDenied":
		fault = ReadOnly
	case "NoSuchUpload":
		fault = Unreachable // somebody swept it; a new attempt makes a new one
	}
	return s.fail(op, name, fault, err)
}

func (s *s3Session) key(name string) string { return s.prefix + name }

func (s *s3Session) Stat(ctx context.Context, name string) (Info, error) {
	if err := checkName(name); err != nil {
		return Info{}, err
	}
	o, err := s.core.StatObject(ctx, s.bucket, s.key(name), minio.StatObjectOptions{})
	if err != nil {
		return Info{}, s.fail("stat", name, s3Fault(err), err)
	}
	return Info{name, o.Size, o.LastModified}, nil
}

func (s *s3Session) List(ctx context.Context, prefix string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		for o := range s.core.Client.ListObjects(ctx, s.bucket, minio.ListObjectsOptions{Prefix: s.key(prefix), Recursive: true}) {
			if o.Err != nil {
				yield(Info{}, s.fail("list", "", s3Fault(o.Err), o.Err))
				return
			}
			name := strings.TrimPrefix(o.Key, s.prefix)
			if checkName(name) == nil && !yield(Info{name, o.Size, o.LastModified}, nil) {
				return
			}
		}
	}
}

// Remove looks first, because the store does not report a missing file.
func (s *s3Session) Remove(ctx context.Context, name string) error {
	if _, err := s.Stat(ctx, name); err != nil {
		return err
	}
	if err := s.core.RemoveObject(ctx, s.bucket, s.key(name), minio.RemoveObjectOptions{}); err != nil {
		return s.failWrite("remove", name, err)
	}
	return nil
}

// Sweep ends the uploads of dead processes, which the store keeps, and bills,
// for ever.
func (s *s3Session) Sweep(ctx context.Context) error {
	keyMarker, idMarker := "", ""
	for {
		list, err := s.core.ListMultipartUploads(ctx, s.bucket, s.prefix, keyMarker, idMarker, "", 1000)
		if err != nil {
			return s.fail("sweep", "", s3Fault(err), err)
		}
		for _, u := range list.Uploads {
			err := s.core.AbortMultipartUpload(ctx, s.bucket, u.Key, u.UploadID)
			if err != nil && minio.ToErrorResponse(err).Code != "NoSuchUpload" {
				return s.failWrite("sweep", strings.TrimPrefix(u.Key, s.prefix), err)
			}
		}
		if !list.IsTruncated {
			return nil
		}
		keyMarker, idMarker = list.NextKeyMarker, list.NextUploadIDMarker
	}
}

func (s *s3Session) End() error { return nil }

// Open reads a file. When the connection breaks it goes on at the same place
// of the same version of the file.
func (s *s3Session) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	r := &s3Reader{ctx: ctx, s: s, name: name}
	if err := r.connect(); err != nil {
		return nil, err
	}
	return r, nil
}

type s3Reader struct {
	ctx      context.Context
	s        *s3Session
	name     string
	body     io.ReadCloser
	etag     string
	at, size int64
	breaks   int // since the last byte
}

func (r *s3Reader) connect() error {
	opts := minio.GetObjectOptions{}
	if r.etag != "" {
		if err := errors.Join(opts.SetMatchETag(r.etag), opts.SetRange(r.at, r.size-1)); err != nil {
			return r.s.fail("read", r.name, Broken, err)
		}
	}
	body, info, _, err := r.s.core.GetObject(r.ctx, r.s.bucket, r.s.key(r.name), opts)
	if err != nil {
		fault := s3Fault(err)
		if fault == Exists { // the condition that failed is that it is still the same
			fault = Broken
		}
		return r.s.fail("open", r.name, fault, err)
	}
	r.body = body
	if r.etag == "" {
		r.etag, r.size = info.ETag, info.Size
	}
	return nil
}

func (r *s3Reader) Read(p []byte) (int, error) {
	for {
		if r.at == r.size {
			return 0, io.EOF
		}
		var err error
		if r.body == nil {
			err = r.connect()
		}
		if err == nil {
			var n int
			n, err = r.body.Read(p[:min(int64(len(p)), r.size-r.at)])
			if r.at += int64(n); n > 0 {
				r.breaks = 0
				return n, nil
			}
			if err == nil {
				return 0, nil
			}
			r.Close()
			err = r.s.fail("read", r.name, Unreachable, err)
		}
		if r.breaks++; r.breaks > s3Retries || !errors.Is(err, Unreachable) || r.ctx.Err() != nil {
			return 0, err
		}
		select {
		case <-r.ctx.Done():
			return 0, err
		case <-time.After(min(time.Second<<r.breaks/4, 10*time.Second)):
		}
	}
}

func (r *s3Reader) Close() error {
	if r.body != nil {
		r.body.Close()
		r.body = nil
	}
	return nil
}

// putOptions are those of every file: never to overwrite one, and a token by
// which a file can be known as the one that was sent.
func (s *s3Session) putOptions() (opts minio.PutObjectOptions, token string) {
	token = rand.Text()
	opts = minio.PutObjectOptions{ContentType: "application/octet-stream", ServerSideEncryption: s.encryption,
		StorageClass: s.storageClass, UserMetadata: map[string]string{tokenKey: token}}
	return opts, token
}

const tokenKey = "Pg-Scribe-Upload"
