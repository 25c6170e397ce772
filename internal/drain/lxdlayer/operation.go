package lxdlayer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/canonical/lxd/shared/api"

	"github.com/dcib/dcib/internal/drain"
)

// ask is how long LXD is asked at a time whether an operation is over: so long a request may
// stay behind that nobody waits for any more.
const ask = 5 * time.Second

// operate has LXD begin an operation and returns when it is over.
//
// The library waits on a websocket, a new one for each target, on which LXD 5.0 tells a full
// client of everything that any member does, down to each line of its log. With several moves
// at a time that costs the members as much again as the moves. See lxd 5.0.2, lxd/events.go.
func (c Cluster) operate(ctx context.Context, method string, path *api.URL, body any) error {
	answer, _, err := c.Server.RawQuery(method, path.String(), body, "")
	if err != nil {
		return err
	}
	op, err := answer.MetadataAsOperation()
	if err != nil {
		return fmt.Errorf("cannot understand LXD's answer: %w", err)
	}
	wait := api.NewURL().Path("1.0", "operations", op.ID, "wait").WithQuery("timeout", fmt.Sprint(int(ask/time.Second))).String()
	type heard struct {
		op  *api.Operation
		err error
	}
	for {
		last := make(chan heard, 1)
		go func() {
			answer, _, err := c.Server.RawQuery(http.MethodGet, wait, nil, "")
			if err != nil {
				last <- heard{err: err}
				return
			}
			op, err := answer.MetadataAsOperation()
			last <- heard{op, err}
		}()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case h := <-last:
			switch {
			case h.err != nil:
				return h.err
			case h.op.Err != "":
				return errors.New(h.op.Err)
			case h.op.StatusCode == api.Success:
				return nil
			case h.op.StatusCode.IsFinal():
				return fmt.Errorf("LXD says that it is %s", h.op.Status)
			}
		}
	}
}

// address is that of an instance, or of something of it.
func address(i drain.Ref, of ...string) *api.URL {
	return api.NewURL().Path(append([]string{"1.0", "instances", i.Name}, of...)...).Project(i.Project)
}
