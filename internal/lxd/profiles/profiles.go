// Package profiles keeps profiles of ours on an LXD: it writes them, puts them last in the
// lists of instances, takes them off again, and tells what of them waits for a restart. Who
// is to have which profile is for others to say: the broker in lxd-cluster, which asks for
// proof, and lxd-profile-sub in its direct mode.
//
// A profile of ours carries marks, and an instance that has one a note of when it got it.
// These are all that is ever written: no other profile, no other key, no other entry in an
// instance's list of profiles.
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

// The marks on our profiles: who made it (model and application of the charm) under which
// name, for which relation, for whom and of which proven model, and when what needs a restart
// last changed.
const (
	keyPrefix      = "user.dcib."
	ownerKey       = "user.dcib.owner"
	relationKey    = "user.dcib.relation"
	applicationKey = "user.dcib.application"
	modelKey       = "user.dcib.model"
	changedKey     = "user.dcib.changed"
	stateKey       = "user.dcib.state"
)

// State is kept in a profile for who writes it, where nobody else remembers.
type State struct {
	Written    string          `json:"written"` // the revision of what was written
	History    profile.History `json:"history,omitempty"`
	RolledBack *RolledBack     `json:"rolled-back,omitempty"`
}

// RolledBack is an earlier profile that is in force until something else is wanted.
type RolledBack struct {
	Until   string          `json:"until"` // the revision of what is wanted, and not in force
	Profile profile.Profile `json:"profile"`
}

// attachedPrefix begins the instance option that says when the instance got the profile of
// a relation.
const attachedPrefix = "user.dcib.attached."

// AttachedKey is that option for one relation ("lxd-profile:5").
func AttachedKey(relation string) string { return attachedPrefix + number(relation) }

// number returns what of a relation's id tells it from others: 5 for "lxd-profile:5".
func number(relation string) string {
	_, number, _ := strings.Cut(relation, ":")
	return number
}

// Server is what is needed of LXD; LXD's own client is one, for one project. Its client
// goes by what the server said of itself, so it has to have been asked (GetServer).
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

// Profile is a profile of the project. Only what is Ours says more than its name.
type Profile struct {
	Ours     bool
	Relation string
	Model    string               // the UUID of the model that a unit of the relation has proven; "" while none has
	Content  profile.Profile      // without the marks
	Changed  map[string]time.Time // when what needs a restart last changed, by path
	Used     bool                 // by any instance, also one that cannot be reached
	State    State
}

// Instance is what is looked at in an instance.
type Instance struct {
	Profiles    []string
	Own         map[string]string // its own user.* options: those that come from a profile prove nothing
	InForce     profile.Profile   // what LXD makes of its profiles and its own options
	VM, Running bool
	Started     time.Time // last
	Unreachable string    // the offline member it is on; "" when it can be changed
}

// List returns the project's profiles. owner is the mark of who asks.
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
			_ = json.Unmarshal([]byte(p.Config[stateKey]), &known.State) // what cannot be read is nothing
		}
		all[p.Name] = known
	}
	return all, nil
}

// mark is the value of ownerKey. It names the profile, so that an operator's copy of one
// of ours is theirs.
func mark(owner, profile string) string { return owner + " " + profile }

// contentOf returns what a profile of ours asks for, without our marks.
func contentOf(config map[string]string, devices map[string]map[string]string) profile.Profile {
	content := profile.Merge(profile.Profile{Config: config, Devices: devices})
	maps.DeleteFunc(content.Config, func(key, _ string) bool { return strings.HasPrefix(key, keyPrefix) })
	return content
}

// changes reads changedKey; what cannot be read is nothing.
func changes(mark string) map[string]time.Time {
	times := map[string]time.Time{}
	_ = json.Unmarshal([]byte(mark), &times)
	return times
}

// moving is how LXD names an instance for as long as it moves between members (LXD 5.0's
// instancePostClusteringMigrate). What is changed on it then is lost, or breaks the move.
const moving = "lxd-move-of-"

// Instances returns the project's instances, but for those that are just being moved.
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
		// LXD names the instances of an offline member without telling what they have.
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

// runs reports whether an instance in that state runs, as far as a profile is concerned: one
// that has said over devlxd that it is ready (LXD 5.0.3 and later), and one that is frozen, do.
// LXD says Error for what it cannot ask.
func runs(state api.StatusCode) bool { return state != api.Stopped && state != api.Error }

// Pending lists by their paths the keys and devices of a profile that are not in force in
// a running instance that has it: they changed, or the instance got the profile, after it
// was started. Times are of the two members concerned, so their clocks have to agree.
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

// Differs returns what of a profile an instance that has it has otherwise, by path: the
// instance's own options go over every profile's. The value is what it has, "" for
// nothing; text that may be a secret is not told.
func (i Instance) Differs(p Profile) map[string]string {
	return profile.Differences(p.Content, i.InForce)
}

// maxName is how long we let a profile's name be, in bytes.
const maxName = 63

// Name chooses the name of a new profile: dcib-<model>-<application>, and where that is
// taken, or not all of it can be said, with a hash of what makes it unique.
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

// oldest returns when the first of the instances that have a profile was started; the zero
// time when one of them cannot say.
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

// changed says when what needs a restart last changed, after a change from old to now. What
// every instance has been started after is forgotten.
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
