// Command postgresql is a charm for the real suites: Debian's PostgreSQL, which makes a
// database for each application that asks for one.
package main

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

func main() {
	if os.Getenv("JUJU_ACTION_NAME") == "move" {
		move()
		return
	}
	if _, err := os.Stat("/usr/bin/pg_ctlcluster"); err != nil {
		run("", "apt-get", "-q", "update")
		run("", "apt-get", "-q", "-y", "install", "postgresql")
		dirs, err := filepath.Glob("/etc/postgresql/*/main")
		if err != nil || len(dirs) != 1 {
			log.Fatalf("cannot find PostgreSQL's configuration: %v %v", dirs, err)
		}
		write(dirs[0]+"/conf.d/open.conf", "listen_addresses = '*'\nmax_connections = 300\n")
		write(dirs[0]+"/pg_hba.conf", "local all all peer\nhost all all 0.0.0.0/0 scram-sha-256\nhost all all ::/0 scram-sha-256\n")
		run("", "systemctl", "restart", "postgresql")
	}
	var relations []string
	read(&relations, "relation-ids", "database")
	for _, relation := range relations {
		var app string
		var bag, mine map[string]string
		read(&app, "relation-list", "--app", "-r", relation)
		read(&bag, "relation-get", "-r", relation, "--app", "-", app)
		read(&mine, "relation-get", "-r", relation, "--app", "-", strings.Split(os.Getenv("JUJU_UNIT_NAME"), "/")[0])
		name := bag["database"]
		switch {
		case name == "" || mine["endpoints"] != "":
			continue
		case mine["secret-user"] != "":
			// In a later hook than it is made in, or Juju 4.1-beta2 passes it over.
			run("", "secret-grant", "--relation", relation, mine["secret-user"])
			var address string
			read(&address, "network-get", "database", "--bind-address")
			run("", "relation-set", "-r", relation, "--app", "database="+name, "endpoints="+address+":5432")
			continue
		}
		password := rand.Text()
		run(fmt.Sprintf("CREATE ROLE %[1]s LOGIN PASSWORD '%[2]s';\nCREATE DATABASE %[1]s OWNER %[1]s;\n", name, password),
			"runuser", "-u", "postgres", "--", "psql", "-X", "-v", "ON_ERROR_STOP=1", "-d", "postgres")
		secret := strings.TrimSpace(run("", "secret-add", "username="+name, "password="+password))
		run("", "relation-set", "-r", relation, "--app", "secret-user="+secret)
	}
	run("", "status-set", "active", "")
}

// move reports the applications that their primary is at another address.
func move() {
	var relations []string
	read(&relations, "relation-ids", "database")
	var address string
	read(&address, "action-get", "address")
	for _, relation := range relations {
		run("", "relation-set", "-r", relation, "--app", "endpoints="+address+":5432")
	}
}

func write(path, text string) {
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		log.Fatal(err)
	}
}

// run runs a program, and returns what it printed.
func run(input, name string, args ...string) string {
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	cmd.Stdin, cmd.Stderr = strings.NewReader(input), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		log.Fatalf("cannot run %s: %v", name, err)
	}
	return string(out)
}

// read reads what one of Juju's tools says.
func read(into any, name string, args ...string) {
	out := run("", name, append(args, "--format", "json")...)
	if err := json.Unmarshal([]byte(out), into); err != nil {
		log.Fatalf("cannot read what %s says: %v", name, err)
	}
}
