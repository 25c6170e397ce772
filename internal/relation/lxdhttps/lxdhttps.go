// Package lxdhttps is the interface `lxd-https`: a client requests that an LXD cluster trusts its
// certificate, and the cluster answers with its addresses and its certificate. It is version 1.0 as in
// canonical/charm-lxd, so either side may be that charm.
//
// A requirer writes a Request into its unit's (or its application's) databag. A clustered provider writes
// an Offer into its application's databag; one that is not clustered into its unit's.
package lxdhttps

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Version is the version of the interface.
const Version = "1.0"

// Databag keys.
const (
	keyVersion     = "version"
	keyCertificate = "certificate"
	keyProjects    = "projects"
	keyFingerprint = "certificate_fingerprint"
	keyAddresses   = "addresses"
)

// Request is a client's request.
type Request struct {
	// Certificate is the client's certificate, PEM.
	Certificate string
	// Projects are the LXD projects to restrict the client to; none requests all of LXD.
	Projects []string
}

// Offer is how to reach an LXD and to recognize it.
type Offer struct {
	// Certificate is the server's (or the cluster's) certificate, PEM: pin it.
	Certificate string
	// Fingerprint is that certificate's SHA-256, in lower-case hex.
	Fingerprint string
	// Addresses are host:port of each member, to be tried in turn.
	Addresses []string
}

// project matches the name of an LXD project. LXD accepts more characters, which have no use in a status or
// a command.
var project = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.-]{0,62}$`)

// address matches host:port of an LXD: it becomes part of a URL and of configuration files.
var address = regexp.MustCompile(`^(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9][A-Za-z0-9.-]{0,252}):[0-9]{1,5}$`)

// maxCertificate is the longest text of a certificate, in bytes.
const maxCertificate = 64 << 10

// maxProjects limits the projects of one client.
const maxProjects = 64

// Encode returns the databag entries of a request.
func (r Request) Encode() map[string]string {
	return map[string]string{
		keyVersion:     Version,
		keyCertificate: r.Certificate,
		keyProjects:    strings.Join(r.Projects, ","),
	}
}

// DecodeRequest reads a databag. ok is false if there is no request. The error names a value that cannot be
// used.
func DecodeRequest(bag map[string]string) (r Request, ok bool, err error) {
	if bag[keyVersion] == "" && bag[keyCertificate] == "" {
		return Request{}, false, nil
	}
	if err := checkVersion(bag); err != nil {
		return Request{}, false, err
	}
	r = Request{Certificate: bag[keyCertificate], Projects: SplitList(bag[keyProjects])}
	if len(r.Projects) > maxProjects || slices.ContainsFunc(r.Projects, func(p string) bool { return !project.MatchString(p) }) {
		return Request{}, false, fmt.Errorf("cannot use the lxd-https relation: its projects are not names of LXD projects, with commas, %d at most", maxProjects)
	}
	if _, err := ParseCertificate(r.Certificate); err != nil {
		return Request{}, false, err
	}
	return r, true, nil
}

// Encode returns the databag entries of an offer.
func (o Offer) Encode() map[string]string {
	return map[string]string{
		keyVersion:     Version,
		keyCertificate: o.Certificate,
		keyFingerprint: o.Fingerprint,
		keyAddresses:   strings.Join(o.Addresses, ","),
	}
}

// DecodeOffer reads a databag. ok is false if the provider has not answered yet. The error names a value
// that cannot be used.
func DecodeOffer(bag map[string]string) (o Offer, ok bool, err error) {
	if bag[keyVersion] == "" && bag[keyCertificate] == "" {
		return Offer{}, false, nil
	}
	if err := checkVersion(bag); err != nil {
		return Offer{}, false, err
	}
	o = Offer{
		Certificate: bag[keyCertificate],
		Fingerprint: strings.ToLower(bag[keyFingerprint]),
		Addresses:   SplitList(bag[keyAddresses]),
	}
	certificate, err := ParseCertificate(o.Certificate)
	if err != nil {
		return Offer{}, false, err
	}
	if got := Fingerprint(certificate); o.Fingerprint != "" && o.Fingerprint != got {
		return Offer{}, false, fmt.Errorf("cannot use the lxd-https relation: its certificate has fingerprint %s, its certificate_fingerprint says %.64s", got, o.Fingerprint)
	}
	if len(o.Addresses) == 0 {
		return Offer{}, false, errors.New("cannot use the lxd-https relation: it names no addresses")
	}
	for _, a := range o.Addresses {
		if !address.MatchString(a) {
			return Offer{}, false, fmt.Errorf("cannot use the lxd-https relation: its address %.80q is not host:port", a)
		}
	}
	return o, true, nil
}

func checkVersion(bag map[string]string) error {
	if v := bag[keyVersion]; v != Version {
		return fmt.Errorf("cannot use the lxd-https relation: the other side speaks version %.20q, this one %s", v, Version)
	}
	return nil
}

// ParseCertificate reads one certificate in PEM. Line ends may have become spaces, as in a shell's unquoted
// $(cat file).
func ParseCertificate(text string) (*x509.Certificate, error) {
	const begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
	text = strings.TrimSpace(text)
	if len(text) > maxCertificate {
		return nil, fmt.Errorf("cannot read certificate: it has %d bytes: wanted at most %d", len(text), maxCertificate)
	}
	if text == "" {
		return nil, errors.New("cannot read certificate: it is empty: wanted a PEM block that begins with " + begin)
	}
	body, found := strings.CutPrefix(text, begin)
	body, rest, closed := strings.Cut(body, end)
	if !found || !closed {
		return nil, errors.New("cannot read certificate: wanted a PEM block from " + begin + " to " + end)
	}
	if strings.TrimSpace(rest) != "" {
		return nil, errors.New("cannot read certificate: wanted one PEM block and nothing after it")
	}
	block, _ := pem.Decode([]byte(begin + "\n" + strings.Join(strings.Fields(body), "\n") + "\n" + end + "\n"))
	if block == nil {
		return nil, errors.New("cannot read certificate: its PEM block is not base64")
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("cannot read certificate: %w", err)
	}
	return certificate, nil
}

// Fingerprint returns a certificate's SHA-256 in lower-case hex, as LXD shows it.
func Fingerprint(certificate *x509.Certificate) string {
	sum := sha256.Sum256(certificate.Raw)
	return hex.EncodeToString(sum[:])
}

// SplitList reads a list separated by commas, without spaces, empty entries and duplicates.
func SplitList(text string) []string {
	var list []string
	for _, entry := range strings.Split(text, ",") {
		if entry = strings.TrimSpace(entry); entry != "" && !slices.Contains(list, entry) {
			list = append(list, entry)
		}
	}
	return list
}
