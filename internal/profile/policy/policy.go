// Package policy decides what applications may have in an LXD profile: it parses option profile-policy,
// finds the policy for a requester, and returns what a policy refuses. It is pure.
package policy

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/dcib/dcib/internal/profile"
)

// Option is the option of charm lxd-cluster with the policy.
const Option = "profile-policy"

// Default is what an application may request where the operator sets nothing: its
// own share of the machine, its own environment and notes, and whether it starts at boot.
// It names each limit, because a tenant must not get what an LXD release adds later.
// It leaves out what affects others:
//
//   - what reaches out of the container: devices of the host, kernel modules, sysctls,
//     everything under security and raw;
//   - what delays the boot or the shutdown of the host, or puts the container ahead of
//     others: boot.autostart.delay, boot.autostart.priority, boot.stop.priority,
//     boot.host_shutdown_timeout;
//   - what takes from the host or from other containers: limits.kernel.* (rtprio, nice,
//     memlock), limits.hugepages.*, limits.cpu.nodes, and the priorities of processor, disk
//     and network;
//   - cluster.evacuate, because the drain of a member depends on it;
//   - snapshots, because they fill a pool.
const Default = `keys:
  - boot.autostart
  - environment.*
  - limits.cpu
  - limits.cpu.allowance
  - limits.memory
  - limits.memory.*
  - limits.processes
  - user.*
devices: []
host-paths: []
`

// Policy is what one requester may have. In key patterns and device types * stands for any
// text, in host paths for any text between two slashes.
type Policy struct {
	Keys      []Key    `yaml:"keys"`       // of config
	Devices   []string `yaml:"devices"`    // device types
	HostPaths []string `yaml:"host-paths"` // what of the hosts a device may use, see hostResources

	name  string         // which of the option's policies it is; "" for the option's only one
	lines map[string]int // the line of each of the three in the text
}

// Name returns the policy's place in the option, for an operator.
func (p Policy) Name() string {
	if p.name == "" {
		return "default"
	}
	return p.name
}

// check returns why the policy cannot be used.
func (p Policy) check() error {
	for i, where := range p.HostPaths {
		if components(where) == nil {
			return fmt.Errorf("host-paths has %q, wanted whole paths such as /srv/*, without .. in them", where)
		}
		for _, other := range slices.Concat(p.HostPaths[:i], p.HostPaths[i+1:]) {
			if mayContain(where, other) {
				return fmt.Errorf("host-paths has %q and, inside it, %q, wanted paths that are not nested: a container could replace the inner one by a symlink", where, other)
			}
		}
	}
	return nil
}

