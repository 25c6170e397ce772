// Package profiles manages the charms' profiles on an LXD: it writes them, puts them last in the lists of
// instances, removes them, and reports which keys wait for a restart. Its callers decide which instance has
// which profile: the broker in lxd-cluster, which requires a proof, and lxd-profile-sub in its direct mode.
//
// The charm's profiles have keys that identify them, and an instance that has one has a note of when it got
// it. Nothing else is written: no other profile, no other key, no other entry in an instance's list of
// profiles.
package profiles

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	lxdclient "github.com/canonical/lxd/client"
	"github.com/canonical/lxd/shared/api"

	"github.com/dcib/dcib/internal/lxd"
	"github.com/dcib/dcib/internal/profile"
)

// The keys of the charm's profiles: the owner (model and application of the charm, and the profile's name),
// the relation, the requester and its proven model, and when keys that need a restart last changed.
const (
	keyPrefix      = "user.dcib."
	ownerKey       = "user.dcib.owner"
	relationKey    = "user.dcib.relation"
	applicationKey = "user.dcib.application"
	modelKey       = "user.dcib.model"
	changedKey     = "user.dcib.changed"
	stateKey       = "user.dcib.state"
)

// State is what the charm stores in a profile if it has no other place for it.
type State struct {
	Written    string          `json:"written"` // the revision of what was written
	History    profile.History `json:"history,omitempty"`
	RolledBack *RolledBack     `json:"rolled-back,omitempty"`
}

// RolledBack is an earlier profile that is in force until another one is wanted.
type RolledBack struct {
	Until   string          `json:"until"` // the revision of what is wanted, and not in force
	Profile profile.Profile `json:"profile"`
}

// attachedPrefix begins the instance option with the time when the instance got the profile of a relation.
const attachedPrefix = "user.dcib.attached."

// AttachedKey returns that option for one relation ("lxd-profile:5").
func AttachedKey(relation string) string { return attachedPrefix + number(relation) }

// number returns the number in a relation's id: 5 for "lxd-profile:5".
func number(relation string) string {
	_, number, _ := strings.Cut(relation, ":")
	return number
}

// Server is what this package uses of LXD; LXD's own client implements it, for one project. The client
// knows the server's extensions only after GetServer.
type Server interface {
	lxd.Querier
	HasExtension(name string) bool
	GetInstances(kind api.InstanceType) ([]api.Instance, error)
	GetInstance(name string) (instance *api.Instance, etag string, err error)
	UpdateInstance(name string, instance api.InstancePut, etag string) (lxdclient.Operation, error)
	UpdateInstanceState(name string, state api.InstanceStatePut, etag string) (lxdclient.Operation, error)
	GetProfiles() ([]api.Profile, error)
	GetProfile(name string) (profile *api.Profile, etag string, err error)
	CreateProfile(profile api.ProfilesPost) error
	UpdateProfile(name string, profile api.ProfilePut, etag string) (lxdclient.Operation, error)
	DeleteProfile(name string) error
}

var _ Server = lxdclient.InstanceServer(nil)

// Profile is a profile of the project. Only one that is Ours has more than Used.
type Profile struct {
	Ours     bool
	Relation string
	Model    string               // the UUID of the model that a unit of the relation has proven; "" while none has
	Content  profile.Profile      // without the charm's keys
	Changed  map[string]time.Time // when keys that need a restart last changed, by path
	Used     bool                 // by any instance, even one that cannot be reached
	State    State
}

// Instance is an instance with what this package needs of it.
type Instance struct {
	Profiles    []string
	Own         map[string]string // its own user.* options: those of a profile prove nothing
	InForce     profile.Profile   // the result of its profiles and its own options
	VM, Running bool
	Started     time.Time // the last time
	Unreachable string    // the offline member it is on; "" when it can be changed
}

// List returns the project's profiles. owner is the owner of the caller's profiles.
func List(server Server, owner string) (map[string]Profile, error) {
	listed, err := server.GetProfiles()
	if err != nil {
		return nil, err
	}
	all := map[string]Profile{}
	for _, p := range listed {
		known := Profile{Used: len(p.UsedBy) > 0}
		if p.Config[ownerKey] == mark(owner, p.Name) {
			known.Ours = true
			known.Relation, known.Model = p.Config[relationKey], p.Config[modelKey]
			known.Content = contentOf(p.Config, p.Devices)
			known.Changed = changes(p.Config[changedKey])
			_ = json.Unmarshal([]byte(p.Config[stateKey]), &known.State) // unreadable state counts as none
		}
		all[p.Name] = known
	}
	return all, nil
}

// mark returns the value of ownerKey. It has the profile's name, so that an operator's copy of a profile is
// theirs.
func mark(owner, profile string) string { return owner + " " + profile }

