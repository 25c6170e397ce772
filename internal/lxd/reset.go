package lxd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// LeftoverData returns the instances and custom volumes on this machine's disks, without using LXD:
// "instance web", "volume local/default_data". It may list more than there is, never less.
func LeftoverData() ([]string, error) {
	socket, err := socket()
	if err != nil {
		return nil, err
	}
	dir := filepath.Dir(socket)
	var leftovers []string
	for _, kind := range []string{"containers", "virtual-machines"} {
		names, err := children(filepath.Join(dir, kind))
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			leftovers = append(leftovers, "instance "+name)
		}
	}
	pools, err := filepath.Glob(filepath.Join(dir, "storage-pools", "*"))
	if err != nil {
		return nil, err
	}
	for _, pool := range pools {
		names, err := children(filepath.Join(pool, "custom"))
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			leftovers = append(leftovers, "volume "+filepath.Base(pool)+"/"+name)
		}
	}
	slices.Sort(leftovers)
	return leftovers, nil
}

func children(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot see what LXD has on this machine: %w", err)
	}
	names := make([]string, len(entries))
	for n, e := range entries {
		names[n] = e.Name()
	}
	return names, nil
}

// stateOfCluster are the files in LXD's folder that belong to its cluster; the server's own certificate
// stays.
var stateOfCluster = []string{"networks", "storage-pools", "disks", "cluster.crt", "cluster.key", "database"}

// Reset makes this machine's LXD a new one in no cluster, whatever its state. Its files are moved to
// backupDir, <folder of LXD>/lost-<time>; nothing is deleted. It only supports the package's LXD: the
// snap's storage is in a namespace of its own.
func Reset(ctx context.Context, now time.Time) (backupDir string, err error) {
	socket, err := socket()
	if err != nil {
		return "", err
	}
	if snapped, _ := snapped(); snapped {
		return "", errors.New("cannot reset the snap's LXD: remove it and what it has (snap remove --purge lxd), and install it again")
	}
	dir := filepath.Dir(socket)
	if err := stopPackage(ctx); err != nil {
		return "", fmt.Errorf("cannot reset LXD: %w", err)
	}
	backupDir = filepath.Join(dir, "lost-"+now.UTC().Format("20060102T150405Z"))
	err = moveToBackup(ctx, dir, backupDir)
	// LXD is started whatever the result was.
	if err := errors.Join(err, run(ctx, startPackage...)); err != nil {
		return backupDir, fmt.Errorf("cannot reset LXD: %w", err)
	}
	return backupDir, waitReady(ctx)
}

func moveToBackup(ctx context.Context, dir, backupDir string) error {
	if err := takeDownBridges(ctx, filepath.Join(dir, "networks")); err != nil {
		return err
	}
	pools, err := children(filepath.Join(dir, "storage-pools"))
	if err != nil {
		return err
	}
	for _, pool := range pools {
		mount := filepath.Join(dir, "storage-pools", pool)
		if mounted(ctx, mount) {
			if err := run(ctx, "umount", mount); err != nil {
				return err
			}
		}
	}
	if err := os.MkdirAll(backupDir, 0o700); err != nil {
		return err
	}
	for _, name := range stateOfCluster {
		if err := os.Rename(filepath.Join(dir, name), filepath.Join(backupDir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// mounted reports whether a file system is mounted at path.
func mounted(ctx context.Context, path string) bool {
	return run(ctx, "mountpoint", "--quiet", path) == nil
}

// takeDownBridges removes the bridges that LXD made, and ends their dnsmasq: LXD refuses to create a bridge
// that exists.
func takeDownBridges(ctx context.Context, networks string) error {
	names, err := children(networks)
	if err != nil {
		return err
	}
	for _, name := range names {
		if text, err := os.ReadFile(filepath.Join(networks, name, "dnsmasq.pid")); err == nil {
			if pid, err := strconv.Atoi(strings.TrimSpace(pidLine(text))); err == nil && isDnsmasq(pid) {
				if p, err := os.FindProcess(pid); err == nil {
					_ = p.Kill()
				}
			}
		}
		if _, err := os.Stat(filepath.Join("/sys/class/net", name, "bridge")); err == nil {
			if err := run(ctx, "ip", "link", "delete", name); err != nil {
				return err
			}
		}
	}
	return nil
}

// pidLine reads a pid from LXD's YAML ("pid: 724") or from a plain number.
func pidLine(text []byte) string {
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if after, ok := strings.CutPrefix(line, "pid:"); ok {
			return after
		}
		if _, err := strconv.Atoi(line); err == nil {
			return line
		}
	}
	return ""
}

// isDnsmasq reports whether the pid is a dnsmasq's and not another process's.
func isDnsmasq(pid int) bool {
	name, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "comm"))
	return err == nil && strings.TrimSpace(string(name)) == "dnsmasq"
}
