// Package postgresql is the client's side of the interface `postgresql_client`, as the
// library charms.data_platform_libs.v0.data_interfaces (canonical/data-platform-libs) and
// the PostgreSQL charms speak it: the client's application asks for a database, the server's
// answers where it is and with which credentials, best in a Juju secret.
package postgresql

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/dcib/dcib/internal/relation"
)

// Interface is the name of the interface in charmcraft.yaml.
const Interface = "postgresql_client"

// Databag keys, and the fields of the secret that has the credentials.
const (
	keyDatabase   = "database"
	keyRequested  = "requested-secrets"
	keyEndpoints  = "endpoints"
	keySecretUser = "secret-user"
	keyUsername   = "username"
	keyPassword   = "password"
	keyTLS        = "tls" // "True" or "False"
)

// requested are the fields that the client takes as secrets. A server that sees the key
// answers with secrets; older ones answer in clear.
const requested = `["username","password"]`

// Encode returns the entries of the client application's databag that ask for a database of
// that name.
func Encode(database string) map[string]string {
	return map[string]string{keyDatabase: database, keyRequested: requested}
}

// Asked reports whether a databag has just the request for that database.
func Asked(bag map[string]string, database string) bool {
	return relation.Contains(bag, Encode(database))
}

// Server is what a server answers. Username and password are in the secret; User gets them.
type Server struct {
	Host     string // of the primary
	Port     int
	Database string
	SecretID string // the Juju secret that has the credentials; empty when they are in clear
	TLS      bool   // it takes connections with TLS only

	username, password string
}

// Decode reads a server's databag; asked is the database that was asked for, which holds
// where it names none. ok is false while it has not answered everything. The error says what
// it wrote that cannot be used; it never has the password in it.
func Decode(bag map[string]string, asked string) (s Server, ok bool, err error) {
	s = Server{Database: bag[keyDatabase], SecretID: bag[keySecretUser], username: bag[keyUsername], password: bag[keyPassword], TLS: strings.EqualFold(bag[keyTLS], "true")}
	if s.Database == "" {
		s.Database = asked
	}
	endpoints := strings.TrimSpace(bag[keyEndpoints])
	if endpoints == "" || s.SecretID == "" && (s.username == "" || s.password == "") {
		return Server{}, false, nil
	}
	// The first is the primary.
	first, _, _ := strings.Cut(endpoints, ",")
	host, port, err := net.SplitHostPort(strings.TrimSpace(first))
	if err == nil {
		s.Host = host
		s.Port, err = strconv.Atoi(port)
	}
	if err != nil || s.Host == "" || s.Port < 1 || s.Port > 65535 {
		return Server{}, false, fmt.Errorf("cannot use the %s relation: its %s is %q: wanted host:port, with commas between several", Interface, keyEndpoints, endpoints)
	}
	return s, true, nil
}

// User returns the credentials; content is that of the secret, and not looked at when there
// is none.
func (s Server) User(content map[string]string) (username, password string, err error) {
	if s.SecretID == "" {
		return s.username, s.password, nil
	}
	if content[keyUsername] == "" || content[keyPassword] == "" {
		return "", "", fmt.Errorf("cannot use the %s relation: secret %s lacks field %s or %s", Interface, s.SecretID, keyUsername, keyPassword)
	}
	return content[keyUsername], content[keyPassword], nil
}