// contentOf returns the content of a profile without the charm's keys.
func contentOf(config map[string]string, devices map[string]map[string]string) profile.Profile {
	content := profile.Merge(profile.Profile{Config: config, Devices: devices})
	maps.DeleteFunc(content.Config, func(key, _ string) bool { return strings.HasPrefix(key, keyPrefix) })
	return content
}

// changes decodes changedKey; an unreadable value counts as none.
func changes(mark string) map[string]time.Time {
	times := map[string]time.Time{}
	_ = json.Unmarshal([]byte(mark), &times)
	return times
}

// moving begins the name that LXD uses for an instance while it moves between members (LXD 5.0's
// instancePostClusteringMigrate). A change of it then is lost, or breaks the move.
const moving = "lxd-move-of-"

// Instances returns the project's instances, except those that are being moved.
func Instances(server Server) (map[string]Instance, error) {
	listed, err := server.GetInstances(api.InstanceTypeAny)
	if err != nil {
		return nil, err
	}
	all := map[string]Instance{}
	for _, i := range listed {
		if strings.HasPrefix(i.Name, moving) {
			continue
		}
		known := Instance{
			Profiles: i.Profiles,
			Own:      map[string]string{},
			InForce:  profile.Profile{Config: i.ExpandedConfig, Devices: i.ExpandedDevices},
			VM:       i.Type == string(api.InstanceTypeVM),
			Running:  runs(i.StatusCode),
			Started:  i.LastUsedAt,
		}
		// LXD lists the instances of an offline member without their configuration.
		if i.StatusCode == api.Error && len(i.Config) == 0 {
			known.Unreachable = i.Location
		}
		for key, value := range i.Config {
			if strings.HasPrefix(key, "user.") {
				known.Own[key] = value
			}
		}
		all[i.Name] = known
	}
	return all, nil
}

// runs reports whether an instance in that state runs, as far as a profile is concerned. One that has
// reported over devlxd that it is ready (LXD 5.0.3 and later), and one that is frozen, do. LXD shows Error
// for an instance that it cannot read.
func runs(state api.StatusCode) bool { return state != api.Stopped && state != api.Error }

// Pending returns the paths of the keys and devices of a profile that are not in force in a running
// instance: they changed, or the instance got the profile, after it was started. The times are of two
// members, so their clocks have to agree.
func (i Instance) Pending(p Profile) []string {
	if !i.Running || i.VM {
		return nil
	}
	pending := map[string]bool{}
	attached, err := time.Parse(time.RFC3339Nano, i.Own[AttachedKey(p.Relation)])
	for path, when := range p.Changed {
		pending[path] = when.After(i.Started) && (err != nil || when.After(attached))
	}
	if err == nil && attached.After(i.Started) {
		for path, effect := range profile.Classify(p.Content) {
			pending[path] = pending[path] || effect == profile.Restart
		}
	}
	maps.DeleteFunc(pending, func(_ string, is bool) bool { return !is })
	return slices.Sorted(maps.Keys(pending))
}

// Differs returns, by path, what an instance has instead of what its profile sets: the instance's own
// options override every profile's. The value is what the instance has, "" for nothing; text that may be a
// secret is not shown.
func (i Instance) Differs(p Profile) map[string]string {
	return profile.Differences(p.Content, i.InForce)
}

// maxName is the longest name of a profile, in bytes.
const maxName = 63

// Name returns the name for a new profile: dcib-<model>-<application>. If that is taken, too long or has
// other characters, it ends in a hash of unique.
func Name(model, application, unique string, taken func(name string) bool) string {
	plain := "dcib-" + model + "-" + application
	name := strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' {
			return c
		}
		return '-'
	}, plain)
	if name == plain && len(name) <= maxName && !taken(name) {
		return name
	}
	sum := sha256.Sum256([]byte(unique))
	hash := "-" + hex.EncodeToString(sum[:4])
	return name[:min(len(name), maxName-len(hash))] + hash
}

// oldest returns when the first of the instances that have a profile was started; the zero time if one of
// them cannot be read.
func oldest(name string, instances map[string]Instance) time.Time {
	first := time.Time{}
	for _, i := range instances {
		if i.Unreachable != "" {
			return time.Time{}
		}
		if slices.Contains(i.Profiles, name) && (first.IsZero() || i.Started.Before(first)) {
			first = i.Started
		}
	}
	return first
}

// changed returns the value of changedKey after a change from old to now. Times before every instance's
// start are dropped.
func changed(marks map[string]time.Time, old, now profile.Profile, at, oldest time.Time) string {
	maps.DeleteFunc(marks, func(_ string, when time.Time) bool { return when.Before(oldest) })
	for _, path := range profile.Changes(old, now) {
		if profile.EffectOf(path, old, now) == profile.Restart {
			marks[path] = at.UTC()
		}
	}
	if len(marks) == 0 {
		return ""
	}
	text, err := json.Marshal(marks)
	if err != nil {
		panic(fmt.Sprintf("cannot write times: %v", err)) // of a map of times
	}
	return string(text)
}
