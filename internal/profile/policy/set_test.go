package policy_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/internal/profile"
	"github.com/dcib/dcib/internal/profile/policy"
)

const (
	apps = "00000000-0000-4000-8000-00000000000a"
	kube = "00000000-0000-4000-8000-00000000000b"
)

const several = `default:
  keys: [limits.cpu]
requesters:
  - relation: 7
    keys: [limits.cpu, security.nesting]
  - endpoint: lxd-profile-trusted
    model: ` + kube + `
    keys:
      - raw.lxc
    devices: [disk]
    host-paths: [/sys/fs/bpf]
  - endpoint: lxd-profile-trusted
    keys: [security.nesting]
`

// Each requester has the policy of the first entry that it fits, and the default otherwise.
func TestEachRequesterHasItsPolicy(t *testing.T) {
	set, err := policy.Parse(several)
	require.NoError(t, err)
	for name, c := range map[string]struct {
		requester policy.Requester
		want      string
	}{
		"no entry":                {policy.Requester{Endpoint: policy.Endpoint, Relation: "3", Model: apps}, "default"},
		"another endpoint":        {policy.Requester{Endpoint: policy.Endpoint, Relation: "3", Model: kube}, "default"},
		"a relation":              {policy.Requester{Endpoint: policy.Endpoint, Relation: "7", Model: apps}, "relation 7"},
		"the first that fits":     {policy.Requester{Endpoint: policy.TrustedEndpoint, Relation: "7", Model: kube}, "relation 7"},
		"both selectors":          {policy.Requester{Endpoint: policy.TrustedEndpoint, Relation: "8", Model: kube}, "endpoint lxd-profile-trusted, model " + kube},
		"not proven":              {policy.Requester{Endpoint: policy.TrustedEndpoint, Relation: "8"}, "endpoint lxd-profile-trusted"},
		"neither model nor known": {policy.Requester{}, "default"},
	} {
		assert.Equal(t, c.want, set.For(c.requester).Name(), name)
	}
	wanted := profile.Profile{Config: map[string]string{"raw.lxc": "x"}, Devices: map[string]map[string]string{"d": {"type": "disk", "source": "/etc"}}}
	assert.Equal(t, []string{
		`config.raw.lxc: profile-policy (default) does not allow it: its keys (line 2) would need "raw.lxc"`,
		`devices.d: profile-policy (default) does not allow it: it would need devices "disk"`,
		`devices.d: profile-policy (default) does not allow it: it would need host-paths "/etc"`,
	}, set.For(policy.Requester{}).Refuse(wanted))
	assert.Equal(t, []string{
		`devices.d: profile-policy (endpoint lxd-profile-trusted, model ` + kube + `) does not allow it: its host-paths (line 11) would need "/etc"`,
	}, set.For(policy.Requester{Endpoint: policy.TrustedEndpoint, Model: kube}).Refuse(wanted))

	// Without a default of its own the option has the charm's.
	set, err = policy.Parse("requesters: [{relation: \"lxd-profile:07\", keys: [raw.lxc]}]")
	require.NoError(t, err)
	assert.Empty(t, set.For(policy.Requester{Relation: "7"}).Refuse(profile.Profile{Config: map[string]string{"raw.lxc": "x"}}))
	assert.Empty(t, set.Default.Refuse(profile.Profile{Config: map[string]string{"limits.cpu": "2"}}))
	assert.Equal(t, []string{`config.raw.lxc: profile-policy (default) does not allow it: it would need keys "raw.lxc"`}, set.Default.Refuse(profile.Profile{Config: map[string]string{"raw.lxc": "x"}}))
}

