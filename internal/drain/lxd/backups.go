package drainlxd

import (
	"context"
	"net/http"

	"github.com/dcib/dcib/internal/drain"
)

// Backups implements drain.Observer. LXD moves an instance as a copy without its backups, and deletes
// these with the original (seen with lxd 5.0.2, also in its own evacuation). An instance that cannot be
// asked counts as having none, so that its move does not fail for that.
func (c Cluster) Backups(ctx context.Context, instances []drain.Instance) (map[drain.Ref]int, error) {
	all := map[drain.Ref]int{}
	for _, i := range instances {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if n := c.backups(i.Ref); n > 0 {
			all[i.Ref] = n
		}
	}
	return all, nil
}

// backups counts the backups of an instance.
func (c Cluster) backups(i drain.Ref) int {
	answer, _, err := c.Server.RawQuery(http.MethodGet, instanceURL(i, "backups").String(), nil, "")
	if err != nil {
		return 0
	}
	var urls []string
	if err := answer.MetadataAsStruct(&urls); err != nil {
		return 0
	}
	return len(urls)
}
