package sub

import (
	"context"

	"github.com/dcib/dcib/internal/charm"
)

// ShowProfile is the action show-profile: the merged profile as YAML, with where each key
// and device is from beside it.
func ShowProfile(_ context.Context, f Facts, _ World, _ charm.Call) (map[string]string, error) {
	wanted, err := f.Options.Wanted()
	if err != nil {
		return nil, err
	}
	return map[string]string{"profile": wanted.Profile.YAML(wanted.From)}, nil
}
