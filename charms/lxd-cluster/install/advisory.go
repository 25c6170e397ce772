package install

import (
	"context"

	"github.com/dcib/dcib/internal/host/apt"
	"github.com/dcib/dcib/internal/lxd"
)

// Advisory returns what the status has to say about the security of this machine's LXD; ""
// when nothing. version is the server's. A Debian package keeps that when it is fixed, so
// its own version decides.
func Advisory(ctx context.Context, w Env, f Facts, version string) string {
	says := lxd.Advisory(version)
	if says != "" && f.Source == Apt {
		if installed := apt.Query(ctx, w.Commands, "lxd")["lxd"]; installed.Installed() {
			return lxd.Advisory(installed.Version)
		}
	}
	return says
}
