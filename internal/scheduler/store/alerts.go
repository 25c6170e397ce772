package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"time"
)

// Alert is what an operator should know of a pet, for as long as it lasts.
type Alert struct {
	Pet   string    `json:"pet,omitempty"` // empty when it is about all of them
	Kind  string    `json:"kind"`          // as in package schedule, or one of the daemon's own
	Text  string    `json:"text"`
	Since time.Time `json:"since"`
}

// Alerts returns the alerts that are on, as the acting unit last wrote them.
func (s *Store) Alerts(ctx context.Context) ([]Alert, error) {
	var text string
	err := s.query(ctx, func(rows *sql.Rows) error { return rows.Scan(&text) }, `SELECT list FROM alerts`)
	if err != nil {
		return nil, wrap(err, "read the alerts")
	}
	var list []Alert
	err = json.Unmarshal([]byte(text), &list)
	return list, wrap(err, "read the alerts")
}

// SetAlerts replaces the alerts that are on. Writing the same list twice is writing it once.
// It fails with ErrFenced when the term is over.
func (a *Leader) SetAlerts(ctx context.Context, list []Alert) error {
	if list == nil {
		list = []Alert{}
	}
	text, err := json.Marshal(list)
	if err == nil {
		err = a.exec(ctx, `UPDATE alerts SET list = ?, term = ? WHERE list <> ?`, string(text), a.term, string(text))
	}
	return wrap(err, "write the alerts")
}
