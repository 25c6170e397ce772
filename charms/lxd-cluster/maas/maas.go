// Package maas configures LXD with the MAAS of its machines, so that instances have names and addresses
// there. LXD supports that until 6.7 (API extension maas_network); 6.8 dropped it.
package maas

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/canonical/lxd/shared/api"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/lxd"
)

// secretField is the field of the Juju secret with the key of a MAAS user.
const secretField = "api-key"

// LXD's own keys: the first two are the cluster's, the third is each member's.
const (
	keyURL     = "maas.api.url"
	keyKey     = "maas.api.key"
	keyMachine = "maas.machine"
)

// Env is what this package works on. LXD is nil if there is none.
type Env struct {
	Tools hooktool.Tools
	LXD   interface {
		GetServer() (*api.Server, string, error)
	}
	// Configure changes LXD's own configuration; what describes the change in an error.
	Configure func(ctx context.Context, what string, change func(config map[string]any)) error
}

// ClusterInfo is what this package needs to know of the cluster.
type ClusterInfo struct {
	IsCoordinator bool   // this unit does what is done once for the cluster
	Hostname      string // the machine's name, here and in MAAS
	App           string
	Bridge        string // the network for instances
	Managed       bool   // LXD manages it
}

// Config has the application's options that this package reads.
type Config struct {
	URL          string
	Secret       string // the id of a Juju secret
	IPv4, IPv6   string // MAAS's names of the subnets
	wantsNothing bool
}

// ParseConfig reads the options. A problem names the option, its value and what is accepted.
func ParseConfig(options map[string]any) (Config, []string) {
	text := func(option string) string {
		s, _ := options[option].(string)
		return strings.TrimSpace(s)
	}
	c := Config{URL: text("maas-url"), Secret: text("maas-secret"), IPv4: text("maas-subnet-ipv4"), IPv6: text("maas-subnet-ipv6")}
	c.wantsNothing = c == Config{}
	var problems []string
	if at, err := url.Parse(c.URL); c.URL != "" && (err != nil || at.Scheme != "http" && at.Scheme != "https" || at.Host == "" || at.User != nil) {
		problems = append(problems, fmt.Sprintf("option maas-url is %q, wanted the address of MAAS's API, like http://maas.example:5240/MAAS", c.URL))
	}
	if (c.URL == "") != (c.Secret == "") {
		given, lacks := "maas-url", "maas-secret"
		if c.URL == "" {
			given, lacks = lacks, given
		}
		problems = append(problems, fmt.Sprintf("option %s is set, and option %s is not: set both (maas-secret is the id from: juju add-secret maas %s=KEY)", given, lacks, secretField))
	}
	for option, subnet := range map[string]string{"maas-subnet-ipv4": c.IPv4, "maas-subnet-ipv6": c.IPv6} {
		if subnet != "" && c.URL == "" {
			problems = append(problems, fmt.Sprintf("option %s is %q, and option maas-url is not set: set both, or clear this one", option, subnet))
		}
	}
	slices.Sort(problems)
	return c, problems
}

// Facts are what a plan is made from.
type Facts struct {
	ClusterInfo
	Config   Config
	Problems []string

	Supported bool // LXD has the integration
	Version   string
	Has       map[string]string // LXD's own keys
	Key       string            // secret; only on the coordinator
}

// Observe gathers the facts and changes nothing.
func Observe(ctx context.Context, w Env, info ClusterInfo) (Facts, error) {
	f := Facts{ClusterInfo: info}
	options, err := w.Tools.Config(ctx)
	if err != nil {
		return f, err
	}
	f.Config, f.Problems = ParseConfig(options)
	if f.Config.wantsNothing || len(f.Problems) > 0 || w.LXD == nil {
		return f, nil
	}
	server, _, err := w.LXD.GetServer()
	if err != nil {
		return f, fmt.Errorf("cannot read the state of this machine's LXD: %w", err)
	}
	f.Supported, f.Version = lxd.FeaturesOf(server).MAAS, server.Environment.ServerVersion
	f.Has = map[string]string{}
	for _, key := range []string{keyURL, keyKey, keyMachine} {
		f.Has[key] = value(server.Config[key])
	}
	if !f.Supported || !f.IsCoordinator {
		return f, nil
	}
	secret, err := w.Tools.Secret(ctx, f.Config.Secret)
	switch key := strings.TrimSpace(secret[secretField]); {
	case err != nil:
		f.Problems = append(f.Problems, fmt.Sprintf("option maas-secret is %s: %s: juju grant-secret %s %s", f.Config.Secret, err, f.Config.Secret, f.App))
	case strings.Count(key, ":") != 2:
		f.Problems = append(f.Problems, fmt.Sprintf("option maas-secret is %s: its field %s is not the key of a MAAS user, wanted the output of `maas apikey`: juju update-secret", f.Config.Secret, secretField))
	default:
		f.Key = key
	}
	return f, nil
}

