package broker

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	lxdclient "github.com/canonical/lxd/client"
	"github.com/canonical/lxd/shared/api"

	"github.com/dcib/dcib/internal/profile"
	"github.com/dcib/dcib/internal/relation/lxdprofile"
)

// writeProfile makes a profile of ours have a content.
type writeProfile struct {
	profile                      string
	owner, relation, application string // the marks
	content                      profile.Profile
}

func (s writeProfile) Name() string { return "write profile " + s.profile }

func (s writeProfile) Apply(ctx context.Context, w *World) error {
	return w.note(ctx, s.Name(), s.write(ctx, w))
}

func (s writeProfile) write(ctx context.Context, w *World) error {
	content := profile.Merge(s.content)
	content.Config[ownerMark], content.Config[relationMark] = mark(s.owner, s.profile), s.relation
	description := "Written by lxd-cluster: do not edit, set the option of lxd-profile-sub"
	old, etag, err := w.LXD.GetProfile(s.profile)
	switch {
	case api.StatusErrorCheck(err, http.StatusNotFound):
		content.Config[applicationMark] = s.application
		return w.LXD.CreateProfile(api.ProfilesPost{
			Name:       s.profile,
			ProfilePut: api.ProfilePut{Config: content.Config, Devices: content.Devices, Description: description},
		})
	case err != nil:
		return err
	case old.Config[ownerMark] != mark(s.owner, s.profile) || old.Config[relationMark] != s.relation:
		return fmt.Errorf("cannot write profile %s: it is not ours", s.profile)
	}
	content.Config[applicationMark] = old.Config[applicationMark]
	if s.application != "" {
		content.Config[applicationMark] = s.application
	}
	put := api.ProfilePut{Config: content.Config, Devices: content.Devices, Description: description}
	if maps.Equal(old.Config, put.Config) && maps.EqualFunc(old.Devices, put.Devices, maps.Equal) {
		return nil
	}
	if err := wait(ctx)(w.LXD.UpdateProfile(s.profile, put, etag)); err != nil {
		// LXD keeps a profile also when an instance could not follow it. What does not
		// work is not left in force for some.
		if back := wait(ctx)(w.LXD.UpdateProfile(s.profile, old.Writable(), "")); back != nil {
			return fmt.Errorf("%w; nor put back what was in it: %w", err, back)
		}
		return err
	}
	return nil
}

// deleteProfile deletes a profile of ours that nothing uses.
type deleteProfile struct{ profile, owner string }

func (s deleteProfile) Name() string { return "delete profile " + s.profile }

func (s deleteProfile) Apply(ctx context.Context, w *World) error {
	old, _, err := w.LXD.GetProfile(s.profile)
	if err == nil && old.Config[ownerMark] != mark(s.owner, s.profile) {
		err = fmt.Errorf("cannot delete profile %s: it is not ours", s.profile)
	}
	if err == nil {
		err = w.LXD.DeleteProfile(s.profile)
	}
	if api.StatusErrorCheck(err, http.StatusNotFound) {
		err = nil
	}
	return w.note(ctx, s.Name(), err)
}

// challenge puts a nonce into an instance, where there is none.
type challenge struct{ instance, key, relation string }

func (s challenge) Name() string {
	return fmt.Sprintf("challenge whoever claims instance %s (%s)", s.instance, s.relation)
}

func (s challenge) Apply(ctx context.Context, w *World) error {
	err := w.change(ctx, s.instance, func(put *api.InstancePut) error {
		if lxdprofile.IsNonce(put.Config[s.key]) {
			return nil
		}
		nonce, err := lxdprofile.NewNonce(w.Random)
		if err != nil {
			return err
		}
		put.Config[s.key] = nonce
		return nil
	})
	return w.note(ctx, s.Name(), err)
}

// lock is the nonce under which a proof was given.
type lock struct{ key, challenge string }

// attach puts profiles of ours last into an instance's list, in order of their names.
type attach struct {
	instance string
	profiles map[string]lock
}

func (s attach) Name() string {
	return fmt.Sprintf("put profile %s last on instance %s", strings.Join(slices.Sorted(maps.Keys(s.profiles)), ", "), s.instance)
}

