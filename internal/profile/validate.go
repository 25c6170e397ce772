package profile

import (
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/dcib/dcib/internal/document"
)

// maxDeviceName is LXD's longest name of a device.
const maxDeviceName = 64

// cephName matches the names of Ceph's clusters and users.
const cephName = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."

// names matches keys, device names and properties: without characters that end a line or separate a value
// in the files of LXD and liblxc.
var names = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/-]*$`)

// Validate checks a profile against the tables of keys and devices. The error is a document.Problems with
// all problems: unknown or refused keys, invalid values, devices without a type or with an ambiguous path.
func Validate(p Profile) error {
	var problems document.Problems
	add := func(at, says, want string) { problems = append(problems, document.At(0, at, says, want)) }
	for name, v := range p.Config {
		at := document.Join("config", name)
		row, ok := findKey(name)
		switch {
		case !ok || !names.MatchString(name):
			add(at, "is not an option of LXD containers", "one from LXD's list of instance options, such as limits.memory")
		case row.effect == Refused:
			add(at, "is not for a profile: "+row.why, "")
		case !suffixFits(row.name, name):
			add(at, "is not an option of LXD containers", suffixes[row.name].want)
		case reservedVariable(name) != "":
			add(at, "is not for a profile: "+reservedVariable(name), "")
		case !row.value.fits(v) && row.value.free:
			add(at, "has "+controlIn(v, row.value.allows), row.value.want)
		case !row.value.fits(v):
			add(at, "is "+document.Quote(v), row.value.want)
		}
	}
	for name, d := range p.Devices {
		validateDevice(name, d, add)
	}
	return problems.Err()
}

// suffixFits reports whether LXD accepts what follows a namespace in a key.
func suffixFits(namespace, key string) bool {
	want, limited := suffixes[namespace]
	return !limited || want.fits(strings.TrimPrefix(key, namespace))
}

func validateDevice(name string, d map[string]string, add func(at, says, want string)) {
	at := document.Join("devices", name)
	if len(name) > maxDeviceName || !names.MatchString(name) || path.Clean(name) != name {
		add(at, "is not a name for a device", "at most 64 letters, digits, dots and hyphens")
	}
	row, ok := findDevice(d["type"])
	switch {
	case d["type"] == "":
		add(at+".type", "is missing", "one of "+deviceKinds())
		return
	case !ok:
		add(at+".type", "is "+document.Quote(d["type"]), "one of "+deviceKinds())
		return
	case row.effect == Refused:
		add(at+".type", "is "+row.kind+", which is not for a profile: "+row.why, "")
		return
	case row.kind == "disk" && d["path"] == "/":
		add(at+".path", "is the root disk", "another path: the root disk is the storage pool's and Juju's")
	}
	for _, property := range row.required {
		if d[property] == "" {
			add(document.Join(at, property), "is missing", "a value: a "+row.kind+" needs one")
		}
	}
	for property, v := range d {
		switch {
		case !names.MatchString(property):
			add(at, "has the property "+document.Quote(property), "a name of letters, digits, dots and hyphens")
		case strings.HasPrefix(property, "ceph.") && strings.Trim(v, cephName) != "" || property == "ceph.cluster_name" && strings.HasPrefix(v, "."):
			// LXD looks for files of these names in /etc/ceph.
			add(document.Join(at, property), "is "+document.Quote(v), "a name of letters, digits, dots, hyphens and underscores")
		case controlIn(v, "") != "":
			add(document.Join(at, property), "has "+controlIn(v, ""), text.want)
		case paths[property] && v != "" && (strings.HasPrefix(v, "/") || row.kind == "unix-char" || row.kind == "unix-block" || property == "path"):
			if !strings.HasPrefix(v, "/") || path.Clean(v) != v {
				add(document.Join(at, property), "is "+document.Quote(v), "a whole path such as /srv/data, without .. in it")
			}
		case paths[property] && slices.Contains(strings.Split(v, "/"), ".."):
			add(document.Join(at, property), "is "+document.Quote(v), "a path without .. in it")
		}
	}
}

// Unsupported returns what of a validated profile a server does not support that is older than the key; nil
// if it supports all. has reports whether it has an API extension.
func Unsupported(p Profile, has func(extension string) bool) error {
	var problems document.Problems
	for name := range p.Config {
		row, _ := findKey(name)
		if extension := extensions[row.name]; extension != "" && !has(extension) {
			problems = append(problems, document.At(0, document.Join("config", name), "is not an option of this LXD: it has no API extension "+extension, ""))
		}
	}
	return problems.Err()
}

// ForContainers returns the paths of what a virtual machine ignores in a profile, and of what LXD refuses
// there.
func ForContainers(p Profile) (ignored, refused []string) {
	for _, name := range slices.Sorted(maps.Keys(p.Config)) {
		if row, ok := findKey(name); ok && !vmKeys[row.name] {
			ignored = append(ignored, document.Join("config", name))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.Devices)) {
		if containerDevices[p.Devices[name]["type"]] {
			refused = append(refused, document.Join("devices", name))
		}
	}
	return append(ignored, refused...), refused
}

// ForStopped returns the paths of the keys that LXD changes only while a virtual machine is stopped.
// takesContainerKeys reports whether the server accepts keys for containers (LXD 5.0.3 and later).
func ForStopped(p Profile, takesContainerKeys bool) []string {
	var stopped []string
	for _, name := range slices.Sorted(maps.Keys(p.Config)) {
		if row, ok := findKey(name); ok && (stoppedVMKeys[row.name] || !vmKeys[row.name] && !takesContainerKeys) {
			stopped = append(stopped, document.Join("config", name))
		}
	}
	return stopped
}

// Classify returns the effect of each key and device of a validated profile, by its path
// ("config.limits.memory", "devices.tun"). Unknown ones are Refused.
func Classify(p Profile) map[string]Effect {
	effects := map[string]Effect{}
	for name := range p.Config {
		effects[document.Join("config", name)] = Refused
		if row, ok := findKey(name); ok {
			effects[document.Join("config", name)] = row.effect
		}
	}
	for name, d := range p.Devices {
		effects[document.Join("devices", name)] = Refused
		if row, ok := findDevice(d["type"]); ok {
			effects[document.Join("devices", name)] = row.effect
		}
	}
	return effects
}

func deviceKinds() string {
	var kinds []string
	for _, row := range devices {
		if row.effect != Refused {
			kinds = append(kinds, row.kind)
		}
	}
	return strings.Join(kinds, ", ")
}
