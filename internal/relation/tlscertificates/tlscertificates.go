// Package tlscertificates is the requirer's side of the interface `tls-certificates`, as the charm
// libraries tls_certificates v1 to v4 (canonical/tls-certificates-interface) and their providers implement
// it: a unit writes a certificate signing request into its databag, and the provider answers in its
// application's.
package tlscertificates

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Databag keys.
const (
	keyRequests     = "certificate_signing_requests"
	keyCertificates = "certificates"
)

type request struct {
	CSR string `json:"certificate_signing_request"`
	CA  bool   `json:"ca"`
}

// Issued is a provider's answer to one request. All fields are PEM.
type Issued struct {
	CSR         string   `json:"certificate_signing_request"`
	Certificate string   `json:"certificate"`
	CA          string   `json:"ca"`
	Chain       []string `json:"chain"`
	Revoked     bool     `json:"revoked"`
}

// Encode returns the entries of a unit's databag for one server certificate; an empty csr withdraws the
// request.
func Encode(csr string) map[string]string {
	if csr == "" {
		return map[string]string{keyRequests: ""}
	}
	raw, err := json.Marshal([]request{{CSR: strings.TrimSpace(csr)}})
	if err != nil {
		panic(err) // structs of text always have a JSON
	}
	return map[string]string{keyRequests: string(raw)}
}

// Asked reports whether a unit's databag has just this request; none if csr is empty.
func Asked(bag map[string]string, csr string) bool {
	return bag[keyRequests] == Encode(csr)[keyRequests]
}

// Decode reads the answer to csr in a provider's databag; ok is false if there is none yet. The error names
// a value that cannot be used.
func Decode(bag map[string]string, csr string) (issued Issued, ok bool, err error) {
	text := bag[keyCertificates]
	if text == "" {
		return Issued{}, false, nil
	}
	var all []Issued
	if err := json.Unmarshal([]byte(text), &all); err != nil {
		return Issued{}, false, fmt.Errorf("cannot read key %s of the tls-certificates relation: %w", keyCertificates, err)
	}
	for _, one := range all {
		if strings.TrimSpace(one.CSR) == strings.TrimSpace(csr) {
			return one, true, nil
		}
	}
	return Issued{}, false, nil
}
