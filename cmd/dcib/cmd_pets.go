package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	_ "time/tzdata" // pets name zones; a machine may have no database of them

	"github.com/spf13/cobra"

	"github.com/dcib/dcib/internal/scheduler/calendar"
	"github.com/dcib/dcib/internal/scheduler/timetable"
	"github.com/dcib/dcib/internal/wallclock"
)

// maxPetsDays is how many days dcib pets shows at most.
const maxPetsDays = 400

// newPetsCmd is dcib pets: pets checked and shown before a scheduler gets them.
func newPetsCmd() *cobra.Command {
	var (
		from, zone, format string
		days               int
	)
	cmd := &cobra.Command{
		Use:   "pets FILE",
		Short: "Check pets and their windows, and show their calendar",
		Long: `Check a file of pets, as the option pets of the charm pet-scheduler takes it, and show when
each pet belongs to its own work: as a table, as JSON or as a picture. FILE may be -, for
standard input. Nothing is asked of any machine: what pets do at the moment, and when their
drains begin, is for the actions list-pets and plan.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := oneOf("format", format, "text", "json", "svg"); err != nil {
				return err
			}
			if days < 1 || days > maxPetsDays {
				return usagef("cannot show pets: --days is %d: wanted a number from 1 to %d", days, maxPetsDays)
			}
			text, err := readFile(cmd.InOrStdin(), args[0])
			if err != nil {
				return usagef("cannot read the pets: %w", err)
			}
			pets, err := calendar.Parse(text)
			if err != nil {
				return refused(cmd.OutOrStdout(), format, "the pets of "+args[0], err)
			}
			for _, p := range pets {
				if most := p.MaxDays(); days > most {
					return usagef("cannot show pets: --days is %d: wanted at most %d, since the windows of pet %s start very often", days, most, p.Name)
				}
			}
			table := timetable.Table{First: time.Now(), Days: days, Busy: "reserved", Free: "shared"}
			where := time.UTC
			if len(pets) > 0 {
				where = pets[0].Zone
			}
			if zone != "" {
				if where = calendar.Zone(zone); where == nil {
					return usagef("cannot show pets: --zone is %q: wanted a zone of the IANA database, such as Europe/Berlin", zone)
				}
			}
			table.First = table.First.In(where)
			if from != "" {
				day, err := time.Parse(time.DateOnly, from)
				if err != nil {
					return usagef("cannot show pets: --from is %q: wanted a date such as 2026-03-29", from)
				}
				table.First = wallclock.Instant(day, where)
			}
			all := table.Span()
			shown := []petSpans{}
			for _, p := range pets {
				one := petSpans{Pet: p.Name, Spans: []petSpan{}}
				row := timetable.Row{Name: p.Name}
				for _, s := range p.Between(all.From, all.To) {
					one.Spans = append(one.Spans, shownSpan(s, where))
					row.Busy = append(row.Busy, timetable.Span{From: s.Start, To: s.End})
				}
				table.Rows = append(table.Rows, row)
				one.Shared = 1 - table.Share(row)
				shown = append(shown, one)
			}
			switch format {
			case "json":
				out := json.NewEncoder(cmd.OutOrStdout())
				out.SetIndent("", "  ")
				out.SetEscapeHTML(false)
				err = out.Encode(shown)
			case "svg":
				_, err = io.WriteString(cmd.OutOrStdout(), table.SVG())
			default:
				err = printPets(cmd.OutOrStdout(), table, shown)
			}
			if err != nil {
				return fmt.Errorf("cannot print: %w", err)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "the first day, like 2026-03-29 (default today)")
	cmd.Flags().IntVar(&days, "days", 7, "how many days")
	cmd.Flags().StringVar(&zone, "zone", "", "by the clock of this zone (default that of the first pet)")
	cmd.Flags().StringVar(&format, "format", "text", "text, json or svg")
	return cmd
}

// petSpans are one pet's reserved windows, as JSON shows them.
type petSpans struct {
	Pet    string    `json:"pet"`
	Shared float64   `json:"shared"` // share of the time shown, from 0 to 1
	Spans  []petSpan `json:"spans"`
}

// petSpan is one of them. A time that is further away than the calendar looks is zero.
type petSpan struct {
	Start   time.Time `json:"start,omitzero"`
	End     time.Time `json:"end,omitzero"`
	EmptyBy time.Time `json:"empty-by,omitzero"`
	Windows []string  `json:"windows"`
}

// shownSpan returns a stretch by the clock of a zone.
func shownSpan(s calendar.Span, where *time.Location) petSpan {
	shown := petSpan{Windows: s.Windows}
	if !s.StartOpen {
		shown.Start, shown.EmptyBy = s.Start.In(where), s.EmptyBy.In(where)
	}
	if !s.EndOpen {
		shown.End = s.End.In(where)
	}
	return shown
}

// String returns a stretch in one line.
func (s petSpan) String() string {
	const moment = "Mon 2006-01-02 15:04"
	text := s.Start.Format(moment) + " – " + s.End.Format(moment)
	switch {
	case s.Start.IsZero() && s.End.IsZero():
		return "all the time, as far as the calendar looks"
	case s.Start.IsZero():
		return "until " + s.End.Format(moment)
	case s.End.IsZero():
		text = "from " + s.Start.Format(moment) + " on"
	}
	if !s.EmptyBy.Equal(s.Start) {
		text += ", empty by " + s.EmptyBy.Format(moment)
	}
	return text
}

// maxPetSpans is how many stretches of a pet the text lists.
const maxPetSpans = 10

func printPets(out io.Writer, table timetable.Table, pets []petSpans) error {
	var b strings.Builder
	b.WriteString(table.Text())
	for _, p := range pets {
		fmt.Fprintf(&b, "\n%s: shared %.1f%% of this time\n", p.Pet, 100*p.Shared)
		for i, s := range p.Spans {
			if i == maxPetSpans {
				fmt.Fprintf(&b, "  and %d more\n", len(p.Spans)-maxPetSpans)
				break
			}
			fmt.Fprintf(&b, "  %s\n", s)
		}
	}
	if len(pets) == 0 {
		b.WriteString("no pets\n")
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// readFile reads a file, or standard input where its name is "-".
func readFile(in io.Reader, name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(in)
	}
	return os.ReadFile(name)
}
