// A hook is too short for reading the machine's limits; it runs on few threads anyway.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Command maas-region is the charm that installs MAAS region controllers from Debian
// packages, on one database.
package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
	_ "time/tzdata" // pets name zones; a machine may have no database of them

	"github.com/dcib/dcib/charms/maas-region/region"
	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/host/apt"
	"github.com/dcib/dcib/internal/maas/node"
)

// stateDir holds backups.
const stateDir = "/var/lib/dcib"

// patience is how long a hook waits for MAAS to answer once it has started it.
const patience = 4 * time.Minute

func main() {
	if len(os.Args) > 1 && os.Args[1] == node.RenewArgument {
		if err := node.Here().ResetIfClone(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	charm.Main(charm.Charm[region.Facts, *region.Env]{
		Env: func(event hooktool.Event, tools hooktool.Tools) *region.Env {
			return &region.Env{
				Machine: node.Here(), Tools: tools, Unit: event.Unit, App: event.App(), CharmDir: event.CharmDir,
				StateDir: filepath.Join(stateDir, strings.ReplaceAll(event.Unit, "/", "-")),
				API:      region.API, Now: time.Now, Random: rand.Text, Dial: dial, Wait: node.PollFor(patience),
			}
		},
		Observe: region.Observe,
		Plan:    region.Plan,
		Actions: region.Actions,
		// Packages, the migration of the database, and MAAS's start after each.
		Deadlines: charm.Deadlines{Observe: 2 * time.Minute, Steps: 2*apt.Timeout + 2*patience},
	})
}

// dial reports whether a program listens there.
func dial(ctx context.Context, at string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", at)
	if err != nil {
		return err
	}
	return conn.Close()
}
