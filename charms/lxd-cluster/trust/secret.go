package trust

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dcib/dcib/internal/hooktool"
)

// SecretResult returns the confidential results of an action. Juju keeps the results of an action for weeks
// (option max-action-results-age of the controller) and shows them to each user who may read the model. So
// the content goes into a Juju secret of the application, which only its administrators can show, and the
// results have its id.
type SecretResult struct {
	Tools  hooktool.Tools
	Reveal bool   // parameter reveal: the content itself is in the results
	Label  string // of the secret; the time is added to it
	Now    time.Time
}

// Possible returns an error if this unit cannot deliver. Call it before anything is changed.
func (r SecretResult) Possible(ctx context.Context) error {
	if r.Reveal {
		return nil
	}
	leader, err := r.Tools.IsLeader(ctx)
	if err == nil && !leader {
		err = errors.New("cannot put the result into a secret: only the leader may: run this on the leader, or with reveal=true")
	}
	return err
}

// Deliver returns the results for the content: keys `secret` (the id) and `show` (the command). With Reveal
// the content is in the action's results instead, and none are returned.
func (r SecretResult) Deliver(ctx context.Context, content map[string]string) (map[string]string, error) {
	if r.Reveal {
		return map[string]string{}, r.Tools.ActionSetSecret(ctx, content)
	}
	id, err := r.Tools.AddSecret(ctx, fmt.Sprintf("%s-%d", r.Label, r.Now.UnixNano()), content)
	if err != nil {
		return nil, err
	}
	return map[string]string{"secret": id, "show": "juju show-secret --reveal " + id}, nil
}
