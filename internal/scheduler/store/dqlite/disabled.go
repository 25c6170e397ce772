//go:build !cgo || !libsqlite3

package dqlite

import (
	"context"
	"database/sql"
	"errors"
)

// Open states that this program has no database.
func Open(context.Context, Config) (Node, *sql.DB, error) {
	return nil, nil, errors.New("cannot open the store: this program was built without dqlite: build it with CGO_ENABLED=1, the tag libsqlite3 and libdqlite-dev")
}
