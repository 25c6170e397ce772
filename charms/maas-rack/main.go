// A hook is too short for reading the machine's limits; it runs on few threads anyway.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Command maas-rack is the charm that installs a MAAS rack controller from Debian packages
// and enrols it with a region.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/dcib/dcib/charms/maas-rack/rack"
	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/host/apt"
	"github.com/dcib/dcib/internal/maas/node"
)

// enrolment is how long a hook waits for the region to take the rack, so that the region's
// own list and Juju's agree at once. It goes on without the hook.
const enrolment = 45 * time.Second

func main() {
	if len(os.Args) > 1 && os.Args[1] == node.RenewArgument {
		if err := node.Here().ResetIfClone(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	charm.Main(charm.Charm[rack.Facts, rack.Env]{
		Env: func(event hooktool.Event, tools hooktool.Tools) rack.Env {
			return rack.Env{
				Machine: node.Here(), Tools: tools, Unit: event.Unit, App: event.App(), CharmDir: event.CharmDir,
				Wait: node.PollFor(enrolment),
			}
		},
		Observe: rack.Observe,
		Plan:    rack.Plan,
		Actions: map[string]charm.Action[rack.Facts, rack.Env]{
			"show-plan":      rack.ShowPlan,
			"upgrade-maas":   rack.UpgradeMAAS,
			"reset-identity": rack.ResetIdentity,
			"prepare-clone":  rack.PrepareClone,
		},
		// Packages, and the start of the rack after them.
		Deadlines: charm.Deadlines{Observe: 2 * time.Minute, Steps: 2*apt.Timeout + 2*enrolment},
	})
}
