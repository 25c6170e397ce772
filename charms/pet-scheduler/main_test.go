package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/charms/pet-scheduler/control"
	"github.com/dcib/dcib/charms/pet-scheduler/pets"
	"github.com/dcib/dcib/charms/pet-scheduler/service"
	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/relation/coordinator"
	"github.com/dcib/dcib/internal/relation/lxdhttps"
	"github.com/dcib/dcib/internal/scheduler/store/dqlite"
	"github.com/dcib/dcib/internal/testkit/hooktool"
	"github.com/dcib/dcib/internal/testkit/pages"
)

// A unit whose daemon does not run is not active: it starts it.
func TestAUnitThatStartsItsDaemonSaysSo(t *testing.T) {
	f := facts{
		Pets: pets.Facts{Made: true, Relation: "lxd:1", Offered: true, Trusted: true},
		Service: service.Facts{
			Unit: "pet-scheduler/0", Relation: "cluster:0", Coordinator: coordinator.Choice{Unit: "pet-scheduler/0"}, Secret: "secret:1",
			Published: map[string]string{"address": "10.0.0.1:17666"}, Address: "10.0.0.1:17666",
			Certificate: dqlite.Certificate{Certificate: "c", Key: "k"},
		},
	}
	require.Equal(t, charm.Maintenancef("starting the daemon"), charm.Compose(components()...).PlanOf(f).Status)

	f.Service.Installed, f.Service.Running, f.Service.Permitted = true, true, true
	require.Equal(t, charm.LevelActive, charm.Compose(components()...).PlanOf(f).Status.Level)

	f.Service.Configured, f.Service.Config = true, control.Config{Address: "10.0.0.1:17666"}
	require.Equal(t, []string{"17666/tcp"}, charm.Compose(components()...).PlanOf(f).Ports)

	f.Service.Running, f.Pets.Trusted = false, false
	require.Equal(t, charm.LevelWaiting, charm.Compose(components()...).PlanOf(f).Status.Level, "what another unit has to do goes over it")

	f.Service.Leaving = true
	require.Equal(t, charm.Maintenancef("leaving"), charm.Compose(components()...).PlanOf(f).Status)
	require.Nil(t, charm.Compose(components()...).PlanOf(f).Ports)

	f.Service.Leaving, f.Service.Other = false, "pet-scheduler/1"
	require.Equal(t, []string{}, charm.Compose(components()...).PlanOf(f).Ports, "the port is the other unit's")
}

// The port that the page names as opened is the one that a unit publishes and opens.
func TestThePortOnThePage(t *testing.T) {
	juju := hooktooltest.New()
	juju.AddUnit("pet-scheduler/0", "10.0.0.1")
	juju.Relate("pet-scheduler:cluster", "pet-scheduler:cluster")
	tools, _ := juju.Hook("pet-scheduler/0")
	f, err := service.Observe(t.Context(), service.Env{Unit: "pet-scheduler/0", Dir: t.TempDir(), Tools: tools, Systemd: absent{}}, lxdhttps.Offer{})
	require.NoError(t, err)
	f.Configured, f.Config.Address = true, f.Address
	require.Equal(t, pages.OpenedPorts(t, "../../docs/reference/ports.md", "pet-scheduler"), f.Ports())
}

// absent is a machine that has no daemon.
type absent struct{ service.Systemd }

func (absent) Other() (string, error)   { return "", nil }
func (absent) Installed() (bool, error) { return false, nil }
func (absent) Permitted() (bool, error) { return true, nil }
