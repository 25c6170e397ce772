package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/lib/pq"
	"gopkg.in/yaml.v3"
)

// maasRegion is the command maas-region.
func maasRegion(ctx context.Context, args []string) error {
	switch {
	case len(args) > 0 && args[0] == "local_config_set":
		return localConfigSet(args[1:])
	case len(args) == 1 && args[0] == "dbupgrade":
		return dbupgrade(ctx)
	}
	return fmt.Errorf("nothing stands in for maas-region %s", strings.Join(args, " "))
}

// localConfigSet writes regiond.conf; without arguments, what is there, or the defaults.
func localConfigSet(args []string) error {
	has := map[string]any{}
	if err := readConf(regionConf, &has); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if len(has) == 0 {
		d := defaults()
		has = map[string]any{"maas_url": d.URL, "database_host": d.Host, "database_name": d.Name, "database_user": d.User, "database_pass": ""}
	}
	flags := flag.NewFlagSet("local_config_set", flag.ContinueOnError)
	for name := range has {
		flags.Func(strings.ReplaceAll(name, "_", "-"), "", func(value string) error {
			has[name] = value
			return nil
		})
	}
	if err := flags.Parse(args); err != nil {
		return err
	}
	content, err := yaml.Marshal(has)
	if err != nil {
		return err
	}
	return write(regionConf, string(content))
}

// migrationTime is how long a migration takes.
const migrationTime = 8 * time.Second