// value returns a value of the server's configuration, which newer clients type as string and older ones as
// any.
func value(v any) string {
	s, _ := v.(string)
	return s
}

// Plan returns what to do about the facts. It is pure. Its status has no level unless an operator has to do
// something.
func Plan(f Facts) charm.Plan[Env] {
	var steps []charm.Step[Env]
	blocked := func(format string, args ...any) charm.Plan[Env] {
		return charm.Plan[Env]{Steps: steps, Status: charm.Blockedf(format, args...)}
	}
	switch {
	case len(f.Problems) > 0:
		return blocked("%s", strings.Join(f.Problems, "; "))
	case f.Config.wantsNothing || f.Has == nil:
		return charm.Plan[Env]{}
	case !f.Supported:
		return blocked("option maas-url is %s: LXD %s has no MAAS integration: use a bridge of the machines with MAAS's DHCP (option bridge), and clear the maas- options", f.Config.URL, f.Version)
	}
	if f.Has[keyMachine] == "" {
		// An existing name may be an operator's: a machine may have another name in MAAS.
		steps = append(steps, configure{"be machine " + f.Hostname + " in MAAS", map[string]string{keyMachine: f.Hostname}})
	}
	if f.Key != "" && (f.Has[keyURL] != f.Config.URL || f.Has[keyKey] != f.Key) {
		steps = append(steps, configure{"know the MAAS at " + f.Config.URL, map[string]string{keyURL: f.Config.URL, keyKey: f.Key}})
	}
	if subnets := f.subnets(); f.Managed && len(subnets) > 0 {
		return blocked("option maas-subnet-ipv4 or -ipv6 is set, but LXD manages network %s: use lxc network set %s %s instead, or a bridge of the machines", f.Bridge, f.Bridge, strings.Join(subnets, " "))
	}
	return charm.Plan[Env]{Steps: steps}
}

// subnets returns the options as LXD's own keys.
func (f Facts) subnets() []string {
	var all []string
	if f.Config.IPv4 != "" {
		all = append(all, "maas.subnet.ipv4="+f.Config.IPv4)
	}
	if f.Config.IPv6 != "" {
		all = append(all, "maas.subnet.ipv6="+f.Config.IPv6)
	}
	return all
}

// NIC returns the keys for MAAS of the profile's nic. LXD refuses them on a managed network (validateConfig
// in lxd/device/nic_bridged.go), and refuses instances while it does not know the MAAS.
func (f Facts) NIC() map[string]string {
	if len(f.Problems) > 0 || !f.Supported || f.Managed || f.Has[keyURL] != f.Config.URL {
		return nil
	}
	nic := map[string]string{}
	for _, subnet := range f.subnets() {
		key, name, _ := strings.Cut(subnet, "=")
		nic[key] = name
	}
	return nic
}

// configure sets keys of LXD's own configuration.
type configure struct {
	what   string
	values map[string]string
}

func (s configure) Name() string { return "make LXD " + s.what }

func (s configure) Apply(ctx context.Context, w Env) error {
	err := w.Configure(ctx, s.what, func(config map[string]any) {
		for key, value := range s.values {
			config[key] = value
		}
	})
	if err == nil {
		return nil
	}
	// LXD contacts MAAS at once, and refuses the keys if MAAS does not answer.
	message := err.Error()
	if secret := s.values[keyKey]; secret != "" {
		for _, part := range append([]string{secret}, strings.Split(secret, ":")...) {
			if part != "" {
				message = strings.ReplaceAll(message, part, "…")
			}
		}
	}
	return charm.Blocked("%s: check that MAAS answers and knows this machine and the key, or correct options maas-url and maas-secret", message)
}
