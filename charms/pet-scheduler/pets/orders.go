package pets

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/dcib/dcib/charms/pet-scheduler/control"
	"github.com/dcib/dcib/internal/charm"
	"github.com/dcib/dcib/internal/scheduler/store"
)

// Actions are the charm's. Those about pets talk to the unit's daemon.
var Actions = map[string]charm.Action[Facts, Env]{
	"drain":            Drain,
	"undrain":          Undrain,
	"list-pets":        ListPets,
	"plan":             ShowPlan,
	"add-window":       AddWindow,
	"import-calendar":  ImportCalendar,
	"remove-window":    RemoveWindow,
	"skip-next-window": SkipNext,
	"hold":             Hold,
	"release":          Release,
	"history":          History,

	"renew-client-certificate": RenewClientCertificate,
}

// pet is a configured pet; without a name it is none.
type pet struct{ name, member string }

// configured reports whether a name is a pet's, or its member's, and returns the member. Where no
// pets are configured the daemon is not needed.
func configured(ctx context.Context, w Env, name string) (member string, p pet, err error) {
	config, ok, err := control.ReadConfig(w.Dir)
	if err != nil || !ok || strings.TrimSpace(config.Pets) == "" {
		return name, pet{}, err
	}
	p.name, p.member, ok, err = control.NewClient(w.Dir).Configured(ctx, name)
	if err != nil || !ok {
		return name, pet{}, err
	}
	return p.member, p, nil
}

// order has the daemon drain or undrain a pet, and waits for that where it is wanted.
func order(ctx context.Context, w Env, call charm.Call, p pet, kind store.Kind) (map[string]string, error) {
	client := control.NewClient(w.Dir)
	timeout, err := duration(call, "timeout")
	if err != nil {
		return nil, err
	}
	id, err := client.Order(ctx, control.Request{
		Pet: p.name, Kind: kind, Force: call.Bool("force"), Seconds: timeout.Seconds(), Stay: true,
		Why: "action " + string(kind) + " of " + w.Unit,
	})
	if err != nil {
		return nil, err
	}
	results := map[string]string{"pet": p.name, "member": p.member, "run": id}
	if wait, given := call.Params["wait"].(bool); given && !wait {
		return results, nil
	}
	var seen string
	for {
		run, err := client.Run(ctx, id)
		switch {
		case err != nil && ctx.Err() == nil:
			return results, err
		case ctx.Err() != nil:
			return results, fmt.Errorf("cannot wait for the %s of %s any longer: it goes on; history shows what comes of it", kind, p.name)
		case !run.Ended.IsZero():
			results["moved"] = fmt.Sprint(run.Moved)
			results["duration"] = run.Ended.Sub(run.Started).Round(100 * time.Millisecond).String()
			if lines := stepLines(run); lines != "" {
				results["instances"] = lines
			}
			if run.State != store.Done {
				return results, errors.New(run.Note)
			}
			return results, nil
		}
		done := 0
		for _, s := range run.Steps {
			if s.State == store.StepDone {
				done++
			}
		}
		if line := fmt.Sprintf("%s %s: %s, %d of %d instances done", kind, p.name, orNone(string(run.State), "waiting"), done, len(run.Steps)); line != seen {
			seen = line
			call.Progress("%s", line)
		}
		select {
		case <-ctx.Done():
		case <-time.After(500 * time.Millisecond):
		}
	}
}

func stepLines(run store.Run) string {
	var lines []string
	for _, s := range run.Steps {
		lines = append(lines, orNone(s.Note, fmt.Sprintf("%s: %s", s.Instance, s.State)))
	}
	return strings.Join(lines, "\n")
}

// answer returns a result as text, or as JSON where the action's format asks for it.
func answer(call charm.Call, key string, value any, text func() string) (map[string]string, error) {
	if call.String("format") != "json" {
		return map[string]string{key: text()}, nil
	}
	out, err := json.Marshal(value)
	return map[string]string{key: string(out)}, err
}

// table lines rows up.
func table(rows [][]string) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	_ = w.Flush() // a strings.Builder takes all
	return strings.TrimRight(b.String(), "\n")
}

// clock writes a time by the clock of its zone, for a terminal.
func clock(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Format("Mon 2006-01-02 15:04 MST")
}

func orNone(text, none string) string {
	if text == "" {
		return none
	}
	return text
}

// ListPets is the action list-pets.
func ListPets(ctx context.Context, _ Facts, w Env, call charm.Call) (map[string]string, error) {
	pets, err := control.NewClient(w.Dir).Pets(ctx)
	if err != nil {
		return nil, err
	}
	return answer(call, "pets", pets, func() string {
		if len(pets) == 0 {
			return "no pets: set option pets"
		}
		rows := [][]string{{"pet", "member", "state", "window opens", "closes", "lead", "hold"}}
		var notes []string
		for _, p := range pets {
			hold := "-"
			if p.Hold != nil {
				hold = p.Hold.State + " by " + orNone(p.Hold.By, "?")
				if !p.Hold.Until.IsZero() {
					hold += " until " + clock(p.Hold.Until)
				}
			}
			rows = append(rows, []string{p.Name, p.Member, p.State, clock(p.Start), clock(p.End), p.Lead.String(), hold})
			notes = append(notes, p.Name+": "+p.Why)
			if p.Alert != "" {
				notes = append(notes, p.Name+": ALERT: "+p.Alert)
			}
			for _, a := range p.Windows {
				notes = append(notes, fmt.Sprintf("%s: added window %s: %s", p.Name, a.ID, firstLine(a.Window)))
			}
		}
		return table(rows) + "\n" + strings.Join(notes, "\n")
	})
}

