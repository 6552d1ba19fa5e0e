package conninfo

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// withTLS adds what pgx is to do with certificates, whose files it finds by rules of its own.
func (r resolved) withTLS(handed Info) (Info, error) {
	mode := or(r.get("sslmode"), "prefer")
	if r.get("sslrootcert") == "system" && r.get("sslmode") == "" {
		mode = "verify-full"
	}
	handed = handed.With("sslmode", mode)
	root := or(r.get("sslrootcert"), inHome("root.crt"))
	if root == "system" && mode != "verify-full" && !r.local() {
		return handed, bad("sslmode", "sslrootcert=system needs verify-full")
	}
	if root != "system" && !exists(root) {
		if strings.HasPrefix(mode, "verify-") && !r.local() {
			return handed, bad("sslrootcert", "there is no such file, by which %s could check the server", mode)
		}
		root = ""
	}
	handed = handed.With("sslrootcert", root)
	if r.local() {
		return handed.With("sslcert", "").With("sslkey", ""), nil
	}
	cert, key := or(r.get("sslcert"), inHome("postgresql.crt")), or(r.get("sslkey"), inHome("postgresql.key"))
	if !exists(cert) { // none is sent then
		cert, key = "", ""
	}
	return handed.With("sslcert", cert).With("sslkey", key), nil
}

// local says whether only sockets are named, where TLS has no part.
func (r resolved) local() bool {
	if r.get("hostaddr") != "" {
		return false
	}
	for host := range strings.SplitSeq(r.get("host"), ",") {
		if host != "" && !filepath.IsAbs(host) {
			return false
		}
	}
	return true
}

func inHome(name string) string { return filepath.Join(os.Getenv("HOME"), ".postgresql", name) }

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// secure sets the versions of TLS that are wanted, and has revoked certificates refused.
func (r resolved) secure(cfg *pgx.ConnConfig, list []endpoint) error {
	lowest, err := r.version("ssl_min_protocol_version", tls.VersionTLS12)
	if err != nil {
		return err
	}
	highest, err := r.version("ssl_max_protocol_version", 0)
	if err != nil {
		return err
	}
	if highest != 0 && highest < lowest {
		return bad("ssl_max_protocol_version", "it is lower than ssl_min_protocol_version")
	}
	for _, e := range list {
		if r.get("sslmode") == "verify-full" && e.host == "" && e.address != "" {
			return bad("host", "sslmode=verify-full needs the name of the server, beside hostaddr")
		}
	}
	revoked, err := r.revocations()
	if err != nil {
		return err
	}
	configs := []*tls.Config{cfg.TLSConfig}
	for _, f := range cfg.Fallbacks {
		configs = append(configs, f.TLSConfig)
	}
	for _, c := range configs {
		if c == nil {
			continue
		}
		c.MinVersion, c.MaxVersion = lowest, highest
		// As in libpq, certificates are checked as soon as there are roots to check them by.
		if roots := c.RootCAs; len(revoked) > 0 && roots != nil {
			c.VerifyConnection = func(state tls.ConnectionState) error { return checkRevoked(state, roots, revoked) }
		}
	}
	return nil
}

// version reads the name of a version of TLS.
func (r resolved) version(parameter string, otherwise uint16) (uint16, error) {
	switch strings.ToLower(r.get(parameter)) {
	case "":
		return otherwise, nil
	case "tlsv1":
		return tls.VersionTLS10, nil
	case "tlsv1.1":
		return tls.VersionTLS11, nil
	case "tlsv1.2":
		return tls.VersionTLS12, nil
	case "tlsv1.3":
		return tls.VersionTLS13, nil
	}
	return 0, bad(parameter, "it must be one of TLSv1, TLSv1.1, TLSv1.2, TLSv1.3")
}

// revocations reads the lists of revoked certificates.
func (r resolved) revocations() (lists []*x509.RevocationList, err error) {
	if r.local() {
		return nil, nil
	}
	file, dir := r.get("sslcrl"), r.get("sslcrldir")
	if file == "" && dir == "" && exists(inHome("root.crl")) {
		file = inHome("root.crl")
	}
	if file != "" {
		if lists, err = readRevocations(file); err != nil {
			return nil, bad("sslcrl", "%v", err)
		}
	}
	if dir == "" {
		return lists, nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, bad("sslcrldir", "%v", err)
	}
	for _, e := range entries {
		if e.IsDir() {
			continue
		}
		more, err := readRevocations(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, bad("sslcrldir", "%v", err)
		}
		lists = append(lists, more...)
	}
	return lists, nil
}

func readRevocations(file string) (lists []*x509.RevocationList, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "X509 CRL" {
			continue
		}
		list, err := x509.ParseRevocationList(block.Bytes)
		if err != nil {
			return nil, err
		}
		lists = append(lists, list)
	}
	if len(lists) == 0 && len(bytes.TrimSpace(text)) > 0 {
		return nil, errors.New(file + " holds no list of revoked certificates")
	}
	return lists, nil
}

// checkRevoked passes a server whose certificate leads to a root by certificates none of which is revoked. Each needs a
// valid list of its issuer, as libpq has it.
func checkRevoked(state tls.ConnectionState, roots *x509.CertPool, lists []*x509.RevocationList) error {
	options := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool()}
	for _, c := range state.PeerCertificates[1:] {
		options.Intermediates.AddCert(c)
	}
	chains, err := state.PeerCertificates[0].Verify(options)
	if err != nil {
		return err
	}
	for _, chain := range chains {
		if err = chainRevoked(chain, lists); err == nil {
			return nil
		}
	}
	return err
}

func chainRevoked(chain []*x509.Certificate, lists []*x509.RevocationList) error {
	for n, cert := range chain {
		issuer, found := chain[min(n+1, len(chain)-1)], false
		for _, list := range lists {
			if !bytes.Equal(list.RawIssuer, cert.RawIssuer) || list.CheckSignatureFrom(issuer) != nil {
				continue
			}
			if !list.NextUpdate.IsZero() && time.Now().After(list.NextUpdate) {
				return errors.New("the list of revoked certificates (sslcrl) has expired")
			}
			found = true
			for _, entry := range list.RevokedCertificateEntries {
				if entry.SerialNumber.Cmp(cert.SerialNumber) == 0 {
					return errors.New("the server's certificate is revoked (sslcrl)")
				}
			}
		}
		if !found {
			return errors.New("there is no list of revoked certificates (sslcrl) of an issuer of the server's certificate")
		}
	}
	return nil
}
