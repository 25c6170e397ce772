package broker

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/dcib/dcib/internal/profile"
)

// PolicyOption is the charm's option with the policy.
const PolicyOption = "profile-policy"

// DefaultPolicy is what an application may ask for where the operator says nothing: its
// own share of the machine, its own environment and notes, and when it starts. Not in it,
// since they reach out of the container: devices of the host, kernel modules, everything
// under security and raw; since they would hold up the host: boot.host_shutdown_timeout;
// since the drain of a member decides by it: cluster.evacuate; since they fill a pool:
// snapshots.
const DefaultPolicy = `keys:
  - boot.autostart
  - boot.autostart.*
  - boot.stop.priority
  - environment.*
  - limits.*
  - user.*
devices: []
host-paths: []
`

// Policy is what the operator lets applications ask for, as patterns in which * stands for
// any text.
type Policy struct {
	Keys      []string `yaml:"keys"`       // of config
	Devices   []string `yaml:"devices"`    // device types
	HostPaths []string `yaml:"host-paths"` // files and folders of the hosts that a device may show
}

// ParsePolicy reads the option's YAML; empty text is DefaultPolicy. The error says which
// part is wrong.
func ParsePolicy(text string) (Policy, error) {
	if strings.TrimSpace(text) == "" {
		text = DefaultPolicy
	}
	if len(text) > profile.MaxBytes {
		return Policy{}, fmt.Errorf("cannot use option %s: it is %d bytes long, wanted at most %d", PolicyOption, len(text), profile.MaxBytes)
	}
	var p Policy
	decoder := yaml.NewDecoder(bytes.NewReader([]byte(text)))
	decoder.KnownFields(true)
	if err := decoder.Decode(&p); err != nil && !errors.Is(err, io.EOF) {
		return Policy{}, fmt.Errorf("cannot use option %s: wanted YAML with lists of text at keys, devices and host-paths: %w", PolicyOption, err)
	}
	for _, path := range p.HostPaths {
		if !strings.HasPrefix(path, "/") || strings.Contains(path, "..") {
			return Policy{}, fmt.Errorf("cannot use option %s: host-paths has %q, wanted whole paths such as /srv/*", PolicyOption, path)
		}
	}
	return p, nil
}

// Refuse says what of a validated profile the policy does not allow, each with the line of
// the policy; nothing when it allows all.
func (p Policy) Refuse(wanted profile.Profile) []string {
	var refused []string
	for _, key := range slices.Sorted(maps.Keys(wanted.Config)) {
		if !matchAny(p.Keys, key) {
			refused = append(refused, fmt.Sprintf("config.%s: %s allows %s", key, PolicyOption, list("keys", p.Keys)))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(wanted.Devices)) {
		device := wanted.Devices[name]
		if !matchAny(p.Devices, device["type"]) {
			refused = append(refused, fmt.Sprintf("devices.%s: is of type %s, %s allows %s", name, device["type"], PolicyOption, list("devices", p.Devices)))
			continue
		}
		if path := hostPath(device); path != "" && !matchAny(p.HostPaths, path) {
			refused = append(refused, fmt.Sprintf("devices.%s: shows %s of the host, %s allows %s", name, path, PolicyOption, list("host-paths", p.HostPaths)))
		}
	}
	return refused
}

// hostPath gives the file of the host that a device shows, "" when it shows none by path.
func hostPath(device map[string]string) string {
	switch device["type"] {
	case "disk":
		if strings.HasPrefix(device["source"], "/") && device["pool"] == "" {
			return device["source"]
		}
	case "unix-char", "unix-block":
		if device["source"] != "" {
			return device["source"]
		}
		return device["path"]
	}
	return ""
}

func list(what string, allowed []string) string {
	if len(allowed) == 0 {
		return "no " + what
	}
	return "the " + what + " " + strings.Join(allowed, ", ")
}

func matchAny(patterns []string, s string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool { return match(pattern, s) })
}

// match tells whether s fits a pattern in which * stands for any text, also none.
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