// list gives what the list is to be.
func (s attach) list(now []string) []string {
	others := slices.DeleteFunc(slices.Clone(now), func(name string) bool {
		_, ours := s.profiles[name]
		return ours
	})
	return append(others, slices.Sorted(maps.Keys(s.profiles))...)
}

func (s attach) Apply(ctx context.Context, w *World) error {
	err := w.change(ctx, s.instance, func(put *api.InstancePut) error {
		for _, l := range s.profiles {
			// The proof was about the instance that had this nonce.
			if lxdprofile.ChallengeOf(put.Config[l.key]) != l.challenge {
				return fmt.Errorf("cannot attach a profile to instance %s: it is not the one that was looked at: the next hook looks again", s.instance)
			}
		}
		put.Profiles = s.list(put.Profiles)
		return nil
	})
	return w.note(ctx, s.Name(), err)
}

// release takes a profile of ours off an instance's list, and the nonce with it.
type release struct{ instance, profile, key string }

func (s release) Name() string {
	if s.profile == "" {
		return fmt.Sprintf("take our nonce %s off instance %s", s.key, s.instance)
	}
	return fmt.Sprintf("take profile %s off instance %s", s.profile, s.instance)
}

func (s release) Apply(ctx context.Context, w *World) error {
	err := w.change(ctx, s.instance, func(put *api.InstancePut) error {
		delete(put.Config, s.key)
		put.Profiles = slices.DeleteFunc(put.Profiles, func(name string) bool { return name == s.profile })
		return nil
	})
	if api.StatusErrorCheck(err, http.StatusNotFound) {
		err = nil // the instance is gone
	}
	return w.note(ctx, s.Name(), err)
}

// publish tells an application what is so.
type publish struct {
	relation, app string
	answer, last  lxdprofile.Answer
}

func (s publish) Name() string {
	return fmt.Sprintf("tell %s about its profile (%s)", s.app, s.relation)
}

func (s publish) Apply(ctx context.Context, w *World) error {
	for _, name := range slices.Sorted(maps.Keys(s.answer.Units)) {
		state := s.answer.Units[name]
		bad := state.State == lxdprofile.Refused || state.State == lxdprofile.UnknownInstance
		if last := s.last.Units[name]; bad && (last.State != state.State || last.Message != state.Message) {
			_ = w.Tools.Log(ctx, "WARNING", fmt.Sprintf("%s: %s to %s of %s: %s", s.relation, state.State, name, s.app, state.Message))
		}
	}
	return w.Tools.RelationSetApp(ctx, s.relation, s.answer.Encode())
}

// note keeps what LXD refused, for those it concerns; an interrupted hook fails.
func (w *World) note(ctx context.Context, step string, err error) error {
	if err == nil || ctx.Err() != nil {
		return err
	}
	if w.failed == nil {
		w.failed = map[string]string{}
	}
	w.failed[step] = strings.Join(strings.Fields(err.Error()), " ") // LXD's errors have lines
	return w.Tools.Log(ctx, "WARNING", fmt.Sprintf("cannot %s: %s", step, w.failed[step]))
}

// attempts is how often a change is tried against others who change the same instance.
const attempts = 5

// change edits an instance as it is now, and nothing when edit leaves it as it is. LXD
// takes a change only to what was read; when somebody else was first, it is read again.
func (w *World) change(ctx context.Context, name string, edit func(put *api.InstancePut) error) error {
	var err error
	for range attempts {
		if err = ctx.Err(); err != nil {
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
		if err = edit(&put); err != nil {
			return err
		}
		if maps.Equal(config, put.Config) && slices.Equal(profiles, put.Profiles) {
			return nil
		}
		err = wait(ctx)(w.LXD.UpdateInstance(name, put, etag))
		if !api.StatusErrorCheck(err, http.StatusPreconditionFailed) {
			return err
		}
	}
	return err
}

// wait makes one error of starting an operation and how it ended.
func wait(ctx context.Context) func(lxdclient.Operation, error) error {
	return func(op lxdclient.Operation, err error) error {
		if err != nil {
			return err
		}
		return op.WaitContext(ctx)
	}
}
