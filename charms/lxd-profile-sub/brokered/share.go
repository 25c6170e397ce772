package brokered

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/profile"
	"github.com/dcib/dcib/internal/profile/preset"
	"github.com/dcib/dcib/internal/relation/lxdprofile"
	"github.com/dcib/dcib/internal/seal"
)

// shareDevice is the device of preset cephfs.
const shareDevice = "devices." + preset.CephFSName

// share is a CephFS share whose monitors and key the broker's hosts need. The key is in a Juju secret, and
// is sealed to each unit of the broker. LXD can only mount the share when the hosts have it, so the device
// is not requested before.
type share struct {
	access lxdprofile.CephAccess
	err    string // why it cannot be shared
}

// hasShareAccess reports whether the options have a share that the hosts do not know.
func (o Options) hasShareAccess() bool {
	names, err := preset.List(o.Presets)
	return err == nil && slices.Contains(names, preset.CephFSName) && o.CephFS.HostPath == "" && o.Monitors != ""
}

// observeShare reads the secret, on the leader only.
func (f *Facts) observeShare(ctx context.Context, w Env) error {
	if !f.Leader || !f.Options.hasShareAccess() {
		return nil
	}
	f.share = &share{access: lxdprofile.CephAccess{
		User:     f.Options.CephFS.User,
		Monitors: strings.FieldsFunc(f.Options.Monitors, func(r rune) bool { return r == ',' || r == ' ' || r == '\n' }),
	}}
	if f.Options.CephSecret == "" {
		f.share.err = "missing option cephfs-secret: wanted a secret with the key of cephfs-user as key"
		return nil
	}
	content, err := w.Tools.Secret(ctx, f.Options.CephSecret)
	f.share.access.Key = content["key"]
	switch {
	case err != nil:
		f.share.err = fmt.Sprintf("cannot read the secret of option cephfs-secret: %s: juju grant-secret it to this application", err)
	case f.share.access.Key == "":
		f.share.err = "cannot use the secret of option cephfs-secret: it has no key"
	}
	return nil
}

// setCephCluster sets the name of the share's Ceph cluster on the broker's hosts. The charm has at most one
// relation (limit: 1).
func (f *Facts) setCephCluster() {
	if f.Options.hasShareAccess() && len(f.Relations) > 0 && f.Relations[0].Status.CephCluster != "" {
		f.Options.CephFS.Cluster = f.Relations[0].Status.CephCluster
	}
}

// observeMembers reads the databags of the broker's units, by number.
func (f Facts) observeMembers(ctx context.Context, r *Relation, w Env) error {
	if f.share == nil {
		return nil
	}
	units, err := w.Tools.RelationUnits(ctx, r.ID)
	if err != nil {
		return err
	}
	r.members = map[string]lxdprofile.Member{}
	for _, unit := range units {
		bag, err := w.Tools.RelationGet(ctx, r.ID, unit)
		if err != nil && !errors.Is(err, hooktool.ErrNotFound) {
			return err
		}
		member, err := lxdprofile.DecodeMember(bag)
		if err != nil {
			member = lxdprofile.Member{} // nothing published yet
		}
		r.members[strconv.Itoa(lxdprofile.UnitNumber(unit))] = member
	}
	return nil
}

// sealKeys returns the public keys of the units that have published one.
func (r Relation) sealKeys() map[string]string {
	keys := map[string]string{}
	for number, m := range r.members {
		if m.SealKey != "" {
			keys[number] = m.SealKey
		}
	}
	return keys
}

// missing returns the broker's units whose hosts cannot mount the share yet, sorted.
func (f Facts) missing(r Relation) []string {
	digest := f.share.access.Digest()
	var units []string
	for number, m := range r.members {
		if m.Ceph != digest {
			units = append(units, r.Broker+"/"+number)
		}
	}
	slices.Sort(units)
	return units
}

// withoutPendingShare returns the wanted profile without a share that the hosts do not have yet.
func (f Facts) withoutPendingShare(r Relation, wanted profile.Profile) profile.Profile {
	if f.share != nil && (f.share.err != "" || r.Status.CephCluster == "" || len(r.members) == 0 || len(f.missing(r)) > 0) {
		return wanted.Without([]string{shareDevice})
	}
	return wanted
}

// shareRelationData returns what to publish about the share: nothing new, a request for keys to seal to, or
// the access sealed to each of them.
func (f Facts) shareRelationData(r Relation, wanted profile.Profile) (map[string]string, error) {
	if f.share == nil {
		return map[string]string{"ceph": ""}, nil
	}
	written, err := lxdprofile.DecodeCeph(r.Request)
	keys, cluster := r.sealKeys(), r.Status.CephCluster
	source := wanted.Devices[preset.CephFSName]["source"]
	if f.share.err != "" || len(keys) == 0 || cluster == "" {
		if err == nil && written != nil && written.Source == source {
			return nil, nil
		}
		return lxdprofile.Ceph{Source: source}.Encode(), nil
	}
	digest := f.share.access.DigestFor(cluster, keys)
	if err == nil && written != nil && written.Digest == digest && written.Source == source {
		return nil, nil
	}
	text, err := json.Marshal(f.share.access)
	if err != nil {
		return nil, err
	}
	ceph := lxdprofile.Ceph{Digest: digest, Source: source, Sealed: map[string]string{}}
	for number, key := range keys {
		if ceph.Sealed[number], err = seal.Seal(key, lxdprofile.CephPurpose(cluster), text); err != nil {
			return nil, fmt.Errorf("cannot seal the key of the share to %s/%s: %w", r.Broker, number, err)
		}
	}
	return ceph.Encode(), nil
}
