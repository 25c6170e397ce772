package main

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"time"

	"github.com/dcib/dcib/internal/testkit/maas"
)

// regiond is the region's daemon.
func regiond(ctx context.Context) error {
	c, err := readRegionConf()
	if err != nil {
		return err
	}
	db, err := c.open(ctx, "regiond")
	if err != nil {
		return err
	}
	defer db.Close()
	has, err := schemaVersion(ctx, db)
	if err != nil {
		return err
	}
	if has != version() {
		if has != "" {
			event(ctx, db, "regiond %s started on schema %s", version(), has)
		}
		return fmt.Errorf("the database is at %q, and this is %s", has, version())
	}
	if err := begin(ctx, db, c); err != nil {
		return err
	}
	if err := os.Remove(regionSocket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	listener, err := net.Listen("unix", regionSocket)
	if err != nil {
		return err
	}
	failed := make(chan error, 1)
	server := &http.Server{Handler: handler(db), ReadHeaderTimeout: time.Minute}
	go func() { failed <- server.Serve(listener) }()
	defer server.Close()
	for warned := false; ; {
		if err := tend(ctx, db); err != nil {
			fmt.Println("cannot do what is due:", err)
		}
		if now, err := schemaVersion(ctx, db); err == nil && now != version() && !warned {
			event(ctx, db, "regiond %s ran on schema %s", version(), now)
			warned = true
		}
		select {
		case <-ctx.Done():
			// It takes its process rows away when it is stopped.
			last, cancel := context.WithTimeout(context.Background(), 2*time.Second)
			defer cancel()
			_, _ = db.ExecContext(last, `UPDATE maasserver_node SET region_seen = 'epoch', process_seen = NULL WHERE system_id = $1`, text(idFile))
			return nil
		case err := <-failed:
			return err
		case <-time.After(2 * time.Second):
		}
	}
}

// tend is what a region does again and again: it states that it runs, strikes the process rows of
// regions that no longer do, configures maas-http, and starts its helpers.
func tend(ctx context.Context, db *sql.DB) error {
	if _, err := db.ExecContext(ctx, `UPDATE maasserver_node SET region_seen = now(), process_seen = now() WHERE system_id = $1`, text(idFile)); err != nil {
		return err
	}
	if _, err := db.ExecContext(ctx, `UPDATE maasserver_node SET process_seen = NULL WHERE process_seen < now() - `+pruned); err != nil {
		return err
	}
	var document []byte
	err := db.QueryRowContext(ctx, `SELECT value FROM maasserver_secret WHERE name = 'tls'`).Scan(&document)
	var s *secured
	if err == nil {
		err = json.Unmarshal(document, &s)
	}
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	if err := configureFront(s); err != nil {
		return err
	}
	supervise("maas-http", "maas-temporal", "maas-temporal-worker")
	return nil
}

// begin is what a region does when it starts: it brings what is in the database to its disk,
// and says who it is, and where MAAS is.
func begin(ctx context.Context, db *sql.DB, c conf) error {
	return locked(ctx, db, func(tx *sql.Tx) error {
		random := func() string {
			bytes := make([]byte, 16)
			_, _ = rand.Read(bytes)
			return hex.EncodeToString(bytes)
		}
		for name, path := range map[string]string{"rpc_shared": secretFile, "maas_uuid": uuidFile, "cluster_certificate": clusterCert} {
			value, err := secret(ctx, tx, name, random)
			if err == nil {
				err = write(path, value)
			}
			if err != nil {
				return err
			}
		}
		id, err := identifyRegion(ctx, tx, text(idFile), hostname(), macs())
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `UPDATE maasserver_node SET region_seen = now(), process_seen = now() WHERE system_id = $1`, id); err != nil {
			return err
		}
		// Each region does so: the last to start wins.
		if _, err := tx.ExecContext(ctx, `INSERT INTO maasserver_secret VALUES ('maas_url', $1) ON CONFLICT (name) DO UPDATE SET value = $1`, c.URL); err != nil {
			return err
		}
		if err := write(temporalConf, "broadcastAddress: '"+c.broadcast(ctx)+"'\n"); err != nil {
			return err
		}
		return write(idFile, id)
	})
}

