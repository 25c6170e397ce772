package main

import (
	"fmt"

	"github.com/juju/charm/v12"
	"github.com/spf13/cobra"

	"github.com/dcib/dcib/internal/charmlint"
)

// newLintCmd is dcib lint: charms and bundles checked before Juju sees them.
func newLintCmd() *cobra.Command {
	var overlays []string
	cmd := &cobra.Command{
		Use:   "lint (CHARM_DIR | ARCHIVE | BUNDLE)…",
		Short: "Check charms and bundles before Juju does",
		Long: `Check charm folders, charm archives and bundles with Juju's own parsers and by the
rules of the house. Bundles are checked against the charms that are named with them:
endpoints, options and their types. Every --overlay is laid over each bundle, in order.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, paths []string) error {
			var (
				bundles  []string
				problems []charmlint.Problem
				charms   = map[string]charm.Charm{}
				checked  int
			)
			for _, path := range paths {
				kind, path, err := charmlint.KindOf(path)
				if err != nil {
					return err
				}
				var ch charm.Charm
				var found []charmlint.Problem
				switch kind {
				case charmlint.CharmDir:
					ch, found = charmlint.Folder(path)
				case charmlint.CharmArchive:
					ch, found = charmlint.Archive(path)
				case charmlint.BundleFile:
					bundles = append(bundles, path)
					continue
				}
				checked++
				problems = append(problems, found...)
				if ch != nil {
					charms[ch.Meta().Name] = ch
				}
			}
			if len(overlays) > 0 && len(bundles) == 0 {
				return fmt.Errorf("cannot check overlays: expected a bundle to lay them over")
			}
			for _, path := range bundles {
				problems = append(problems, charmlint.Bundle(path, overlays, charms)...)
			}
			for _, p := range problems {
				fmt.Fprintln(cmd.ErrOrStderr(), p)
			}
			if len(problems) > 0 {
				return fmt.Errorf("cannot pass: %d problem(s) in %d charm(s) and %d bundle(s)", len(problems), checked, len(bundles))
			}
			fmt.Fprintf(cmd.OutOrStdout(), "checked %d charm(s), %d bundle(s) with %d overlay(s): no problem\n", checked, len(bundles), len(overlays))
			return nil
		},
	}
	cmd.Flags().StringArrayVar(&overlays, "overlay", nil, "an overlay to lay over every bundle; may be repeated")
	return cmd
}
