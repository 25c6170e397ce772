package cluster

import (
	"fmt"
	"net/netip"
	"strings"
)

// Config is the application's options as far as this room reads them.
type Config struct {
	Bridge               string   // the bridge that instances are on, or autoBridge
	BridgeAddress        string   // its address when we make it: "10.0.8.1/24" or "auto"
	ManageDefaultProfile bool     // may we write LXD's own profile `default`?
	Storage              Pool     // the storage pool that the founder makes
	WipeOnJoin           bool     // may a machine's LXD be emptied so that it can join?
	Groups               []string // cluster groups for this application's members
	FailureDomain        string   // "auto", "off", or the members' failure domain
	Parents              []Parent // interfaces for the cluster's networks that need one
}

// bridgeName is what the kernel takes as an interface name (IFNAMSIZ) and LXD as a
// network name.
func bridgeName(s string) bool {
	return len(s) >= 2 && len(s) <= 15 && plainName(s) && (s[0] < '0' || s[0] > '9')
}

// plainName reports whether a text is letters, digits, dots, dashes and underscores, at most 63
// of them, beginning with one of the first two. Not by a pattern: each hook would make it.
func plainName(s string) bool {
	for n, c := range []byte(s) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case n > 0 && (c == '_' || c == '.' || c == '-'):
		default:
			return false
		}
	}
	return len(s) >= 1 && len(s) <= 63
}

// ParseConfig reads options. The problems name the option, what was wrong with it and what
// would be right; while there are any, nothing that depends on options is changed.
func ParseConfig(options map[string]any) (Config, []string) {
	var problems []string
	text := func(option string) string {
		s, _ := options[option].(string)
		return strings.TrimSpace(s)
	}
	c := Config{Bridge: text("bridge"), BridgeAddress: text("bridge-address")}
	c.ManageDefaultProfile, _ = options["manage-default-profile"].(bool)
	c.WipeOnJoin, _ = options["wipe-on-join"].(bool)
	c.Storage = Pool{Name: text("storage-pool"), Driver: text("storage-driver"), Source: text("storage-source")}
	problems = append(problems, c.Storage.problems()...)
	var problem string
	if c.Groups, problem = parseGroups(text("cluster-groups")); problem != "" {
		problems = append(problems, problem)
	}
	if c.Parents, problem = parseParents(text("network-parents")); problem != "" {
		problems = append(problems, problem)
	}
	c.FailureDomain = text("failure-domain")
	if !plainName(c.FailureDomain) {
		problems = append(problems, fmt.Sprintf("option failure-domain is %q: give auto, off, or a name of letters, digits, dots, dashes, like rack2", c.FailureDomain))
	}
	if !bridgeName(c.Bridge) {
		problems = append(problems, fmt.Sprintf("option bridge is %q: name a network interface of 2 to 15 letters, digits, dots, dashes, like lxdbr0", c.Bridge))
	}
	if c.BridgeAddress != "auto" {
		prefix, err := netip.ParsePrefix(c.BridgeAddress)
		switch {
		case err != nil || !prefix.Addr().Is4():
			problems = append(problems, fmt.Sprintf("option bridge-address is %q: give auto or an IPv4 address with its prefix length, like 10.0.8.1/24", c.BridgeAddress))
		case prefix.Masked().Addr() == prefix.Addr() || prefix.Bits() > 30:
			problems = append(problems, fmt.Sprintf("option bridge-address is %q: give the bridge's own address inside a subnet of at least 4 addresses, like %s", c.BridgeAddress, prefix.Masked().Addr().Next().String()+"/24"))
		}
	}
	return c, problems
}
