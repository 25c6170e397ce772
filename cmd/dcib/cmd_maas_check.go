package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/dcib/dcib/internal/document"
	"github.com/dcib/dcib/internal/maas/inventory"
)

// newMaasCheckCmd is dcib maas check: a declaration without a MAAS.
func newMaasCheckCmd(m *maasAccess) *cobra.Command {
	var pets string
	cmd := &cobra.Command{
		Use:   "check [FILE]",
		Short: "Check a declaration, without a MAAS",
		Long: `Check a declaration of machines as apply does before it asks MAAS for anything: its format,
names, addresses and subnets, and matches that no machine can fit. - is the standard input.
With --pets, the pets are checked as well; FILE may then be left out.

Whether the machines, subnets and disks exist is for dcib maas apply --dry-run.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, files []string) error {
			if err := oneOf("format", m.format, "text", "json"); err != nil {
				return err
			}
			declared, wanted, err := m.declaration(cmd, files, pets)
			if err != nil {
				return err
			}
			m.say(cmd, "good", fmt.Sprintf("%d tag(s), %d group(s) of machines, %d pet(s)", len(declared.Tags), len(declared.Groups), len(wanted)))
			return m.print(cmd, []shownProblem{})
		},
	}
	cmd.Flags().StringVar(&pets, "pets", "", "a file with the pets that pet-scheduler takes")
	return cmd
}

// declaration reads the declaration in files, one at most, and the pets, either of which may be
// left out. What is wrong with the declaration is shown, or printed as JSON.
func (m *maasAccess) declaration(cmd *cobra.Command, files []string, pets string) (declared inventory.Declaration, wanted []inventory.Pet, err error) {
	if len(files) == 0 && pets == "" {
		return declared, wanted, usagef("cannot determine what machines are to be like: pass a declaration, or --pets")
	}
	from := append(files, pets)
	if m.keyFile == "-" {
		from = append(from, "-")
	}
	inputs := 0
	for _, path := range from {
		if path == "-" {
			inputs++
		}
	}
	if inputs > 1 {
		return declared, wanted, usagef("cannot read two things from the standard input: name files for all but one")
	}
	if len(files) > 0 {
		text, err := readFile(cmd.InOrStdin(), files[0])
		if err != nil {
			return declared, wanted, usagef("cannot read the declaration: %w", err)
		}
		if declared, err = inventory.Parse(text); err != nil {
			return declared, wanted, m.said(cmd, "the declaration", files[0], err)
		}
	}
	if pets != "" {
		text, err := readFile(cmd.InOrStdin(), pets)
		if err != nil {
			return declared, wanted, usagef("cannot read the pets: %w", err)
		}
		if wanted, err = inventory.ParsePets(text); err != nil {
			return declared, wanted, fmt.Errorf("cannot use the pets in %s: %w", pets, err)
		}
	}
	return declared, wanted, nil
}

// said shows what is wrong with a declaration, each thing on a line of its own.
func (m *maasAccess) said(cmd *cobra.Command, what, path string, err error) error {
	var problems document.Problems
	if !errors.As(err, &problems) {
		return err
	}
	shown := []shownProblem{}
	for _, p := range problems {
		shown = append(shown, shownProblem(p))
		if m.format == "json" {
			continue
		}
		fmt.Fprint(cmd.ErrOrStderr(), inventory.Item(path+":", p.String()))
	}
	if err := m.print(cmd, shown); err != nil {
		return err
	}
	return fmt.Errorf("cannot use %s: %d problem(s)", what, len(problems))
}
