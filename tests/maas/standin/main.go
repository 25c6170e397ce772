// Command standin stands in for the programs of MAAS's Debian packages, where there is no
// archive of theirs: it goes by the name that it is called by. Its regions keep what they
// know in the PostgreSQL database that regiond.conf names, so that several share it, and
// answer by package maastest; its racks enrol with MAAS's secret, and are matched as MAAS
// matches them. It knows nothing of machines that boot.
//
// What MAAS does badly it does, too: see dbupgrade, the matching of racks, what a rack does that
// is deleted while it runs, the helpers that regiond starts again, Temporal without an address,
// images that are not known before their stream was read, and the redirections of a MAAS with TLS.
package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"gopkg.in/yaml.v3"
)

// Files, as MAAS has them.
const (
	regionConf   = "/etc/maas/regiond.conf"
	rackConf     = "/etc/maas/rackd.conf"
	agentConf    = "/etc/maas/agent.yaml"
	secretFile   = "/var/lib/maas/secret"
	idFile       = "/var/lib/maas/maas_id"
	uuidFile     = "/var/lib/maas/maas_uuid"
	clusterCert  = "/var/lib/maas/certificates/cluster.pem"
	temporalConf = "/var/lib/maas/temporal/production.yaml"
	// versionFile says what this stands in for; it comes with package maas-common.
	versionFile = "/usr/lib/maas/version"
	// argumentsFile has the arguments of each program that an operator ran.
	argumentsFile = "/var/log/maas-arguments"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	noteArguments()
	var err error
	switch name := filepath.Base(os.Args[0]); name {
	case "maas-region":
		err = maasRegion(ctx, os.Args[1:])
	case "maas":
		err = maas(ctx, os.Args[1:])
	case "maas-rack":
		err = maasRack(os.Args[1:])
	case "regiond":
		err = regiond(ctx)
	case "rackd":
		err = rackd(ctx)
	case "maas-http":
		err = front(ctx)
	case "maas-apiserver", "maas-temporal-worker":
		err = beside(ctx, name)
	case "temporal-server":
		err = temporal(ctx)
	case "maas-agent":
		<-ctx.Done()
	default:
		err = fmt.Errorf("nothing stands in for %s", name)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func noteArguments() {
	file, err := os.OpenFile(argumentsFile, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o666)
	if err != nil {
		return // of a daemon, which runs as user maas: its arguments are in its unit
	}
	defer file.Close()
	fmt.Fprintln(file, strings.Join(os.Args, " "))
}

// version is that of the packages.
func version() string { return text(versionFile) }

// text returns a file's content; "" without one.
func text(path string) string {
	content, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(content))
}

// write writes a file as MAAS's daemons do.
func write(path, content string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(content), 0o640)
}

// readConf reads a configuration into what has its defaults.
func readConf(path string, into any) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return yaml.Unmarshal(content, into)
}

// macs are the addresses of this machine's network interfaces.
func macs() []string {
	all, err := net.Interfaces()
	if err != nil {
		return nil
	}
	var list []string
	for _, i := range all {
		if len(i.HardwareAddr) > 0 {
			list = append(list, i.HardwareAddr.String())
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

func hostname() string {
	name, _ := os.Hostname()
	short, _, _ := strings.Cut(name, ".")
	return short
}