// Refuse returns what of a validated profile the policy does not allow, each with what the policy would
// need, and where; nothing if it allows all.
func (p Policy) Refuse(wanted profile.Profile) []string {
	option := Option
	if p.name != "" {
		option += " (" + p.name + ")"
	}
	var refused []string
	add := func(at, section, needs string) {
		where := "it would need " + section
		if line := p.lines[section]; line > 0 {
			where = fmt.Sprintf("its %s (line %d) would need", section, line)
		}
		refused = append(refused, fmt.Sprintf("%s: %s does not allow it: %s %s", at, option, where, needs))
	}
	for _, key := range slices.Sorted(maps.Keys(wanted.Config)) {
		if needs := p.refuseKey(key, wanted.Config[key]); needs != "" {
			add("config."+key, "keys", needs)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(wanted.Devices)) {
		device := wanted.Devices[name]
		if !matchAny(p.Devices, device["type"]) {
			add("devices."+name, "devices", strconv.Quote(device["type"]))
		}
		for _, what := range hostResources(device) {
			if !p.allowsHost(what) {
				add("devices."+name, "host-paths", strconv.Quote(what))
			}
		}
	}
	return refused
}

// hostResources returns what of the host, or of others on it, a device shows by name, or changes there.
// It is a path, or one of:
//
//	cephfs:NAME/PATH, ceph:POOL/VOLUME   as the device's source
//	pool:POOL/VOLUME                     a custom volume of LXD's
//	pool:POOL/TYPE/VOLUME                a volume of another type, as of an instance
//	mount-options:OPTIONS                with which the host mounts a disk
//	unix-char:MAJOR:MINOR, unix-block:…  a device by its numbers, whatever its path says
//	unix:@NAME                           an abstract socket of the host
//	tcp:ADDRESS:PORT, udp:ADDRESS:PORT   where a proxy listens on the host, or connects from it
//	nic:PARENT, network:NAME             the host's interface, or LXD's network, of a nic
//	route:SUBNET                         a route of the host's to a nic
func hostResources(device map[string]string) []string {
	var all []string
	if what := shows(device); what != "" {
		all = append(all, what)
	}
	if options := device["raw.mount.options"]; options != "" {
		all = append(all, "mount-options:"+options)
	}
	for _, property := range []string{"ipv4.routes", "ipv4.routes.external", "ipv6.routes", "ipv6.routes.external"} {
		for subnet := range strings.SplitSeq(device[property], ",") {
			if subnet = strings.TrimSpace(subnet); subnet != "" {
				all = append(all, "route:"+subnet)
			}
		}
	}
	return all
}

// shows returns the resource that a device shows.
func shows(device map[string]string) string {
	switch device["type"] {
	case "disk":
		if device["pool"] != "" {
			volume := device["pool"] + "/" + device["source"]
			if kind := device["source.type"]; kind != "" && kind != "custom" {
				volume = device["pool"] + "/" + kind + "/" + device["source"]
			}
			return "pool:" + volume
		}
		if strings.HasPrefix(device["source"], "/") {
			return device["source"]
		}
		return strings.TrimSuffix(device["source"], "/") // the whole share
	case "unix-char", "unix-block":
		switch {
		case device["major"] != "" || device["minor"] != "":
			return device["type"] + ":" + device["major"] + ":" + device["minor"]
		case device["source"] != "":
			return device["source"]
		}
		return device["path"]
	case "proxy":
		address := device["listen"]
		if device["bind"] == "container" || device["bind"] == "instance" || device["bind"] == "guest" {
			address = device["connect"]
		}
		if path, unix := strings.CutPrefix(address, "unix:"); unix && strings.HasPrefix(path, "/") {
			return path
		}
		return address
	case "nic", "infiniband":
		switch {
		case device["network"] != "":
			return "network:" + device["network"]
		case device["parent"] != "":
			return "nic:" + device["parent"]
		}
	}
	return ""
}

// allowsHost reports whether host-paths allows a resource. A * does not match a slash, so that nothing
// allowed is inside something else that is: a container with access to a folder could create a symlink in
// it to any file of the host.
func (p Policy) allowsHost(what string) bool {
	parts := components(what)
	return parts != nil && slices.ContainsFunc(p.HostPaths, func(pattern string) bool {
		return slices.EqualFunc(strings.Split(pattern, "/"), parts, match)
	})
}

// components splits a resource at its slashes; nil if its meaning is not certain: a path that is not
// absolute, and one without a kind before a colon, or with an empty part, . or .. in it.
func components(s string) []string {
	parts := strings.Split(s, "/")
	for i, part := range parts {
		first := i == 0 && (part == "" && len(parts) > 1 || strings.Contains(part, ":"))
		if !first && (i == 0 || part == "" || part == "." || part == "..") || strings.ContainsRune(part, 0) {
			return nil
		}
	}
	return parts
}

// mayContain reports whether something that pattern around allows may contain something that pattern inside
// allows.
func mayContain(around, inside string) bool {
	outer, inner := strings.Split(around, "/"), strings.Split(inside, "/")
	if len(outer) >= len(inner) {
		return false
	}
	for i, part := range outer {
		if both := strings.Contains(part, "*") && strings.Contains(inner[i], "*"); !both && !match(part, inner[i]) && !match(inner[i], part) {
			return false
		}
	}
	return true
}

func matchAny(patterns []string, s string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool { return match(pattern, s) })
}

// match reports whether s matches a pattern in which * stands for any text, also none.
func match(pattern, s string) bool {
	head, rest, wild := strings.Cut(pattern, "*")
	if !wild {
		return s == pattern
	}
	s, ok := strings.CutPrefix(s, head)
	if !ok {
		return false
	}
	for {
		part, more, another := strings.Cut(rest, "*")
		if !another {
			return strings.HasSuffix(s, part)
		}
		i := strings.Index(s, part)
		if i < 0 {
			return false
		}
		s, rest = s[i+len(part):], more
	}
}
