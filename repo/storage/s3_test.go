package storage_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pg_scribe/internal/s3test"
	"pg_scribe/repo/storage"
)

func TestS3Refusals(t *testing.T) {
	server := s3test.Start(t)
	readOnly := s3test.Serve(t, server.Root, "--readonly")
	must(t, os.MkdirAll(filepath.Join(server.Root, "backups", "p"), 0o755))
	port := fmt.Sprint(server.Port)
	cases := []struct {
		name, spec string
		env        storage.Env
		fault      storage.Fault
		temporary  bool
	}{
		{"unknown key", server.URL("p"), environment("AWS_ACCESS_KEY_ID=nobody", "AWS_SECRET_ACCESS_KEY=x"), storage.Denied, false},
		{"wrong secret", server.URL("p"), environment("AWS_ACCESS_KEY_ID="+s3test.AccessKey, "AWS_SECRET_ACCESS_KEY=x"), storage.Denied, false},
		{"no credentials", server.URL("p"), environment("AWS_EC2_METADATA_DISABLED=true"), storage.Denied, false},
		{"no bucket", strings.Replace(server.URL("p"), "backups", "elsewhere", 1), credentials(), storage.NoPlace, false},
		{"no server", strings.Replace(server.URL("p"), port, "1", 1), credentials(), storage.Unreachable, true},
		{"read-only", readOnly.URL("p"), credentials(), storage.ReadOnly, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			tgt, err := storage.Parse(c.spec, c.env)
			must(t, err)
			s, err := tgt.Begin(context.Background())
			if err == nil {
				err = store(s, "x", []byte("x"), -1)
			}
			if !errors.Is(err, c.fault) || storage.Temporary(err) != c.temporary {
				t.Errorf("%v, want %q", err, c.fault)
			}
			if err != nil && strings.Contains(err.Error(), s3test.SecretKey) {
				t.Errorf("the error holds the secret: %v", err)
			}
		})
	}
}

func TestS3ClockSkew(t *testing.T) {
	p := startProxy(t, s3test.Start(t).Port)
	p.change = func(r *http.Request) {
		at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
		if err != nil {
			t.Error(err)
		}
		shift := time.Hour
		if at.Hour() == 23 { // the day is part of the signature's scope
			shift = -time.Hour
		}
		r.Header.Set("X-Amz-Date", at.Add(shift).Format("20060102T150405Z"))
	}
	tgt, err := storage.Parse(p.url("p"), credentials())
	must(t, err)
	if _, err := tgt.Begin(context.Background()); !errors.Is(err, storage.ClockSkew) || storage.Temporary(err) {
		t.Errorf("an hour apart: %v", err)
	}
}

// The credentials come from where the AWS tools have them.
func TestS3CredentialFiles(t *testing.T) {
	server := s3test.Start(t)
	home := t.TempDir()
	must(t, os.Mkdir(filepath.Join(home, ".aws"), 0o700))
	must(t, os.WriteFile(filepath.Join(home, ".aws", "credentials"), fmt.Appendf(nil,
		"[default]\naws_access_key_id = nobody\naws_secret_access_key = x\n\n[backup]\naws_access_key_id = %s\naws_secret_access_key = %s\n",
		s3test.AccessKey, s3test.SecretKey), 0o600))
	must(t, os.WriteFile(filepath.Join(home, ".aws", "config"), fmt.Appendf(nil,
		"[default]\noutput = json\n[profile backup]\nregion = us-east-1\nendpoint_url = http://127.0.0.1:%d\n", server.Port), 0o600))
	for _, c := range []struct {
		spec string
		env  []string
		ok   bool
	}{
		{"s3://backups/a?profile=backup", nil, true},
		{"s3://backups/a", []string{"AWS_PROFILE=backup"}, true},
		{server.URL("a"), nil, false},
		{server.URL("a"), []string{"AWS_ACCESS_KEY_ID=" + s3test.AccessKey, "AWS_SECRET_ACCESS_KEY=" + s3test.SecretKey}, true},
	} {
		env := environment(c.env...)
		env.Home = home
		tgt, err := storage.Parse(c.spec, env)
		must(t, err)
		if _, err = tgt.Begin(context.Background()); (err == nil) != c.ok {
			t.Errorf("%s with %q: %v", c.spec, c.env, err)
		}
	}
}

// A proxy stands between client and server and breaks connections on purpose.
type proxy struct {
	t        testing.TB
	listener net.Listener
	server   string
	// answer is asked before an answer is passed on; false cuts it off.
	answer func(r *http.Request, status int) bool
	// change, if there is one, changes a request.
	change func(r *http.Request)
	// cut, if not 0, is after how many bytes of an answer to break once.
	cut      atomic.Int64
	mu       sync.Mutex
	requests []*http.Request
}

