package down

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dcib/dcib/internal/box/proc"
	"github.com/dcib/dcib/internal/steps"
)

func (k kinder) mounts(context.Context) ([]string, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("cannot list the mounts: %w", err)
	}
	return mountsBelow(string(data), k.Place.Dir()), nil
}

var octal = regexp.MustCompile(`\\[0-7]{3}`)

// mountsBelow returns the mount points at and below a folder, the last mounted first.
func mountsBelow(mountinfo, dir string) []string {
	var found []string
	for line := range strings.Lines(mountinfo) {
		f := strings.Fields(line)
		if len(f) < 5 {
			continue
		}
		at := octal.ReplaceAllStringFunc(f[4], func(s string) string { // blanks and such
			return string(rune((s[1]-'0')<<6 | (s[2]-'0')<<3 | (s[3] - '0')))
		})
		if at == dir || strings.HasPrefix(at, dir+"/") {
			found = append(found, at)
		}
	}
	slices.Reverse(found)
	return found
}

func (k kinder) unmount(ctx context.Context, log *steps.Log) error {
	found, err := k.mounts(ctx)
	if err != nil {
		return err
	}
	for _, at := range found {
		log.Printf("unmount %s", at)
		err := unix.Unmount(at, 0)
		if errors.Is(err, unix.EBUSY) {
			err = unix.Unmount(at, unix.MNT_DETACH)
		}
		if err != nil && !errors.Is(err, unix.EINVAL) { // it went with one above it
			return fmt.Errorf("cannot unmount %s: %w", at, err)
		}
		// With the folder the kernel takes the copies away that other mount namespaces have of
		// it, which keep the loop device busy: such as that in which another box's image is made.
		if err := unix.Rmdir(at); err != nil {
			log.Printf("keep the folder %s: %v", at, err)
		}
	}
	return nil
}

// loop is a loop device.
type loop struct {
	name   string // loop0
	number string // 7:0
	file   string
}

// loops returns the loop devices below sys ("/sys/block") whose file lies in a folder,
// even if that file is deleted.
func loops(sys, dir string) ([]loop, error) {
	files, err := filepath.Glob(filepath.Join(sys, "loop*", "loop", "backing_file"))
	if err != nil {
		return nil, err
	}
	var found []loop
	for _, file := range files {
		backing, err := os.ReadFile(file)
		if err != nil {
			continue // detached meanwhile
		}
		if !strings.HasPrefix(string(backing), dir+"/") {
			continue
		}
		device := filepath.Dir(filepath.Dir(file))
		number, _ := os.ReadFile(filepath.Join(device, "dev"))
		found = append(found, loop{filepath.Base(device), strings.TrimSpace(string(number)), strings.TrimSpace(string(backing))})
	}
	return found, nil
}

func (k kinder) loops(context.Context) ([]string, error) {
	found, err := loops("/sys/block", k.Place.Dir())
	var names []string
	for _, l := range found {
		names = append(names, "/dev/"+l.name)
	}
	return names, err
}

func (k kinder) detach(ctx context.Context, log *steps.Log) error {
	// A filesystem lets go of its device a moment after it was unmounted.
	return steps.Wait(ctx, log, 30*time.Second, 100*time.Millisecond, func(context.Context) (bool, string, error) {
		found, err := loops("/sys/block", k.Place.Dir())
		if err != nil || len(found) == 0 {
			return err == nil, "", err
		}
		for _, l := range found {
			log.Printf("detach /dev/%s from %s", l.name, l.file)
			f, err := os.OpenFile("/dev/"+l.name, os.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				return false, "", fmt.Errorf("cannot detach /dev/%s: %w", l.name, err)
			}
			_, err = unix.IoctlRetInt(int(f.Fd()), unix.LOOP_CLR_FD)
			f.Close()
			if err != nil && !errors.Is(err, unix.ENXIO) && !errors.Is(err, unix.EBUSY) {
				return false, "", fmt.Errorf("cannot detach /dev/%s: %w", l.name, err)
			}
		}
		why := fmt.Sprintf("waiting for %d loop devices", len(found))
		if users := usersOf("/proc", k.Place.Dir()); len(users) > 0 {
			why += ", which these processes have mounted in a mount namespace of their own: " + strings.Join(users, ", ") + ": end them, and run this again"
		}
		return false, why, nil
	})
}

