package drainlxd

import (
	"testing"

	"github.com/canonical/lxd/shared/api"
	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/drain"
)

// How an operation names its instance depends on the version of LXD.
func TestConcerns(t *testing.T) {
	resource := func(kind string, urls ...string) api.Operation {
		return api.Operation{Resources: map[string][]string{kind: urls}}
	}
	entity := func(url any) api.Operation { return api.Operation{Metadata: map[string]any{"entity_url": url}} }
	lab, plain := drain.Ref{Project: "lab", Name: "c1"}, drain.Ref{Project: "default", Name: "c1"}
	for name, c := range map[string]struct {
		op   api.Operation
		ref  drain.Ref
		want bool
	}{
		"5.0.2":                    {resource("instances", "/1.0/instances/c1"), lab, true},
		"5.0.2, another":           {resource("instances", "/1.0/instances/c11"), lab, false},
		"5.0.3":                    {resource("instances", "/1.0/instances/c1?project=lab"), lab, true},
		"5.0.3, default":           {resource("instances", "/1.0/instances/c1"), plain, true},
		"5.0.3, another project":   {resource("instances", "/1.0/instances/c1?project=lab"), plain, false},
		"5.0.3, no project given":  {resource("instances", "/1.0/instances/c1?project=default"), drain.Ref{Name: "c1"}, true},
		"6.7":                      {resource("instance", "/1.0/instances/c1?project=lab"), lab, true},
		"6.7, one of several":      {resource("instance", "/1.0/instances/a?project=lab", "/1.0/instances/c1?project=lab"), lab, true},
		"6.9":                      {entity("/1.0/instances/c1?project=lab"), lab, true},
		"6.9, default":             {entity("/1.0/instances/c1?project=default"), plain, true},
		"6.9, another":             {entity("/1.0/instances/c2?project=lab"), lab, false},
		"6.9, another kind":        {entity("/1.0/profiles/c1?project=lab"), lab, false},
		"6.9, a snapshot of it":    {entity("/1.0/instances/c1/snapshots/s?project=lab"), lab, true},
		"a name with odd letters":  {resource("instances", "/1.0/instances/a%2Bb?project=lab"), drain.Ref{Project: "lab", Name: "a+b"}, true},
		"of another kind":          {resource("storage_volumes", "/1.0/instances/c1"), lab, false},
		"nothing":                  {api.Operation{}, lab, false},
		"not a URL":                {resource("instances", "%zz", ""), lab, false},
		"an entity that is no URL": {entity(7), lab, false},
	} {
		require.Equal(t, c.want, concerns(c.op, c.ref), name)
	}
}
