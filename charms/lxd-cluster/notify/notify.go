// Package notify lets a requester of a profile trigger this charm at once, by UDP. Juju tells it too, but
// pollDelays for changes in a model the less often the longer it has been quietTime there: up to every
// ten seconds (juju 4.1-beta2, internal/changestream/stream/stream.go).
//
// A datagram has a token in it that only those who are related can read, and nothing else of any
// meaning; the unit then pollDelays at its relations a few times, as in an
// update-status that has come early. In such a hook Juju shows what applications wrote as it is,
// and what units wrote as it last told of it (internal/worker/uniter/runner/context/cache.go), so
// it is the wish of an application that is worth a call. A call that is lost costs nothing but that
// time. Without the token a datagram causes nothing; and while calls find nothing to do, they are
// taken less and less often, down to one hook a minute (rateLimit), and Juju's own hooks go on beside
// that.
//
// The unit that is the broker listens, while it has somebody to listen to, and says in the
// relation where. systemd keeps the socket, so nothing of ours runs until somebody calls.
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

// Port is the UDP port that is listened on, at the address of the machine's LXD.
const Port = 17668

// Subcommand is the argument with which the charm's program is what systemd starts; the unit's name
// and the path of the file with the token come after it.
const Subcommand = "notify"

// The units of systemd.
const (
	socketUnit  = "lxd-cluster-notify.socket"
	serviceUnit = "lxd-cluster-notify.service"
)

// Env is what the package works on.
type Env struct {
	Unit     string // of Juju
	Program  string // the charm's
	Dir      string // systemd's: /etc/systemd/system
	Proc     string // the kernel's: /proc
	StateDir string // the unit's own, for root only
	Tools    hooktool.Tools
	Commands command.Runner // runs systemctl
}

// ClusterInfo is what it has to know of the rest of the charm.
type ClusterInfo struct {
	Wanted bool   // this unit is the broker, and somebody is related to it
	LXD    string // host:port of this machine's LXD
}

// Facts are what it saw.
type Facts struct {
	ClusterInfo
	Present   bool // there is anything of ours
	Complete  bool // and it is as it should be
	Listening bool // somebody has the port
	Token     string
}

// Address is where this unit is to be notified, and how: host:port, a blank, and the token that the
// datagram has to have; "" while nobody listens.
func (f Facts) Address() string {
	if !f.Wanted || !f.Complete || !f.Listening || f.Token == "" {
		return ""
	}
	return f.address() + " " + f.Token
}

// tokenFile is where the token is, below the unit's directory.
func (w Env) tokenFile() string { return filepath.Join(w.StateDir, "notify-token") }

// tokenFormat is a token as rand.Text makes it.
var tokenFormat = regexp.MustCompile(`^[A-Z2-7]{26,64}$`)

// readToken reads the token; "" is that there is none, or one that cannot be used.
func readToken(path string) (string, error) {
	text, err := atomicfile.Read(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, atomicfile.ErrUnreadable) || err == nil && !tokenFormat.Match(text) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("cannot read the token that calls have: %w", err)
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

// files returns what systemd has to have, by name.
func (w Env) files(address string) map[string]string {
	return map[string]string{
		socketUnit: fmt.Sprintf(`# Written by the charm lxd-cluster.
[Unit]
Description=Calls of those who ask lxd-cluster for profiles

[Socket]
ListenDatagram=%s
FreeBind=yes

[Install]
WantedBy=sockets.target
`, address),
		// Who has it do anything is the unit's agent, which it asks over a unix socket.
		serviceUnit: fmt.Sprintf(`# Written by the charm lxd-cluster.
[Unit]
Description=Has lxd-cluster look at who asks for profiles

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

// listening reports whether there is a socket on the port, by what the kernel lists of them.
// https://docs.kernel.org/networking/proc_net_tcp.html (the UDP one has the same fields)
func (w Env) listening() (bool, error) {
	for _, name := range []string{"udp", "udp6"} {
		text, err := os.ReadFile(filepath.Join(w.Proc, "net", name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // a kernel may have no IPv6
			return false, fmt.Errorf("cannot see which sockets there are: %w", err)
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

// listen has systemd listen.
type listen struct{ address string }

func (s listen) Name() string { return "listen for those who ask for profiles on " + s.address }

// Apply implements charm.Step. Where it fails the log says so, and nothing else: Juju tells of
// all that would be heard, only later.
func (s listen) Apply(ctx context.Context, w Env) error {
	if err := s.apply(ctx, w); err != nil {
		return w.Tools.Log(ctx, "WARNING", fmt.Sprintf("cannot %s: profiles that are asked for come when Juju says so: %s", s.Name(), err))
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

// removeListener undoes what listen did.
type removeListener struct{}

func (removeListener) Name() string { return "listen for nobody any more" }

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

// systemctl runs it for each of the orders in turn.
func (w Env) systemctl(ctx context.Context, orders ...[]string) error {
	for _, order := range orders {
		if _, err := w.Commands.Run(ctx, "systemctl", order...); err != nil {
			return fmt.Errorf("systemctl %s: %w", strings.Join(order, " "), err)
		}
	}
	return nil
}
