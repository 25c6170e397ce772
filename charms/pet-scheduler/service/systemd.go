package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/dcib/dcib/charms/pet-scheduler/control"
)

// Name is the daemon's service. A machine has one unit of the charm.
const Name = "pet-scheduler.service"

// Host is the machine's own systemd.
type Host struct {
	Program  string // the charm's
	Dir      string // the unit's state directory
	Lib      string // where the program is copied to: /usr/local/lib/dcib
	UnitFile string // /etc/systemd/system/pet-scheduler.service
	Agents   string // where Juju keeps its units' agents: /var/lib/juju/agents
}

// unitFile is the service. It outlives its charm's folder, and so has a copy of the program.
func (h Host) unitFile() string {
	return fmt.Sprintf(`# Written by the charm pet-scheduler.
[Unit]
Description=Pet scheduler
After=network-online.target
Wants=network-online.target
StartLimitIntervalSec=0

[Service]
ExecStart=%s daemon %s
Restart=always
RestartSec=1
TimeoutStopSec=30
UMask=0077

[Install]
WantedBy=multi-user.target
`, h.copied(), h.Dir)
}

func (h Host) copied() string { return filepath.Join(h.Lib, "pet-scheduler") }

// Other implements Systemd. The unit file's daemon works in a directory of its unit's name;
// a unit that Juju no longer has on this machine left it behind.
func (h Host) Other() (string, error) {
	text, err := os.ReadFile(h.UnitFile)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("cannot read the daemon's unit file: %w", err)
	}
	_, dir, _ := strings.Cut(string(text), " daemon ")
	dir, _, _ = strings.Cut(dir, "\n")
	name := filepath.Base(dir)
	dash := strings.LastIndexByte(name, '-')
	if dir == h.Dir || dash < 0 {
		return "", nil
	}
	_, err = os.Stat(filepath.Join(h.Agents, "unit-"+name))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("cannot look whether another unit is on this machine: %w", err)
	}
	return name[:dash] + "/" + name[dash+1:], nil
}

// Installed implements Systemd. A program counts as the charm's by its size and time, which
// Install gives it: reading it all would cost more than the rest of the hook.
func (h Host) Installed() (bool, error) {
	text, err := os.ReadFile(h.UnitFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("cannot read the daemon's unit file: %w", err)
	}
	if string(text) != h.unitFile() {
		return false, nil
	}
	ours, err := os.Stat(h.Program)
	if err != nil {
		return false, fmt.Errorf("cannot find the charm's program: %w", err)
	}
	there, err := os.Stat(h.copied())
	if err != nil {
		return false, nil
	}
	return there.Size() == ours.Size() && there.ModTime().Equal(ours.ModTime()), nil
}

// Install implements Systemd.
func (h Host) Install(ctx context.Context) error {
	if err := h.copy(); err != nil {
		return fmt.Errorf("cannot install the daemon: %w", err)
	}
	// Last: with it all is there.
	if err := os.WriteFile(h.UnitFile, []byte(h.unitFile()), 0o644); err != nil {
		return fmt.Errorf("cannot install the daemon: %w", err)
	}
	if err := systemctl(ctx, "daemon-reload"); err != nil {
		return err
	}
	return systemctl(ctx, "enable", Name)
}

func (h Host) copy() (err error) {
	if err := os.MkdirAll(h.Lib, 0o755); err != nil {
		return err
	}
	from, err := os.Open(h.Program)
	if err != nil {
		return err
	}
	defer from.Close()
	info, err := from.Stat()
	if err != nil {
		return err
	}
	// A program that runs cannot be written to, but replaced.
	temp := h.copied() + ".new"
	to, err := os.OpenFile(temp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, from)
	if err = errors.Join(err, to.Close()); err != nil {
		return err
	}
	if err := os.Chtimes(temp, info.ModTime(), info.ModTime()); err != nil {
		return err
	}
	return os.Rename(temp, h.copied())
}

// Running implements Systemd. A daemon that takes calls runs; asking systemd would be a fifth
// of the hook.
func (h Host) Running(ctx context.Context) (bool, error) {
	if conn, err := net.Dial("unix", control.Socket(h.Dir)); err == nil {
		return true, conn.Close()
	}
	err := exec.CommandContext(ctx, "systemctl", "is-active", "--quiet", Name).Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return false, fmt.Errorf("cannot ask systemd for %s: %w", Name, err)
	}
	return err == nil, nil
}

// Restart implements Systemd.
func (h Host) Restart(ctx context.Context) error { return systemctl(ctx, "restart", Name) }

// Remove implements Systemd.
func (h Host) Remove(ctx context.Context) error {
	if _, err := os.Stat(h.UnitFile); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := systemctl(ctx, "disable", "--now", Name); err != nil {
		return err
	}
	for _, path := range []string{h.copied(), h.UnitFile} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot remove the daemon: %w", err)
		}
	}
	return systemctl(ctx, "daemon-reload")
}

func systemctl(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, "systemctl", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("cannot run systemctl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
