// Package lxdprofile is the lxd-profile interface, version 1: how an application requests an LXD profile
// for its containers, and how the broker, which controls LXD, answers.
//
// The requirer has no LXD credential. What it writes are claims: in a cross-model relation the other side
// is "remote-<hash>/N", whatever it claims to be. A unit proves that it runs as root in the instance that
// it claims: the broker writes a nonce into that instance's configuration, which LXD shows only to root of
// that instance (through devlxd), and the unit answers with an HMAC of it. The nonce is never in a databag.
//
//	requirer, application   ProfileRequest   the requested profile
//	requirer, unit          Claim            the unit, its instance, and the proof
//	provider, application   ProfileStatus    the result for each unit
//
// The formats are described in docs/reference/lxd-profile.md.
package lxdprofile

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/dcib/dcib/internal/profile"
)

// Interface is the name of the interface in charmcraft.yaml.
const Interface = "lxd-profile"

// Version is the version of the databags.
const Version = "1"

// ErrEmpty is wrapped by the errors for a databag without content. It never means that something is to be
// removed.
var ErrEmpty = errors.New("nothing written yet")

// Limits on the other side's values, in bytes. A profile is at most half of maxValue; a status grows with
// the units. A word is a name, an id or a hash: short and printable, since it is used in statuses, logs,
// names and keys.
const (
	maxValue  = 2 * profile.MaxBytes
	maxStatus = 8 << 20
	maxWord   = 256
)

// ProfileRequest is the request of the requirer's leader.
type ProfileRequest struct {
	Application string // the principal application; used for the profile's name, proves nothing
	Model       string // the name of its model; likewise
	ModelUUID   string
	Profile     profile.Profile
	// RolledBack is the revision of the profile of the requirer's options while an earlier one is
	// requested; empty otherwise. The status repeats it, since only the leader of an application can read
	// what it wrote.
	RolledBack string
	Restart    *Restart // nil if none was requested yet
}

// Restart requests a restart of the instances for which a key waits.
type Restart struct {
	ID          string   `json:"id"`           // unlike that of any earlier request
	Batch       int      `json:"batch"`        // how many at a time, at least 1
	WaitHealthy Duration `json:"wait-healthy"` // how long a unit may take to be back; 0: it is not waited for
}

// NewRestart returns a new request. waitHealthy is a duration like 5m.
func NewRestart(batch int, waitHealthy string) (Restart, error) {
	wait, err := time.ParseDuration(waitHealthy)
	switch {
	case batch < 1:
		return Restart{}, fmt.Errorf("cannot restart: parameter batch is %d, wanted 1 or more", batch)
	case err != nil || wait < 0:
		return Restart{}, fmt.Errorf("cannot restart: parameter wait-healthy is %q, wanted a duration like 30s or 5m, or 0", waitHealthy)
	}
	return Restart{ID: strings.ToLower(rand.Text()[:8]), Batch: batch, WaitHealthy: Duration(wait)}, nil
}

// Duration is a time.Duration that is text in JSON, like 5m0s.
type Duration time.Duration

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("%s is no duration like 5m", shorten(string(text)))
	}
	*d = Duration(parsed)
	return nil
}

// Encode returns what the request adds to the databag.
func (r Restart) Encode() map[string]string { return map[string]string{"restart": encode(r)} }

// Encode returns the databag without the request for a restart, which is not changed.
func (r ProfileRequest) Encode() map[string]string {
	return map[string]string{
		"version":     Version,
		"application": r.Application,
		"model":       r.Model,
		"model-uuid":  r.ModelUUID,
		"profile":     encode(r.Profile),
		"rolled-back": r.RolledBack,
	}
}

// DecodeProfileRequest reads the databag. The profile is not validated.
func DecodeProfileRequest(bag map[string]string) (ProfileRequest, error) {
	if err := check(bag); err != nil {
		return ProfileRequest{}, err
	}
	r := ProfileRequest{Application: bag["application"], Model: bag["model"], ModelUUID: bag["model-uuid"], RolledBack: bag["rolled-back"]}
	if err := want(bag, "application", "model", "model-uuid", "profile"); err != nil {
		return ProfileRequest{}, err
	}
	if err := words(bag, "application", "model", "model-uuid", "rolled-back"); err != nil {
		return ProfileRequest{}, err
	}
	if err := json.Unmarshal([]byte(bag["profile"]), &r.Profile); err != nil {
		return ProfileRequest{}, fmt.Errorf("cannot read lxd-profile: profile is not as in version %s: %w", Version, err)
	}
	if bag["restart"] != "" {
		if err := json.Unmarshal([]byte(bag["restart"]), &r.Restart); err != nil {
			return ProfileRequest{}, fmt.Errorf("cannot read lxd-profile: restart is not as in version %s: %w", Version, err)
		}
		if r.Restart != nil && !word.MatchString(r.Restart.ID) {
			return ProfileRequest{}, fmt.Errorf("cannot read lxd-profile: the id of restart is %s, wanted at most %d printable characters", shorten(r.Restart.ID), maxWord)
		}
	}
	return r, nil
}

