package drainlxd

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/canonical/lxd/shared/api"

	"github.com/dcib/dcib/internal/lxd"
)

// ChecksVoters implements drain.Observer. This client knows no API extension that shows it.
func (c Cluster) ChecksVoters(context.Context) (bool, error) {
	server, _, err := c.Server.GetServer()
	if err != nil {
		return false, fmt.Errorf("cannot read LXD's version: %w", err)
	}
	return checksVoters(server.Environment.ServerVersion), nil
}

// checksVoters reports whether an LXD of that version checks its voters before an evacuation, and refuses
// one while another is in progress: from 6.9 on.
func checksVoters(version string) bool {
	major, rest, _ := strings.Cut(version, ".")
	minor, _, _ := strings.Cut(rest, ".")
	first, err := strconv.Atoi(major)
	if err != nil {
		return false
	}
	second, _ := strconv.Atoi(minor)
	return first > 6 || first == 6 && second >= 9
}

// waitForOtherEvacuations waits until no other member is being evacuated, where LXD evacuates one at a
// time.
func (c Cluster) waitForOtherEvacuations(ctx context.Context, member string, progress func(string)) error {
	if asks, err := c.ChecksVoters(ctx); err != nil || !asks {
		return err
	}
	for said := ""; ; {
		operations, err := lxd.Operations(ctx, c.Server)
		if err != nil {
			return err
		}
		n := slices.IndexFunc(operations, func(op api.Operation) bool {
			return op.Location != member && !op.StatusCode.IsFinal() && op.Description == stateOperations[0]
		})
		if n < 0 {
			return nil
		}
		if other := operations[n].Location; said != other {
			said = other
			progress("waiting for the evacuation of " + other)
		}
		select {
		case <-time.After(pollInterval):
		case <-ctx.Done():
			return fmt.Errorf("cannot evacuate %s: LXD still evacuates %s: %w", member, said, ctx.Err())
		}
	}
}
