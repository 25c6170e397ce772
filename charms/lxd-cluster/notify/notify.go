// Package notify lets a requester of a profile trigger this charm at once, by UDP. Juju notifies it too,
// but polls a model the less often the longer the model was idle, up to every ten seconds (juju 4.1-beta2,
// internal/changestream/stream/stream.go).
//
// A datagram contains a token that only related applications can read. The unit then runs a few hooks, as
// if update-status had come early. In such a hook Juju shows what applications wrote at once, but what
// units wrote only as of the last event (internal/worker/uniter/runner/context/cache.go); so requests of
// applications are worth a notification. A datagram that is lost costs only time, and one without the token
// is ignored. Notifications that find nothing to do are accepted less and less often, down to one hook a
// minute (rateLimit).
//
// The broker's unit listens while it has requesters, and publishes its address in the relation. systemd
// holds the socket, so no process of the charm runs until a datagram comes.
package notify

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/hooktool"
	"github.com/dcib/dcib/internal/host/atomicfile"
	"github.com/dcib/dcib/internal/host/command"
)

// Port is the UDP port for notifications, on the address of the machine's LXD.
const Port = 17668

// Subcommand is the first argument when systemd runs the charm's program. The unit's name and the path of
// the token file follow.
const Subcommand = "notify"

// The systemd units.
const (
	socketUnit  = "lxd-cluster-notify.socket"
	serviceUnit = "lxd-cluster-notify.service"
)

// Env is what this package works on.
type Env struct {
	Unit     string // the Juju unit
	Program  string // the charm's program
	Dir      string // systemd's directory: /etc/systemd/system
	Proc     string // the proc file system: /proc
	StateDir string // the unit's directory, for root only
	Tools    hooktool.Tools
	Commands command.Runner // runs systemctl
}

// ClusterInfo is what this package needs of the rest of the charm.
type ClusterInfo struct {
	Wanted bool   // this unit is the broker, and has a requester
	LXD    string // host:port of this machine's LXD
}

// Facts are what this package observed.
type Facts struct {
	ClusterInfo
	Present   bool // any of the files exists
	Complete  bool // all files have the right content
	Listening bool // a socket has the port
	Token     string
}

// Address returns host:port, a space, and the token for a datagram; "" if the unit does not listen.
func (f Facts) Address() string {
	if !f.Wanted || !f.Complete || !f.Listening || f.Token == "" {
		return ""
	}
	return f.address() + " " + f.Token
}

// tokenFile returns the path of the token in the unit's directory.
func (w Env) tokenFile() string { return filepath.Join(w.StateDir, "notify-token") }

// tokenFormat is the format of rand.Text.
var tokenFormat = regexp.MustCompile(`^[A-Z2-7]{26,64}$`)

// readToken returns the token; "" if there is none that can be used.
func readToken(path string) (string, error) {
	text, err := atomicfile.Read(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, atomicfile.ErrUnreadable) || err == nil && !tokenFormat.Match(text) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("cannot read the token for notifications: %w", err)
	}
	return string(text), nil
}

func (s ClusterInfo) address() string {
	host, _, err := net.SplitHostPort(s.LXD)
	if err != nil {
		return ""
	}
	return net.JoinHostPort(host, strconv.Itoa(Port))
}

// files returns the systemd units by name.
func (w Env) files(address string) map[string]string {
	return map[string]string{
		socketUnit: fmt.Sprintf(`# Written by the charm lxd-cluster.
[Unit]
Description=Notifications to lxd-cluster of requests for profiles

[Socket]
ListenDatagram=%s
FreeBind=yes

[Install]
WantedBy=sockets.target
`, address),
		// The program only asks the unit's agent, over a unix socket, to run a hook.
		serviceUnit: fmt.Sprintf(`# Written by the charm lxd-cluster.
[Unit]
Description=Make lxd-cluster handle requests for profiles

[Service]
ExecStart=%s %s %s %s
CapabilityBoundingSet=
NoNewPrivileges=yes
PrivateDevices=yes
PrivateTmp=yes
ProtectHome=yes
ProtectSystem=strict
RestrictAddressFamilies=AF_UNIX
`, w.Program, Subcommand, w.Unit, w.tokenFile()),
	}
}

