// A hook is too short for reading the machine's limits; it runs on few threads anyway.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Command lxd-profile-sub is the charm that gives any application's LXD containers the
// profile they need, while they run.
package main

import (
	"github.com/dcib/dcib/charms/lxd-profile-sub/sub"
	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/hooktool"
)

func main() {
	charm.Main(charm.Charm[sub.Facts, sub.World]{
		World: func(_ hooktool.Event, tools hooktool.Tools) sub.World {
			return sub.World{Tools: tools, LXD: sub.DevLXD{Socket: sub.Socket, Proc: "/proc"}}
		},
		Observe: sub.Observe,
		Plan:    sub.Plan,
		Actions: map[string]charm.Action[sub.Facts, sub.World]{
			"show-profile":  sub.ShowProfile,
			"diff":          sub.Diff,
			"apply-restart": sub.ApplyRestart,
			"rollback":      sub.Rollback,
		},
	})
}
