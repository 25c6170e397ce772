// Package archive makes an archive of Debian packages in the places of MAAS's own: the same
// names, dependencies among them, services, questions of debconf and maintainer scripts
// (folder debian), with program standin for all of theirs. apt reads it over HTTP, signed
// with a key that is made for it. It can be gone, or break off, when a test says so.
//
// The packages of Debian that MAAS's depend on (bind9, chrony, nginx, squid, …) are not among
// their dependencies here, but sudo is: MAAS's daemons start each other by it. PostgreSQL is not of this archive: it is the machine's own.
package archive

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// pkg is a binary package. All have one version, and those that others name depend on just
// that one, so that half an upgrade fails as MAAS's does.
type pkg struct {
	name    string
	depends []string // of MAAS's own
	others  string   // of Debian's
	fields  string   // further ones of control
	units   []string
	links   []string // names in /usr/sbin or /usr/bin that are program standin
}

var packages = []pkg{
	{name: "maas-common", others: "sudo", units: []string{"maas-http"}, links: []string{"usr/sbin/maas-http"}},
	{name: "maas-cli", depends: []string{"maas-common", "python3-maas-client"}, links: []string{"usr/bin/maas"}},
	{name: "python3-maas-client"},
	{name: "python3-django-maas"},
	{name: "python3-maas-provisioningserver"},
	{name: "temporal"},
	{name: "maas-proxy"},
	{name: "maas-netmon"},
	{name: "maas-dhcp", depends: []string{"maas-common"}},
	{name: "maas-dns", depends: []string{"maas-region-api"}},
	{
		name: "maas-region-api", depends: []string{"maas-common", "maas-cli", "maas-proxy", "python3-django-maas", "temporal"},
		fields: "Conflicts: dnsmasq, ntp\n",
		units:  []string{"maas-regiond", "maas-apiserver", "maas-temporal", "maas-temporal-worker"},
		links:  []string{"usr/sbin/maas-region", "usr/sbin/regiond", "usr/sbin/maas-apiserver", "usr/sbin/maas-temporal-worker", "usr/sbin/temporal-server"},
	},
	{
		name: "maas-rack-controller", depends: []string{"maas-agent", "maas-cli", "maas-common", "maas-dhcp", "maas-proxy", "maas-netmon"},
		others: "debconf (>= 0.5)", fields: "Conflicts: tftpd-hpa, ntp\n",
		units: []string{"maas-rackd"},
		links: []string{"usr/sbin/maas-rack", "usr/sbin/rackd"},
	},
	{name: "maas-agent", depends: []string{"maas-common"}, units: []string{"maas-agent"}, links: []string{"usr/sbin/maas-agent"}},
	// These two no charm may install: see the script of the first.
	{name: "maas-region-controller", depends: []string{"maas-region-api"}, others: "postgresql"},
	{name: "maas", depends: []string{"maas-rack-controller", "maas-region-controller"}},
}

//go:embed debian
var debian embed.FS

// Archive is one that is served, by several addresses.
type Archive struct {
	mux     *http.ServeMux
	address string
	dir     string
	gpg     string
	key     string // armoured
	program string
}

// Site is the archive by one of its addresses, which alone can be gone or break off.
type Site struct {
	Line   string // of sources.list, without the key
	Source string // what option source is to be: the line, and the key
	Gone   atomic.Bool
	Breaks atomic.Bool // in the middle of each package
	files  http.Handler
}

// release makes the version of a package of MAAS's.
func release(version string) string { return "1:" + version + "-0ubuntu1~standin1" }