// handler answers API 2.0, and racks.
func handler(db *sql.DB) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /MAAS/rpc/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"eventloops": {"%s:pid=%d": [["127.0.0.1", 5250]]}}`, hostname(), os.Getpid())
	})
	mux.HandleFunc("POST /MAAS/rpc/", func(w http.ResponseWriter, req *http.Request) { enlist(w, req, db) })
	mux.HandleFunc("/MAAS/api/", func(w http.ResponseWriter, req *http.Request) {
		ctx, cancel := context.WithTimeout(req.Context(), 5*time.Second)
		defer cancel()
		said := httptest.NewRecorder()
		if err := answering(ctx, db, func(r *maastest.Region) { r.ServeHTTP(said, req) }); err != nil {
			fmt.Println("cannot answer:", err)
			http.Error(w, "Service unavailable", http.StatusServiceUnavailable)
			return
		}
		for name, values := range said.Header() {
			w.Header()[name] = values
		}
		w.WriteHeader(said.Code)
		_, _ = w.Write(said.Body.Bytes())
	})
	return mux
}

// rackCall is what a rack says to a region, proven with MAAS's secret in header Proof.
// MAAS's own racks do so over a protocol of their own.
type rackCall struct {
	SystemID    string   `json:"system_id"`
	Hostname    string   `json:"hostname"`
	MACs        []string `json:"macs"`
	Certificate string   `json:"certificate"`
	// Services are what rackd sees of those beside it, by MAAS's names.
	Services map[string]string `json:"services"`
	Goes     bool              `json:"goes"`
}

type rackAnswer struct {
	SystemID    string `json:"system_id"`
	UUID        string `json:"uuid"`
	Certificate string `json:"certificate"`
}

func proof(secret string, body []byte) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write(body)
	return hex.EncodeToString(mac.Sum(nil))
}

var (
	errProof       = errors.New("wrong secret")
	errCertificate = errors.New("certificate of another MAAS")
	errDeleted     = errors.New("deleted")
)

// enlist takes a rack in, or hears that it lives.
func enlist(w http.ResponseWriter, req *http.Request, db *sql.DB) {
	body, err := io.ReadAll(io.LimitReader(req.Body, 1<<20))
	var call rackCall
	if err == nil {
		err = json.Unmarshal(body, &call)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var answer rackAnswer
	err = locked(req.Context(), db, func(tx *sql.Tx) error {
		get := func(name string) (value string, err error) {
			return value, tx.QueryRowContext(req.Context(), `SELECT value FROM maasserver_secret WHERE name = $1`, name).Scan(&value)
		}
		shared, err := get("rpc_shared")
		if err != nil {
			return err
		}
		if req.Header.Get("Proof") != proof(shared, body) {
			return errProof
		}
		if answer.Certificate, err = get("cluster_certificate"); err != nil {
			return err
		}
		if call.Certificate != "" && call.Certificate != answer.Certificate {
			return errCertificate
		}
		if answer.UUID, err = get("maas_uuid"); err != nil {
			return err
		}
		if call.Goes {
			_, err := tx.ExecContext(req.Context(), `UPDATE maasserver_node SET rack_seen = 'epoch' WHERE system_id = $1 AND rack_seen IS NOT NULL`, call.SystemID)
			return err
		}
		gone, err := tx.ExecContext(req.Context(), `DELETE FROM maasserver_deleted WHERE system_id = $1`, call.SystemID)
		if err != nil {
			return err
		}
		if n, err := gone.RowsAffected(); err != nil || n > 0 {
			return errors.Join(err, tx.Commit(), errDeleted)
		}
		if answer.SystemID, err = identifyRack(req.Context(), tx, call.SystemID, call.Hostname, call.MACs); err != nil {
			return err
		}
		services, err := json.Marshal(call.Services)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(req.Context(), `UPDATE maasserver_node SET rack_seen = now(), services = $2 WHERE system_id = $1`, answer.SystemID, services)
		return err
	})
	switch {
	case err == nil:
		_ = json.NewEncoder(w).Encode(answer)
	case errors.Is(err, errProof):
		http.Error(w, err.Error(), http.StatusUnauthorized)
	case errors.Is(err, errCertificate):
		http.Error(w, err.Error(), http.StatusForbidden)
	case errors.Is(err, errDeleted):
		http.Error(w, err.Error(), http.StatusGone)
	default:
		http.Error(w, strings.TrimSpace(err.Error()), http.StatusServiceUnavailable)
	}
}

// beside is a daemon of the region's that wants its configuration and the database. The worker
// takes some time to stop: it ends what it is at.
func beside(ctx context.Context, name string) error {
	c, err := readRegionConf()
	if err != nil {
		return err
	}
	db, err := c.open(ctx, name)
	if err != nil {
		return err
	}
	defer db.Close()
	for warned := false; ; {
		if now, err := schemaVersion(ctx, db); err == nil && now != version() && now != "" && !warned {
			event(ctx, db, "%s %s ran on schema %s", name, version(), now)
			warned = true
		}
		select {
		case <-ctx.Done():
			if name == "maas-temporal-worker" {
				time.Sleep(3 * time.Second)
			}
			return nil
		case <-time.After(2 * time.Second):
		}
	}
}

// temporal is Temporal's server. It ends where it does not know at what address others reach it.
func temporal(ctx context.Context) error {
	var c struct {
		BroadcastAddress string `yaml:"broadcastAddress"`
	}
	if err := readConf(temporalConf, &c); err != nil {
		return err
	}
	if c.BroadcastAddress == "" {
		return errors.New("broadcastAddress required when listening on all interfaces")
	}
	<-ctx.Done()
	return nil
}
