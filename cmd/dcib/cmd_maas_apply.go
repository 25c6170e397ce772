package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/dcib/dcib/internal/maas/inventory"
)

// newMaasApplyCmd is dcib maas apply: machines as they are declared.
func newMaasApplyCmd(m *maasAccess) *cobra.Command {
	var (
		pets   string
		dryRun bool
	)
	cmd := &cobra.Command{
		Use:   "apply [FILE]",
		Short: "Bring machines to what a declaration says",
		Long: `Bring machines to what a declaration says of their tags, network and storage; - is the
standard input. What is already so is left; network and storage are set on machines that are
Ready, and on no others. With --pets, the machines of pet-scheduler's pets get the tag pet
and their traits; FILE may then be left out.

The format of the declaration is in docs/reference/machines.md.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, files []string) error {
			declared, wanted, err := m.declaration(cmd, files, pets)
			if err != nil {
				return err
			}
			c, err := m.open(cmd)
			if err != nil {
				return err
			}
			state, err := c.Fleet(cmd.Context())
			if err != nil {
				return err
			}
			plan := inventory.Missing(declared, wanted, state)
			result := maasApplied{Steps: []maasStep{}, Notes: append([]inventory.Note{}, plan.Notes...)}
			if dryRun {
				for _, s := range plan.Steps {
					result.Steps = append(result.Steps, maasStep{Machine: s.On(), Step: s.Name()})
				}
				if m.format == "text" {
					fmt.Fprint(cmd.OutOrStdout(), plan.Text())
				}
			} else {
				err = inventory.Apply(cmd.Context(), c, plan.Steps, func(s inventory.Step, err error) {
					one := maasStep{Machine: s.On(), Step: s.Name(), Done: err == nil}
					mark, text := "done  ", inventory.Title(s)
					if err != nil {
						one.Error = err.Error()
						mark, text = "failed", text+": "+err.Error()
					}
					m.say(cmd, mark, text)
					result.Steps = append(result.Steps, one)
				})
				if m.format == "text" {
					left := inventory.Plan{Notes: plan.Notes}
					if len(plan.Steps) == 0 || len(plan.Notes) > 0 {
						fmt.Fprint(cmd.OutOrStdout(), left.Text())
					}
				}
			}
			if printed := m.print(cmd, result); printed != nil {
				return printed
			}
			if err != nil {
				return fmt.Errorf("cannot finish: %d step(s) failed or were not reached: fix what they say, and apply again", len(plan.Steps)-result.done())
			}
			if wrong := plan.Wrong(); wrong > 0 {
				return fmt.Errorf("cannot bring all machines to what is declared: %d thing(s) are wrong", wrong)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&pets, "pets", "", "a file with the pets that pet-scheduler takes, whose machines are tagged")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "show what would be done, and do nothing")
	return cmd
}

// maasApplied is what came of a declaration, as programs read it.
type maasApplied struct {
	Steps []maasStep       `json:"steps"`
	Notes []inventory.Note `json:"notes"`
}

type maasStep struct {
	Machine string `json:"machine"`
	Step    string `json:"step"`
	Done    bool   `json:"done"`
	Error   string `json:"error"`
}

func (a maasApplied) done() int {
	count := 0
	for _, s := range a.Steps {
		if s.Done {
			count++
		}
	}
	return count
}
