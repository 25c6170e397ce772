package drainlxd

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/canonical/lxd/shared/api"

	"github.com/dcib/dcib/internal/drain"
	"github.com/dcib/dcib/internal/lxd"
)

// moveOperation is the description of LXD's operation that moves an instance; moveOperations also has
// that of the operation where the instance runs meanwhile.
const moveOperation = "Migrating instance"

var moveOperations = []string{moveOperation, "Live-migrating instance"}

// concerns reports whether an operation is about an instance. LXD up to 6.6 lists the URLs of its
// instances under "instances", 6.7 under "instance", and from 6.8 on they are in its metadata, under
// "entity_url". Since 5.0.3 a URL names the project, unless it is the default one.
func concerns(op api.Operation, i drain.Ref) bool {
	urls := slices.Concat(op.Resources["instances"], op.Resources["instance"])
	if text, ok := op.Metadata["entity_url"].(string); ok {
		urls = append(urls, text)
	}
	return slices.ContainsFunc(urls, func(text string) bool { return isURLOf(text, i) })
}

// isURLOf reports whether a URL of LXD's API is that of an instance or of a part of it. One without a
// project, as of LXD 5.0.2, is that of the instance of that name in any project.
func isURLOf(text string, i drain.Ref) bool {
	u, err := url.Parse(text)
	if err != nil {
		return false
	}
	path := strings.Split(strings.Trim(u.Path, "/"), "/")
	if len(path) < 3 || path[0] != "1.0" || !slices.Contains([]string{"instances", "containers", "virtual-machines"}, path[1]) || path[2] != i.Name {
		return false
	}
	project := u.Query().Get("project")
	return project == "" || project == i.Project || i.Project == "" && project == api.ProjectDefaultName
}

// WaitMoved implements drain.Mover.
func (c Cluster) WaitMoved(ctx context.Context, i drain.Ref) (string, error) {
	if err := c.waitNotMoving(ctx, i); err != nil {
		return "", err
	}
	there, _, err := c.project(i).GetInstance(i.Name)
	if err != nil {
		return "", fmt.Errorf("cannot read the location of %s: %w", i, err)
	}
	return there.Location, nil
}

// waitNotMoving waits until LXD does not move an instance any more.
func (c Cluster) waitNotMoving(ctx context.Context, i drain.Ref) error {
	for {
		operations, err := lxd.Operations(ctx, c.project(i))
		if err != nil {
			return err
		}
		moving := slices.ContainsFunc(operations, func(op api.Operation) bool {
			return slices.Contains(moveOperations, op.Description) && !op.StatusCode.IsFinal() && concerns(op, i)
		})
		if !moving {
			return nil
		}
		select {
		case <-time.After(pollInterval):
		case <-ctx.Done():
			return fmt.Errorf("cannot move %s: LXD still moves it for another client: %w", i, ctx.Err())
		}
	}
}