// Claim is the claim of a unit of the requirer.
type Claim struct {
	Unit      string // its own name, "lxd-profile-sub/0"
	Principal string // the unit it stands beside, "web/0"
	ModelUUID string // the model of both
	Instance  string // the LXD instance it runs in
	Challenge string // the challenge that Proof answers; empty before the first
	Proof     string // the result of Prove
	Started   string // another text after each start of the instance; not proven
}

// Encode returns the databag.
func (c Claim) Encode() map[string]string {
	return map[string]string{
		"version":    Version,
		"unit":       c.Unit,
		"principal":  c.Principal,
		"model-uuid": c.ModelUUID,
		"instance":   c.Instance,
		"challenge":  c.Challenge,
		"proof":      c.Proof,
		"started":    c.Started,
	}
}

// DecodeClaim reads the databag of owner, a unit by the name that the reader's Juju uses. A claim to be
// another unit is an error: within a model the names must agree, across models the numbers, which Juju
// keeps ("remote-<hash>/3" is "lxd-profile-sub/3").
func DecodeClaim(owner string, bag map[string]string) (Claim, error) {
	if err := check(bag); err != nil {
		return Claim{}, err
	}
	c := Claim{
		Unit: bag["unit"], Principal: bag["principal"], ModelUUID: bag["model-uuid"],
		Instance: bag["instance"], Challenge: bag["challenge"], Proof: bag["proof"],
		Started: bag["started"],
	}
	if err := want(bag, "unit", "principal", "model-uuid", "instance"); err != nil {
		return Claim{}, err
	}
	if err := words(bag, "unit", "principal", "model-uuid", "instance", "challenge", "proof", "started"); err != nil {
		return Claim{}, err
	}
	foreign := strings.HasPrefix(owner, "remote-")
	if n := UnitNumber(owner); n < 0 || n != UnitNumber(c.Unit) || !foreign && owner != c.Unit {
		return Claim{}, fmt.Errorf("cannot accept the claim of %s to be %s", owner, strconv.Quote(c.Unit))
	}
	return c, nil
}

// UnitNumber returns 3 for "app/3", and -1 for an invalid name.
func UnitNumber(unit string) int {
	_, digits, _ := strings.Cut(unit, "/")
	n, err := strconv.ParseUint(digits, 10, 31)
	if err != nil {
		return -1
	}
	return int(n)
}

// RelationNumber returns 5 for "lxd-profile:5", and 0 for an invalid id.
func RelationNumber(id string) int {
	_, digits, _ := strings.Cut(id, ":")
	n, _ := strconv.Atoi(digits)
	return n
}

// The states of a unit.
const (
	Challenged      = "challenged"       // the unit has to read Key and prove its instance
	Applied         = "applied"          // Revision is in force
	Refused         = "refused"          // Message has the reason
	UnknownInstance = "unknown-instance" // the cluster has none of that name
	Waiting         = "waiting"          // the broker retries; Message has the reason
)

// State is the broker's state of one unit.
type State struct {
	State    string `json:"state"`
	Message  string `json:"message,omitempty"`
	Instance string `json:"instance,omitempty"`
	// Profile is the LXD profile in the instance's list, Revision the profile that was requested in it;
	// both are empty while there is none.
	Profile  string `json:"profile,omitempty"`
	Revision string `json:"revision,omitempty"`
	// Restart has the paths that wait for a restart, Ignored those that a virtual machine ignores, and
	// Differs the short values of what the instance has instead, "" for nothing.
	Restart []string          `json:"restart,omitempty"`
	Ignored []string          `json:"ignored,omitempty"`
	Differs map[string]string `json:"differs,omitempty"`
	// Started is the instance's last start by LXD: the provider's own note.
	Started string `json:"started,omitempty"`
	// Key is the instance option to read through devlxd, Challenge identifies the nonce in it without
	// revealing it.
	Key       string `json:"key,omitempty"`
	Challenge string `json:"challenge,omitempty"`
	// SeenBy is the broker's unit that last saw the unit in the relation. Another unit cannot distinguish a
	// unit that is gone from one that has not joined yet.
	SeenBy string `json:"seen-by,omitempty"`
}