// usersOf returns the processes below proc ("/proc") that see mounts below a folder which this process
// does not see, as "PID (program)": one of each mount namespace. A namespace that was made while the
// folder had mounts keeps copies of them.
func usersOf(proc, dir string) (users []string) {
	own, err := os.Readlink(filepath.Join(proc, "self", "ns", "mnt"))
	if err != nil {
		return nil
	}
	seen := map[string]bool{own: true}
	folders, _ := filepath.Glob(filepath.Join(proc, "[0-9]*"))
	for _, folder := range folders {
		namespace, err := os.Readlink(filepath.Join(folder, "ns", "mnt"))
		if err != nil || seen[namespace] {
			continue
		}
		seen[namespace] = true
		mountinfo, err := os.ReadFile(filepath.Join(folder, "mountinfo"))
		if err != nil || len(mountsBelow(string(mountinfo), dir)) == 0 {
			continue
		}
		name, _ := os.ReadFile(filepath.Join(folder, "comm"))
		users = append(users, fmt.Sprintf("%s (%s)", filepath.Base(folder), strings.TrimSpace(string(name))))
	}
	return users
}

const sysNet = "/sys/class/net"

// links returns the bridge and what is plugged into it.
func (k kinder) links(context.Context) ([]string, error) {
	if _, err := os.Stat(filepath.Join(sysNet, k.Place.Bridge())); err != nil {
		return nil, nil //nolint:nilerr // no such interface
	}
	found := []string{}
	ports, _ := os.ReadDir(filepath.Join(sysNet, k.Place.Bridge(), "brif"))
	for _, p := range ports {
		found = append(found, p.Name())
	}
	return append(found, k.Place.Bridge()), nil
}

func (k kinder) removeLinks(ctx context.Context, log *steps.Log) error {
	found, err := k.links(ctx)
	if err != nil {
		return err
	}
	for _, name := range found {
		// A veth may go automatically, with its container's network.
		if _, err := proc.Run(ctx, proc.Cmd{Args: []string{"ip", "link", "delete", name}, Log: log}); err != nil {
			if _, serr := os.Stat(filepath.Join(sysNet, name)); serr == nil {
				return fmt.Errorf("cannot remove interface %s: %w", name, err)
			}
		}
	}
	return nil
}

// chain is an nft chain.
type chain struct{ Family, Table, Name string }

func (c chain) String() string { return c.Family + " " + c.Table + " " + c.Name }

// ourChains reads `nft -j list ruleset`: the chains that LXD made for the bridge. Its table is
// shared by all LXDs of a machine.
func ourChains(list []byte, bridge string) (ours []chain, err error) {
	var parsed struct {
		Nftables []struct {
			Chain *chain `json:"chain"`
		} `json:"nftables"`
	}
	if err := json.Unmarshal(list, &parsed); err != nil {
		return nil, fmt.Errorf("cannot read the list of nft chains: %w", err)
	}
	for _, o := range parsed.Nftables {
		if o.Chain != nil && o.Chain.Table == "lxd" && strings.HasSuffix(o.Chain.Name, "."+bridge) {
			ours = append(ours, *o.Chain)
		}
	}
	return ours, nil
}

