// Package lxdprofile is the lxd-profile interface, version 1: how an application asks for
// an LXD profile for the containers it runs in, and how the broker, which rules LXD,
// answers.
//
// The requirer holds no LXD credential. What it writes are claims, since in a cross-model
// relation the other side is "remote-<hash>/N" whoever it says it is. A unit proves that
// it runs as root in the instance it claims: the broker writes a nonce into that instance's
// configuration, which LXD shows to that instance's root alone (through devlxd), and the
// unit answers with an HMAC under it. The nonce is never in a databag.
//
//	requirer, application   ProfileRequest      what to apply
//	requirer, unit          Claim     who I am, which instance is mine, and the proof
//	provider, application   ProfileStatus    what came of it, for each unit
//
// The formats are described in docs/reference/lxd-profile.md.
package lxdprofile

import (
	"crypto/hmac"
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

// ErrEmpty is returned (wrapped) for a databag in which nothing was written yet. It never
// means that something is to be taken away.
var ErrEmpty = errors.New("nothing written yet")

// Bounds on what is read of the other side's values, in bytes. A profile is at most half of
// maxValue; an answer grows with the units; a word is a name, an id or a hash: short and
// printable, since it comes into answers, logs, names and marks.
const (
	maxValue  = 2 * profile.MaxBytes
	maxStatus = 8 << 20
	maxWord   = 256
)

// ProfileRequest is what the requirer's leader asks for.
type ProfileRequest struct {
	Application string // the principal application; names the profile, proves nothing
	Model       string // its model's name; likewise
	ModelUUID   string
	Profile     profile.Profile
	// RolledBack is the revision of what the requirer's options ask for, while it asks for
	// an earlier profile instead; empty otherwise. The answer repeats it, since only the
	// leader of an application can read what it wrote.
	RolledBack string
	Restart    *Restart // what to restart; nil when that was never asked for
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

// Encode returns the databag without a request for a restart, which stays as it is.
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

// DecodeProfileRequest reads the databag. The profile is as the other side wrote it: not validated.
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
		return ProfileRequest{}, fmt.Errorf("cannot read lxd-profile: profile is not what version %s says: %w", Version, err)
	}
	if bag["restart"] != "" {
		if err := json.Unmarshal([]byte(bag["restart"]), &r.Restart); err != nil {
			return ProfileRequest{}, fmt.Errorf("cannot read lxd-profile: restart is not what version %s says: %w", Version, err)
		}
		if r.Restart != nil && !word.MatchString(r.Restart.ID) {
			return ProfileRequest{}, fmt.Errorf("cannot read lxd-profile: the id of restart is %s, wanted at most %d printable characters", shorten(r.Restart.ID), maxWord)
		}
	}
	return r, nil
}

// CephCluster returns the name under which the provider's hosts keep the access to Ceph of one
// relation. It is made of the provider's model and of the provider's id of the relation
// ("lxd-profile:5"), neither of which the requirer can choose, so no relation can have the name
// of another's. The provider publishes it in ProfileStatus.CephCluster.
func CephCluster(modelUUID, relation string) string {
	return CephPrefix + digest("lxd-profile ceph\n"+modelUUID+"\n"+relation)
}

// CephPrefix begins the names of all such clusters.
const CephPrefix = "dcib-"

// Ceph is a share's monitors and key on their way to the provider's units, each of which
// has to have them on its host. It is what the requirer's leader writes; without Sealed it
// asks the units for the keys to seal to.
type Ceph struct {
	// Digest is the requirer's own note of what it sealed to whom. The provider ignores it.
	Digest string `json:"digest,omitempty"`
	// Source is the source of the disk device that will be asked for ("cephfs:cephfs/web"):
	// the provider keeps no access that its policy would not let the relation use.
	Source string            `json:"source,omitempty"`
	Sealed map[string]string `json:"sealed,omitempty"` // a CephAccess, by the number of the provider's unit
}

// Encode returns what it adds to the requirer's application databag.
func (c Ceph) Encode() map[string]string { return map[string]string{"ceph": encode(c)} }

// DecodeCeph reads it; nil when no share is asked for.
func DecodeCeph(bag map[string]string) (*Ceph, error) {
	if bag["ceph"] == "" {
		return nil, nil
	}
	if err := check(bag); err != nil {
		return nil, err
	}
	c := &Ceph{}
	if err := json.Unmarshal([]byte(bag["ceph"]), c); err != nil {
		return nil, fmt.Errorf("cannot read lxd-profile: ceph is not what version %s says: %w", Version, err)
	}
	return c, nil
}