// Observe gathers the facts.
func Observe(w Env, site ClusterInfo) (Facts, error) {
	f := Facts{ClusterInfo: site, Complete: true}
	for name, want := range w.files(site.address()) {
		text, err := os.ReadFile(filepath.Join(w.Dir, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return f, fmt.Errorf("cannot read the unit files of %s: %w", socketUnit, err)
		}
		f.Present = f.Present || err == nil
		f.Complete = f.Complete && string(text) == want
	}
	if !f.Present {
		return f, nil
	}
	var err error
	if f.Token, err = readToken(w.tokenFile()); err != nil {
		return f, err
	}
	f.Listening, err = w.listening()
	return f, err
}

// listening reports whether the kernel lists a socket on the port.
// https://docs.kernel.org/networking/proc_net_tcp.html (the UDP file has the same fields)
func (w Env) listening() (bool, error) {
	for _, name := range []string{"udp", "udp6"} {
		text, err := os.ReadFile(filepath.Join(w.Proc, "net", name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // a kernel may have no IPv6
			return false, fmt.Errorf("cannot list sockets: %w", err)
		}
		for line := range strings.Lines(string(text)) {
			if fields := strings.Fields(line); len(fields) > 1 && strings.HasSuffix(fields[1], fmt.Sprintf(":%04X", Port)) {
				return true, nil
			}
		}
	}
	return false, nil
}

// Plan returns what to do about the facts.
func Plan(f Facts) (p charm.Plan[Env]) {
	switch {
	case f.Wanted && f.Address() == "" && f.address() != "":
		p.Steps = append(p.Steps, listen{f.address()})
	case !f.Wanted && f.Present:
		p.Steps = append(p.Steps, removeListener{})
	}
	return p
}

// listen makes systemd listen.
type listen struct{ address string }

func (s listen) Name() string { return "listen for requests for profiles on " + s.address }

// Apply implements charm.Step. A failure is only logged: Juju reports every request too, but later.
func (s listen) Apply(ctx context.Context, w Env) error {
	if err := s.apply(ctx, w); err != nil {
		return w.Tools.Log(ctx, "WARNING", fmt.Sprintf("cannot %s: requests are handled when Juju reports them: %s", s.Name(), err))
	}
	return nil
}

func (s listen) apply(ctx context.Context, w Env) error {
	token, err := readToken(w.tokenFile())
	if err != nil {
		return err
	}
	if token == "" {
		if err := os.MkdirAll(w.StateDir, 0o700); err != nil {
			return err
		}
		if err := atomicfile.Write(w.tokenFile(), []byte(rand.Text()), atomicfile.Options{}); err != nil {
			return err
		}
	}
	for name, text := range w.files(s.address) {
		if err := atomicfile.Write(filepath.Join(w.Dir, name), []byte(text), atomicfile.Options{Mode: 0o644}); err != nil {
			return err
		}
	}
	return w.systemctl(ctx, []string{"daemon-reload"}, []string{"enable", socketUnit}, []string{"stop", serviceUnit}, []string{"restart", socketUnit})
}

// removeListener undoes listen.
type removeListener struct{}

func (removeListener) Name() string { return "stop listening for requests for profiles" }

func (removeListener) Apply(ctx context.Context, w Env) error {
	if err := w.systemctl(ctx, []string{"disable", "--now", socketUnit}, []string{"stop", serviceUnit}); err != nil {
		_ = w.Tools.Log(ctx, "WARNING", err.Error())
	}
	for _, path := range []string{w.tokenFile(), filepath.Join(w.Dir, serviceUnit), filepath.Join(w.Dir, socketUnit)} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot remove %s: %w", path, err)
		}
	}
	return w.systemctl(ctx, []string{"daemon-reload"})
}

// systemctl runs systemctl with each of the argument lists.
func (w Env) systemctl(ctx context.Context, orders ...[]string) error {
	for _, order := range orders {
		if _, err := w.Commands.Run(ctx, "systemctl", order...); err != nil {
			return fmt.Errorf("systemctl %s: %w", strings.Join(order, " "), err)
		}
	}
	return nil
}
