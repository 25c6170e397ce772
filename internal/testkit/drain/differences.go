package draintest

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/canonical/lxd/shared/api"
)

// Differences lists, sorted, what of an instance differs after a drain and an undrain: configuration,
// devices, profiles, description, kind, snapshots and backups. It ignores what each move and start
// changes: times, the state, and the volatile options that LXD writes with each start, except those that
// must stay the same, see mustStay.
func Differences(before, after api.InstanceFull) []string {
	a, b := flat(before), flat(after)
	var all []string
	for _, key := range slices.Sorted(maps.Keys(maps.Collect(join(a, b)))) {
		if a[key] != b[key] {
			all = append(all, fmt.Sprintf("%s: %q is %q", key, a[key], b[key]))
		}
	}
	return all
}

// join returns an iterator over the keys of both maps.
func join(a, b map[string]string) func(yield func(string, bool) bool) {
	return func(yield func(string, bool) bool) {
		for _, m := range []map[string]string{a, b} {
			for key := range m {
				if !yield(key, true) {
					return
				}
			}
		}
	}
}

// mustStay reports whether a volatile option must be the same after a move.
func mustStay(key string) bool {
	return slices.Contains([]string{"volatile.uuid", "volatile.evacuate.origin", "volatile.cluster.group", "volatile.cloud-init.instance-id", "volatile.base_image"}, key) ||
		strings.HasSuffix(key, ".hwaddr")
}

// flat returns an instance as names and values.
func flat(i api.InstanceFull) map[string]string {
	all := map[string]string{
		"project":      i.Project,
		"type":         i.Type,
		"member":       i.Location,
		"status":       i.Status,
		"architecture": i.Architecture,
		"ephemeral":    fmt.Sprint(i.Ephemeral),
		"stateful":     fmt.Sprint(i.Stateful),
		"description":  i.Description,
		"profiles":     strings.Join(i.Profiles, ", "),
	}
	config(all, "config ", i.Config)
	devices(all, "device ", i.Devices)
	for _, s := range i.Snapshots {
		name := "snapshot " + s.Name + " "
		all[name+"created"], all[name+"expires"] = s.CreatedAt.String(), s.ExpiresAt.String()
		all[name+"profiles"] = strings.Join(s.Profiles, ", ")
		all[name+"kind"] = fmt.Sprint(s.Architecture, " ephemeral ", s.Ephemeral, " stateful ", s.Stateful)
		config(all, name+"config ", s.Config)
		devices(all, name+"device ", s.Devices)
	}
	for _, b := range i.Backups {
		all["backup "+b.Name] = fmt.Sprint(b.CreatedAt, " expires ", b.ExpiresAt, " instance only ", b.InstanceOnly, " optimized ", b.OptimizedStorage)
	}
	return all
}

func config(all map[string]string, name string, options map[string]string) {
	for key, value := range options {
		if !strings.HasPrefix(key, "volatile.") || mustStay(key) {
			all[name+key] = value
		}
	}
}

func devices(all map[string]string, name string, devices map[string]map[string]string) {
	for key, device := range devices {
		text, err := json.Marshal(device)
		if err != nil {
			panic(err) // strings cannot fail
		}
		all[name+key] = string(text)
	}
}
