// Package kernel raises the kernel's limits for as long as a box is up, and puts back
// what was there before.
package kernel

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Wanted are the settings that a box needs and their least values: LXD's own list for
// production, without which the sixth or seventh container comes up with no network, and
// the forwarding that LXD would turn on automatically.
var Wanted = map[string]int64{
	"fs.inotify.max_queued_events":  1048576,
	"fs.inotify.max_user_instances": 1048576,
	"fs.inotify.max_user_watches":   1048576,
	"kernel.keys.maxbytes":          2000000,
	"kernel.keys.maxkeys":           2000,
	"net.ipv4.ip_forward":           1,
	"vm.max_map_count":              262144,
}

// Change is one setting that was raised.
type Change struct {
	Was string `json:"was"` // the value found
	Set string `json:"set"` // the value that it was given
}

// Settings are the machine's kernel settings below a folder, "/proc/sys" in earnest.
type Settings struct{ Root string }

// Low returns the names of the wanted settings that are too low now, sorted. A setting
// that this kernel does not have is not wanted.
func (s Settings) Low() ([]string, error) {
	var low []string
	for name, least := range Wanted {
		value, err := s.get(name)
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("cannot read kernel setting %s: %w", name, err)
		}
		if n, err := strconv.ParseInt(value, 10, 64); err != nil || n < least {
			low = append(low, name)
		}
	}
	slices.Sort(low)
	return low, nil
}

// Raise raises what is too low. What it finds is added to changes, and handed to save,
// before anything is changed; a value that was recorded earlier is the one that stays.
func (s Settings) Raise(changes map[string]Change, save func(map[string]Change) error) error {
	low, err := s.Low()
	if err != nil {
		return err
	}
	for _, name := range low {
		set := strconv.FormatInt(Wanted[name], 10)
		was, err := s.get(name)
		if err != nil {
			return fmt.Errorf("cannot read kernel setting %s: %w", name, err)
		}
		if old, ok := changes[name]; !ok || old.Set != set {
			changes[name] = Change{Was: was, Set: set}
		}
	}
	if err := save(changes); err != nil {
		return err
	}
	for _, name := range low {
		if err := s.set(name, changes[name].Set); err != nil {
			return fmt.Errorf("cannot raise kernel setting %s to %s: %w", name, changes[name].Set, err)
		}
	}
	return nil
}

// PutBack returns each changed setting its former value, unless another client has given it
// another one since. It returns what it put back.
func (s Settings) PutBack(changes map[string]Change) ([]string, error) {
	var back []string
	for _, name := range slices.Sorted(maps.Keys(changes)) {
		c := changes[name]
		now, err := s.get(name)
		if err != nil {
			return back, fmt.Errorf("cannot read kernel setting %s: %w", name, err)
		}
		if now != c.Set {
			continue
		}
		if err := s.set(name, c.Was); err != nil {
			return back, fmt.Errorf("cannot put kernel setting %s back to %s: %w", name, c.Was, err)
		}
		back = append(back, name)
	}
	return back, nil
}

func (s Settings) file(name string) string {
	return filepath.Join(s.Root, strings.ReplaceAll(name, ".", "/"))
}

func (s Settings) get(name string) (string, error) {
	data, err := os.ReadFile(s.file(name))
	return strings.TrimSpace(string(data)), err
}

func (s Settings) set(name, value string) error {
	return os.WriteFile(s.file(name), []byte(value+"\n"), 0o644)
}
