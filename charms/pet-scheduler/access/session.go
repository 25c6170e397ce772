package access

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/dcib/dcib/internal/host/atomicfile"
)

// sessionFile holds the last TLS session with LXD, in a unit's state directory for its hooks and in
// the daemon's own folder for the daemon. It is as secret as the key. Both go when the unit is
// removed; a temporary one that a killed process left goes with the next that is kept.
const sessionFile = "session"

// stale is how old a session may get before it is kept again: Go's servers, and so LXD, forget
// theirs after a day at least.
const stale = 12 * time.Hour

// sessions is a tls.ClientSessionCache of one, in a file: the next hook need not check LXD's
// signature again, which is a P-384 one and would be a fifth of all that the hook does. What
// cannot be read or kept is a handshake like the first.
type sessions struct {
	path    string
	ends    string      // whose session it is: both certificates
	resumed atomic.Bool // whether the last connection was resumed
}

// session is what the file holds.
type session struct {
	Ends   string // both certificates and LXD's address
	Ticket []byte
	State  []byte
}

// newSessions returns the sessions of a unit, whose state directory is dir, with a server; both by
// their certificates in DER. Another certificate on either side is another session: what was
// found out about one says nothing of the other.
func newSessions(dir string, server, client []byte) *sessions {
	ends := sha256.New()
	ends.Write(server)
	ends.Write(client)
	return &sessions{path: filepath.Join(dir, sessionFile), ends: fmt.Sprintf("%x", ends.Sum(nil))}
}

// Get implements tls.ClientSessionCache.
func (s *sessions) Get(address string) (*tls.ClientSessionState, bool) {
	text, err := os.ReadFile(s.path)
	if err != nil {
		return nil, false
	}
	var kept session
	if json.Unmarshal(text, &kept) != nil || kept.Ends != s.ends+" "+address {
		return nil, false
	}
	state, err := tls.ParseSessionState(kept.State)
	if err != nil {
		return nil, false
	}
	resumption, err := tls.NewResumptionState(kept.Ticket, state)
	return resumption, err == nil
}

// Put implements tls.ClientSessionCache. A server offers another session on each connection;
// while one serves, it stays.
func (s *sessions) Put(address string, resumption *tls.ClientSessionState) {
	if resumption == nil {
		_ = os.Remove(s.path)
		return
	}
	if info, err := os.Stat(s.path); err == nil && s.resumed.Load() && time.Since(info.ModTime()) < stale {
		return
	}
	ticket, state, err := resumption.ResumptionState()
	if err != nil || state == nil {
		return
	}
	kept := session{Ends: s.ends + " " + address, Ticket: ticket}
	if kept.State, err = state.Bytes(); err != nil {
		return
	}
	if text, err := json.Marshal(kept); err == nil {
		_ = atomicfile.Write(s.path, text, atomicfile.Options{})
	}
}
