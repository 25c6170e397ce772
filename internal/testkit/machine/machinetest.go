// Package machinetest is a machine in memory, for the hooks of MAAS's charms: apt and dpkg
// with what MAAS's packages do when they are configured, and systemd. Files are real, below
// a folder of their own. What else a test needs it adds as programs.
package machinetest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dcib/dcib/internal/host/atomicfile"
	"github.com/dcib/dcib/internal/host/command"
	"github.com/dcib/dcib/internal/maas/node"
	"github.com/dcib/dcib/internal/testkit/crash"
)

// Program is one that a test adds. It reports the gate of its own effects.
type Program func(m *Machine, args []string, input string) (string, error)

// Machine is one machine. It is a command.Feeder.
type Machine struct {
	Gate     *crashtest.Gate
	Root     string
	Hostname string
	MAC      string

	Archive  map[string]string    // package → version, as the archive has it
	Lists    map[string]string    // the same, as apt last saw it
	Dpkg     map[string][2]string // package → status and version
	Beside   map[string][]string  // package → those that it conflicts with
	Running  map[string]bool      // services
	Programs map[string]Program
	Started  func(service string) error // what a service does when it starts
	Fails    map[string]string          // part of a command line → what it complains about, as long as it is here
	Hangs    string                     // a program and a part of its arguments: it has not ended in its time
	HalfDone bool                       // the next installation ends half done
	Ran      []string                   // command lines that changed something
	Inputs   []string                   // what programs were fed
	Reads    int                        // command lines that changed nothing
}

// New returns a machine with nothing on it. Its files are below root.
func New(gate *crashtest.Gate, root, hostname, mac string) *Machine {
	return &Machine{
		Gate: gate, Root: root, Hostname: hostname, MAC: mac,
		Archive: map[string]string{}, Dpkg: map[string][2]string{}, Running: map[string]bool{},
		Programs: map[string]Program{}, Fails: map[string]string{},
	}
}

// Node is the machine as a charm sees it.
func (m *Machine) Node() node.Machine {
	return node.Machine{Run: m, Root: m.Root, Hostname: m.Hostname, MACs: func() ([]string, error) { return []string{m.MAC}, nil }, User: Self}
}

// Self stands for any user of a machine: it is the one that the test runs as, since only root
// can change the owner of files.
func Self(string) (atomicfile.Owner, error) {
	return atomicfile.Owner{UID: os.Getuid(), GID: os.Getgid()}, nil
}

// Put writes a file; Text returns one.
func (m *Machine) Put(name, text string) {
	path := filepath.Join(m.Root, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o600)); err != nil {
		panic(err)
	}
}

// Text returns a file's content, trimmed; "" when there is none.
func (m *Machine) Text(name string) string { return m.Node().Text(name) }

// conditions are the files without which systemd passes over a service in silence.
var conditions = map[string]string{"maas-agent": "etc/maas/agent.yaml", "maas-http": "var/lib/maas/http/nginx.conf"}

// Start starts a service, as systemd does it.
func (m *Machine) Start(service string) error {
	if file := conditions[service]; file != "" && m.Text(file) == "" {
		return nil
	}
	if m.Node().Has("run/systemd/system/" + service + ".service") {
		return fmt.Errorf("unit %s.service is masked", service)
	}
	if m.Started != nil {
		if err := m.Started(service); err != nil {
			return err
		}
	}
	m.Running[service] = true
	return nil
}

// Run implements command.Feeder.
func (m *Machine) Run(ctx context.Context, name string, args ...string) (string, error) {
	return m.Feed(ctx, nil, name, args...)
}

// Feed implements command.Feeder.
func (m *Machine) Feed(_ context.Context, input []byte, name string, args ...string) (string, error) {
	line := strings.ReplaceAll(strings.Join(append([]string{name}, args...), " "), m.Root, "")
	if out, err, reads := m.read(name, args); reads {
		m.Reads++
		return out, err
	}
	m.Ran = append(m.Ran, line)
	if len(input) > 0 {
		m.Inputs = append(m.Inputs, string(input))
	}
	if program, part, ok := strings.Cut(m.Hangs, " "); ok && program == name && strings.Contains(line, part) {
		return "", fmt.Errorf("cannot run %s: %w", name, &command.TimeoutError{Program: name, Limit: time.Minute})
	}
	for part, why := range m.Fails {
		if strings.Contains(line, part) {
			return "", fmt.Errorf("cannot run %s: %s", name, why)
		}
	}
	if program, ok := m.Programs[name]; ok {
		return program(m, args, string(input))
	}
	defer m.Gate.Effect(line)()
	switch name {
	case "apt-get":
		return "", m.aptGet(args)
	case "dpkg":
		for pkg, state := range m.Dpkg {
			if state[0] != "installed" {
				m.configure(pkg, state[1])
			}
		}
	case "systemctl":
		return "", m.systemctl(args)
	case "add-apt-repository":
		ppa := strings.NewReplacer("ppa:", "", "/", "-ubuntu-", ".", "_").Replace(args[len(args)-1])
		m.Put("etc/apt/sources.list.d/"+ppa+"-noble.sources", "")
	case "debconf-set-selections":
	default:
		return "", fmt.Errorf("cannot run %s: not found", name)
	}
	return "", nil
}

