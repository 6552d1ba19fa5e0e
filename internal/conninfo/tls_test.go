package conninfo

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"pg_scribe/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// authority signs certificates and lists of revoked ones.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, name string) authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return authority{cert, key}
}

// revoke writes a list that is valid until a moment.
func (a authority) revoke(t *testing.T, until time.Time, serials ...int64) string {
	list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: until}
	for _, n := range serials {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: big.NewInt(n), RevocationTime: time.Now().Add(-time.Minute)})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, a.cert, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return writePEM(t, t.TempDir(), "crl", "X509 CRL", der)
}

func writePEM(t *testing.T, dir, name, kind string, der []byte) string {
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// serve gives a cluster a certificate of the authority for db.example, with serial number 7.
func (a authority) serve(t *testing.T, c *pgtest.Cluster) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "db.example"}, DNSNames: []string{"db.example"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(c.DataDir)
	if err != nil {
		t.Fatal(err)
	}
	owner := info.Sys().(*syscall.Stat_t)
	for _, file := range []string{writePEM(t, c.DataDir, "server.crt", "CERTIFICATE", der), writePEM(t, c.DataDir, "server.key", "PRIVATE KEY", private)} {
		if err := os.Chown(file, int(owner.Uid), int(owner.Gid)); err != nil {
			t.Fatal(err)
		}
	}
	c.Exec(t, "postgres", "ALTER SYSTEM SET ssl = on")
	if err := c.Restart("fast"); err != nil {
		t.Fatal(err)
	}
}

// TestTLSAsPsql compares with psql who is let through by certificates, host names and lists of revoked certificates.
func TestTLSAsPsql(t *testing.T) {
	noEnvironment(t)
	c := pgtest.New(t)
	mine, other := newAuthority(t, "mine"), newAuthority(t, "other")
	mine.serve(t, c)
	root := writePEM(t, t.TempDir(), "root.crt", "CERTIFICATE", mine.cert.Raw)
	stranger := writePEM(t, t.TempDir(), "root.crt", "CERTIFICATE", other.cert.Raw)
	later := time.Now().Add(time.Hour)
	none, revoked := mine.revoke(t, later), mine.revoke(t, later, 7)
	base := fmt.Sprintf("hostaddr=127.0.0.1 port=%d user=postgres dbname=postgres ", c.Port)
	full := base + "host=db.example sslmode=verify-full sslrootcert=" + root
	for conn, want := range map[string]bool{
		full: true,
		base + "host=db.other sslmode=verify-full sslrootcert=" + root:      false,
		base + "host=db.other sslmode=verify-ca sslrootcert=" + root:        true,
		base + "sslmode=verify-full sslrootcert=" + root:                    false,
		base + "sslmode=verify-ca sslrootcert=" + stranger:                  false,
		base + "sslmode=require":                                            true,
		base + "sslmode=verify-ca":                                          false,
		full + " sslcrl=" + none:                                            true,
		full + " sslcrl=" + revoked:                                         false,
		full + " sslcrl=" + mine.revoke(t, later, 8):                        true,
		full + " sslcrl=" + mine.revoke(t, time.Now().Add(-time.Minute)):    false,
		full + " sslcrl=" + other.revoke(t, later):                          false,
		full + " sslcrl=/dev/null":                                          true,
		full + " ssl_min_protocol_version=TLSv1.3":                          true,
		full + " channel_binding=prefer":                                    true,
		base + "sslmode=require sslrootcert=" + root + " sslcrl=" + revoked: false,
	} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		cfg, err := Config(conn)
		if err == nil {
			var open *pgx.Conn
			if open, err = pgx.ConnectConfig(ctx, cfg); err == nil {
				open.Close(ctx)
			}
		}
		cancel()
		if (err == nil) != want {
			t.Errorf("%s: %v", conn, err)
		}
		psql := exec.Command(filepath.Join(c.BinDir, "psql"), "-XAtqw", "-d", conn, "-c", "SELECT 'in'")
		psql.Env = os.Environ()
		if text, err := psql.CombinedOutput(); (err == nil && strings.Contains(string(text), "in")) != want {
			t.Errorf("%s: psql: %v %s", conn, err, text)
		}
	}
	for _, conn := range []string{full + " sslcrl=/nonexistent", full + " sslcrl=" + root, full + " sslcrldir=/nonexistent"} {
		if _, err := Config(conn); err == nil || !strings.Contains(err.Error(), "sslcrl") {
			t.Errorf("%s: what cannot be checked is passed over: %v", conn, err)
		}
	}
	folder := full + " sslcrldir=" + filepath.Dir(revoked)
	if cfg, err := Config(folder); err != nil {
		t.Error(err)
	} else if _, err := pgx.ConnectConfig(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "revoked") {
		t.Errorf("%s: %v", folder, err)
	}
}
