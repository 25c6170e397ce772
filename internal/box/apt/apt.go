// Package apt gets Debian packages: into the machine, only those that are missing and
// without starting anything, and into a folder, from a release that is not the machine's.
package apt

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/dcib/dcib/internal/box/proc"
)

const noninteractive = "DEBIAN_FRONTEND=noninteractive"

// Missing returns those of the packages that are not installed.
func Missing(ctx context.Context, packages []string) ([]string, error) {
	// It fails when one of them is unknown to dpkg, which is an answer too.
	out, err := proc.Run(ctx, proc.Cmd{Args: append([]string{"dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n"}, packages...)})
	if ctx.Err() != nil || (err != nil && strings.Contains(err.Error(), "not in PATH")) {
		return nil, fmt.Errorf("cannot ask dpkg for packages: %w", err)
	}
	return missing(packages, out), nil
}

func missing(packages []string, dpkg string) []string {
	var need []string
	for _, p := range packages {
		if !slices.Contains(strings.Split(dpkg, "\n"), p+" installed") {
			need = append(need, p)
		}
	}
	return need
}

// policyMark is how the file that keeps services from starting is known as ours.
const policyMark = "# Written by dcib while it installs packages."

const policy = "#!/bin/sh\n" + policyMark + "\n# They are for its own box: no service of the machine is to start.\nexit 101\n"

// PolicyFile is what maintainer scripts ask whether they may start a service.
const PolicyFile = "/usr/sbin/policy-rc.d"

// Install installs packages from the machine's own sources. Services that they bring are
// not started. Before anything is installed, planned is told every package that will be
// new, dependencies included.
func Install(ctx context.Context, packages []string, planned func(new []string) error, log io.Writer) error {
	if _, err := proc.Run(ctx, proc.Cmd{Args: []string{"apt-get", "update", "-q", "-o", "DPkg::Lock::Timeout=300"}, Env: []string{noninteractive}, Log: log}); err != nil {
		return fmt.Errorf("cannot read the package lists: %w", err)
	}
	// One that was cut off half way leaves packages that must be configured first.
	if _, err := proc.Run(ctx, proc.Cmd{Args: []string{"dpkg", "--configure", "-a", "--force-confold"}, Env: []string{noninteractive}, Log: log, Unharmed: true}); err != nil {
		return fmt.Errorf("cannot finish an earlier installation: %w", err)
	}
	args := append([]string{"apt-get", "install", "-q", "-y", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300", "-o", "Dpkg::Options::=--force-confold"}, packages...)
	plan, err := proc.Run(ctx, proc.Cmd{Args: append(args, "--simulate"), Env: []string{noninteractive}, Log: log})
	if err != nil {
		return fmt.Errorf("cannot plan the installation of %s: %w", strings.Join(packages, " "), err)
	}
	if err := planned(newOnes(plan)); err != nil {
		return err
	}
	remove, err := keepServicesDown(PolicyFile)
	if err != nil {
		return err
	}
	_, err = proc.Run(ctx, proc.Cmd{Args: args, Env: []string{noninteractive}, Log: log, Unharmed: true})
	if err = errors.Join(err, remove()); err != nil {
		return fmt.Errorf("cannot install %s: %w", strings.Join(packages, " "), err)
	}
	return nil
}

// "Inst lxd (5.0.2-5 Debian:12 [amd64])"; one that is there already shows its version in
// square brackets first: "Inst tar [1.34] (1.35 …)".
var instLine = regexp.MustCompile(`(?m)^Inst (\S+) \(`)

func newOnes(plan string) []string {
	var names []string
	for _, m := range instLine.FindAllStringSubmatch(plan, -1) {
		names = append(names, m[1])
	}
	return names
}

// keepServicesDown writes the policy file, unless the machine has one of its own.
func keepServicesDown(file string) (remove func() error, err error) {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if errors.Is(err, fs.ErrExist) {
		return func() error { return RemovePolicy(file) }, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot keep services from starting: %w", err)
	}
	_, err = f.WriteString(policy)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("cannot keep services from starting: %w", err)
	}
	return func() error { return RemovePolicy(file) }, nil
}

// OurPolicy reports whether a policy file's text was written by Install.
func OurPolicy(text string) bool { return strings.Contains(text, policyMark) }

// RemovePolicy removes the policy file if it is ours: one that a killed run left behind.
func RemovePolicy(file string) error {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) || (err == nil && !OurPolicy(string(data))) {
		return nil
	}
	if err == nil {
		err = os.Remove(file)
	}
	if err != nil {
		return fmt.Errorf("cannot remove %s: %w", file, err)
	}
	return nil
}