func TestWhatIsNoSet(t *testing.T) {
	for text, says := range map[string]string{
		"default: []":                                                "wanted YAML with lists at keys",
		"default: {kyes: []}":                                        "field kyes not found",
		"keys: [limits.cpu]\ndefault: {}":                            "it has both a policy and default or requesters beside it",
		"keys: [limits.cpu]\nrequesters: []":                         "it has both a policy and default or requesters beside it",
		"requesters: [{keys: [raw.lxc]}]":                            "line 1: a requester is not named, wanted endpoint, relation or model beside its policy",
		"requesters: [{modle: x}]":                                   "field modle not found",
		"requesters:\n- endpoint: https":                             `line 2: a requester has endpoint "https", wanted one of lxd-profile, lxd-profile-trusted`,
		"requesters: [{model: apps}]":                                `has model "apps", wanted the model's UUID`,
		"requesters: [{relation: x7}]":                               `has relation "x7", wanted the number`,
		"requesters: [{relation: -7}]":                               `has relation "-7", wanted the number`,
		"requesters: [{relation: 7, host-paths: [/]}]":               `relation 7: host-paths has "/"`,
		"default: {host-paths: [srv]}":                               `default: host-paths has "srv"`,
		"requesters: [{relation: 7}, {relation: \"lxd-profile:7\"}]": "relation 7: an earlier entry is for the same requesters",
		"keys: [{limits.memory: 64GiB}]":                             "line 1: wanted a key, or a key with a bound",
		"keys: [{limits.memory: {max: lots}}]":                       `line 1: max of limits.memory is "lots": wanted a number, a size`,
		"keys: [{limits.memory: {min: 1}}]":                          "wanted a key, or a key with a bound",
		"keys: [{linux.kernel_modules: []}]":                         "wanted a key, or a key with a bound",
		"keys: [[x]]":                                                "wanted a key, or a key with a bound",
		"keys: [{a: [b], c: [d]}]":                                   "wanted a key, or a key with a bound",
	} {
		_, err := policy.Parse(text)
		assert.ErrorContains(t, err, says, text)
		assert.ErrorContains(t, err, "cannot use option profile-policy: ", text)
	}
}

// A key may have a bound: the most that its value may be, or which values.
func TestBounds(t *testing.T) {
	set, err := policy.Parse(`keys:
  - limits.memory: {max: 64GiB}
  - limits.cpu: {max: 8}
  - limits.cpu.allowance: {max: 50%}
  - linux.kernel_modules: [overlay, ip_vs*]
  - limits.processes: {max: 10}
  - limits.processes: ["4711"]
`)
	require.NoError(t, err)
	for line, says := range map[string]string{
		"limits.memory=64GiB":                 "",
		"limits.memory=68719476736":           "",
		"limits.memory=1kB":                   "",
		"limits.memory=65GiB":                 `"limits.memory" with another bound: it allows at most 64GiB`,
		"limits.memory=7EiB":                  "it allows at most 64GiB",
		"limits.memory=68719476737":           "it allows at most 64GiB",
		"limits.memory=50%":                   "it allows at most 64GiB",
		"limits.cpu=8":                        "",
		"limits.cpu=9":                        "it allows at most 8",
		"limits.cpu=0-127":                    "it allows at most 8",
		"limits.cpu.allowance=50%":            "",
		"limits.cpu.allowance=51%":            "it allows at most 50%",
		"limits.cpu.allowance=10ms/100ms":     "it allows at most 50%",
		"limits.processes=10":                 "",
		"limits.processes=-1":                 `"limits.processes" with another bound`,
		"limits.processes=4711":               "",
		"linux.kernel_modules=overlay":        "",
		"linux.kernel_modules=overlay, ip_vs": "",
		"linux.kernel_modules=ip_vs_rr":       "",
		"linux.kernel_modules=overlay,floppy": `it allows overlay, ip_vs*, not "floppy"`,
		"linux.kernel_modules=":               `it allows overlay, ip_vs*, not ""`,
		"linux.kernel_modules=overlayfloppy":  `not "overlayfloppy"`,
		"security.nesting=true":               `would need "security.nesting"`,
	} {
		key, value, _ := strings.Cut(line, "=")
		refused := strings.Join(set.Default.Refuse(profile.Profile{Config: map[string]string{key: value}}), "; ")
		if says == "" {
			assert.Empty(t, refused, line)
		} else {
			assert.Contains(t, refused, says, line)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{several, policy.Default, "requesters: &a [{relation: 7}]\ndefault: {keys: [*a]}", "a: &a {requesters: [{relation: 1}]}\n<<: *a", "keys: [{limits.memory: {max: 1GiB}}]", "default: &a {keys: []}\nrequesters: [{<<: *a, model: x}]"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		set, err := policy.Parse(text)
		if err != nil {
			require.ErrorContains(t, err, "cannot use option profile-policy: ")
			return
		}
		// A requester that fits no entry has the default.
		require.Equal(t, set.Default.Refuse(profile.Profile{Config: map[string]string{"raw.lxc": "x"}}),
			set.For(policy.Requester{Endpoint: "none", Relation: "none", Model: "none"}).Refuse(profile.Profile{Config: map[string]string{"raw.lxc": "x"}}))
	})
}
