// Package maascontroller is the interface `maas_controller`: a MAAS region publishes its
// address to racks, with the secret to enrol, as a Juju secret. Keys and values are those
// of the library charms.maas_region.v0.maas (canonical/maas-charms, tracks 3.4 to 3.6), so
// either side may be those charms.
//
// The region writes an Offer into its application's databag, each rack a Rack into its
// unit's. The other keys of this project's charms are ignored by those.
package maascontroller

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// Interface is the name of the interface in charmcraft.yaml.
const Interface = "maas_controller"

// SecretField is the field of the Juju secret that has the region's secret.
const SecretField = "maas-secret"

// Databag keys.
const (
	keyURL      = "api_url"
	keyRegions  = "regions"
	keySecretID = "maas_secret_id"
	keyUnit     = "unit"
	keyFQDN     = "url" // it is a name, whatever it is called
	keySystemID = "dcib-system-id"
	keyVersion  = "dcib-version"
)

// SecretLabel returns the label that the region's secret for a relation ("maas:3") has.
func SecretLabel(relation string) string {
	endpoint, id, _ := strings.Cut(relation, ":")
	return "enroll-" + endpoint + "-" + id + ".secret"
}

// Offer is what the region publishes to its racks.
type Offer struct {
	URL      string   // where its API is, like http://maas.example:5240/MAAS
	Regions  []string // the host names of its units
	SecretID string   // the Juju secret that has its secret
}

// Encode returns the databag entries of an offer.
func (o Offer) Encode() map[string]string {
	regions := slices.Clone(o.Regions)
	if regions == nil {
		regions = []string{}
	}
	slices.Sort(regions)
	text, err := json.Marshal(regions)
	if err != nil {
		panic(err) // a list of text always has a JSON
	}
	return map[string]string{keyURL: o.URL, keyRegions: string(text), keySecretID: o.SecretID}
}

// DecodeOffer reads a region's databag. ok is false while it has not offered everything. The
// error says what it wrote that cannot be used.
func DecodeOffer(bag map[string]string) (o Offer, ok bool, err error) {
	o = Offer{URL: strings.TrimSpace(bag[keyURL]), SecretID: strings.TrimSpace(bag[keySecretID])}
	if o.URL == "" || o.SecretID == "" {
		return Offer{}, false, nil
	}
	if err := CheckURL(o.URL); err != nil {
		return Offer{}, false, fmt.Errorf("cannot use the %s relation: its %s is %q: %w", Interface, keyURL, o.URL, err)
	}
	if text := bag[keyRegions]; text != "" {
		if err := json.Unmarshal([]byte(text), &o.Regions); err != nil {
			return Offer{}, false, fmt.Errorf("cannot read %s of the %s relation: wanted a JSON list of host names: %w", keyRegions, Interface, err)
		}
	}
	return o, true, nil
}

// CheckURL returns what is wrong with the address of a region, which is used unchanged in files and command
// lines.
func CheckURL(text string) error {
	at, err := url.Parse(text)
	switch {
	case err != nil:
		return errors.New("that is no URL: wanted one like http://maas.example:5240/MAAS")
	case at.Scheme != "http" && at.Scheme != "https", at.Hostname() == "", strings.ContainsAny(text, " \t\r\n'\"\\"):
		return errors.New("wanted a URL like http://maas.example:5240/MAAS")
	case at.User != nil || at.RawQuery != "" || at.Fragment != "":
		return errors.New("wanted a URL without user, query and fragment, like http://maas.example:5240/MAAS")
	}
	return nil
}

// Rack is what a rack publishes to the region.
type Rack struct {
	Unit string // "maas-rack/0"; in a cross-model relation Juju calls it otherwise
	FQDN string // the name of its machine
	// SystemID is MAAS's own name for it, once it has one; empty from a rack that is not
	// ours.
	SystemID string
	Version  string // of its packages; empty likewise
}

// Encode returns the databag entries of a rack.
func (r Rack) Encode() map[string]string {
	return map[string]string{keyUnit: r.Unit, keyFQDN: r.FQDN, keySystemID: r.SystemID, keyVersion: r.Version}
}

// systemID is what MAAS calls a node: a few letters and digits.
var systemID = regexp.MustCompile(`^[a-zA-Z0-9]{1,64}$`)

// DecodeRack reads a rack's databag. ok is false while it has written nothing. The error
// says what it wrote that cannot be used.
func DecodeRack(bag map[string]string) (r Rack, ok bool, err error) {
	r = Rack{Unit: bag[keyUnit], FQDN: bag[keyFQDN], SystemID: bag[keySystemID], Version: bag[keyVersion]}
	if r.Unit == "" || r.FQDN == "" {
		return Rack{}, false, nil
	}
	if r.SystemID != "" && !systemID.MatchString(r.SystemID) {
		return Rack{}, false, fmt.Errorf("cannot use the %s relation: %s of %s is %q, wanted letters and digits", Interface, keySystemID, r.Unit, r.SystemID)
	}
	return r, true, nil
}
