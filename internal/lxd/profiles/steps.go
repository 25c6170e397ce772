package profiles

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/canonical/lxd/shared/api"

	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/lxd"
	"github.com/dcib/dcib/internal/profile"
)

// Env is what the steps work on, for one hook.
type Env struct {
	Tools   hooktool.Tools
	LXD     Server
	Project string // the LXD project that LXD is for, for messages
	Now     func() time.Time

	// failed is what LXD refused to do in this hook, by the step's name. It is told to
	// those it concerns rather than failing the hook, and tried again in the next.
	failed map[string]string

	restarted bool // instances, in this hook
}

// Failed is what LXD refused to do in this hook, by the step's name.
func (w *Env) Failed() map[string]string { return maps.Clone(w.failed) }

// Restarted reports whether instances were restarted in this hook.
func (w *Env) Restarted() bool { return w.restarted }

// Write makes a profile of ours have a content.
type Write struct {
	Profile                      string
	Owner, Relation, Application string // the marks
	Model                        string // the proven model's UUID, also a mark; "" leaves what is there
	Content                      profile.Profile
	Instances                    map[string]Instance // as they were seen
	Repair                       bool                // somebody else has changed it
	State                        *State              // what to keep in it; nil for nothing
}

// Name implements charm.Step.
func (s Write) Name() string {
	if s.Repair {
		return "put back what profile " + s.Profile + " had: somebody has changed it"
	}
	return "write profile " + s.Profile
}

// Apply implements charm.Step.
func (s Write) Apply(ctx context.Context, w *Env) error {
	return w.Note(ctx, s.Name(), s.write(ctx, w))
}

func (s Write) write(ctx context.Context, w *Env) error {
	content := profile.Merge(s.Content)
	content.Config[ownerKey], content.Config[relationKey] = mark(s.Owner, s.Profile), s.Relation
	if s.State != nil {
		text, err := json.Marshal(s.State)
		if err != nil {
			return err
		}
		content.Config[stateKey] = string(text)
	}
	description := "Written for lxd-profile-sub: do not edit, set its options"
	old, etag, err := w.LXD.GetProfile(s.Profile)
	switch {
	case api.StatusErrorCheck(err, http.StatusNotFound):
		content.Config[applicationKey] = s.Application
		if s.Model != "" {
			content.Config[modelKey] = s.Model
		}
		return w.LXD.CreateProfile(api.ProfilesPost{
			Name:       s.Profile,
			ProfilePut: api.ProfilePut{Config: content.Config, Devices: content.Devices, Description: description},
		})
	case err != nil:
		return err
	case old.Config[ownerKey] != mark(s.Owner, s.Profile) || old.Config[relationKey] != s.Relation:
		return fmt.Errorf("cannot write profile %s: it is not ours", s.Profile)
	}
	content.Config[applicationKey] = old.Config[applicationKey]
	if s.Application != "" {
		content.Config[applicationKey] = s.Application
	}
	if model := cmp.Or(s.Model, old.Config[modelKey]); model != "" {
		content.Config[modelKey] = model
	}
	if old.Config[changedKey] != "" {
		content.Config[changedKey] = old.Config[changedKey]
	}
	put := api.ProfilePut{Config: content.Config, Devices: content.Devices, Description: description}
	if maps.Equal(old.Config, put.Config) && maps.EqualFunc(old.Devices, put.Devices, maps.Equal) {
		return nil
	}
	before := contentOf(old.Config, old.Devices)
	delete(put.Config, changedKey)
	if mark := changed(changes(old.Config[changedKey]), before, s.Content, w.Now(), oldest(s.Profile, s.Instances)); mark != "" {
		put.Config[changedKey] = mark
	}
	if err := lxd.Await(ctx, w.LXD)(w.LXD.UpdateProfile(s.Profile, put, etag)); err != nil {
		// LXD keeps a profile also when an instance could not follow it. What does not
		// work is not left in force for some.
		if back := lxd.Await(ctx, w.LXD)(w.LXD.UpdateProfile(s.Profile, old.Writable(), "")); back != nil {
			return fmt.Errorf("%w; nor put back what was in it: %w", err, back)
		}
		return err
	}
	return nil
}

// Delete deletes a profile of ours that nothing uses.
type Delete struct{ Profile, Owner string }

// Name implements charm.Step.
func (s Delete) Name() string { return "delete profile " + s.Profile }

// Apply implements charm.Step.
func (s Delete) Apply(ctx context.Context, w *Env) error {
	old, _, err := w.LXD.GetProfile(s.Profile)
	if err == nil && old.Config[ownerKey] != mark(s.Owner, s.Profile) {
		err = fmt.Errorf("cannot delete profile %s: it is not ours", s.Profile)
	}
	if err == nil {
		err = w.LXD.DeleteProfile(s.Profile)
	}
	if api.StatusErrorCheck(err, http.StatusNotFound) {
		err = nil
	}
	return w.Note(ctx, s.Name(), err)
}