func startProxy(t testing.TB, port int) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	p := &proxy{t: t, listener: listener, server: fmt.Sprintf("127.0.0.1:%d", port)}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go p.serve(conn)
		}
	}()
	return p
}

func (p *proxy) url(prefix string) string {
	return fmt.Sprintf("s3://backups/%s?endpoint=http://%s&part-size=5MB", prefix, p.listener.Addr())
}

func (p *proxy) serve(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	for {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		p.mu.Lock()
		p.requests = append(p.requests, r)
		p.mu.Unlock()
		if p.change != nil {
			p.change(r)
		}
		server, err := net.Dial("tcp", p.server)
		if err != nil {
			return
		}
		defer server.Close()
		if r.Header.Get("Expect") != "" {
			fmt.Fprint(conn, "HTTP/1.1 100 Continue\r\n\r\n")
			r.Header.Del("Expect")
		}
		if err := r.Write(server); err != nil {
			return
		}
		answer, err := http.ReadResponse(bufio.NewReader(server), r)
		if err != nil {
			return
		}
		if p.answer != nil && !p.answer(r, answer.StatusCode) {
			io.Copy(io.Discard, answer.Body)
			return
		}
		if n := p.cut.Load(); n != 0 && r.Method == "GET" && answer.ContentLength > n && p.cut.CompareAndSwap(n, 0) {
			var head bytes.Buffer
			answer.Write(&head)
			conn.Write(head.Bytes()[:n])
			return
		}
		if err := answer.Write(conn); err != nil {
			return
		}
	}
}

// An answer that is lost makes the client ask again; then its own file must
// not look like another's, and nothing may be there twice.
func TestS3LostAnswers(t *testing.T) {
	server := s3test.Start(t)
	for _, c := range []struct {
		name  string
		size  int
		match func(r *http.Request) bool
	}{
		{"one request", 1000, func(r *http.Request) bool { return r.Method == "PUT" }},
		{"completion", 11 << 20, func(r *http.Request) bool { return r.Method == "POST" && r.URL.Query().Has("uploadId") }},
		{"begin of parts", 11 << 20, func(r *http.Request) bool { return r.Method == "POST" && r.URL.Query().Has("uploads") }},
		{"a part", 11 << 20, func(r *http.Request) bool { return r.Method == "PUT" && r.URL.Query().Get("partNumber") == "2" }},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := startProxy(t, server.Port)
			var lost atomic.Int64
			p.answer = func(r *http.Request, status int) bool {
				return !(c.match(r) && status == http.StatusOK && lost.CompareAndSwap(0, 1))
			}
			s := begin(t, p.url("lost"), credentials())
			name := "file-" + strings.ReplaceAll(c.name, " ", "-")
			content := noise(c.size)
			must(t, store(s, name, content, -1))
			if lost.Load() == 0 {
				t.Error("no answer was lost")
			}
			if got, err := fetch(s, name); err != nil || !bytes.Equal(got, content) {
				t.Errorf("%d bytes are back, error %v", len(got), err)
			}
			if err := store(s, name, content, -1); !errors.Is(err, storage.Exists) {
				t.Errorf("again: %v", err)
			}
			must(t, s.Sweep(context.Background()))
		})
	}
}

// Somebody takes the name between the look and the end of a file.
func TestS3NeverOverwrites(t *testing.T) {
	server := s3test.Start(t)
	s := begin(t, server.URL("p")+"&part-size=5MB", credentials())
	for _, n := range []int{10, 11 << 20} {
		f, err := s.Create(context.Background(), "name", -1)
		must(t, err)
		_, err = f.Write(noise(n))
		must(t, err)
		must(t, store(s, "name", []byte("the other's"), -1))
		if err := f.Commit(); !errors.Is(err, storage.Exists) {
			t.Errorf("%d bytes: %v", n, err)
		}
		if got, err := fetch(s, "name"); err != nil || string(got) != "the other's" {
			t.Errorf("%d bytes: read %.20q, error %v", n, got, err)
		}
		must(t, s.Remove(context.Background(), "name"))
	}
}

