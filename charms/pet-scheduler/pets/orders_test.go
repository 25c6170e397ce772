package pets

import (
	"encoding/json"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dcib/dcib/charms/pet-scheduler/control"
	"github.com/dcib/dcib/internal/scheduler/store"
)

// daemon answers on the unit's socket with what is given for each call.
func (s *stage) daemon(answers map[string]any) (asked map[string]string) {
	require.NoError(s.t, os.MkdirAll(control.RunDir(s.dir), 0o700))
	listener, err := net.Listen("unix", control.Socket(s.dir))
	require.NoError(s.t, err)
	asked = map[string]string{}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		call := r.Method + " " + r.URL.RequestURI()
		var body json.RawMessage
		_ = json.NewDecoder(r.Body).Decode(&body)
		asked[call] = string(body)
		answer, ok := answers[call]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			answer = control.Problem{Error: "nothing at " + call}
		}
		_ = json.NewEncoder(w).Encode(answer)
	})}
	go func() { _ = server.Serve(listener) }()
	s.t.Cleanup(func() { _ = server.Close() })
	return asked
}

func TestOrders(t *testing.T) {
	s := related(t)
	at := time.Date(2026, 3, 6, 21, 0, 0, 0, time.UTC)
	asked := s.daemon(map[string]any{
		"GET /1/pets/big": control.Pet{Name: "big", Member: "m1"},
		"POST /1/runs":    store.Order{ID: "r1"},
		"GET /1/runs/r1": store.Run{ID: "r1", State: store.Done, Started: at, Ended: at.Add(90 * time.Second), Moved: 2,
			Steps: []store.Step{{Instance: "c1", Note: "c1: m1 → m2 (running)"}}},
		"GET /1/pets": []control.Pet{{Name: "big", Member: "m1", State: "shared", Start: at, End: at.Add(8 * time.Hour), Lead: control.Duration(15 * time.Minute),
			Why: "its next window opens", Alert: "it is late", Hold: &control.Hold{State: "shared", By: "ada"}}},
		"GET /1/plan?days=7&pet=":         []control.Stretch{{Pet: "big", Begin: at.Add(-time.Hour), EmptyBy: at, Start: at, End: at.Add(time.Hour), LeadWhy: "as set"}},
		"GET /1/history?limit=20&pet=big": []store.Run{{Pet: "big", Kind: store.Drain, State: store.Failed, Started: at, Ended: at.Add(time.Second), Note: "no capacity"}},
		"POST /1/windows":                 control.Window{ID: "w1", Pet: "big"},
		"POST /1/skips":                   control.Skip{Pet: "big", Start: at, End: at.Add(time.Hour)},
		"POST /1/holds":                   control.Hold{},
		"DELETE /1/holds/big":             control.Hold{},
		"DELETE /1/windows/w1":            control.Window{},
	})
	require.NoError(t, control.Config{Unit: "pet-scheduler/0", Pets: "pets: [{name: big, member: m1}]"}.Write(s.dir))

	said := s.action("drain", map[string]any{"pet": "big", "wait": true})
	require.Empty(t, said.Failure)
	require.Equal(t, "2", said.Results["moved"])
	require.Equal(t, "1m30s", said.Results["duration"])
	require.Equal(t, "c1: m1 → m2 (running)", said.Results["instances"])
	require.Contains(t, asked["POST /1/runs"], `"stay":true`)
	said = s.action("undrain", map[string]any{"pet": "big", "wait": false})
	require.Equal(t, "r1", said.Results["run"])
	// A member that is no pet needs no daemon, a dry run changes nothing.
	require.Equal(t, "m2", s.action("drain", map[string]any{"pet": "m2"}).Results["member"])
	require.Contains(t, s.action("drain", map[string]any{"pet": "big", "dry-run": true}).Results["plan"], "drain m1")

	text := s.action("list-pets", nil).Results["pets"]
	require.Contains(t, text, "big  m1      shared  Fri 2026-03-06 21:00 UTC  Sat 2026-03-07 05:00 UTC  15m0s  shared by ada")
	require.Contains(t, text, "big: ALERT: it is late")
	require.Contains(t, s.action("list-pets", map[string]any{"format": "json"}).Results["pets"], `"state":"shared"`)
	require.Contains(t, s.action("plan", map[string]any{"pet": "", "days": float64(7)}).Results["plan"], "as set")
	require.Contains(t, s.action("history", map[string]any{"pet": "big", "limit": float64(20)}).Results["history"], "no capacity")
	require.Equal(t, "w1", s.action("add-window", map[string]any{"pet": "big", "window": "daily 01:00-02:00"}).Results["id"])
	require.Contains(t, s.action("import-calendar", map[string]any{"pet": "big"}).Failure, "pass the text of an .ics file")
	require.Equal(t, "w1", s.action("import-calendar", map[string]any{"pet": "big", "calendar": "BEGIN:VCALENDAR\r\n"}).Results["id"])
	require.Contains(t, asked["POST /1/windows"], "ics: ")
	require.Contains(t, s.action("skip-next-window", map[string]any{"pet": "big"}).Results["skipped"], "Fri 2026-03-06 21:00 UTC")
	require.Contains(t, s.action("hold", map[string]any{"pet": "big", "state": "reserved", "for": "never"}).Failure, "cannot use for=never: use a length of time")
	require.NotEmpty(t, s.action("hold", map[string]any{"pet": "big", "state": "reserved", "for": "2h"}).Results["until"])
	require.Empty(t, s.action("release", map[string]any{"pet": "big"}).Failure)
	require.Empty(t, s.action("remove-window", map[string]any{"id": "w1"}).Failure)
	require.Contains(t, s.action("remove-window", map[string]any{"id": "w2"}).Failure, "nothing at DELETE /1/windows/w2")
}
