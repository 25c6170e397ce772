package cluster

import (
	"fmt"
	"net/netip"
	"strings"
)

// Config has the application's options that this package reads.
type Config struct {
	Bridge               string   // the bridge for instances, or autoBridge
	BridgeAddress        string   // its address when we make it: "10.0.8.1/24" or "auto"
	ManageDefaultProfile bool     // add root disk and nic to LXD's profile `default`
	Storage              Pool     // the storage pool that is created
	WipeOnJoin           bool     // wipe a machine's LXD so that it can join
	Groups               []string // cluster groups for this application's members
	FailureDomain        string   // "auto", "off", or the members' failure domain
	Parents              []Parent // interfaces for the cluster's networks that need one
}

// bridgeName reports whether the kernel accepts a text as an interface name (IFNAMSIZ), and LXD as a
// network name.
func bridgeName(s string) bool {
	return len(s) >= 2 && len(s) <= 15 && plainName(s) && (s[0] < '0' || s[0] > '9')
}

// plainName reports whether a text is at most 63 letters, digits, dots, dashes and underscores, and begins
// with a letter or digit. It uses no regular expression, which each hook would have to compile.
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

// ParseConfig reads the options. A problem names the option, its value and what is accepted. While there
// are problems, nothing that depends on options is changed.
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
		problems = append(problems, fmt.Sprintf("option failure-domain is %q, wanted auto, off, or a name of letters, digits, dots, dashes, like rack2", c.FailureDomain))
	}
	if !bridgeName(c.Bridge) {
		problems = append(problems, fmt.Sprintf("option bridge is %q, wanted an interface of 2 to 15 letters, digits, dots, dashes, like lxdbr0", c.Bridge))
	}
	if c.BridgeAddress != "auto" {
		prefix, err := netip.ParsePrefix(c.BridgeAddress)
		switch {
		case err != nil || !prefix.Addr().Is4():
			problems = append(problems, fmt.Sprintf("option bridge-address is %q, wanted auto or an IPv4 address with its prefix length, like 10.0.8.1/24", c.BridgeAddress))
		case prefix.Masked().Addr() == prefix.Addr() || prefix.Bits() > 30:
			problems = append(problems, fmt.Sprintf("option bridge-address is %q, wanted the bridge's own address in a subnet of at least 4 addresses, like %s", c.BridgeAddress, prefix.Masked().Addr().Next().String()+"/24"))
		}
	}
	return c, problems
}
