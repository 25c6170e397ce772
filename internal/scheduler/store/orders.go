package store

import (
	"context"
	"database/sql"
	"time"
)

// Order asks for a run. Whichever unit is asked writes it; the one that acts makes a run of
// the same id of it.
type Order struct {
	ID    string    `json:"id"`
	Pet   string    `json:"pet"`
	Kind  Kind      `json:"kind"`
	Force bool      `json:"force,omitempty"` // do also what loses something
	Due   time.Time `json:"due,omitzero"`    // when to give up; zero is never
	Why   string    `json:"why,omitempty"`   // who or what asks
	At    time.Time `json:"at,omitzero"`
}

// AddOrder returns an order. Giving the same one twice is giving it once.
func (s *Store) AddOrder(ctx context.Context, o Order) error {
	return wrap(s.exec(ctx, `INSERT INTO orders VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING`,
		o.ID, o.Pet, string(o.Kind), o.Force, millis(o.Due), o.Why, millis(s.now())), "order the %s of %s", o.Kind, o.Pet)
}

// Waiting lists the orders that no run has come of yet, the oldest first.
func (s *Store) Waiting(ctx context.Context) ([]Order, error) {
	orders, err := all(ctx, s, scanOrder, `SELECT id, pet, kind, force, due, why, at FROM orders
		WHERE id NOT IN (SELECT id FROM runs) ORDER BY at, id`)
	return orders, wrap(err, "list the orders")
}

// Order returns an order by its id; ok is false when there is none.
func (s *Store) Order(ctx context.Context, id string) (o Order, ok bool, err error) {
	orders, err := all(ctx, s, scanOrder, `SELECT id, pet, kind, force, due, why, at FROM orders WHERE id = ?`, id)
	if err != nil || len(orders) == 0 {
		return Order{}, false, wrap(err, "read order %s", id)
	}
	return orders[0], true, nil
}

func scanOrder(rows *sql.Rows, o *Order) error {
	var due, at int64
	err := rows.Scan(&o.ID, &o.Pet, &o.Kind, &o.Force, &due, &o.Why, &at)
	o.Due, o.At = moment(due), moment(at)
	return err
}
