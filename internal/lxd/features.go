package lxd

import (
	"slices"

	"github.com/canonical/lxd/shared/api"
)

// Features are the differences between LXD versions that the project depends on. They are decided here,
// from the API extensions that a server reports, and from its version only where no extension came with the
// difference. docs/reference/versions.md has the table.
type Features struct {
	// ClusterGroups: members can be in cluster groups.
	ClusterGroups bool
	// TokenField: the request to join has a field for the token; before, it was sent as the cluster's
	// password.
	TokenField bool
	// RestoreSkip: a member can be restored without its instances.
	RestoreSkip bool
	// Buckets: storage pools have buckets.
	Buckets bool
	// MAAS: networks can name subnets of MAAS.
	MAAS bool
	// OpenMetrics: metrics can be read without a client's certificate.
	OpenMetrics bool
	// HostDisks: an evacuation or a restore survives an instance with a disk that is in no pool.
	// Before, LXD ended with a nil pointer dereference (lxd/device/disk.go, CanMigrate).
	HostDisks bool
	// MovesRunning: asked to move a running instance, LXD lets it shut down, moves it and starts
	// it (lxd/instance_post.go). Later ones end it by force.
	MovesRunning bool
	// CopiesRunning: a copy is refreshed with all that has changed since. Earlier ones compare files by
	// whole seconds and their size (lxd/rsync/rsync.go, --modify-window), 5.0.4 and later of that series
	// excepted, which have no extension to recognise them by.
	CopiesRunning bool
	// NICParents: an evacuation moves an instance whose NIC has a managed network as its parent.
	// Earlier ones stop it.
	NICParents bool
	// AsksVoters: LXD refuses an evacuation that leaves its database too few voters, or while another is
	// under way.
	AsksVoters bool
}

// FeaturesOf returns the features of that server.
func FeaturesOf(server *api.Server) Features {
	has := func(extension string) bool { return slices.Contains(server.APIExtensions, extension) }
	version := server.Environment.ServerVersion
	// No extension came with what 5.0.3 changed, nor with what 6.9 did.
	movesRunning := !Older(version, "5.0.0") && Older(version, "5.0.3")
	return Features{
		ClusterGroups: has("clustering_groups"),
		TokenField:    has("explicit_trust_token"),
		RestoreSkip:   has("clustering_restore_skip_mode"),
		Buckets:       has("storage_buckets"),
		MAAS:          has("maas_network"),
		OpenMetrics:   has("metrics_authentication"),
		HostDisks:     has("bulk_operations"),
		MovesRunning:  movesRunning,
		CopiesRunning: has("storage_volatile_uuid"),
		NICParents:    !movesRunning,
		AsksVoters:    !Older(version, "6.9") && len(numbers(version)) > 0,
	}
}
