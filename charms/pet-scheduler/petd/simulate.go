package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/dcib/dcib/internal/scheduler/calendar"
	"github.com/dcib/dcib/internal/scheduler/decide"
	"github.com/dcib/dcib/internal/scheduler/leadtime"
	"github.com/dcib/dcib/internal/scheduler/simulate"
)

// runSimulate is the verb simulate: what a set of pets would do, without any of them.
func runSimulate(args []string, out, messages io.Writer) error {
	model, leads := simulate.DefaultModel(), leadtime.Defaults()
	flags := flag.NewFlagSet("pet-scheduler simulate", flag.ContinueOnError)
	flags.SetOutput(messages)
	file := flags.String("pets", "", "file with the pets, as for the option pets (- is standard input)")
	fromText := flags.String("from", "", "when to begin: 2026-01-01, or 2026-01-01T12:00:00Z")
	toText := flags.String("to", "", "when to end")
	format := flags.String("format", "text", "text or json (every window of every pet)")
	late := flags.Int("late", 20, "show at most so many late returns and pets")
	flags.Uint64Var(&model.Seed, "seed", model.Seed, "seed of the random generator")
	flags.IntVar(&model.Instances, "instances", model.Instances, "instances on a shared member, at most")
	flags.DurationVar(&model.Move, "move", model.Move, "average time to move one instance")
	flags.IntVar(&model.Parallel, "parallel", model.Parallel, "instances moved at a time")
	flags.Float64Var(&model.Fails, "fails", model.Fails, "share of tries to drain or undrain that fail")
	flags.Float64Var(&leads.Quantile, "quantile", leads.Quantile, "share of past drains that the lead would have been enough for")
	flags.Float64Var(&leads.Margin, "margin", leads.Margin, "what the lead has more than that, as a share")
	flags.DurationVar(&leads.Min, "min-lead-time", leads.Min, "the lead is at least so long")
	flags.DurationVar(&leads.Max, "max-lead-time", leads.Max, "the lead is at most so long")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return fmt.Errorf("cannot simulate: %w", err)
	}
	from, to, err := period(*fromText, *toText)
	switch {
	case err != nil:
		return err
	case flags.NArg() > 0:
		return fmt.Errorf("cannot simulate: %q is not expected here", flags.Arg(0))
	case *file == "":
		return errors.New("cannot simulate: no pets: pass their file with --pets")
	case *format != "text" && *format != "json":
		return fmt.Errorf("cannot simulate: --format is %q, wanted text or json", *format)
	case model.Instances < 0 || model.Parallel < 1 || model.Move < 0 || model.Fails < 0 || model.Fails > 1:
		return errors.New("cannot simulate: wanted --instances and --move of 0 or more, --parallel of 1 or more, --fails from 0 to 1")
	case leads.Quantile <= 0 || leads.Quantile > 1 || leads.Margin < 0 || leads.Min < 0 || leads.Max < leads.Min:
		return errors.New("cannot simulate: wanted --quantile over 0 and at most 1, --margin of 0 or more, and --min-lead-time not over --max-lead-time")
	}
	text, err := read(*file)
	if err != nil {
		return fmt.Errorf("cannot simulate: cannot read the pets: %w", err)
	}
	pets, err := calendar.Parse(text)
	if err != nil {
		return fmt.Errorf("cannot simulate: %s: %w", *file, err)
	}
	result := simulate.Simulate(simulate.Run{
		Pets: pets, From: from, To: to, Model: model, Lead: leads, Schedule: decide.Defaults(),
	})
	if *format == "json" {
		return json.NewEncoder(out).Encode(result)
	}
	return result.Write(out, *late)
}

// maxPeriod is how many years a simulation may be long.
const maxPeriod = 50

func period(fromText, toText string) (from, to time.Time, err error) {
	parse := func(flag, text string) (time.Time, error) {
		for _, layout := range []string{time.DateOnly, time.RFC3339} {
			if at, err := time.Parse(layout, text); err == nil {
				return at, nil
			}
		}
		return time.Time{}, fmt.Errorf("cannot simulate: --%s is %q, wanted a date such as 2026-01-01 or a time such as 2026-01-01T12:00:00Z", flag, text)
	}
	if from, err = parse("from", fromText); err != nil {
		return from, to, err
	}
	if to, err = parse("to", toText); err != nil {
		return from, to, err
	}
	if !from.Before(to) || from.AddDate(maxPeriod, 0, 0).Before(to) {
		return from, to, fmt.Errorf("cannot simulate: wanted --to after --from, by at most %d years", maxPeriod)
	}
	return from, to, nil
}

// read reads a file, or standard input for "-".
func read(name string) ([]byte, error) {
	in := io.Reader(os.Stdin)
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		in = file
	}
	return io.ReadAll(io.LimitReader(in, calendar.MaxBytes+1))
}