// Reading goes on where a connection broke.
func TestS3ReadsOn(t *testing.T) {
	server := s3test.Start(t)
	p := startProxy(t, server.Port)
	s := begin(t, p.url("p"), credentials())
	content := noise(6 << 20)
	must(t, store(s, "file", content, -1))
	p.cut.Store(1 << 20)
	got, err := fetch(s, "file")
	if err != nil || !bytes.Equal(got, content) || p.cut.Load() != 0 {
		t.Errorf("%d bytes, error %v", len(got), err)
	}
	// Not even then if it is another file by now.
	r, err := s.Open(context.Background(), "file")
	must(t, err)
	_, err = io.ReadFull(r, make([]byte, 1000))
	must(t, err)
	r.Close()
	must(t, s.Remove(context.Background(), "file"))
	must(t, store(s, "file", noise(7 << 20)[1<<20:], -1))
	if _, err := io.Copy(io.Discard, r); !errors.Is(err, storage.Broken) {
		t.Errorf("another file under the name: %v", err)
	}
}

// The server is killed while a file is on its way: that is an error that may
// pass, nothing of the file is there, and a new attempt succeeds.
func TestS3ServerDies(t *testing.T) {
	server := s3test.Start(t)
	s := begin(t, server.URL("p")+"&part-size=5MB", credentials())
	f, err := s.Create(context.Background(), "file", -1)
	must(t, err)
	_, err = f.Write(noise(12 << 20))
	must(t, err)
	server.Kill()
	_, err = f.Write(noise(12 << 20))
	if err == nil {
		err = f.Commit()
	} else {
		f.Abort()
	}
	if !errors.Is(err, storage.Unreachable) || !storage.Temporary(err) {
		t.Errorf("the server is gone: %v", err)
	}
	server.StartAgain()
	if got := names(t, s, ""); len(got) != 0 {
		t.Errorf("there are %q", got)
	}
	must(t, s.Sweep(context.Background()))
	content := noise(12 << 20)
	must(t, store(s, "file", content, -1))
	if got, err := fetch(s, "file"); err != nil || !bytes.Equal(got, content) {
		t.Errorf("%d bytes, error %v", len(got), err)
	}
}

func TestS3AsksForEncryption(t *testing.T) {
	server := s3test.Start(t)
	for query, want := range map[string]map[string]string{
		"&sse=AES256":                     {"X-Amz-Server-Side-Encryption": "AES256"},
		"&sse=aws:kms&sse-kms-key=my-key": {"X-Amz-Server-Side-Encryption": "aws:kms", "X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id": "my-key"},
		"&storage-class=STANDARD_IA":      {"X-Amz-Storage-Class": "STANDARD_IA"},
	} {
		for _, n := range []int{10, 6 << 20} {
			p := startProxy(t, server.Port)
			s := begin(t, p.url("p")+query, credentials())
			store(s, fmt.Sprintf("f-%d-%s", n, strings.Trim(strings.ReplaceAll(query, "&", "_"), "_")), noise(n), -1) // the server may not know how
			asked := false
			for _, r := range p.requests {
				if r.Method == "PUT" && !r.URL.Query().Has("partNumber") || r.Method == "POST" && r.URL.Query().Has("uploads") {
					asked = true
					for key, value := range want {
						if r.Header.Get(key) != value {
							t.Errorf("%s, %d bytes: %s is %q", query, n, key, r.Header.Get(key))
						}
					}
				}
			}
			if !asked {
				t.Errorf("%s, %d bytes: no file was begun", query, n)
			}
		}
	}
}

// pattern is a stream without end and its checksum so far.
type pattern struct {
	block []byte
	at    int64
	sum   hash.Hash
}

func newPattern() *pattern { return &pattern{block: noise(1<<20 + 7), sum: sha256.New()} }

func (p *pattern) Read(b []byte) (int, error) {
	n := copy(b, p.block[p.at%int64(len(p.block)):])
	p.at += int64(n)
	p.sum.Write(b[:n])
	return n, nil
}

