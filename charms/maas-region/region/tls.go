package region

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/host/atomicfile"
	"github.com/dcib/dcib/internal/maas"
)

// certificateFile is what nginx serves the API with once MAAS has TLS: the server's certificate, and
// those of its authorities (src/maasserver/regiondservices/http.py in MAAS's source). MAAS leaves the
// file when TLS is disabled.
const certificateFile = "var/lib/maas/http/certs/regiond-proxy.pem"

// Answer is how a region answers on its own machine.
type Answer struct {
	Version string // of the API; empty when it cannot be used
	Lives   bool   // regiond answers, whether or not its API can be used
	Failure string // why the API cannot be used
	TLSPort string // where the API is with TLS; empty without
	Served  string // the digest of the certificates that it is served with
}

// answer asks this unit's region. A hook does not wait long for one that hangs.
func (w *Env) answer(ctx context.Context) Answer {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	plain, err := maas.New(w.API, "")
	if err != nil {
		return Answer{Failure: err.Error()}
	}
	var a Answer
	if secure := w.secure(ctx, plain); secure != nil {
		a.TLSPort, a.Served = secure.Port(), digestOf(certificates([]byte(w.Text(certificateFile))))
	}
	c, err := w.connect(ctx, "")
	if err == nil {
		a.Version, err = c.Version(ctx)
	}
	if err != nil {
		a.Failure = err.Error()
	}
	a.Lives = a.Version != "" || plain.Lives(ctx)
	return a
}

// connect makes a client of this unit's region. With TLS MAAS redirects the API to another port of
// the same machine, and its certificate is for MAAS's name, not for localhost: so exactly the
// certificate that MAAS wrote on this machine is accepted there.
func (w *Env) connect(ctx context.Context, key string) (*maas.Client, error) {
	c, err := maas.New(w.API, key)
	if err != nil {
		return c, err
	}
	secure := w.secure(ctx, c)
	if secure == nil {
		return c, nil
	}
	if c, err = maas.New(secure.String(), key); err != nil {
		return nil, err
	}
	return c, c.Pin([]byte(w.Text(certificateFile)))
}

// secure returns where the API of this unit's region is with TLS; nil without.
func (w *Env) secure(ctx context.Context, plain *maas.Client) *url.URL {
	if w.Text(certificateFile) == "" {
		return nil
	}
	to, err := url.Parse(plain.Secure(ctx))
	if err != nil || to.Host == "" {
		return nil
	}
	here, err := url.Parse(w.API)
	if err != nil {
		return nil
	}
	to.Host = net.JoinHostPort(here.Hostname(), cmp.Or(to.Port(), "443"))
	return to
}

// endpoint is the URL of MAAS's API for its users. With TLS it is another one than url, which racks
// and machines go on using.
func (f Facts) endpoint() string {
	at, err := url.Parse(f.url())
	if f.TLSPort == "" || f.Config.URL != "" || err != nil || at.Host == "" {
		return f.url()
	}
	at.Scheme, at.Host = "https", net.JoinHostPort(at.Hostname(), f.TLSPort)
	return at.String()
}

// Fields of the secret that option tls-secret names.
const (
	fieldCertificate = "certificate"
	fieldKey         = "key"
	fieldCACert      = "cacert"
)

// Certificate is what MAAS is to serve its API and web interface with.
type Certificate struct {
	Leaf   string // the server's own, PEM
	CAs    string // those of its authorities, PEM; may be empty
	Key    string // PEM; secret
	Digest string // of leaf and authorities
}

// parseCertificate reads the content of a secret. The error names the field that is wrong, and never
// has a part of the key.
func parseCertificate(content map[string]string, now time.Time) (*Certificate, error) {
	for _, field := range []string{fieldCertificate, fieldKey} {
		if strings.TrimSpace(content[field]) == "" {
			return nil, fmt.Errorf("its field %s is empty", field)
		}
	}
	chain, cas := certificates([]byte(content[fieldCertificate])), certificates([]byte(content[fieldCACert]))
	if len(chain) == 0 {
		return nil, fmt.Errorf("its field %s has no certificate in PEM", fieldCertificate)
	}
	if len(cas) == 0 && strings.TrimSpace(content[fieldCACert]) != "" {
		return nil, fmt.Errorf("its field %s has no certificate in PEM", fieldCACert)
	}
	for n, der := range append(chain[:len(chain):len(chain)], cas...) {
		parsed, err := x509.ParseCertificate(der)
		switch {
		case err != nil && n < len(chain):
			return nil, fmt.Errorf("a certificate in its field %s cannot be read: %w", fieldCertificate, err)
		case err != nil:
			return nil, fmt.Errorf("a certificate in its field %s cannot be read: %w", fieldCACert, err)
		case n == 0 && now.After(parsed.NotAfter):
			return nil, fmt.Errorf("its certificate expired on %s", parsed.NotAfter.UTC().Format(time.DateOnly))
		}
	}
	key := strings.TrimSpace(content[fieldKey]) + "\n"
	if _, err := tls.X509KeyPair(encode(chain[:1]), []byte(key)); err != nil {
		return nil, fmt.Errorf("its fields %s and %s do not belong together, or the key has a passphrase", fieldCertificate, fieldKey)
	}
	// MAAS reads the first certificate of that file alone (Certificate.from_pem in
	// src/provisioningserver/certificates.py), and the rest of a chain with the authorities.
	cas = append(chain[1:len(chain):len(chain)], cas...)
	return &Certificate{string(encode(chain[:1])), string(encode(cas)), key, digestOf(append(chain[:1:1], cas...))}, nil
}

