package lxd

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	lxdclient "github.com/canonical/lxd/client"
	"github.com/canonical/lxd/shared/api"
	"github.com/stretchr/testify/require"
)

// silent is how long another member of LXD 5.0.2 is silent about an operation of a member that is
// gone, before it answers with errMissing.
const silent = 10 * time.Second

var (
	errMissing  = api.StatusErrorf(http.StatusInternalServerError, "Missing event connection with target cluster member")
	errRefused  = errors.New("dial unix /var/lib/lxd/unix.socket: connect: connection refused")
	errNotFound = api.StatusErrorf(http.StatusNotFound, "Operation not found")
)

// operations is LXD with one operation, which ends after a while unless its server dies. It answers
// as LXD 5.0.2 was seen to, and LXD 6.6 where newer is set.
type operations struct {
	ends  time.Duration // after the begin
	fails error         // how
	newer bool

	dies   time.Duration // its server, after the begin; 0 is never
	back   time.Duration // and when it is back; 0 is never
	remote bool          // asked through another member
	hangs  bool          // instead of dying it does not answer any more

	began time.Time
}

func (o *operations) state() api.Operation {
	op := api.Operation{ID: "op1", StatusCode: api.Running, Status: "Running"}
	if time.Since(o.began) >= o.ends {
		op.StatusCode, op.Status = api.Success, "Success"
		if o.fails != nil {
			op.StatusCode, op.Status, op.Err = api.Failure, "Failure", o.fails.Error()
		}
	}
	return op
}

// dead reports whether the server is gone now, after it is back since the operation began.
func (o *operations) dead() (dead, restarted bool) {
	now := time.Since(o.began)
	gone := o.dies > 0 && now >= o.dies
	restarted = gone && o.back > 0 && now >= o.back
	return gone && !restarted, restarted
}

func (o *operations) RawQuery(method, path string, _ any, _ string) (*api.Response, string, error) {
	answer := func() (*api.Response, string, error) {
		text, err := json.Marshal(o.state())
		return &api.Response{Metadata: text}, "", err
	}
	if method != http.MethodGet {
		o.began = time.Now()
		return answer()
	}
	waits := strings.Contains(path, "/wait?timeout=2")
	for end := time.Now().Add(2 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		dead, restarted := o.dead()
		switch {
		case dead && o.hangs:
			time.Sleep(time.Hour)
			return nil, "", errRefused
		case dead && o.remote:
			time.Sleep(silent)
			if _, restarted := o.dead(); !restarted {
				return nil, "", errMissing
			}
			return nil, "", errNotFound
		case dead:
			return nil, "", errRefused
		case restarted:
			return nil, "", errNotFound
		case !waits || o.state().StatusCode.IsFinal() && (o.fails == nil || !o.newer):
			return answer()
		case o.state().StatusCode.IsFinal():
			return nil, "", o.fails
		case !time.Now().Before(end) && o.newer:
			return nil, "", api.StatusErrorf(http.StatusInternalServerError, "context deadline exceeded")
		case !time.Now().Before(end):
			return answer()
		}
	}
}