// Claim is what makes an instance have a profile: the relation it is for, and the check
// that the instance is still the one that was looked at.
type Claim struct {
	Relation string
	Holds    func(own map[string]string) bool
	// Seen reports whether the instance was seen with the profile since it was started.
	Seen bool
}

// Attach puts profiles of ours last into an instance's list, in order of their names.
type Attach struct {
	Instance string
	Profiles map[string]Claim
	Started  time.Time // when the instance was
	Repair   bool      // somebody else has changed the list
}

// Name implements charm.Step.
func (s Attach) Name() string {
	name := fmt.Sprintf("put profile %s last on instance %s", strings.Join(slices.Sorted(maps.Keys(s.Profiles)), ", "), s.Instance)
	if s.Repair {
		name += " again: somebody has changed its list"
	}
	return name
}

// List returns what the list is to be.
func (s Attach) List(now []string) []string {
	others := slices.DeleteFunc(slices.Clone(now), func(name string) bool {
		_, ours := s.Profiles[name]
		return ours
	})
	return append(others, slices.Sorted(maps.Keys(s.Profiles))...)
}

// Apply implements charm.Step.
func (s Attach) Apply(ctx context.Context, w *Env) error {
	err := w.Change(ctx, s.Instance, func(put *api.InstancePut) error {
		for name, claim := range s.Profiles {
			if !claim.Holds(put.Config) {
				return fmt.Errorf("cannot attach a profile to instance %s: it is not the one that was looked at: the next hook looks again", s.Instance)
			}
			if slices.Contains(put.Profiles, name) {
				continue
			}
			// What is put back was there when the instance was started, unless it was
			// started since: then nobody knows.
			had, err := time.Parse(time.RFC3339Nano, put.Config[AttachedKey(claim.Relation)])
			if err != nil || s.Started.After(had) && !claim.Seen {
				put.Config[AttachedKey(claim.Relation)] = w.Now().UTC().Format(time.RFC3339Nano)
			}
		}
		put.Profiles = s.List(put.Profiles)
		return nil
	})
	return w.Note(ctx, s.Name(), err)
}

// Release takes a profile of ours off an instance's list, and our notes with it.
type Release struct {
	Instance, Profile string
	Keys              []string // of the notes
}

// Name implements charm.Step.
func (s Release) Name() string {
	if s.Profile == "" {
		return fmt.Sprintf("take our notes %s off instance %s", strings.Join(s.Keys, ", "), s.Instance)
	}
	return fmt.Sprintf("take profile %s off instance %s", s.Profile, s.Instance)
}

// Apply implements charm.Step.
func (s Release) Apply(ctx context.Context, w *Env) error {
	err := w.Change(ctx, s.Instance, func(put *api.InstancePut) error {
		for _, key := range s.Keys {
			delete(put.Config, key)
		}
		put.Profiles = slices.DeleteFunc(put.Profiles, func(name string) bool { return name == s.Profile })
		return nil
	})
	if api.StatusErrorCheck(err, http.StatusNotFound) {
		err = nil // the instance is gone
	}
	return w.Note(ctx, s.Name(), err)
}

// runningVM is in LXD's refusal of a key that it does not change while a virtual machine runs
// (lxd/instance/drivers/driver_qemu.go, Update).
const runningVM = "cannot be updated when VM is running"

// Note keeps what LXD refused, for those it concerns; an interrupted hook fails.
func (w *Env) Note(ctx context.Context, step string, err error) error {
	if err == nil || ctx.Err() != nil {
		return err
	}
	if w.failed == nil {
		w.failed = map[string]string{}
	}
	w.failed[step] = strings.Join(strings.Fields(err.Error()), " ") // LXD's errors have lines
	if strings.Contains(err.Error(), runningVM) {
		w.failed[step] += ": stop the virtual machine (lxc stop), and start it again when the unit says that the profile is in force; LXD before 5.0.3 also wants that for keys that are for containers only"
	}
	return w.Tools.Log(ctx, "WARNING", fmt.Sprintf("cannot %s: %s", step, w.failed[step]))
}

// attempts is how often a change is tried against others who change the same instance.
const attempts = 5

// Change edits an instance as it is now, and nothing when edit leaves it as it is. LXD
// takes a change only to what was read; when somebody else was first, it is read again.
func (w *Env) Change(ctx context.Context, name string, edit func(put *api.InstancePut) error) error {
	err := errors.New("never tried")
	for range attempts {
		if err := ctx.Err(); err != nil {
			return err
		}
		instance, etag, getErr := w.LXD.GetInstance(name)
		if getErr != nil {
			return getErr
		}
		put := instance.Writable()
		config, profiles := maps.Clone(put.Config), slices.Clone(put.Profiles)
		if put.Config == nil {
			put.Config = map[string]string{}
		}
		if err := edit(&put); err != nil {
			return err
		}
		if maps.Equal(config, put.Config) && slices.Equal(profiles, put.Profiles) {
			return nil
		}
		err = lxd.Await(ctx, w.LXD)(w.LXD.UpdateInstance(name, put, etag))
		if !api.StatusErrorCheck(err, http.StatusPreconditionFailed) {
			return err
		}
	}
	return err
}
