package lxdlayer

import (
	"context"
	"net/http"

	"github.com/dcib/dcib/internal/drain"
)

// Backups implements drain.Cluster. LXD moves an instance as a copy without its backups, and deletes
// these with the original (seen with lxd 5.0.2, also in its own evacuation). What cannot be asked
// counts as none: its move is not to fail for that.
func (c Cluster) Backups(ctx context.Context, instances []drain.Instance) (map[drain.Ref]int, error) {
	all := map[drain.Ref]int{}
	for _, i := range instances {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		answer, _, err := c.Server.RawQuery(http.MethodGet, address(i.Ref, "backups").String(), nil, "")
		if err != nil {
			continue
		}
		var urls []string
		if err := answer.MetadataAsStruct(&urls); err == nil && len(urls) > 0 {
			all[i.Ref] = len(urls)
		}
	}
	return all, nil
}
