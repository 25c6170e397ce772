package service

import (
	"fmt"
	"time"

	"github.com/dcib/dcib/charms/pet-scheduler/control"
	"github.com/dcib/dcib/internal/scheduler/calendar"
	"github.com/dcib/dcib/internal/scheduler/leadtime"
)

// options brings an operator's options into a daemon's configuration. What is wrong keeps
// all of them as they were, and the error says which and why.
func options(config map[string]any, c *control.Config) error {
	text := func(name string) string {
		s, _ := config[name].(string)
		return s
	}
	next := *c
	if next.Pets = text("pets"); next.Pets != c.Pets { // what is in force was read before
		if _, err := calendar.Parse([]byte(next.Pets)); err != nil {
			return fmt.Errorf("option pets: %w", err)
		}
	}
	for _, o := range []struct {
		name string
		into *time.Duration
	}{{"min-lead-time", &next.LeadMin}, {"max-lead-time", &next.LeadMax}} {
		*o.into = 0
		if text(o.name) == "" {
			continue
		}
		d, err := time.ParseDuration(text(o.name))
		if err != nil || d < time.Second || d > 7*24*time.Hour {
			return fmt.Errorf("option %s is %q, wanted a duration from 1s to 168h such as 5m", o.name, text(o.name))
		}
		*o.into = d
	}
	least, most := leadtime.Defaults().Min, leadtime.Defaults().Max
	if next.LeadMin > 0 {
		least = next.LeadMin
	}
	if next.LeadMax > 0 {
		most = next.LeadMax
	}
	if least > most {
		return fmt.Errorf("option min-lead-time is %s and max-lead-time is %s, wanted the first not over the second", least, most)
	}
	switch v := text("on-drain-failure"); v {
	case "", "undo":
		next.KeepFailed = false
	case "keep":
		next.KeepFailed = true
	default:
		return fmt.Errorf("option on-drain-failure is %q, wanted undo or keep", v)
	}
	*c = next
	return nil
}