func firstLine(text string) string {
	line, rest, _ := strings.Cut(strings.TrimSpace(text), "\n")
	if rest != "" {
		line += " …"
	}
	return line
}

// ShowPlan is the action plan.
func ShowPlan(ctx context.Context, _ Facts, w Env, call charm.Call) (map[string]string, error) {
	plan, err := control.NewClient(w.Dir).Plan(ctx, call.String("pet"), call.Int("days"))
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(plan, func(a, b control.Stretch) int { return a.Start.Compare(b.Start) })
	return answer(call, "plan", plan, func() string {
		if len(plan) == 0 {
			return fmt.Sprintf("no windows in the next %d days", call.Int("days"))
		}
		rows := [][]string{{"drain begins", "empty by", "window opens", "closes", "pet", "lead", "because"}}
		for _, s := range plan {
			rows = append(rows, []string{clock(s.Begin), clock(s.EmptyBy), clock(s.Start), clock(s.End), s.Pet, s.Lead.String(), s.LeadWhy})
		}
		return table(rows)
	})
}

// AddWindow is the action add-window.
func AddWindow(ctx context.Context, _ Facts, w Env, call charm.Call) (map[string]string, error) {
	return addWindow(ctx, w, call, call.String("window"))
}

// ImportCalendar is the action import-calendar.
func ImportCalendar(ctx context.Context, _ Facts, w Env, call charm.Call) (map[string]string, error) {
	text, _ := call.Params["calendar"].(string)
	if file := call.String("file"); file != "" {
		if text != "" {
			return nil, errors.New("cannot import: pass calendar or file, not both")
		}
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("cannot import: cannot read the calendar on this unit's machine: %w", err)
		}
		text = string(content)
	}
	if strings.TrimSpace(text) == "" {
		return nil, errors.New("cannot import: pass the text of an .ics file as calendar, or its path on this unit's machine as file")
	}
	spec, err := yaml.Marshal(map[string]string{"ics": text})
	if err != nil {
		return nil, fmt.Errorf("cannot import: %w", err)
	}
	return addWindow(ctx, w, call, string(spec))
}

func addWindow(ctx context.Context, w Env, call charm.Call, spec string) (map[string]string, error) {
	added, err := control.NewClient(w.Dir).AddWindow(ctx, control.Window{Pet: call.String("pet"), Window: spec, By: w.Unit})
	if err != nil {
		return nil, err
	}
	return map[string]string{"pet": added.Pet, "id": added.ID}, nil
}

// RemoveWindow is the action remove-window.
func RemoveWindow(ctx context.Context, _ Facts, w Env, call charm.Call) (map[string]string, error) {
	return map[string]string{"id": call.String("id")}, control.NewClient(w.Dir).RemoveWindow(ctx, call.String("id"))
}

// SkipNext is the action skip-next-window.
func SkipNext(ctx context.Context, _ Facts, w Env, call charm.Call) (map[string]string, error) {
	skipped, err := control.NewClient(w.Dir).SkipNext(ctx, control.Skip{Pet: call.String("pet"), By: w.Unit})
	if err != nil {
		return nil, err
	}
	return map[string]string{"pet": skipped.Pet, "skipped": clock(skipped.Start) + " – " + clock(skipped.End)}, nil
}

// Hold is the action hold.
func Hold(ctx context.Context, _ Facts, w Env, call charm.Call) (map[string]string, error) {
	h := control.Hold{Pet: call.String("pet"), State: call.String("state"), Why: call.String("why"), By: w.Unit}
	results := map[string]string{"pet": h.Pet, "state": h.State}
	if text := call.String("for"); text != "" {
		d, err := duration(call, "for")
		if err != nil {
			return nil, err
		}
		h.Until = time.Now().Add(d).Round(time.Second)
		results["until"] = h.Until.UTC().Format(time.RFC3339)
	}
	return results, control.NewClient(w.Dir).Hold(ctx, h)
}

// Release is the action release.
func Release(ctx context.Context, _ Facts, w Env, call charm.Call) (map[string]string, error) {
	return map[string]string{"pet": call.String("pet")}, control.NewClient(w.Dir).Release(ctx, call.String("pet"))
}

// History is the action history.
func History(ctx context.Context, _ Facts, w Env, call charm.Call) (map[string]string, error) {
	runs, err := control.NewClient(w.Dir).History(ctx, call.String("pet"), call.Int("limit"))
	if err != nil {
		return nil, err
	}
	return answer(call, "history", runs, func() string {
		if len(runs) == 0 {
			return "nothing yet"
		}
		rows := [][]string{{"ended", "took", "pet", "what", "state", "moved", "note"}}
		for _, r := range runs {
			rows = append(rows, []string{clock(r.Ended), r.Ended.Sub(r.Started).Round(100 * time.Millisecond).String(),
				r.Pet, string(r.Kind), string(r.State), fmt.Sprint(r.Moved), firstLine(orNone(r.Note, "-"))})
		}
		return table(rows)
	})
}
