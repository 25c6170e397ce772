package node

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/dcib/dcib/internal/host/atomicfile"
)

// What PrepareClone leaves on the machine.
const (
	helper     = "usr/local/lib/dcib/maas-identity"
	helperUnit = "etc/systemd/system/dcib-maas-identity.service"
	unitName   = "dcib-maas-identity.service"
)

// cloudConfig keeps cloud-init in a copy from running what Juju gave to the original: to
// cloud-init a copy is a new machine, and that text installs a Juju agent.
const cloudConfig = "etc/cloud/cloud.cfg.d/99-dcib-copy.cfg"

// RenewArgument is the argument with which a charm's program is that helper: see
// ResetIfClone.
const RenewArgument = "reset-if-clone"

// PrepareClone has a copy of this container come up with an identity of its own: a service
// that runs before MAAS and, in a copy, takes the old identity away. program is the charm's
// own.
func (m Machine) PrepareClone(ctx context.Context, program string) error {
	if m.Text(SystemIDFile) == "" {
		return errors.New("cannot prepare for copying: MAAS has given this machine no identity yet: see the unit's status")
	}
	static, err := m.staticAddresses()
	if err != nil {
		return fmt.Errorf("cannot prepare for copying: %w", err)
	}
	if len(static) > 0 {
		// Nothing in the copy can repair that: LXD hands the same configuration to cloud-init there.
		return fmt.Errorf("cannot prepare for copying: %s: a copy would have the same address: have this machine use DHCP, or add a unit instead of a copy (juju add-unit)", strings.Join(static, "; "))
	}
	if err := m.Record(); err != nil {
		return err
	}
	binary, err := os.ReadFile(program)
	if err != nil {
		return fmt.Errorf("cannot prepare for copying: %w", err)
	}
	if err := m.write(helper, binary, atomicfile.Options{Mode: 0o755}); err != nil {
		return fmt.Errorf("cannot prepare for copying: %w", err)
	}
	before := []string{"maas-regiond.service", "maas-rackd.service", "maas-apiserver.service", "cloud-init-local.service", "systemd-networkd.service"}
	before = append(before, m.agents()...)
	text := fmt.Sprintf(`[Unit]
Description=Identity of its own for a copy of this MAAS controller
DefaultDependencies=no
After=local-fs.target
Before=%s

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/%s %s

[Install]
RequiredBy=maas-regiond.service maas-rackd.service maas-apiserver.service
`, strings.Join(before, " "), helper, RenewArgument)
	if err := m.Write(helperUnit, text, false); err != nil {
		return err
	}
	for _, args := range [][]string{{"daemon-reload"}, {"enable", unitName}} {
		if _, err := m.Run.Run(ctx, "systemctl", args...); err != nil {
			return err
		}
	}
	return nil
}

// agents lists Juju's services on this machine.
func (m Machine) agents() []string {
	var names []string
	for _, name := range []string{"jujud-*.service", "jujuagentd-*.service"} { // until Juju 3, and since 4
		found, _ := filepath.Glob(m.path("etc/systemd/system/" + name))
		for _, path := range found {
			names = append(names, filepath.Base(path))
		}
	}
	return names
}

// ResetIfClone is what the helper does when the machine starts. A copy loses its identity
// as a controller, and its Juju agent, which is the original's. A copy that has the
// original's host name, or its network address under another name, is not let into MAAS: the
// error then keeps its services down.
func (m Machine) ResetIfClone(ctx context.Context) error {
	copied, sameName, err := m.Copied()
	if err != nil {
		return err
	}
	original, renamed := m.Renamed()
	if !copied && !renamed {
		return nil
	}
	// First, so that no second agent speaks for the original's unit.
	if m.Has("etc/cloud") {
		if err := m.Write(cloudConfig, "cloud_final_modules: []\n", false); err != nil {
			return err
		}
	}
	for _, agent := range m.agents() {
		if _, err := m.Run.Run(ctx, "systemctl", "disable", agent); err != nil {
			return err
		}
		if _, err := m.Run.Run(ctx, "systemctl", "stop", "--no-block", agent); err != nil {
			return err
		}
	}
	if renamed {
		return fmt.Errorf("cannot start MAAS here: this machine has the identity and a network address of %s, and is named %s: where it is a copy, unset hwaddr on its network device; where it is the original, name it %s again, remove /%s and systemctl enable %s; then restart it", original, m.Hostname, original, cloudConfig, strings.Join(m.agents(), " "))
	}
	if sameName {
		return fmt.Errorf("cannot start MAAS on this copy: it has the original's host name %s, and MAAS would take the two for one: hostnamectl set-hostname NAME, and restart it", m.Hostname)
	}
	if err := m.renewMachineID(ctx); err != nil {
		return err
	}
	return m.Forget(ctx)
}

// machineIDs are systemd's machine id, and D-Bus's copy of it where that is no link.
var machineIDs = []string{"etc/machine-id", "var/lib/dbus/machine-id"}

// renewMachineID returns the machine a machine id of its own (machine-id(5)). With the same one
// systemd-networkd shows the same client id to DHCP, and two machines get one address.
func (m Machine) renewMachineID(ctx context.Context) error {
	var id [16]byte
	_, _ = rand.Read(id[:]) // it never fails
	for _, name := range machineIDs {
		info, err := os.Lstat(m.path(name))
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		if err := m.write(name, []byte(hex.EncodeToString(id[:])+"\n"), atomicfile.Options{Mode: 0o444}); err != nil {
			return fmt.Errorf("cannot set the machine id of this copy: %w", err)
		}
	}
	// It has read the old one, and journalctl shows the new one's log.
	_, err := m.Run.Run(ctx, "systemctl", "try-restart", "--no-block", "systemd-journald.service")
	return err
}

// staticAddresses lists the network interfaces that netplan configures with a static address, in words.
func (m Machine) staticAddresses() ([]string, error) {
	files, _ := filepath.Glob(m.path("etc/netplan/*.yaml"))
	var all []string
	for _, path := range files {
		name := strings.TrimPrefix(strings.TrimPrefix(path, m.Root), "/")
		text, err := atomicfile.Read(path)
		if err != nil {
			return nil, err
		}
		// Device types, like ethernets and bridges, by name; other keys have no devices.
		var conf struct {
			Network map[string]yaml.Node `yaml:"network"`
		}
		if err := yaml.Unmarshal(text, &conf); err != nil {
			return nil, fmt.Errorf("cannot read /%s: it is no YAML", name)
		}
		for _, kind := range slices.Sorted(maps.Keys(conf.Network)) {
			var devices map[string]struct {
				Addresses []any `yaml:"addresses"`
			}
			of := conf.Network[kind]
			if of.Kind != yaml.MappingNode || of.Decode(&devices) != nil {
				continue
			}
			for _, device := range slices.Sorted(maps.Keys(devices)) {
				if addresses := devices[device].Addresses; len(addresses) > 0 && device != "lo" {
					all = append(all, fmt.Sprintf("/%s has static addresses on %s (%s)", name, device, addressText(addresses[0])))
				}
			}
		}
	}
	return all, nil
}

// addressText returns an address of netplan's: a text, or a map of one to its options.
func addressText(address any) string {
	if options, ok := address.(map[string]any); ok {
		for text := range options {
			return text
		}
	}
	return fmt.Sprint(address)
}