func TestAnOperationIsWaitedForAsLongAsItExists(t *testing.T) {
	const second = time.Second
	full := errors.New("no space left on device")
	gone := api.StatusErrorf(http.StatusNotFound, "Instance not found")
	for name, c := range map[string]*struct {
		operations
		took time.Duration // at most
		err  string
		lost bool
	}{
		"at once":                              {operations{}, second, "", false},
		"later":                                {operations{ends: 31 * second}, 32 * second, "", false},
		"later, on a newer LXD":                {operations{ends: 31 * second, newer: true}, 32 * second, "", false},
		"it fails":                             {operations{ends: 5 * second, fails: full}, 6 * second, full.Error(), false},
		"it fails, on a newer LXD":             {operations{ends: 5 * second, fails: full, newer: true}, 6 * second, full.Error(), false},
		"it does not find something":           {operations{ends: 5 * second, fails: gone, newer: true}, 6 * second, gone.Error(), false},
		"LXD restarts":                         {operations{ends: 99 * second, dies: 5 * second, back: 6 * second}, 7 * second, "LXD has restarted since", true},
		"LXD restarts, through another member": {operations{ends: 99 * second, dies: 5 * second, back: 6 * second, remote: true}, 15 * second, "", true},
		"LXD is gone":                          {operations{ends: 99 * second, dies: 5 * second}, 15 * second, "connection refused", true},
		"LXD is gone, through another member":  {operations{ends: 99 * second, dies: 5 * second, remote: true}, 15 * second, "does not answer", true},
		"LXD hangs":                            {operations{ends: 99 * second, dies: 5 * second, hangs: true}, 15 * second, "does not answer", true},
		"LXD is away longer than it may be":    {operations{ends: 99 * second, dies: 5 * second, back: 30 * second}, 15 * second, "connection refused", true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				defer time.Sleep(2 * time.Hour) // requests that were left behind end
				o, begin := &c.operations, time.Now()
				err := Operate(t.Context(), o, http.MethodPost, "/1.0/instances/c1", nil, "")
				require.LessOrEqual(t, time.Since(begin), c.took)
				require.Equal(t, c.lost, errors.Is(err, ErrOperationLost), "%v", err)
				if c.err == "" && !c.lost {
					require.NoError(t, err)
				} else {
					require.ErrorContains(t, err, c.err)
				}
			})
		})
	}
}

func TestWaitingForAnOperationEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		defer time.Sleep(2 * time.Hour)
		o := &operations{ends: time.Hour}
		require.ErrorIs(t, Operate(ctx, o, http.MethodPost, "/1.0/x", nil, ""), context.DeadlineExceeded)
	})
}

func TestWhoWaitsForAnOperationSeesHowFarItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen []string
		o := &operations{ends: 3 * time.Second}
		require.NoError(t, Operate(t.Context(), o, http.MethodPost, "/1.0/x", nil, "", func(op api.Operation) { seen = append(seen, op.Status) }))
		require.Equal(t, []string{"Running", "Success"}, seen)
	})
}

// begun is an operation of LXD's client.
type begun struct {
	lxdclient.Operation
	id string
}

func (b begun) Get() api.Operation                { return api.Operation{ID: b.id} }
func (b begun) WaitContext(context.Context) error { return errors.New("was over") }

func TestAwait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &operations{began: time.Now(), ends: 99 * time.Second, dies: time.Second, back: 2 * time.Second}
		require.ErrorIs(t, Await(t.Context(), o)(begun{id: "op1"}, nil), ErrOperationLost)
		require.EqualError(t, Await(t.Context(), o)(nil, errors.New("no")), "no")
		require.EqualError(t, Await(t.Context(), o)(begun{}, nil), "was over", "LXD that does it without an operation")
	})
}

// lister is LXD that lists its operations; down for a while, or for ever, or hangs.
type lister struct{ down, hangs time.Duration }

func (l *lister) GetOperations() ([]api.Operation, error) {
	time.Sleep(l.hangs)
	if l.down -= operationPause; l.down >= 0 {
		return nil, errRefused
	}
	return []api.Operation{{ID: "op1"}}, nil
}

func TestOperationsAreListedOnceLXDIsBack(t *testing.T) {
	for name, c := range map[string]struct {
		lister
		err string
	}{
		"up":        {lister{}, ""},
		"restarts":  {lister{down: 2 * time.Second}, ""},
		"is gone":   {lister{down: time.Hour}, "cannot list LXD's operations: " + errRefused.Error()},
		"is silent": {lister{hangs: time.Hour}, "cannot list LXD's operations: LXD does not answer within 8s"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				defer time.Sleep(2 * time.Hour)
				begin := time.Now()
				all, err := Operations(t.Context(), &c.lister)
				require.LessOrEqual(t, time.Since(begin), 10*time.Second)
				if c.err != "" {
					require.EqualError(t, err, c.err)
					return
				}
				require.NoError(t, err)
				require.Len(t, all, 1)
			})
		})
	}
}
