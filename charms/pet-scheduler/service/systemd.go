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
	"time"

	"github.com/dcib/dcib/charms/pet-scheduler/control"
	"github.com/dcib/dcib/internal/host/atomicfile"
)

// The units of systemd. A machine has one unit of the charm.
const (
	Name        = "pet-scheduler.service"
	notifyPath  = "pet-scheduler-notify.path"
	notifyUnit  = "pet-scheduler-notify.service"
	description = "# Written by the charm pet-scheduler.\n"
)

// stopping is how long one run of systemctl may take: longer than the daemon may take to stop.
const stopping = 90 * time.Second

// Host is the machine's own systemd.
type Host struct {
	Unit     string // of Juju
	Program  string // the charm's, which is the daemon
	Dispatch string // the charm's, which Juju runs
	Dir      string // the unit's state directory
	Lib      string // where the program is copied to: /usr/local/lib/dcib
	UnitDir  string // /etc/systemd/system
	Agents   string // where Juju keeps its units' agents: /var/lib/juju/agents
	Account  Account
}

// files returns what systemd has to have, by name. The daemon outlives its charm's folder, and so
// has a copy of the program.
//
// The daemon needs its two folders, TCP and unix sockets, and nothing else: see systemd.exec(5),
// and `systemd-analyze security pet-scheduler`. What needs root is the charm's hooks, and with
// them what has them run when the daemon changes its alerts.
func (h Host) files() map[string]string {
	return map[string]string{
		Name: fmt.Sprintf(description+`[Unit]
Description=Pet scheduler
After=network-online.target
Wants=network-online.target
StartLimitIntervalSec=0

[Service]
ExecStart=%[1]s daemon %[2]s
Restart=always
RestartSec=1
TimeoutStopSec=30
User=%[3]s
Group=%[3]s
UMask=0077
MemoryMax=2G
TasksMax=512
ReadWritePaths=%[4]s %[5]s
CapabilityBoundingSet=
DevicePolicy=closed
LockPersonality=yes
MemoryDenyWriteExecute=yes
NoNewPrivileges=yes
PrivateDevices=yes
PrivateTmp=yes
ProcSubset=pid
ProtectClock=yes
ProtectControlGroups=yes
ProtectHome=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
ProtectSystem=strict
RemoveIPC=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources

[Install]
WantedBy=multi-user.target
`, h.copied(), h.Dir, User, control.RunDir(h.Dir), control.StoreDir(h.Dir)),
		notifyPath: fmt.Sprintf(description+`[Unit]
Description=Alerts of the pet scheduler

[Path]
PathChanged=%s

[Install]
WantedBy=multi-user.target
`, control.Alerts(h.Dir)),
		// Its own pauses limit how often it has a hook run.
		notifyUnit: fmt.Sprintf(description+`[Unit]
Description=Has the pet scheduler's unit show its alerts
StartLimitIntervalSec=0

[Service]
Type=oneshot
ExecStart=%s %s %s %s
TimeoutStartSec=infinity
RuntimeDirectory=%s
RuntimeDirectoryPreserve=yes
CapabilityBoundingSet=CAP_DAC_READ_SEARCH
NoNewPrivileges=yes
PrivateDevices=yes
PrivateTmp=yes
ProtectHome=yes
ProtectSystem=strict
RestrictAddressFamilies=AF_UNIX
`, h.Dispatch, NotifyVerb, h.Unit, h.Dir, shownDir),
	}
}

func (h Host) copied() string { return filepath.Join(h.Lib, "pet-scheduler") }

// Other implements Systemd. The unit file's daemon works in a directory of its unit's name;
// a unit that Juju no longer has on this machine left it behind.
func (h Host) Other() (string, error) {
	text, err := os.ReadFile(filepath.Join(h.UnitDir, Name))
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
// Install returns it: reading it all would cost more than the rest of the hook.
func (h Host) Installed() (bool, error) {
	for name, want := range h.files() {
		text, err := os.ReadFile(filepath.Join(h.UnitDir, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, fmt.Errorf("cannot read the daemon's unit file: %w", err)
		}
		if string(text) != want {
			return false, nil
		}
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
	// The service's own file is the last: with it all is there.
	files := h.files()
	for _, name := range []string{notifyUnit, notifyPath, Name} {
		if err := atomicfile.Write(filepath.Join(h.UnitDir, name), []byte(files[name]), atomicfile.Options{Mode: 0o644}); err != nil {
			return fmt.Errorf("cannot install the daemon: %w", err)
		}
	}
	if err := systemctl(ctx, "daemon-reload"); err != nil {
		return err
	}
	if err := systemctl(ctx, "enable", Name, notifyPath); err != nil {
		return err
	}
	return systemctl(ctx, "restart", notifyPath)
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
	to, err := atomicfile.Create(h.copied(), atomicfile.Options{Mode: 0o755})
	if err != nil {
		return err
	}
	defer to.Discard()
	if _, err = io.Copy(to, from); err != nil {
		return err
	}
	if err := to.Commit(); err != nil {
		return err
	}
	return os.Chtimes(h.copied(), info.ModTime(), info.ModTime())
}

// Running implements Systemd. A daemon that takes calls runs; asking systemd would be a fifth
// of the hook.
func (h Host) Running(ctx context.Context) (bool, error) {
	if conn, err := net.Dial("unix", control.Socket(h.Dir)); err == nil {
		return true, conn.Close()
	}
	ctx, cancel := context.WithTimeout(ctx, stopping)
	defer cancel()
	err := exec.CommandContext(ctx, "systemctl", "is-active", "--quiet", Name).Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return false, fmt.Errorf("cannot ask systemd for %s: %w", Name, err)
	}
	return err == nil, nil
}

// Permitted implements Systemd.
func (h Host) Permitted() (bool, error) { return h.Account.Owns(h.Dir) }

// Permit implements Systemd.
func (h Host) Permit(ctx context.Context) error { return h.Account.Permit(ctx, h.Dir) }

// Restart implements Systemd. A daemon of an earlier charm ran as root, and may make files until
// it has stopped.
func (h Host) Restart(ctx context.Context) error {
	if err := systemctl(ctx, "stop", Name); err != nil {
		return err
	}
	if err := h.Permit(ctx); err != nil {
		return err
	}
	return systemctl(ctx, "start", Name)
}

// Remove implements Systemd.
func (h Host) Remove(ctx context.Context) error {
	if _, err := os.Stat(filepath.Join(h.UnitDir, Name)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := systemctl(ctx, "disable", "--now", notifyPath, Name); err != nil {
		return err
	}
	if err := systemctl(ctx, "stop", notifyUnit); err != nil {
		return err
	}
	for _, path := range []string{h.copied(), filepath.Join(h.UnitDir, notifyPath), filepath.Join(h.UnitDir, notifyUnit), filepath.Join(h.UnitDir, Name)} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot remove the daemon: %w", err)
		}
	}
	return systemctl(ctx, "daemon-reload")
}

func systemctl(ctx context.Context, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, stopping)
	defer cancel()
	out, err := exec.CommandContext(ctx, "systemctl", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("cannot run systemctl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