// Serve makes an archive that has those versions of MAAS (like "3.7.2"), and serves it on an
// address of this machine until the test ends. repo is the repository.
func Serve(t *testing.T, repo, address string, versions ...string) *Archive {
	t.Helper()
	a := &Archive{mux: http.NewServeMux(), dir: t.TempDir(), gpg: t.TempDir(), program: filepath.Join(t.TempDir(), "standin")}
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", a.program, "./tests/maas/standin")
	build.Dir, build.Env = repo, append(os.Environ(), "CGO_ENABLED=0")
	run(t, build)
	run(t, exec.Command("gpg", "--homedir", a.gpg, "--batch", "--passphrase", "", "--quick-generate-key", "Archive of stand-ins <standin@maas.example>", "ed25519", "sign", "1d"))
	t.Cleanup(func() { _ = exec.Command("gpgconf", "--homedir", a.gpg, "--kill", "all").Run() })
	a.key = run(t, exec.Command("gpg", "--homedir", a.gpg, "--armor", "--export"))
	for _, version := range versions {
		a.Add(t, version)
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	require.NoError(t, err)
	a.address = listener.Addr().String()
	server := &http.Server{Handler: a.mux, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	return a
}

// Site returns the archive another address, by a name.
func (a *Archive) Site(name string) *Site {
	line := fmt.Sprintf("deb http://%s/%s noble main", a.address, name)
	s := &Site{Line: line, Source: line + "\n" + a.key, files: http.StripPrefix("/"+name, http.FileServer(http.Dir(a.dir)))}
	a.mux.Handle("/"+name+"/", s)
	return s
}

// ServeHTTP implements http.Handler.
func (s *Site) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if s.Gone.Load() {
		panic(http.ErrAbortHandler)
	}
	if s.Breaks.Load() && strings.HasSuffix(req.URL.Path, ".deb") {
		w.Header().Set("Content-Length", "1000000")
		_, _ = w.Write(make([]byte, 1000))
		panic(http.ErrAbortHandler)
	}
	s.files.ServeHTTP(w, req)
}

// Add puts a version of all packages into the archive.
func (a *Archive) Add(t *testing.T, version string) {
	t.Helper()
	pool := filepath.Join(a.dir, "pool")
	require.NoError(t, os.MkdirAll(pool, 0o755))
	for _, p := range packages {
		p.build(t, pool, a.program, version)
	}
	a.index(t)
}

// build makes one package.
func (p pkg) build(t *testing.T, pool, program, version string) {
	t.Helper()
	root := t.TempDir()
	require.NoError(t, os.Chmod(root, 0o755))
	put := func(path string, content []byte, mode fs.FileMode) {
		to := filepath.Join(root, path)
		require.NoError(t, os.MkdirAll(filepath.Dir(to), 0o755))
		require.NoError(t, os.WriteFile(to, content, mode))
	}
	for _, script := range []string{"preinst", "postinst", "prerm", "postrm", "config", "templates"} {
		content, err := debian.ReadFile("debian/" + p.name + "." + script)
		if err != nil {
			continue
		}
		mode := fs.FileMode(0o755)
		if script == "templates" {
			mode = 0o644
		}
		put("DEBIAN/"+script, content, mode)
	}
	for _, unit := range p.units {
		content, err := debian.ReadFile("debian/" + unit + ".service")
		require.NoError(t, err)
		put("lib/systemd/system/"+unit+".service", content, 0o644)
	}
	for _, link := range p.links {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(root, link)), 0o755))
		require.NoError(t, os.Symlink("/usr/lib/maas/standin", filepath.Join(root, link)))
	}
	if p.name == "maas-common" {
		content, err := os.ReadFile(program)
		require.NoError(t, err)
		put("usr/lib/maas/standin", content, 0o755)
		put("usr/lib/maas/version", []byte(version+"\n"), 0o644)
		sudoers, err := debian.ReadFile("debian/maas-common.sudoers")
		require.NoError(t, err)
		put("etc/sudoers.d/99-maas-common", sudoers, 0o440)
	}
	var depends []string
	for _, d := range p.depends {
		depends = append(depends, fmt.Sprintf("%s (= %s)", d, release(version)))
	}
	if p.others != "" {
		depends = append(depends, p.others)
	}
	control := fmt.Sprintf("Package: %s\nVersion: %s\nArchitecture: amd64\nSection: net\nPriority: optional\nMaintainer: Archive of stand-ins <standin@maas.example>\n", p.name, release(version))
	if len(depends) > 0 {
		control += "Depends: " + strings.Join(depends, ", ") + "\n"
	}
	control += p.fields + "Description: stands in for MAAS's package of that name\n"
	put("DEBIAN/control", []byte(control), 0o644)
	run(t, exec.Command("dpkg-deb", "--build", "--root-owner-group", "-Zgzip", "-z1", root, filepath.Join(pool, p.name+"_"+version+"_amd64.deb")))
}

// index writes the archive's lists, and signs them.
func (a *Archive) index(t *testing.T) {
	t.Helper()
	debs, err := filepath.Glob(filepath.Join(a.dir, "pool/*.deb"))
	require.NoError(t, err)
	slices.Sort(debs)
	var list bytes.Buffer
	for _, deb := range debs {
		content, err := os.ReadFile(deb)
		require.NoError(t, err)
		fmt.Fprintf(&list, "%sFilename: pool/%s\nSize: %d\nSHA256: %x\n\n", run(t, exec.Command("dpkg-deb", "--field", deb)), filepath.Base(deb), len(content), sha256.Sum256(content))
	}
	var packed bytes.Buffer
	zip := gzip.NewWriter(&packed)
	_, err = zip.Write(list.Bytes())
	require.NoError(t, err)
	require.NoError(t, zip.Close())

	top := filepath.Join(a.dir, "dists/noble")
	require.NoError(t, os.MkdirAll(filepath.Join(top, "main/binary-amd64"), 0o755))
	out := fmt.Sprintf("Origin: standin\nSuite: noble\nCodename: noble\nArchitectures: amd64\nComponents: main\nDate: %s\nSHA256:\n", time.Now().UTC().Format(time.RFC1123))
	for name, content := range map[string][]byte{"main/binary-amd64/Packages": list.Bytes(), "main/binary-amd64/Packages.gz": packed.Bytes()} {
		require.NoError(t, os.WriteFile(filepath.Join(top, name), content, 0o644))
		out += fmt.Sprintf(" %x %d %s\n", sha256.Sum256(content), len(content), name)
	}
	sign := exec.Command("gpg", "--homedir", a.gpg, "--batch", "--clearsign")
	sign.Stdin = strings.NewReader(out)
	require.NoError(t, os.WriteFile(filepath.Join(top, "InRelease"), []byte(run(t, sign)), 0o644))
}

func run(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, "%s: %s", strings.Join(cmd.Args, " "), stderr.String())
	return string(out)
}
