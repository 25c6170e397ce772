package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/lib/pq"

	"github.com/dcib/dcib/internal/testkit/maas"
)

// conf is regiond.conf, with MAAS's defaults.
type conf struct {
	URL      string `yaml:"maas_url"`
	Host     string `yaml:"database_host"`
	Port     int    `yaml:"database_port"`
	Name     string `yaml:"database_name"`
	User     string `yaml:"database_user"`
	Password string `yaml:"database_pass"`
	// Broadcast is where Temporal's servers reach each other; see broadcast.
	Broadcast string `yaml:"broadcast_address"`
}

func defaults() conf {
	return conf{URL: "http://localhost:5240/MAAS", Host: "localhost", Port: 5432, Name: "maasdb", User: "maas"}
}

func readRegionConf() (conf, error) {
	c := defaults()
	return c, readConf(regionConf, &c)
}

// broadcast is the address that Temporal is told: what is configured, or else what the host in
// maas_url is known by, which may be none (src/maasserver/regiondservices/temporal.py).
func (c conf) broadcast(ctx context.Context) string {
	if c.Broadcast != "" {
		return c.Broadcast
	}
	at, err := url.Parse(c.URL)
	if err != nil {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	addresses, err := net.DefaultResolver.LookupNetIP(ctx, "ip4", at.Hostname())
	if err != nil || len(addresses) == 0 {
		return ""
	}
	return addresses[0].String()
}

// open connects as the daemons do. who is told to PostgreSQL.
func (c conf) open(ctx context.Context, who string) (*sql.DB, error) {
	at := url.URL{
		Scheme: "postgresql", User: url.UserPassword(c.User, c.Password), Path: c.Name,
		Host: fmt.Sprintf("%s:%d", c.Host, c.Port), RawQuery: "sslmode=disable&connect_timeout=5&application_name=" + who,
	}
	return connect(ctx, at.String())
}

// openRegion opens the database that regiond.conf names.
func openRegion(ctx context.Context) (*sql.DB, error) {
	c, err := readRegionConf()
	if err != nil {
		return nil, err
	}
	return c.open(ctx, "maas")
}

// openUnquoted connects as dbupgrade does, which quotes nothing: with an @ in the password
// it goes elsewhere.
func (c conf) openUnquoted(ctx context.Context) (*sql.DB, error) {
	return connect(ctx, fmt.Sprintf("postgresql://%s:%s@%s:%d/%s?sslmode=disable&connect_timeout=5", c.User, c.Password, c.Host, c.Port, c.Name))
}

func connect(ctx context.Context, at string) (*sql.DB, error) {
	connector, err := pq.NewConnector(at)
	if err != nil {
		return nil, errors.New("cannot read the database's address") // the password is in it
	}
	db := sql.OpenDB(connector)
	db.SetMaxIdleConns(1)
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return db, db.PingContext(ctx)
}

// schema is made by the migration. A node is a rack while rack_seen is set, and a region
// while region_seen is; process_seen stands for a region's process rows.
const schema = `
CREATE TABLE IF NOT EXISTS maasserver_schema (version text NOT NULL);
CREATE TABLE IF NOT EXISTS maasserver_node (
  id serial, system_id text PRIMARY KEY, hostname text NOT NULL, macs text[] NOT NULL,
  region_seen timestamptz, process_seen timestamptz, rack_seen timestamptz, services jsonb);
CREATE TABLE IF NOT EXISTS maasserver_deleted (system_id text PRIMARY KEY);
CREATE TABLE IF NOT EXISTS maasserver_secret (name text PRIMARY KEY, value text NOT NULL);
CREATE TABLE IF NOT EXISTS maasserver_user (username text PRIMARY KEY, email text NOT NULL, password text NOT NULL, key text NOT NULL);
CREATE TABLE IF NOT EXISTS maasserver_rest (document jsonb NOT NULL);
CREATE TABLE IF NOT EXISTS standin_event (at timestamptz NOT NULL DEFAULT now(), host text NOT NULL, what text NOT NULL);
`

// alive is how long a rack counts as alive after it was last seen. A region does for as long as it
// has process rows: it takes them away when it is stopped, and where it died another region does,
// once they are older than pruned (REMOVE_INTERVAL in src/maasserver/ipc.py).
const alive, pruned = "interval '10 seconds'", "interval '90 seconds'"

// event notes something that the suite asks for.
func event(ctx context.Context, db *sql.DB, format string, args ...any) {
	what := fmt.Sprintf(format, args...)
	fmt.Println("event:", what)
	_, _ = db.ExecContext(ctx, `INSERT INTO standin_event (host, what) VALUES ($1, $2)`, hostname(), what)
}

// schemaVersion reports what the database was migrated to; "" before it ever was.
func schemaVersion(ctx context.Context, db *sql.DB) (string, error) {
	var v string
	err := db.QueryRowContext(ctx, `SELECT version FROM maasserver_schema`).Scan(&v)
	var refused *pq.Error
	if errors.Is(err, sql.ErrNoRows) || errors.As(err, &refused) && refused.Code.Name() == "undefined_table" {
		return "", nil
	}
	return v, err
}

// locked runs fn in a transaction, one after another among all regions.
func locked(ctx context.Context, db *sql.DB, fn func(tx *sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // after Commit it does nothing
	if _, err := tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock(1)`); err != nil {
		return err
	}
	if err := fn(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// identifyRack returns the system id of the node that a rack is, as MAAS finds it: the oldest one
// with its system id, or its host name, or any of its network addresses; the system id does not
// come first (find in src/maasserver/rpc/rackcontrollers.py). So a copy is taken for the original.
// One that is new gets an id.
func identifyRack(ctx context.Context, tx *sql.Tx, systemID, hostname string, macs []string) (string, error) {
	return identify(ctx, tx, `system_id = $1 OR hostname = $2 OR macs && $3`, systemID, hostname, macs)
}

// identifyRegion does the same for a region: one that has a system id is looked for by that, and by
// the rest only where there is no such node (get_or_create_running_controller in
// src/maasserver/models/node.py).
func identifyRegion(ctx context.Context, tx *sql.Tx, systemID, hostname string, macs []string) (string, error) {
	return identify(ctx, tx, `CASE WHEN EXISTS (SELECT 1 FROM maasserver_node WHERE system_id = $1) THEN system_id = $1 ELSE hostname = $2 OR macs && $3 END`, systemID, hostname, macs)
}

func identify(ctx context.Context, tx *sql.Tx, match, systemID, hostname string, macs []string) (string, error) {
	var found string
	err := tx.QueryRowContext(ctx, `SELECT system_id FROM maasserver_node WHERE `+match+` ORDER BY id LIMIT 1`, systemID, hostname, pq.Array(macs)).Scan(&found)
	if errors.Is(err, sql.ErrNoRows) {
		found = strings.ToLower(rand.Text()[:6])
		_, err = tx.ExecContext(ctx, `INSERT INTO maasserver_node (system_id, hostname, macs) VALUES ($1, $2, $3)`, found, hostname, pq.Array(macs))
		return found, err
	}
	if err == nil {
		_, err = tx.ExecContext(ctx, `UPDATE maasserver_node SET hostname = $2, macs = $3 WHERE system_id = $1`, found, hostname, pq.Array(macs))
	}
	return found, err
}

// secret returns one of MAAS's secrets, which is made when it is asked for first.
func secret(ctx context.Context, tx *sql.Tx, name string, fresh func() string) (value string, err error) {
	_, err = tx.ExecContext(ctx, `INSERT INTO maasserver_secret VALUES ($1, $2) ON CONFLICT DO NOTHING`, name, fresh())
	if err == nil {
		err = tx.QueryRowContext(ctx, `SELECT value FROM maasserver_secret WHERE name = $1`, name).Scan(&value)
	}
	return value, err
}

// answering loads the database into a region of maastest, has fn ask it, and writes back
// what it changed.
func answering(ctx context.Context, db *sql.DB, fn func(*maastest.Region)) error {
	return locked(ctx, db, func(tx *sql.Tx) error {
		r := &maastest.Region{Unread: true} // until the suite states that the stream was read
		var document []byte
		err := tx.QueryRowContext(ctx, `SELECT document FROM maasserver_rest`).Scan(&document)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if err == nil {
			if err := json.Unmarshal(document, r); err != nil {
				return err
			}
		}
		r.Version, r.Changes, r.Keys = version(), nil, nil
		if err := loadControllers(ctx, tx, r); err != nil {
			return err
		}
		if err := rows(ctx, tx, `SELECT key FROM maasserver_user`, func(scan func(...any) error) error {
			var key string
			defer func() { r.Keys = append(r.Keys, key) }()
			return scan(&key)
		}); err != nil {
			return err
		}
		var connected []string
		r.Deleted = func(systemID string) { connected = append(connected, systemID) }
		racks, regions := slices.Clone(r.Racks), slices.Clone(r.Regions)
		fn(r)
		if len(r.Changes) == 0 {
			return nil
		}
		for _, gone := range without(racks, r.Racks) {
			if _, err := tx.ExecContext(ctx, `UPDATE maasserver_node SET rack_seen = NULL WHERE system_id = $1`, gone); err != nil {
				return err
			}
		}
		for _, gone := range without(regions, r.Regions) {
			if _, err := tx.ExecContext(ctx, `UPDATE maasserver_node SET region_seen = NULL, process_seen = NULL WHERE system_id = $1`, gone); err != nil {
				return err
			}
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM maasserver_node WHERE rack_seen IS NULL AND region_seen IS NULL`); err != nil {
			return err
		}
		for _, id := range connected {
			if _, err := tx.ExecContext(ctx, `INSERT INTO maasserver_deleted VALUES ($1) ON CONFLICT DO NOTHING`, id); err != nil {
				return err
			}
		}
		r.Racks, r.Regions, r.Keys, r.Changes = nil, nil, nil, nil
		if document, err = json.Marshal(r); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `DELETE FROM maasserver_rest`); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO maasserver_rest VALUES ($1)`, document)
		return err
	})
}

func loadControllers(ctx context.Context, tx *sql.Tx, r *maastest.Region) error {
	r.Racks, r.Regions = nil, nil
	return rows(ctx, tx, `SELECT system_id, hostname, rack_seen IS NOT NULL, coalesce(rack_seen < now() - `+alive+`, true),
		region_seen IS NOT NULL, process_seen IS NULL, coalesce(services, '{}') FROM maasserver_node ORDER BY system_id`,
		func(scan func(...any) error) error {
			var rack, region maastest.Controller
			var isRack, isRegion bool
			var services []byte
			if err := scan(&rack.SystemID, &rack.Hostname, &isRack, &rack.Dead, &isRegion, &region.Dead, &services); err != nil {
				return err
			}
			if err := json.Unmarshal(services, &rack.Services); err != nil {
				return err
			}
			region.SystemID, region.Hostname = rack.SystemID, rack.Hostname
			if isRack {
				r.Racks = append(r.Racks, &rack)
			}
			if isRegion {
				r.Regions = append(r.Regions, &region)
			}
			return nil
		})
}

func rows(ctx context.Context, tx *sql.Tx, query string, each func(scan func(...any) error) error) error {
	all, err := tx.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer all.Close()
	for all.Next() {
		if err := each(all.Scan); err != nil {
			return err
		}
	}
	return all.Err()
}

// without returns the ids of those controllers that are in one list and not in the other.
func without(all, kept []*maastest.Controller) []string {
	var gone []string
	for _, c := range all {
		if !slices.ContainsFunc(kept, func(k *maastest.Controller) bool { return k.SystemID == c.SystemID }) {
			gone = append(gone, c.SystemID)
		}
	}
	return gone
}