// read answers what changes nothing.
func (m *Machine) read(name string, args []string) (out string, err error, reads bool) {
	switch {
	case name == "dpkg-query":
		for _, pkg := range args[3:] {
			if state, ok := m.Dpkg[pkg]; ok {
				out += pkg + " " + state[0] + " " + state[1] + "\n"
			} else {
				err = errors.New("cannot run dpkg-query: no packages found matching " + pkg)
			}
		}
		return out, err, true
	case name == "apt-get" && slices.Contains(args, "--simulate"):
		for _, pkg := range args[slices.Index(args, "install")+1:] {
			if m.Lists[pkg] == "" {
				return "", fmt.Errorf("cannot run apt-get: Unable to locate package %s", pkg), true
			}
			out += "Inst " + pkg + " (" + m.Lists[pkg] + ")\n"
			for _, other := range m.removes(pkg) {
				out += "Remv " + other + " [" + m.Dpkg[other][1] + "]\n"
			}
		}
		return out, nil, true
	case name == "apt-cache":
		version := m.Lists[args[1]]
		if version == "" {
			return "", nil, true
		}
		return args[1] + ":\n  Candidate: " + version + "\n", nil, true
	case name == "systemctl" && args[0] == "is-active":
		for _, service := range args[1:] {
			if m.Running[service] {
				out += "active\n"
			} else {
				out, err = out+"inactive\n", errors.New("cannot run systemctl: exit status 3")
			}
		}
		return out, err, true
	}
	return "", nil, false
}

func (m *Machine) aptGet(args []string) error {
	at := slices.Index(args, "install")
	if at < 0 {
		m.Lists = m.Archive
		return nil
	}
	for _, pkg := range args[at+1:] {
		if m.Lists[pkg] == "" {
			return fmt.Errorf("cannot run apt-get: Unable to locate package %s", pkg)
		}
		if m.HalfDone {
			m.HalfDone = false
			m.Dpkg[pkg] = [2]string{"half-configured", m.Lists[pkg]}
			return fmt.Errorf("cannot run apt-get: dpkg: error processing package %s (--configure): post-installation script returned error exit status 1", pkg)
		}
		if removed := m.removes(pkg); len(removed) > 0 && slices.Contains(args, "--no-remove") {
			return errors.New("cannot run apt-get: Packages need to be removed but remove is disabled")
		}
		for _, other := range m.removes(pkg) {
			delete(m.Dpkg, other)
		}
		m.configure(pkg, m.Lists[pkg])
	}
	return nil
}

// removes lists the installed packages that a package conflicts with.
func (m *Machine) removes(pkg string) []string {
	var all []string
	for _, other := range m.Beside[pkg] {
		if m.Dpkg[other][0] != "" {
			all = append(all, other)
		}
	}
	return all
}

// configure does what a package's postinst does (debian/*.postinst in MAAS's source).
func (m *Machine) configure(pkg, version string) {
	upgraded := m.Dpkg[pkg][0] == "installed"
	m.Dpkg[pkg] = [2]string{"installed", version}
	switch pkg {
	case node.RegionPackage:
		for _, service := range []string{"maas-regiond", "maas-apiserver", "maas-temporal", "maas-temporal-worker"} {
			m.Put("usr/lib/systemd/system/"+service+".service", "")
		}
		if m.Text(node.RegionConf) == "" {
			m.Put(node.RegionConf, "maas_url: http://localhost:5240/MAAS\n")
		}
		if upgraded { // enabled services are restarted, whatever comes of it
			_ = m.Start("maas-regiond")
		}
	case node.RackPackage:
		for _, service := range []string{"maas-rackd", "maas-agent", "maas-http", "maas-dhcpd"} {
			m.Put("usr/lib/systemd/system/"+service+".service", "")
		}
		if m.Text(node.RackConf) == "" {
			m.Put(node.RackConf, "maas_url: [http://localhost:5240/MAAS]\n")
		}
		_ = m.Start("maas-rackd")
	case "maas-region-controller":
		// It has its database on the machine, whatever was configured.
		conf := m.Node()
		if err := conf.SetConf(node.RegionConf, map[string]any{"database_host": "localhost", "database_name": "maasdb", "database_user": "maas"}); err != nil {
			panic(err)
		}
	case "postgresql":
		m.Put("etc/postgresql/16/main/pg_hba.conf", "local all postgres peer\n")
		_ = m.Start("postgresql")
	}
}

func (m *Machine) systemctl(args []string) error {
	var names []string
	for _, arg := range args[1:] {
		if !strings.HasPrefix(arg, "-") {
			names = append(names, arg)
		}
	}
	for _, name := range names {
		switch args[0] {
		case "start", "restart", "enable", "reload":
			if args[0] == "enable" && !slices.Contains(args, "--now") || args[0] == "reload" || args[0] != "restart" && m.Running[name] {
				continue
			}
			if err := m.Start(name); err != nil {
				return fmt.Errorf("cannot run systemctl: Job for %s.service failed: %w", name, err)
			}
		case "mask":
			m.Put("run/systemd/system/"+name+".service", "")
		case "unmask":
			if err := m.Node().Remove("run/systemd/system/" + name + ".service"); err != nil {
				return err
			}
		case "stop", "disable":
			if args[0] == "stop" || slices.Contains(args, "--now") {
				m.Running[name] = false
				if m.Running["maas-regiond"] && strings.HasPrefix(name, "maas-temporal") {
					m.Running[name] = true // regiond starts it again
				}
				if name == "maas-rackd" { // the agent is bound to it
					m.Running["maas-agent"] = false
				}
			}
		}
	}
	return nil
}
