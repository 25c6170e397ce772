package broker

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/canonical/lxd/shared/api"

	"github.com/dcib/dcib/internal/relation/lxdprofile"
)

// challenge writes a nonce into an instance that has none.
type challenge struct{ instance, key, relation string }

func (s challenge) Name() string {
	return fmt.Sprintf("challenge the unit that claims instance %s (%s)", s.instance, s.relation)
}

func (s challenge) Apply(ctx context.Context, w *Env) error {
	err := w.Change(ctx, s.instance, func(put *api.InstancePut) error {
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
	return w.Note(ctx, s.Name(), err)
}

// publish publishes the status for a requester.
type publish struct {
	relation, app string
	status, last  lxdprofile.ProfileStatus
}

func (s publish) Name() string {
	return fmt.Sprintf("publish the profile status for %s (%s)", s.app, s.relation)
}

func (s publish) Apply(ctx context.Context, w *Env) error {
	for _, name := range slices.Sorted(maps.Keys(s.status.Units)) {
		state := s.status.Units[name]
		last := s.last.Units[name]
		bad := state.State == lxdprofile.Refused || state.State == lxdprofile.UnknownInstance
		if bad && (last.State != state.State || last.Message != state.Message) {
			_ = w.Tools.Log(ctx, "WARNING", fmt.Sprintf("%s: %s to %s of %s: %s", s.relation, state.State, name, s.app, state.Message))
		}
		// The unit may have moved, or it lies. The proof decides; the log informs the operator.
		if state.State == lxdprofile.Challenged && last.Instance != "" && last.Instance != state.Instance {
			_ = w.Tools.Log(ctx, "WARNING", fmt.Sprintf("%s: %s of %s, which was in instance %s, claims instance %s: it gets nothing there before it has proven it", s.relation, name, s.app, last.Instance, state.Instance))
		}
	}
	return w.Tools.RelationSetApp(ctx, s.relation, s.status.Encode())
}