// ProfileStatus is the status that the broker's leader publishes.
type ProfileStatus struct {
	Units      map[string]State // by the unit's own name
	Profile    *profile.Profile // the content of the LXD profile; nil while there is none
	RolledBack string           // from the request
	Restart    Progress         // of the last request
	// NotifyAddress is host:port, UDP, and a token after a space. A requirer that has changed its request
	// may send the token there, so that the broker handles it before Juju reports it. It is empty while the
	// broker does not listen.
	NotifyAddress string
	// CephCluster is the name of the relation's Ceph cluster on the provider's hosts.
	CephCluster string
}

// The states of a restart.
const (
	Running = "running" // Message says which units it waits for
	Done    = "done"
	Failed  = "failed" // Message has the reason; no other instance is restarted
)

// Progress is the progress of a request for a restart; zero if there was none.
type Progress struct {
	ID      string `json:"id,omitempty"`
	State   string `json:"state,omitempty"`
	Message string `json:"message,omitempty"`
	// Failed is when a request last failed, in RFC 3339; empty if the last one did not.
	Failed string `json:"failed,omitempty"`
}

// Encode returns the databag.
func (s ProfileStatus) Encode() map[string]string {
	bag := map[string]string{"version": Version, "units": encode(s.Units), "profile": "", "rolled-back": s.RolledBack, "restart": "", "notify-address": s.NotifyAddress, "ceph-cluster": s.CephCluster}
	if s.Profile != nil {
		bag["profile"] = encode(s.Profile)
	}
	if s.Restart != (Progress{}) {
		bag["restart"] = encode(s.Restart)
	}
	return bag
}

// DecodeProfileStatus reads the databag.
func DecodeProfileStatus(bag map[string]string) (ProfileStatus, error) {
	if err := checkSize(bag, maxStatus); err != nil {
		return ProfileStatus{}, err
	}
	s := ProfileStatus{RolledBack: bag["rolled-back"], NotifyAddress: bag["notify-address"], CephCluster: bag["ceph-cluster"]}
	for _, part := range []struct {
		key  string
		into any
	}{{"units", &s.Units}, {"profile", &s.Profile}, {"restart", &s.Restart}} {
		if bag[part.key] == "" && part.key != "units" {
			continue
		}
		if err := json.Unmarshal([]byte(bag[part.key]), part.into); err != nil {
			return ProfileStatus{}, fmt.Errorf("cannot read lxd-profile: %s is not as in version %s: %w", part.key, Version, err)
		}
	}
	return s, nil
}

// Revision identifies a profile's content, so that both sides know which one is in force.
func Revision(p profile.Profile) string {
	return digest(encode(p))
}

// word matches a name, an id or a hash, which may be empty.
var word = regexp.MustCompile(fmt.Sprintf(`^[ -~]{0,%d}$`, maxWord))

func words(bag map[string]string, keys ...string) error {
	for _, k := range keys {
		if !word.MatchString(bag[k]) {
			return fmt.Errorf("cannot read lxd-profile: %s is %s, wanted at most %d printable characters", k, shorten(bag[k]), maxWord)
		}
	}
	return nil
}

func check(bag map[string]string) error { return checkSize(bag, maxValue) }

func checkSize(bag map[string]string, most int) error {
	switch version := bag["version"]; version {
	case Version:
	case "":
		return fmt.Errorf("cannot read lxd-profile: %w", ErrEmpty)
	default:
		return fmt.Errorf("cannot read lxd-profile: the other side uses version %s, this charm %s: refresh the older charm", shorten(version), Version)
	}
	for k, v := range bag {
		if len(v) > most {
			return fmt.Errorf("cannot read lxd-profile: %s is %d bytes long, wanted at most %d", shorten(k), len(v), most)
		}
	}
	return nil
}

func want(bag map[string]string, keys ...string) error {
	for _, k := range keys {
		if bag[k] == "" {
			return fmt.Errorf("cannot read lxd-profile: %s is missing", k)
		}
	}
	return nil
}

func encode(v any) string {
	var text strings.Builder
	encoder := json.NewEncoder(&text) // of strings and maps of strings only, sorted
	encoder.SetEscapeHTML(false)      // otherwise a < would take six bytes of maxValue
	if err := encoder.Encode(v); err != nil {
		panic(err)
	}
	return strings.TrimSuffix(text.String(), "\n")
}

// digest returns a short SHA-256.
func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:8])
}

func shorten(s string) string {
	const short = 40
	if len(s) > short {
		s = s[:short] + "…"
	}
	return strconv.Quote(s)
}
