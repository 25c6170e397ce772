package install

import (
	"context"

	"github.com/dcib/dcib/internal/host/apt"
	"github.com/dcib/dcib/internal/lxd"
)

// Advisory returns the security note about this machine's LXD for the status; "" if there is none. version
// is the server's. A fixed Debian package keeps that, so the package's own version decides.
func Advisory(ctx context.Context, w Env, f Facts, version string) string {
	note := lxd.Advisory(version)
	if note != "" && f.Source == Apt {
		if installed := apt.Query(ctx, w.Commands, "lxd")["lxd"]; installed.Installed() {
			return lxd.Advisory(installed.Version)
		}
	}
	return note
}