// CephAccess is what is sealed.
type CephAccess struct {
	Monitors []string `json:"monitors"`
	User     string   `json:"user"`
	Key      string   `json:"key"`
}

// CephPurpose returns what an access is sealed for (internal/seal): one relation's cluster.
func CephPurpose(cluster string) string { return "lxd-profile ceph " + cluster }

// Digest returns 16 hex digits that differ between accesses. Each side computes it of what it has.
func (a CephAccess) Digest() string { return digest(encode(a)) }

// DigestFor returns 16 hex digits that differ with the access, its cluster and its receivers.
func (a CephAccess) DigestFor(cluster string, sealKeys map[string]string) string {
	return digest(encode(a) + cluster + encode(sealKeys))
}

// Member is what a unit of the provider says of itself, once a share is asked for.
type Member struct {
	SealKey string // its public key
	Ceph    string // CephAccess.Digest of what its host has
	Problem string // why it has not what was sealed to it
}

// Encode returns the databag.
func (m Member) Encode() map[string]string {
	return map[string]string{"version": Version, "seal-key": m.SealKey, "ceph": m.Ceph, "ceph-problem": m.Problem}
}

// DecodeMember reads the databag.
func DecodeMember(bag map[string]string) (Member, error) {
	if err := check(bag); err != nil {
		return Member{}, err
	}
	return Member{bag["seal-key"], bag["ceph"], bag["ceph-problem"]}, nil
}

// Claim is what a unit of the requirer says of itself.
type Claim struct {
	Unit      string // its own name, "lxd-profile-sub/0"
	Principal string // the unit it stands beside, "web/0"
	ModelUUID string // the model of both
	Instance  string // the LXD instance it runs in
	Challenge string // the challenge that Proof answers; empty before there was one
	Proof     string // what Prove gave
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

// DecodeClaim reads the databag that belongs to owner, a unit as the reader's Juju names
// it. A claim to be another unit is an error: within a model names must agree, across
// models the numbers, which Juju keeps ("remote-<hash>/3" is "lxd-profile-sub/3").
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
		return Claim{}, fmt.Errorf("cannot believe the claim of %s: it says it is %s", owner, strconv.Quote(c.Unit))
	}
	return c, nil
}

// UnitNumber returns 3 for "app/3", and -1 for what is no unit's name.
func UnitNumber(unit string) int {
	_, digits, _ := strings.Cut(unit, "/")
	n, err := strconv.ParseUint(digits, 10, 31)
	if err != nil {
		return -1
	}
	return int(n)
}

// RelationNumber returns 5 for "lxd-profile:5", and 0 for what is no relation's id.
func RelationNumber(id string) int {
	_, digits, _ := strings.Cut(id, ":")
	n, _ := strconv.Atoi(digits)
	return n
}

// The states of a unit.
const (
	Challenged      = "challenged"       // prove it: read Key and answer
	Applied         = "applied"          // Revision is in force
	Refused         = "refused"          // Message says what, and by which rule
	UnknownInstance = "unknown-instance" // the cluster has none of that name
	Waiting         = "waiting"          // the broker will look again; Message says for what
)

// State is what the broker says about one unit.
type State struct {
	State    string `json:"state"`
	Message  string `json:"message,omitempty"`
	Instance string `json:"instance,omitempty"`
	// Profile is the LXD profile in the instance's list, Revision the wish that is in it;
	// both empty while none is.
	Profile  string `json:"profile,omitempty"`
	Revision string `json:"revision,omitempty"`
	// Restart lists by their paths what of it waits for a restart, Ignored what means
	// nothing to the virtual machine that the instance is, Differs what the instance has
	// otherwise, with what it has in short, "" for nothing.
	Restart []string          `json:"restart,omitempty"`
	Ignored []string          `json:"ignored,omitempty"`
	Differs map[string]string `json:"differs,omitempty"`
	// Started is when the instance was, as LXD says it: the provider's own note.
	Started string `json:"started,omitempty"`
	// Key is the instance option to read through devlxd, Challenge names the nonce in it
	// without telling it.
	Key       string `json:"key,omitempty"`
	Challenge string `json:"challenge,omitempty"`
	// SeenBy is the broker's unit that last saw the unit in the relation. A broker's unit
	// that never saw it cannot tell whether it is gone or not yet joined.
	SeenBy string `json:"seen-by,omitempty"`
}

// ProfileStatus is what the broker's leader writes.
type ProfileStatus struct {
	Units      map[string]State // by the unit's own name
	Profile    *profile.Profile // what is in the LXD profile; nil while there is none
	RolledBack string           // the wish's
	Restart    Progress         // of the last request
	// NotifyAddress is host:port, UDP, and a word after a blank: a requirer that has written a wish may
	// send a datagram with that word there, so that it is looked at before Juju says so. Empty
	// while nobody listens.
	NotifyAddress string
	// CephCluster is the name that the relation's Ceph cluster has on the provider's hosts.
	CephCluster string
}

