// Package database is the PostgreSQL that a MAAS region is on: one on the same machine,
// which this package sets up, or any other, which it can only reach, save and restore.
package database

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/dcib/dcib/internal/host/atomicfile"
	"github.com/dcib/dcib/internal/maas/node"
)

// Names of the database and the role on the region's own machine, as MAAS's packages have
// them.
const (
	Name = "maasdb"
	Role = "maas"
	Port = 5432
)

// Package is what a machine with the database needs; Client what all others need.
const (
	Package = "postgresql"
	Client  = "postgresql-client"
)

// Connection is how to reach a database.
type Connection struct {
	Host     string
	Port     int
	Name     string
	User     string
	Password string // secret
}

// unreserved is what a part of a URL may have unquoted (RFC 3986).
var unreserved = regexp.MustCompile(`^[A-Za-z0-9._~-]+$`)

// Check reports whether MAAS can use such a connection. `maas-region dbupgrade` puts user and
// password into a URL without quoting them (src/maasserver/management/commands/dbupgrade.py,
// 3.7), so with an @ in it the migration would go elsewhere. Nor does it put an IPv6 address into
// brackets, there or for Temporal (src/maasserver/regiondservices/temporal.py).
func (c Connection) Check() error {
	if strings.Contains(c.Host, ":") {
		return fmt.Errorf("cannot use the database on %s: MAAS puts a host before its port without brackets, so an IPv6 address does not work: have the database's charm use IPv4 or a name (juju bind)", c.Host)
	}
	for what, value := range map[string]string{"user": c.User, "password": c.Password, "database's name": c.Name} {
		if !unreserved.MatchString(value) {
			return fmt.Errorf("cannot use the database on %s: its %s has characters that MAAS does not quote: wanted letters, digits, - . _ and ~: have the database's charm make another", c.Host, what)
		}
	}
	return nil
}

// Conf is what regiond.conf has to have for it.
func (c Connection) Conf() map[string]any {
	return map[string]any{
		"database_host": c.Host, "database_port": c.Port, "database_name": c.Name,
		"database_user": c.User, "database_pass": c.Password,
	}
}

// Local is PostgreSQL on the machine itself.
type Local struct{ node.Machine }

// sql runs SQL as the database's superuser. It is fed: others may not read it.
func (l Local) sql(ctx context.Context, text string) (string, error) {
	out, err := l.Run.Feed(ctx, []byte(text), "runuser", "-u", "postgres", "--", "psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", "postgres")
	return strings.TrimSpace(out), err
}

// Ready reports whether role and database are there, with that password. An error states that
// PostgreSQL does not answer.
func (l Local) Ready(ctx context.Context, password string) (bool, error) {
	verifier, err := Verifier(password)
	if err != nil {
		return false, err
	}
	out, err := l.sql(ctx, fmt.Sprintf("SELECT 'ready' FROM pg_authid a JOIN pg_database d ON d.datdba = a.oid WHERE a.rolname = '%s' AND a.rolpassword = '%s' AND d.datname = '%s';\n", Role, verifier, Name))
	return out == "ready", err
}

// Create makes role and database, or sets that password of those that are there. MAAS's role
// has to own its database (since 3.5).
func (l Local) Create(ctx context.Context, password string) error {
	verifier, err := Verifier(password)
	if err != nil {
		return err
	}
	_, err = l.sql(ctx, fmt.Sprintf(`SELECT 'CREATE ROLE %[1]s LOGIN' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '%[1]s') \gexec
ALTER ROLE %[1]s LOGIN PASSWORD '%[2]s';
SELECT 'CREATE DATABASE %[3]s OWNER %[1]s' WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = '%[3]s') \gexec
ALTER DATABASE %[3]s OWNER TO %[1]s;
`, Role, verifier, Name))
	return err
}

// Verifier is what PostgreSQL keeps of a password (RFC 5803, SCRAM-SHA-256), so that the
// password itself is in no statement that it may log. The salt is made of the password: it
// is a long random one, and the same one has to have the same verifier.
func Verifier(password string) (string, error) {
	const iterations = 4096
	sum := sha256.Sum256([]byte("salt of " + password))
	salt := sum[:16]
	salted, err := pbkdf2.Key(sha256.New, password, salt, iterations, sha256.Size)
	if err != nil {
		return "", fmt.Errorf("cannot make a database password's verifier: %w", err)
	}
	mac := func(text string) []byte {
		h := hmac.New(sha256.New, salted)
		h.Write([]byte(text))
		return h.Sum(nil)
	}
	stored := sha256.Sum256(mac("Client Key"))
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", iterations, b64(salt), b64(stored[:]), b64(mac("Server Key"))), nil
}

const (
	begin = "# dcib-maas: other region controllers\n"
	end   = "# dcib-maas: end\n"
)