// dbupgrade migrates the database, which takes some time. Nothing keeps two from doing so at once,
// and nothing asks whether regions run.
func dbupgrade(ctx context.Context) error {
	c, err := readRegionConf()
	if err != nil {
		return err
	}
	db, err := c.openUnquoted(ctx)
	if err != nil {
		return err
	}
	defer db.Close()
	var server, own int
	if err := db.QueryRowContext(ctx, `SELECT current_setting('server_version_num')::int, (SELECT count(*) FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba WHERE d.datname = current_database() AND r.rolname = current_user)`).Scan(&server, &own); err != nil {
		return err
	}
	if server < 120000 || own == 0 {
		return errors.New("wanted PostgreSQL 12 or later, and a database that the role owns")
	}
	if _, err := db.ExecContext(ctx, schema); err != nil {
		return err
	}
	was, err := schemaVersion(ctx, db)
	if err != nil {
		return err
	}
	if was == version() {
		return nil
	}
	if was != "" {
		// Meanwhile it is that of no version.
		if _, err := db.ExecContext(ctx, `UPDATE maasserver_schema SET version = $1`, was+" to "+version()); err != nil {
			return err
		}
	}
	for end := time.Now().Add(migrationTime); time.Now().Before(end) && ctx.Err() == nil; time.Sleep(time.Second) {
		var run string
		err := db.QueryRowContext(ctx, `SELECT coalesce(string_agg(DISTINCT application_name, ' and '), '') FROM pg_stat_activity
			WHERE datname = current_database() AND application_name IN ('regiond', 'maas-apiserver', 'maas-temporal-worker')`).Scan(&run)
		if err != nil {
			return err
		}
		if run != "" && was != "" {
			event(ctx, db, "migrated from %s to %s while %s ran", was, version(), run)
			break
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if _, err := db.ExecContext(ctx, `DELETE FROM maasserver_schema`); err != nil {
		return err
	}
	if _, err := db.ExecContext(ctx, `INSERT INTO maasserver_schema VALUES ($1)`, version()); err != nil {
		return err
	}
	event(ctx, db, "migrated to %s", version())
	return nil
}

// maas is the command maas, as far as it works on the database.
func maas(ctx context.Context, args []string) error {
	if len(args) > 0 && args[0] == "config-tls" {
		return configTLS(ctx, args[1:])
	}
	if len(args) == 0 || args[0] != "createadmin" && args[0] != "apikey" && args[0] != "changepassword" {
		return fmt.Errorf("nothing stands in for maas %s", strings.Join(args, " "))
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	user, email := flags.String("username", "", ""), flags.String("email", "", "")
	password := flags.String("password", "", "")
	flags.String("ssh-import", "", "")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	db, err := openRegion(ctx)
	if err != nil {
		return err
	}
	defer db.Close()
	if args[0] == "apikey" {
		var key string
		if err := db.QueryRowContext(ctx, `SELECT key FROM maasserver_user WHERE username = $1`, *user).Scan(&key); err != nil {
			//lint:ignore ST1005 as MAAS has it
			return errors.New("User does not exist.")
		}
		fmt.Println(key)
		return nil
	}
	if *password == "" {
		// MAAS asks twice, and reads the answers from its input where there is no terminal.
		in := bufio.NewScanner(os.Stdin)
		var twice []string
		for len(twice) < 2 && in.Scan() {
			twice = append(twice, in.Text())
		}
		if len(twice) < 2 || twice[0] == "" || twice[0] != twice[1] {
			//lint:ignore ST1005 as MAAS has it
			return errors.New("Passwords do not match")
		}
		*password = twice[0]
	}
	if args[0] == "changepassword" {
		*user = flags.Arg(0)
	}
	sum := sha256.Sum256([]byte(*user + *password))
	if args[0] == "changepassword" {
		changed, err := db.ExecContext(ctx, `UPDATE maasserver_user SET password = $2 WHERE username = $1`, *user, hex.EncodeToString(sum[:]))
		if err != nil {
			return err
		}
		if n, err := changed.RowsAffected(); err != nil || n == 0 {
			return errors.Join(err, fmt.Errorf("user '%s' does not exist", *user))
		}
		return nil
	}
	key := rand.Text()[:18] + ":" + rand.Text()[:18] + ":" + rand.Text() + rand.Text()[:6]
	_, err = db.ExecContext(ctx, `INSERT INTO maasserver_user VALUES ($1, $2, $3, $4)`, *user, *email, hex.EncodeToString(sum[:]), key)
	var refused *pq.Error
	if errors.As(err, &refused) && refused.Code.Name() == "unique_violation" {
		return fmt.Errorf("a user with the username '%s' already exists", *user)
	}
	return err
}

// configTLS is maas config-tls: enable KEY CERTIFICATE, and disable. Regions take it over soon after.
func configTLS(ctx context.Context, args []string) error {
	// Arguments and options may come in any order.
	var paths []string
	flags := flag.NewFlagSet("config-tls", flag.ContinueOnError)
	cacert, port := flags.String("cacert", "", ""), flags.Int("port", 5443, "")
	yes := flags.Bool("yes", false, "")
	for len(args) > 0 {
		if err := flags.Parse(args); err != nil {
			return err
		}
		if args = flags.Args(); len(args) > 0 {
			paths, args = append(paths, args[0]), args[1:]
		}
	}
	db, err := openRegion(ctx)
	if err != nil {
		return err
	}
	defer db.Close()
	switch {
	case len(paths) == 1 && paths[0] == "disable":
		_, err := db.ExecContext(ctx, `DELETE FROM maasserver_secret WHERE name = 'tls'`)
		return err
	case len(paths) != 3 || paths[0] != "enable":
		return errors.New("usage: maas config-tls [enable KEY CERTIFICATE | disable]")
	case !*yes:
		return errors.New("it asks for a confirmation, and no one is there")
	}
	s := secured{Port: *port}
	for path, into := range map[string]*string{paths[1]: &s.Key, paths[2]: &s.Certificate} {
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		*into = string(content)
	}
	if *cacert != "" {
		content, err := os.ReadFile(*cacert)
		if err != nil {
			return err
		}
		s.Certificate += string(content)
	}
	if _, err := tls.X509KeyPair([]byte(s.Certificate), []byte(s.Key)); err != nil {
		return fmt.Errorf("private and public keys don't match: %w", err)
	}
	document, err := json.Marshal(s)
	if err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, `INSERT INTO maasserver_secret VALUES ('tls', $1) ON CONFLICT (name) DO UPDATE SET value = $1`, string(document))
	return err
}