// Mirror returns where the machine gets Debian itself from, for example
// "http://mirror.example.com/debian".
func Mirror(ctx context.Context) (string, error) {
	out, err := proc.Run(ctx, proc.Cmd{Args: []string{"apt-get", "indextargets", "--format", "$(REPO_URI) $(ORIGIN) $(RELEASE) $(COMPONENT)", "Created-By: Packages"}})
	if err != nil {
		return "", fmt.Errorf("cannot read the machine's package sources: %w", err)
	}
	return mirror(out)
}

func mirror(targets string) (string, error) {
	lines := bufio.NewScanner(strings.NewReader(targets))
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 2 {
			continue
		}
		uri := strings.TrimSuffix(f[0], "/")
		// Before the first update the origin is unknown: the path reports as much.
		if strings.HasSuffix(uri, "/debian") {
			return uri, nil
		}
	}
	return "", errors.New("cannot find a Debian archive among the machine's package sources: add one whose address ends in /debian to /etc/apt/sources.list")
}

// Reach checks that a release of the mirror can be downloaded from, the way apt does it.
func Reach(ctx context.Context, mirror, release string) error {
	dir, err := os.MkdirTemp("", "dcib-reach-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	_, err = proc.Run(ctx, proc.Cmd{Args: []string{"/usr/lib/apt/apt-helper", "-o", "Acquire::Retries=1", "-o", "APT::Sandbox::User=root", "download-file", mirror + "/dists/" + release + "/Release", filepath.Join(dir, "Release")}})
	return err
}

// keyring is Debian's own, from its package debian-archive-keyring.
const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// Unpack downloads one package of another release of Debian and unpacks it into a folder,
// with package lists of its own below work: nothing of the machine is upgraded by it.
func Unpack(ctx context.Context, mirror, release, name, work, into string, log io.Writer) error {
	for _, dir := range []string{"state/lists/partial", "cache/archives/partial", "parts"} {
		if err := os.MkdirAll(filepath.Join(work, dir), 0o755); err != nil {
			return fmt.Errorf("cannot download %s: %w", name, err)
		}
	}
	files := map[string]string{
		// Its mirrors may be older than the week for which a release file is good.
		"sources.list": fmt.Sprintf("deb [check-valid-until=no signed-by=%s] %s %s main\n", keyring, mirror, release),
		"status":       "",
		"apt.conf": fmt.Sprintf(`Dir::Etc::sourcelist "%[1]s/sources.list";
Dir::Etc::sourceparts "%[1]s/parts";
Dir::Etc::preferencesparts "%[1]s/parts";
Dir::State "%[1]s/state";
Dir::State::status "%[1]s/status";
Dir::Cache "%[1]s/cache";
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::IndexTargets::deb::DEP-11-icons::DefaultEnabled "false";
Acquire::IndexTargets::deb::DEP-11-icons-small::DefaultEnabled "false";
Acquire::IndexTargets::deb::DEP-11-icons-hidpi::DefaultEnabled "false";
`, work),
	}
	for file, text := range files {
		if err := os.WriteFile(filepath.Join(work, file), []byte(text), 0o644); err != nil {
			return fmt.Errorf("cannot download %s: %w", name, err)
		}
	}
	env := []string{"APT_CONFIG=" + work + "/apt.conf", noninteractive}
	for _, args := range [][]string{{"apt-get", "update", "-q"}, {"apt-get", "download", "-q", name}} {
		if _, err := proc.Run(ctx, proc.Cmd{Args: args, Env: env, Dir: work, Log: log}); err != nil {
			return fmt.Errorf("cannot download %s from Debian %s: %w", name, release, err)
		}
	}
	debs, err := filepath.Glob(filepath.Join(work, name+"_*.deb"))
	if err != nil || len(debs) != 1 {
		return fmt.Errorf("cannot find the downloaded %s in %s", name, work)
	}
	if _, err := proc.Run(ctx, proc.Cmd{Args: []string{"dpkg", "-x", debs[0], into}, Log: log}); err != nil {
		return fmt.Errorf("cannot unpack %s: %w", debs[0], err)
	}
	return nil
}