// dir is where the cluster's configuration is, below clusters; "" without one.
func (l Local) dir() string {
	found, _ := filepath.Glob(filepath.Join(l.Root, clusters, "*/main", hbaFile))
	if len(found) == 0 {
		return ""
	}
	slices.Sort(found)
	dir, _ := filepath.Rel(filepath.Join(l.Root, clusters), filepath.Dir(found[len(found)-1]))
	return dir
}

// ErrUnusable is in the chain of what Allows and Allow return for a configuration of PostgreSQL
// that only an operator can repair.
var ErrUnusable = errors.New("this charm does not change it")

// hbaFile has who may connect.
const hbaFile = "pg_hba.conf"

// clusters is the folder of all clusters' configurations. What is in it belongs to user
// postgres, so no symlink leads out of it.
const clusters = "etc/postgresql"

func (l Local) clusters() (*os.Root, error) { return os.OpenRoot(filepath.Join(l.Root, clusters)) }

// files returns what the cluster's configuration has to be, so that these addresses and
// no one else may in, at the address listen. dir, below clusters, is "" where there is no
// cluster.
//
// The lines are host and not hostssl: MAAS's Temporal server turns TLS off (sslmode=disable,
// Temporal's common/persistence/sql/sqlplugin/postgresql/session), and MAAS has no setting for
// it (3.7, templates/temporal/production.yaml.template), so with hostssl it would stay out.
// MAAS's other parts use TLS where PostgreSQL offers it, as Debian's does.
func (l Local) files(listen string, clients []string) (dir, hba, conf string, err error) {
	dir = l.dir()
	if dir == "" {
		return "", "", "", nil
	}
	path := filepath.Join(l.Root, clusters, dir, hbaFile)
	root, err := l.clusters()
	if err != nil {
		return "", "", "", fmt.Errorf("cannot set up PostgreSQL: %w", err)
	}
	defer root.Close()
	text, err := atomicfile.ReadIn(root, filepath.Join(dir, hbaFile))
	if err != nil {
		return "", "", "", fmt.Errorf("cannot set up PostgreSQL: %w: %w: restore it from a backup, or write it again with the line: local all postgres peer", err, ErrUnusable)
	}
	hba = string(text)
	if before, rest, ok := strings.Cut(hba, begin); ok {
		_, after, _ := strings.Cut(rest, end)
		hba = before + after
	}
	if !localLine.MatchString(hba) {
		return "", "", "", fmt.Errorf("cannot set up PostgreSQL: %s has no line local, so its superuser is locked out: %w: add the line: local all postgres peer", path, ErrUnusable)
	}
	// A region takes up to 40 connections.
	conf = "max_connections = 300\n"
	if len(clients) > 0 {
		if net.ParseIP(listen) == nil {
			return "", "", "", fmt.Errorf("cannot set up PostgreSQL: this unit's address is %q, and PostgreSQL needs an IP address to listen on", listen)
		}
		conf += "listen_addresses = 'localhost," + listen + "'\n"
		var ours strings.Builder
		for _, c := range slices.Sorted(slices.Values(clients)) {
			bits := "32"
			if strings.Contains(c, ":") {
				bits = "128"
			}
			fmt.Fprintf(&ours, "host %s %s %s/%s scram-sha-256\n", Name, Role, c, bits)
		}
		hba = strings.TrimRight(hba, "\n") + "\n" + begin + ours.String() + end
	}
	return dir, hba, conf, nil
}

// localLine is a line by which the superuser of this machine gets in, or one that names a file
// which may have it. Without one, SQL could not be run here any more.
var localLine = regexp.MustCompile(`(?m)^[ \t]*(local|include|include_if_exists|include_dir)[ \t]`)

// confFile has what we set, below the cluster's configuration; inForce, hashes of what
// PostgreSQL was last told of, since a hook may die between writing and telling. It has no
// text of that: the one who can plant files in the cluster's folder would have it copied.
const (
	confFile = "conf.d/dcib-maas.conf"
	inForce  = "var/lib/dcib/maas-postgresql"
)

// record is the content of inForce: the hashes of confFile and of pg_hba.conf.
func record(hba, conf string) string {
	hash := func(text string) string {
		sum := sha256.Sum256([]byte(text))
		return hex.EncodeToString(sum[:])
	}
	return hash(conf) + " " + hash(hba)
}

// Allows reports whether it lets in these addresses, at the address listen, and no one else.
// The error says what is wrong with its configuration.
func (l Local) Allows(listen string, clients []string) (bool, error) {
	dir, hba, conf, err := l.files(listen, clients)
	if err != nil || dir == "" {
		return false, err
	}
	root, err := l.clusters()
	if err != nil {
		return false, nil
	}
	defer root.Close()
	for name, want := range map[string]string{hbaFile: hba, confFile: conf} {
		if has, err := atomicfile.ReadIn(root, filepath.Join(dir, name)); err != nil || string(has) != want {
			return false, nil
		}
	}
	return l.Text(inForce) == record(hba, conf), nil
}