// certificates returns those in a PEM text, as DER.
func certificates(text []byte) [][]byte {
	var all [][]byte
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return all
		}
		if block.Type == "CERTIFICATE" {
			all = append(all, block.Bytes)
		}
	}
}

// encode returns certificates as PEM.
func encode(certificates [][]byte) []byte {
	var text []byte
	for _, der := range certificates {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return text
}

// digestOf returns a short name for a list of certificates.
func digestOf(certificates [][]byte) string {
	sum := sha256.New()
	for _, der := range certificates {
		one := sha256.Sum256(der)
		sum.Write(one[:])
	}
	return hex.EncodeToString(sum.Sum(nil)[:8])
}

// observeTLS reads the certificate that option tls-secret names.
func (f *Facts) observeTLS(ctx context.Context, w *Env) {
	id := f.Config.TLS
	if id == "" {
		return
	}
	content, err := w.Tools.Secret(ctx, id)
	if err != nil {
		f.TLSProblem = fmt.Sprintf("option tls-secret is %s: %s: juju grant-secret %s %s", id, err, id, f.App)
		return
	}
	if f.TLS, err = parseCertificate(content, w.Now()); err != nil {
		f.TLSProblem = fmt.Sprintf("option tls-secret is %s: %s: juju update-secret %s certificate#file=… key#file=…", id, err, id)
	}
}

// securing enables TLS with the certificate of option tls-secret, and disables it when the option is
// empty again and MAAS still serves the certificate that this charm enabled.
func securing(f Facts) []charm.Step[*Env] {
	enabled := f.Shared[keyTLS]
	switch {
	case f.TLSProblem != "":
	case f.TLS != nil && (f.TLSPort == "" || f.Served != f.TLS.Digest):
		return []charm.Step[*Env]{enableTLS{f.Peers, *f.TLS}}
	case f.TLS != nil && enabled != f.TLS.Digest:
		return []charm.Step[*Env]{noteTLS{f.Peers, f.TLS.Digest}}
	case f.TLS != nil || enabled == "":
	case f.TLSPort != "" && f.Served == enabled:
		return []charm.Step[*Env]{disableTLS{f.Peers}}
	default:
		return []charm.Step[*Env]{noteTLS{f.Peers, ""}}
	}
	return nil
}

type (
	enableTLS struct {
		peers       string
		certificate Certificate
	}
	disableTLS struct{ peers string }
	// noteTLS remembers which certificate this charm enabled TLS with.
	noteTLS struct{ peers, digest string }
)

func (enableTLS) Name() string { return "enable TLS with the certificate of option tls-secret" }

func (s enableTLS) Apply(ctx context.Context, w *Env) error {
	if err := s.configure(ctx, w); err != nil {
		return err
	}
	if err := w.Tools.RelationSetApp(ctx, s.peers, map[string]string{keyTLS: s.certificate.Digest}); err != nil {
		return err
	}
	return w.served(ctx, func(a Answer) bool { return a.Version != "" && a.TLSPort != "" && a.Served == s.certificate.Digest })
}

// configure runs maas config-tls, which reads the certificate from files.
func (s enableTLS) configure(ctx context.Context, w *Env) error {
	work, err := w.workDir(workDirs[2])
	if err != nil {
		return retried(err)
	}
	defer os.RemoveAll(work)
	key, certificate, cas := filepath.Join(work, "key.pem"), filepath.Join(work, "certificate.pem"), filepath.Join(work, "cacert.pem")
	args := []string{"config-tls", "enable", key, certificate, "--yes"}
	write := func(path, text string) {
		err = errors.Join(err, atomicfile.Write(path, []byte(text), atomicfile.Options{}))
	}
	write(key, s.certificate.Key)
	write(certificate, s.certificate.Leaf)
	if s.certificate.CAs != "" {
		write(cas, s.certificate.CAs)
		args = append(args, "--cacert", cas)
	}
	if err != nil {
		return retried(err)
	}
	if _, err := w.Run.Run(ctx, "maas", args...); err != nil {
		return charm.Blocked("MAAS did not take the certificate of option tls-secret: %s (retried automatically)", err)
	}
	return nil
}

func (disableTLS) Name() string { return "disable TLS, since option tls-secret is empty" }

func (s disableTLS) Apply(ctx context.Context, w *Env) error {
	if _, err := w.Run.Run(ctx, "maas", "config-tls", "disable"); err != nil {
		return retried(err)
	}
	if err := w.Tools.RelationSetApp(ctx, s.peers, map[string]string{keyTLS: ""}); err != nil {
		return err
	}
	return w.served(ctx, func(a Answer) bool { return a.Version != "" && a.TLSPort == "" })
}

// serveTime is how long nginx may take to serve the API as MAAS was told.
const serveTime = 30 * time.Second

// served waits until the region answers as it was told.
func (w *Env) served(ctx context.Context, done func(Answer) bool) error {
	limited, cancel := context.WithTimeout(ctx, serveTime)
	defer cancel()
	w.Wait(limited, func() bool { return done(w.answer(limited)) })
	if a := w.answer(ctx); !done(a) {
		return charm.Waiting("MAAS does not serve the certificate of option tls-secret yet: %s: look at journalctl -u maas-regiond -u maas-http (retried automatically)", cmp.Or(a.Failure, "it serves another one"))
	}
	return nil
}

func (s noteTLS) Name() string {
	if s.digest == "" {
		return "forget the certificate of option tls-secret"
	}
	return "remember the certificate of option tls-secret"
}

func (s noteTLS) Apply(ctx context.Context, w *Env) error {
	return w.Tools.RelationSetApp(ctx, s.peers, map[string]string{keyTLS: s.digest})
}