// sinkServer takes parts as a store does and keeps nothing of them.
func sinkServer(t testing.TB) (spec string, received func() int64) {
	var mu sync.Mutex
	parts := map[int]int64{} // a part that is sent again counts once
	received = func() (total int64) {
		mu.Lock()
		defer mu.Unlock()
		for _, n := range parts {
			total += n
		}
		return total
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/backups/", func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		total := received()
		switch {
		case r.Method == "HEAD" && total == 0:
			w.WriteHeader(http.StatusNotFound)
		case r.Method == "HEAD":
			w.Header().Set("Content-Length", fmt.Sprint(total))
			w.Header().Set("Last-Modified", time.Now().UTC().Format(http.TimeFormat))
			w.Header().Set("ETag", `"x"`)
		case r.Method == "GET":
			fmt.Fprint(w, `<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>`)
		case r.Method == "POST" && query.Has("uploads"):
			fmt.Fprint(w, `<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>`)
		case r.Method == "PUT":
			io.Copy(io.Discard, r.Body) // signatures stand between the bytes
			var n int64
			fmt.Sscan(r.Header.Get("X-Amz-Decoded-Content-Length"), &n)
			var number int
			fmt.Sscan(query.Get("partNumber"), &number)
			mu.Lock()
			parts[number] = n
			mu.Unlock()
			w.Header().Set("ETag", `"x"`)
		case r.Method == "POST":
			fmt.Fprint(w, `<CompleteMultipartUploadResult><Bucket>backups</Bucket></CompleteMultipartUploadResult>`)
		}
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	server := &http.Server{Handler: mux}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	return fmt.Sprintf("s3://backups/p?endpoint=http://%s", listener.Addr()), received
}

// upload sends n bytes of unknown size and returns the most memory that the
// heap and its garbage took meanwhile.
func upload(t testing.TB, s storage.Session, n int64) (peak uint64, sum string) {
	f, err := s.Create(context.Background(), "stream", -1)
	must(t, err)
	done := make(chan struct{})
	sampled := make(chan uint64)
	go func() {
		var most uint64
		for ticker := time.NewTicker(20 * time.Millisecond); ; {
			select {
			case <-done:
				sampled <- most
				return
			case <-ticker.C:
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				most = max(most, m.HeapInuse)
			}
		}
	}()
	p := newPattern()
	_, err = io.CopyBuffer(struct{ io.Writer }{f}, io.LimitReader(p, n), make([]byte, 256<<10))
	must(t, err)
	must(t, f.Commit())
	close(done)
	return <-sampled, hex.EncodeToString(p.sum.Sum(nil))
}

// Memory does not grow with the stream: a real server, a gigabyte.
func TestS3MemoryStaysFlat(t *testing.T) {
	if testing.Short() {
		t.Skip("it writes a gigabyte")
	}
	server := s3test.Start(t)
	s := begin(t, server.URL("p"), credentials())
	peak, want := upload(t, s, 1<<30)
	t.Logf("at most %d MB of heap", peak>>20)
	if peak > 120<<20 {
		t.Errorf("%d MB of heap for a stream of 1 GB", peak>>20)
	}
	r, err := s.Open(context.Background(), "stream")
	must(t, err)
	defer r.Close()
	h := sha256.New()
	if n, err := io.Copy(h, r); err != nil || n != 1<<30 || hex.EncodeToString(h.Sum(nil)) != want {
		t.Errorf("%d bytes are back, error %v", n, err)
	}
}

// Upload20GB is measured by hand: go test ./repo/storage -bench 20GB -benchtime 1x
func BenchmarkS3Upload20GB(b *testing.B) {
	spec, received := sinkServer(b)
	const size = 20 << 30
	b.SetBytes(size)
	for b.Loop() {
		peak, _ := upload(b, begin(b, spec, credentials()), size)
		b.ReportMetric(float64(peak>>20), "MB-heap")
	}
	if n := received(); n != size {
		b.Errorf("%d bytes were received", n)
	}
}

// BenchmarkS3List10000 lists as many segments by prefix: ten requests.
func BenchmarkS3List10000(b *testing.B) {
	server := s3test.Start(b)
	s := begin(b, server.URL("p"), credentials())
	var wait sync.WaitGroup
	slots := make(chan struct{}, 8)
	began := time.Now()
	for i := range 10_000 {
		slots <- struct{}{}
		wait.Go(func() {
			defer func() { <-slots }()
			must(b, store(s, fmt.Sprintf("incremental-%016X.sql.zst", i<<24), noise(20_000), 20_000))
		})
	}
	wait.Wait()
	b.Logf("10,000 segments of 20 kB were uploaded in %s", time.Since(began))
	for b.Loop() {
		list := names(b, s, "incremental-")
		if len(list) != 10_000 || !slices.IsSorted(list) {
			b.Fatalf("%d files", len(list))
		}
	}
}

// A server that takes connections and says nothing is out of reach, soon.
func TestS3ServerHangs(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
		}
	}()
	defer storage.SetS3BeginTimeout(500 * time.Millisecond)()
	env := storage.Env{Lookup: func(name string) (string, bool) {
		return "x", strings.HasPrefix(name, "AWS_ACCESS_KEY") || strings.HasPrefix(name, "AWS_SECRET")
	}}
	tgt, err := storage.Parse("s3://backups/p?endpoint=http://"+listener.Addr().String(), env)
	if err != nil {
		t.Fatal(err)
	}
	_, err = tgt.Begin(context.Background())
	if !errors.Is(err, storage.Unreachable) || !strings.Contains(err.Error(), "no answer within 500ms") {
		t.Errorf("%v", err)
	}
}