// Allow lets these addresses in, at the address listen, and no one else.
func (l Local) Allow(ctx context.Context, listen string, clients []string) error {
	dir, hba, conf, err := l.files(listen, clients)
	if err != nil {
		return err
	}
	if dir == "" {
		return fmt.Errorf("cannot set up PostgreSQL: expected its configuration in %s", filepath.Join(l.Root, "etc/postgresql"))
	}
	want, how := record(hba, conf), "reload"
	if told, _, _ := strings.Cut(l.Text(inForce), " "); !strings.HasPrefix(want, told+" ") {
		how = "restart"
	}
	root, err := l.clusters()
	if err != nil {
		return fmt.Errorf("cannot set up PostgreSQL: %w", err)
	}
	defer root.Close()
	// It stays PostgreSQL's own.
	if err := atomicfile.WriteIn(root, filepath.Join(dir, hbaFile), []byte(hba), atomicfile.Options{Mode: 0o640, Keep: true}); err != nil {
		return fmt.Errorf("cannot set up PostgreSQL: %w", err)
	}
	if err := root.Mkdir(filepath.Join(dir, filepath.Dir(confFile)), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("cannot set up PostgreSQL: %w", err)
	}
	if err := atomicfile.WriteIn(root, filepath.Join(dir, confFile), []byte(conf), atomicfile.Options{Mode: 0o644}); err != nil {
		return fmt.Errorf("cannot set up PostgreSQL: %w", err)
	}
	if _, err := l.Run.Run(ctx, "systemctl", how, "postgresql"); err != nil {
		return err
	}
	return l.Write(inForce, want, false)
}

// PassFile is the name of the file with the password, beside the dump, while pg_dump or
// pg_restore runs.
const PassFile = ".passfile"

// with passes fn how pg_dump and pg_restore reach the database; the password is in a file in
// dir, which root alone can read. A killed run leaves it there, so dir is removed with it.
func (c Connection) with(dir string, fn func(target string) error) error {
	path := filepath.Join(dir, PassFile)
	if err := atomicfile.Write(path, fmt.Appendf(nil, "*:*:*:*:%s\n", c.Password), atomicfile.Options{}); err != nil {
		return fmt.Errorf("cannot hand over the database's password: %w", err)
	}
	defer os.Remove(path)
	return fn(fmt.Sprintf("host=%s port=%d dbname=%s user=%s connect_timeout=10 passfile=%s", c.Host, c.Port, c.Name, c.User, path))
}

// Dump writes the database, Temporal's schemas included, to a file. Its folder is for root
// only, and temporary.
func (c Connection) Dump(ctx context.Context, m node.Machine, path string) error {
	return c.with(filepath.Dir(path), func(target string) error {
		_, err := m.Run.Run(ctx, "pg_dump", "--format=custom", "--file="+path, "--dbname="+target)
		return c.older(err)
	})
}

// older says what to do where this machine's pg_dump or pg_restore is older than the server, which it
// then refuses before it has done anything.
func (c Connection) older(err error) error {
	if err == nil || !strings.Contains(err.Error(), "server version mismatch") && !strings.Contains(err.Error(), "unsupported version") {
		return err
	}
	return fmt.Errorf("%w: this machine's PostgreSQL client is older than the server on %s, or than the one that wrote the backup: install that version's package on this machine (like postgresql-client-16; from apt.postgresql.org where Ubuntu has none), and run this again", err, c.Host)
}

// MaxConnections returns how many connections the server takes. The password is in a file in dir while
// it is asked, which is for root only and temporary.
func (c Connection) MaxConnections(ctx context.Context, m node.Machine, dir string) (limit int, err error) {
	err = c.with(dir, func(target string) error {
		out, err := m.Run.Feed(ctx, []byte("SHOW max_connections;\n"), "psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "--dbname="+target)
		if err == nil {
			limit, err = strconv.Atoi(strings.TrimSpace(out))
		}
		if err != nil {
			return fmt.Errorf("cannot ask PostgreSQL on %s how many connections it takes: %w", c.Host, err)
		}
		return nil
	})
	return limit, err
}

// Restore makes the database what such a file says.
func (c Connection) Restore(ctx context.Context, m node.Machine, path string) error {
	return c.with(filepath.Dir(path), func(target string) error {
		_, err := m.Run.Run(ctx, "pg_restore", "--clean", "--if-exists", "--no-owner", "--single-transaction", "--dbname="+target, path)
		return c.older(err)
	})
}
