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

// Env is what the steps work on, in one hook.
type Env struct {
	Tools   hooktool.Tools
	LXD     Server
	Project string // the LXD project of LXD, for messages
	Now     func() time.Time

	// failed is what LXD refused in this hook, by the step's name. It is reported to the units concerned
	// instead of failing the hook, and retried in the next.
	failed map[string]string

	restarted bool // instances were restarted in this hook
}

// Failed returns what LXD refused in this hook, by the step's name.
func (w *Env) Failed() map[string]string { return maps.Clone(w.failed) }

// Restarted reports whether instances were restarted in this hook.
func (w *Env) Restarted() bool { return w.restarted }

// Write writes the content of a profile.
type Write struct {
	Profile                      string
	Owner, Relation, Application string // see the keys in profiles.go
	Model                        string // the proven model's UUID, also a mark; "" leaves what is there
	Content                      profile.Profile
	Instances                    map[string]Instance // as observed
	Repair                       bool                // another program has changed it
	State                        *State              // to store in it; nil for none
}

// Name implements charm.Step.
func (s Write) Name() string {
	if s.Repair {
		return "restore profile " + s.Profile + ", which another program has changed"
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
		// LXD keeps the new profile even if an instance could not apply it. It is not left in force for the
		// others.
		if back := lxd.Await(ctx, w.LXD)(w.LXD.UpdateProfile(s.Profile, old.Writable(), "")); back != nil {
			return fmt.Errorf("%w; and cannot restore the profile: %w", err, back)
		}
		return err
	}
	return nil
}

// Delete deletes a profile that no instance uses.
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

// Claim is why an instance has a profile: the relation, and a check that the instance is still the observed
// one.
type Claim struct {
	Relation string
	Holds    func(own map[string]string) bool
	// Seen reports whether the instance was seen with the profile since its start.
	Seen bool
}

// Attach puts profiles last into an instance's list, in order of their names.
type Attach struct {
	Instance string
	Profiles map[string]Claim
	Started  time.Time // the instance's last start
	Repair   bool      // another program has changed the list
}

// Name implements charm.Step.
func (s Attach) Name() string {
	name := fmt.Sprintf("put profile %s last on instance %s", strings.Join(slices.Sorted(maps.Keys(s.Profiles)), ", "), s.Instance)
	if s.Repair {
		name += " again: another program has changed its list"
	}
	return name
}

// List returns the list with the profiles last.
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
				return fmt.Errorf("cannot attach a profile to instance %s: it is not the one that was observed (retried by the next hook)", s.Instance)
			}
			if slices.Contains(put.Profiles, name) {
				continue
			}
			// A profile that is put back was there when the instance started, unless the instance was
			// restarted since; then that is unknown.
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

// Release removes a profile from an instance's list, and its notes.
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

// runningVM is part of LXD's refusal of a key that it does not change while a virtual machine runs
// (lxd/instance/drivers/driver_qemu.go, Update).
const runningVM = "cannot be updated when VM is running"

// Note records what LXD refused for a later status. In an interrupted hook it returns the error.
func (w *Env) Note(ctx context.Context, step string, err error) error {
	if err == nil || ctx.Err() != nil {
		return err
	}
	if w.failed == nil {
		w.failed = map[string]string{}
	}
	w.failed[step] = strings.Join(strings.Fields(err.Error()), " ") // LXD's errors have line breaks
	if strings.Contains(err.Error(), runningVM) {
		w.failed[step] += ": stop the virtual machine (lxc stop), and start it again when the unit's status shows the profile in force"
	}
	return w.Tools.Log(ctx, "WARNING", fmt.Sprintf("cannot %s: %s", step, w.failed[step]))
}

// attempts is how often a change is tried if others change the same instance.
const attempts = 5

// Change edits an instance, and does nothing if edit changes nothing. LXD accepts a change only of the
// version that was read; if another program was first, the instance is read again.
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