// emptyTables reads `nft -j list ruleset`: the tables of LXD's name without any chain.
func emptyTables(ruleset []byte) (tables []chain, err error) {
	var parsed struct {
		Nftables []struct {
			Table *chain `json:"table"`
			Chain *chain `json:"chain"`
		} `json:"nftables"`
	}
	if err := json.Unmarshal(ruleset, &parsed); err != nil {
		return nil, fmt.Errorf("cannot read the nft rules: %w", err)
	}
	full := map[chain]bool{}
	for _, o := range parsed.Nftables {
		if o.Chain != nil {
			full[chain{o.Chain.Family, o.Chain.Table, ""}] = true
		}
	}
	for _, o := range parsed.Nftables {
		if o.Table != nil && o.Table.Name == "lxd" && !full[chain{o.Table.Family, "lxd", ""}] {
			tables = append(tables, chain{o.Table.Family, "lxd", ""})
		}
	}
	return tables, nil
}

func (k kinder) chains(ctx context.Context) ([]string, error) {
	found, err := k.findChains(ctx)
	var names []string
	for _, c := range found {
		names = append(names, c.String())
	}
	return names, err
}

func (k kinder) findChains(ctx context.Context) ([]chain, error) {
	if _, err := exec.LookPath("nft"); err != nil {
		return nil, nil //nolint:nilerr // without nft LXD cannot have used it
	}
	out, err := proc.Run(ctx, proc.Cmd{Args: []string{"nft", "-j", "list", "ruleset"}})
	if err != nil {
		return nil, fmt.Errorf("cannot list the nft rules: %w", err)
	}
	ours, err := ourChains([]byte(out), k.Place.Bridge())
	if err != nil {
		return nil, err
	}
	empty, err := emptyTables([]byte(out))
	return append(ours, empty...), err
}

func (k kinder) removeChains(ctx context.Context, log *steps.Log) error {
	for range 2 { // chains first, and then the tables that have become empty
		found, err := k.findChains(ctx)
		if err != nil {
			return err
		}
		for _, c := range found {
			commands := [][]string{{"nft", "delete", "table", c.Family, c.Table}}
			if c.Name != "" {
				commands = [][]string{
					{"nft", "flush", "chain", c.Family, c.Table, c.Name},
					{"nft", "delete", "chain", c.Family, c.Table, c.Name},
				}
			}
			for _, args := range commands {
				if _, err := proc.Run(ctx, proc.Cmd{Args: args, Log: log}); err != nil {
					return fmt.Errorf("cannot remove the nft chain %s: %w", c, err)
				}
			}
		}
	}
	return nil
}

const cgroupRoot = "/sys/fs/cgroup"

// cgroups returns the cgroups that liblxc made for the box's instances, whose names are
// those of LXD's log folders, and in which nothing runs any more.
func (k kinder) cgroups(context.Context) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(k.Place.LXD(), "logs"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot list the instances' names: %w", err)
	}
	names := map[string]bool{}
	for _, e := range entries {
		names[e.Name()] = true
	}
	return findCgroups(cgroupRoot, names)
}

func findCgroups(root string, names map[string]bool) ([]string, error) {
	var found []string
	// Version 2 has them at the top, version 1 one level below, per controller.
	for _, pattern := range []string{"lxc.*", "*/lxc.*"} {
		dirs, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			return nil, err
		}
		for _, dir := range dirs {
			_, name, ok := strings.Cut(strings.TrimPrefix(filepath.Base(dir), "lxc."), ".")
			if ok && names[name] && !busy(dir) {
				found = append(found, dir)
			}
		}
	}
	return found, nil
}

// busy reports whether a process is in a cgroup or below it.
func busy(dir string) bool {
	found := false
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil //nolint:nilerr // it went away meanwhile
		}
		procs, _ := os.ReadFile(filepath.Join(path, "cgroup.procs"))
		found = found || len(procs) > 0
		return nil
	})
	return found
}

func (k kinder) removeCgroups(ctx context.Context, log *steps.Log) error {
	found, err := k.cgroups(ctx)
	if err != nil {
		return err
	}
	for _, dir := range found {
		log.Printf("remove %s", dir)
		removeTree(dir)
	}
	return nil
}

// removeTree removes a cgroup and those below it; the files in them go automatically.
func removeTree(dir string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if e.IsDir() {
			removeTree(filepath.Join(dir, e.Name()))
		}
	}
	_ = unix.Rmdir(dir)
}
