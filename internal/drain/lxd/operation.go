package drainlxd

import (
	"context"

	"github.com/canonical/lxd/shared/api"

	"github.com/dcib/dcib/internal/drain"
	"github.com/dcib/dcib/internal/lxd"
)

// operate starts an operation of LXD's and returns when it has ended, or when LXD has lost it
// (lxd.ErrOperationLost).
func (c Cluster) operate(ctx context.Context, method string, path *api.URL, body any) error {
	return lxd.Operate(ctx, c.Server, method, path.String(), body, "")
}

// instanceURL returns the URL of an instance, or of a part of it.
func instanceURL(i drain.Ref, of ...string) *api.URL {
	return api.NewURL().Path(append([]string{"1.0", "instances", i.Name}, of...)...).Project(i.Project)
}
