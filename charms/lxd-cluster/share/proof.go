package share

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/canonical/lxd/shared/api"

	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/profile"
	"github.com/dcib/dcib/internal/profile/policy"
	"github.com/dcib/dcib/internal/relation/lxdprofile"
)

// Instances is what this package uses of LXD: each instance's own options (profiles.Server implements it).
type Instances interface {
	GetInstances(kind api.InstanceType) ([]api.Instance, error)
}

// maxUnits is how many units of a relation are checked for a proof.
const maxUnits = 50

// proven returns the UUID of the model in which a unit of the relation has proven its instance; "" while
// none has. Each unit of this charm checks that for its own host, and does not rely on another.
func proven(ctx context.Context, w Env, relation string) (string, error) {
	if w.LXD == nil {
		return "", nil
	}
	units, err := w.Tools.RelationUnits(ctx, relation)
	if err != nil {
		return "", err
	}
	slices.SortFunc(units, func(a, b string) int { return lxdprofile.UnitNumber(a) - lxdprofile.UnitNumber(b) })
	listed, err := w.LXD.GetInstances(api.InstanceTypeAny)
	if err != nil {
		// Without a proof nothing is written and the host keeps what it has. That must not prevent the
		// unit's other work, such as leaving.
		return "", w.Tools.Log(ctx, "WARNING", fmt.Sprintf("cannot check the proofs of relation %s: cannot list LXD's instances: %s", relation, err))
	}
	options := map[string]map[string]string{}
	for _, instance := range listed {
		options[instance.Name] = instance.Config
	}
	for _, unit := range units[:min(len(units), maxUnits)] {
		bag, err := w.Tools.RelationGet(ctx, relation, unit)
		if err != nil && !errors.Is(err, hooktool.ErrNotFound) {
			return "", err
		}
		claim, err := lxdprofile.DecodeClaim(unit, bag)
		if err == nil && claim.ProvenIn(relation, options[claim.Instance]) {
			return claim.ModelUUID, nil
		}
	}
	return "", nil
}

// observePolicy observes whether the operator's policy for a relation allows the share. While no unit has
// proven its model that is not known, and the host keeps what it has.
func (r *Relation) observePolicy(ctx context.Context, w Env, endpoint string) error {
	if r.Access == nil || r.Model == "" {
		return nil
	}
	config, err := w.Tools.Config(ctx)
	if err != nil {
		return err
	}
	text, _ := config[policy.Option].(string)
	policies, err := policy.Parse(text)
	if err != nil {
		r.Err = "the operator of lxd-cluster has to correct its option " + policy.Option
		return nil
	}
	allowed := policies.For(policy.Requester{Endpoint: endpoint, Relation: strconv.Itoa(lxdprofile.RelationNumber(r.ID)), Model: r.Model})
	refused := []string{"cannot keep the access to a share: its source is no cephfs:NAME/PATH"}
	if strings.HasPrefix(r.source, "cephfs:") {
		refused = allowed.Refuse(profile.Profile{Devices: map[string]map[string]string{"cephfs": {"type": "disk", "source": r.source}}})
	}
	if len(refused) > 0 {
		r.Refused, r.Err = true, strings.Join(refused, "; ")
	}
	return nil
}
