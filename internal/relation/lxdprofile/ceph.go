package lxdprofile

import (
	"encoding/json"
	"fmt"
)

// CephCluster returns the name under which the provider's hosts keep the access to Ceph of one relation. It
// is made from the provider's model and the provider's id of the relation ("lxd-profile:5"). The requirer
// can choose neither, so no relation can get the name of another. The provider publishes it in
// ProfileStatus.CephCluster.
func CephCluster(modelUUID, relation string) string {
	return CephPrefix + digest("lxd-profile ceph\n"+modelUUID+"\n"+relation)
}

// CephPrefix begins the names of all these clusters.
const CephPrefix = "dcib-"

// Ceph is the access to a share for the provider's units, whose hosts need it. The requirer's leader writes
// it; without Sealed it requests the keys to seal to.
type Ceph struct {
	// Digest identifies the access and its receivers for the requirer. The provider ignores it.
	Digest string `json:"digest,omitempty"`
	// Source is the source of the disk device that will be requested ("cephfs:cephfs/web"): the provider
	// keeps no access that its policy would not allow.
	Source string            `json:"source,omitempty"`
	Sealed map[string]string `json:"sealed,omitempty"` // a CephAccess, by the number of the provider's unit
}

// Encode returns the entries of the requirer's application databag.
func (c Ceph) Encode() map[string]string { return map[string]string{"ceph": encode(c)} }

// DecodeCeph reads the databag; nil if no share is requested.
func DecodeCeph(bag map[string]string) (*Ceph, error) {
	if bag["ceph"] == "" {
		return nil, nil
	}
	if err := check(bag); err != nil {
		return nil, err
	}
	c := &Ceph{}
	if err := json.Unmarshal([]byte(bag["ceph"]), c); err != nil {
		return nil, fmt.Errorf("cannot read lxd-profile: ceph is not as in version %s: %w", Version, err)
	}
	return c, nil
}

// CephAccess is the sealed content.
type CephAccess struct {
	Monitors []string `json:"monitors"`
	User     string   `json:"user"`
	Key      string   `json:"key"`
}

// CephPurpose returns the purpose for package seal: one relation's cluster.
func CephPurpose(cluster string) string { return "lxd-profile ceph " + cluster }

// Digest returns 16 hex digits that identify the access. Each side computes it from its own copy.
func (a CephAccess) Digest() string { return digest(encode(a)) }

// DigestFor returns 16 hex digits that identify the access, its cluster and its receivers.
func (a CephAccess) DigestFor(cluster string, sealKeys map[string]string) string {
	return digest(encode(a) + cluster + encode(sealKeys))
}

// Member is what a unit of the provider publishes once a share is requested.
type Member struct {
	SealKey string // its public key
	Ceph    string // CephAccess.Digest of what its host has
	Problem string // why the host does not have the access
}

// Encode returns the databag.
func (m Member) Encode() map[string]string {
	return map[string]string{"version": Version, "seal-key": m.SealKey, "ceph": m.Ceph, "ceph-problem": m.Problem}
}

// DecodeMember reads the databag.
func DecodeMember(bag map[string]string) (Member, error) {
	if err := check(bag); err != nil {
		return Member{}, err
	}
	return Member{bag["seal-key"], bag["ceph"], bag["ceph-problem"]}, nil
}