// The states of a restart.
const (
	Running = "running" // Message says which units it waits for
	Done    = "done"
	Failed  = "failed" // Message says why it was stopped, and nobody else is restarted
)

// Progress is what became of a request for a restart; zero before there was one.
type Progress struct {
	ID      string `json:"id,omitempty"`
	State   string `json:"state,omitempty"`
	Message string `json:"message,omitempty"`
	// Failed is when a request failed last, in RFC 3339; empty when the last one did not.
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
			return ProfileStatus{}, fmt.Errorf("cannot read lxd-profile: %s is not what version %s says: %w", part.key, Version, err)
		}
	}
	return s, nil
}

// Revision names a profile's content, so that both sides can tell which one is in force.
func Revision(p profile.Profile) string {
	return digest(encode(p))
}

const nonceKeyPrefix = "user.dcib.nonce."

// NonceKey is the instance option in which the broker keeps the nonce for a relation, by
// the broker's own id of it ("lxd-profile:5"). Each relation has its own, so that a proof
// given in one is worth nothing in another.
func NonceKey(relation string) string {
	_, number, _ := strings.Cut(relation, ":")
	return nonceKeyPrefix + number
}

// IsNonceKey reports whether an instance option is one that a requirer may be asked to read;
// nobody gets a proof under another.
func IsNonceKey(key string) bool {
	n, err := strconv.ParseUint(strings.TrimPrefix(key, nonceKeyPrefix), 10, 63)
	return err == nil && key == nonceKeyPrefix+strconv.FormatUint(n, 10)
}

// nonceBytes is the entropy of a nonce.
const nonceBytes = 32

// NewNonce makes a nonce out of random bytes, of which it reads 32.
func NewNonce(random interface{ Read([]byte) (int, error) }) (string, error) {
	b := make([]byte, nonceBytes)
	for filled := 0; filled < len(b); {
		n, err := random.Read(b[filled:])
		if err != nil {
			return "", fmt.Errorf("cannot make a nonce: %w", err)
		}
		filled += n
	}
	return hex.EncodeToString(b), nil
}

// IsNonce reports whether an instance option's value is one that NewNonce made.
func IsNonce(value string) bool {
	b, err := hex.DecodeString(value)
	return err == nil && len(b) == nonceBytes
}

// ChallengeOf names a nonce without telling it.
func ChallengeOf(nonce string) string { return digest("lxd-profile challenge\n" + nonce) }

// Prove returns the proof that whoever makes the claim has read the nonce at key. It is
// bound to everything that the claim says, so it proves no other claim.
func (c Claim) Prove(key, nonce string) string {
	mac := hmac.New(sha256.New, []byte(nonce))
	for _, part := range []string{"lxd-profile", Version, key, c.Unit, c.Principal, c.ModelUUID, c.Instance} {
		// Lengths keep the parts apart.
		fmt.Fprintf(mac, "%d:%s", len(part), part)
	}
	return hex.EncodeToString(mac.Sum(nil))
}

// ModelOption is the instance option in which Juju keeps the UUID of the instance's model.
// https://github.com/juju/juju/blob/main/environs/tags/tags.go
const ModelOption = "user.juju-model-uuid"

// ProvenIn reports whether the claim is proven for a relation, by the provider's id of it, in an
// instance with these options of its own: it is of the claimed model, and the proof holds under
// the nonce that the instance has for the relation.
func (c Claim) ProvenIn(relation string, own map[string]string) bool {
	key := NonceKey(relation)
	return own[ModelOption] == c.ModelUUID && c.Proven(key, own[key])
}

// Proven reports whether the claim's proof holds under the nonce at key.
func (c Claim) Proven(key, nonce string) bool {
	return IsNonce(nonce) && hmac.Equal([]byte(c.Proof), []byte(c.Prove(key, nonce)))
}

// word is what a name, an id or a hash may be; empty where it may be missing.
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
		return fmt.Errorf("cannot read lxd-profile: the other side writes version %s, this charm reads %s: refresh the older of the two", shorten(version), Version)
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
	encoder.SetEscapeHTML(false)      // or a < would take six bytes of maxValue
	if err := encoder.Encode(v); err != nil {
		panic(err)
	}
	return strings.TrimSuffix(text.String(), "\n")
}

// digest is enough of a SHA-256 to tell things apart.
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
