package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dcib/dcib/charms/pet-scheduler/control"
	"github.com/dcib/dcib/internal/scheduler/store"
)

// How often, and after how long, alerts are passed on to the unit's hooks.
const (
	poll = time.Second // looks for alerts in the store
	// lost is after how long without an answer the store counts as having no majority: longer
	// than an election takes.
	lost = 8 * time.Second
	// opening is the same for a store that has not answered since the daemon began.
	opening = time.Minute
	// repeat is after how long alerts that changed are written once more: systemd does not
	// see a change that comes just as the last hook ends.
	repeat = 20 * time.Second
)

// oldest is a date that no right clock shows any more: one whose battery is empty shows 1970
// or 2000 until it has heard from a time server.
var oldest = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// clockError states that the machine's clock cannot be right.
func clockError(now time.Time) error {
	if now.Before(oldest) {
		return fmt.Errorf("cannot act: the clock of this machine shows %s: set it, or have it reach a time server", now.UTC().Format(time.DateOnly))
	}
	return nil
}

// unseen is an error of an observation of LXD: what it shows is not known.
type unseen struct{ error }

func (u unseen) Unwrap() error { return u.error }

// alertsOf returns the alerts after a look, which failed with err or saw those pets. What was
// not seen is as it was; an alert that goes on keeps its Since.
func alertsOf(before []store.Alert, pets []due, err error, now time.Time) []store.Alert {
	var list []store.Alert
	if err != nil && pets == nil {
		list = slices.DeleteFunc(slices.Clone(before), func(a store.Alert) bool { return a.Pet == "" })
	}
	for _, p := range pets {
		if p.Alert != "" {
			list = append(list, store.Alert{Pet: p.pet.Name, Kind: string(p.Kind), Text: p.Alert})
		}
	}
	if err != nil {
		kind := control.Trouble
		if errors.As(err, &unseen{}) {
			kind = control.NoLXD
		}
		list = append(list, store.Alert{Kind: kind, Text: err.Error()})
	}
	for i := range list {
		list[i].Since = now.UTC().Truncate(time.Second)
		for _, a := range before {
			if a.Pet == list[i].Pet && a.Kind == list[i].Kind {
				list[i].Since = a.Since
				if list[i].Pet == "" && a.Kind == control.NoLXD {
					list[i].Text = a.Text // an error of the network has another port in it each time
				}
			}
		}
	}
	slices.SortStableFunc(list, func(a, b store.Alert) int { return strings.Compare(a.Pet, b.Pet) })
	return list
}

// alert has all units show the alerts after a look of the acting unit.
func (w *leader) alert(ctx context.Context, pets []due, err error) {
	next := alertsOf(w.alerts, pets, err, time.Now())
	on := map[string]bool{}
	for _, a := range next {
		name := "alert of " + a.Pet
		on[name] = true
		line := a.Text
		if a.Pet != "" {
			line = "ALERT: " + a.Pet + ": " + a.Text
		}
		w.notes.Note(name, line)
	}
	for _, a := range w.alerts {
		if name := "alert of " + a.Pet; !on[name] {
			w.notes.Note(name, "")
			w.Log("over: %s: %s", orAll(a.Pet), a.Kind)
		}
	}
	w.alerts = next
	if err := w.store.SetAlerts(ctx, next); ctx.Err() == nil {
		w.notes.Error("set alerts", err)
	}
}

func orAll(pet string) string {
	if pet == "" {
		return "all pets"
	}
	return pet
}

// watch passes the alerts that are on to the unit's hooks until the context ends. Each unit
// shows all of them: the machine of one may be busy with a long action, and run no hook.
func (d *Daemon) watch(ctx context.Context) {
	shown, err := control.ReadAlerts(d.Dir)
	d.notes.Error("read alerts", err)
	last := fmt.Sprint(shown)
	var repeatAt time.Time
	begun, answered := time.Now(), time.Time{}
	var known []store.Alert
	publish := func(list []store.Alert) {
		text := fmt.Sprint(list)
		again := !repeatAt.IsZero() && time.Now().After(repeatAt)
		if text == last && !again {
			return
		}
		if err := control.WriteAlerts(d.Dir, list); err != nil {
			d.notes.Error("write alerts", err)
			return
		}
		d.notes.Error("write alerts", nil)
		if repeatAt = time.Now().Add(repeat); again && text == last {
			repeatAt = time.Time{}
		}
		last = text
	}
	for ctx.Err() == nil {
		if s := d.store.Load(); s != nil {
			short, cancel := context.WithTimeout(ctx, 2*time.Second)
			list, err := s.Alerts(short)
			cancel()
			if err == nil {
				known, answered = list, time.Now()
			}
		}
		list := slices.Clone(known)
		since := answered
		limit := lost
		if since.IsZero() {
			since, limit = begun, opening
		}
		if time.Since(since) >= limit {
			// What the others know now is not known here.
			text := "the store does not answer: a majority of its units has to be there"
			if answered.IsZero() {
				text = "the store is not open: a majority of its units, all refreshed, has to be there"
			}
			list = []store.Alert{{Kind: control.NoStore, Since: since.UTC().Truncate(time.Second), Text: text}}
		} else if answered.IsZero() {
			pause(ctx, poll) // what was shown before stays until it is known to be over
			continue
		}
		if err := clockError(d.now()); err != nil {
			list = append(list, store.Alert{Kind: control.Clock, Text: err.Error()})
		}
		publish(list)
		pause(ctx, poll)
	}
}
