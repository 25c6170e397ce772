package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"

	"github.com/juju/charm/v12"
	"github.com/spf13/cobra"

	"github.com/dcib/dcib/internal/charmtool/lint"
)

// lintWidth is how many characters wide a terminal is at least.
const lintWidth = 80

// newLintCmd is dcib lint: charms and bundles checked before Juju sees them.
func newLintCmd() *cobra.Command {
	var (
		overlays []string
		format   string
	)
	cmd := &cobra.Command{
		Use:   "lint (CHARM_DIR | ARCHIVE | BUNDLE | OVERLAY)…",
		Short: "Check charms, bundles and overlays before Juju does",
		Long: `Check charm folders, charm archives, bundles and overlays with Juju's own parsers and
by the rules of the house. Each problem names its file and line, and the nearest right word.

A bundle's charms are looked for among those that are named with it, in the folder
../charms/NAME beside the one of its archives, and in a catalogue of charms on Charmhub.

An overlay says in a comment at its beginning what it is to be laid over, relative to itself
(# over: ../bundles/dcib.yaml ceph.yaml); so it can be named like a bundle. Every --overlay
is laid over each of the bundles, in order. A bundle or an overlay may be -, for standard input.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, paths []string) error {
			if err := oneOf("format", format, "text", "json"); err != nil {
				return err
			}
			var (
				bundles  [][]string // each with what is laid over it
				over     int        // how many of them are overlays, over what they say
				problems []lint.Problem
				charms   = map[string]charm.Charm{}
				checked  int
				seen     = map[lint.Problem]bool{}
				files    = lint.Files{Stdin: cmd.InOrStdin()}
			)
			for _, path := range paths {
				kind, path, err := lint.KindOf(path)
				if err != nil {
					return usageError{err}
				}
				var ch charm.Charm
				var found []lint.Problem
				switch kind {
				case lint.CharmDir:
					ch, found = lint.Folder(path)
				case lint.CharmArchive:
					ch, found = lint.Archive(path)
				case lint.BundleFile:
					under, err := files.Over(path)
					if err != nil {
						return usageError{err}
					}
					if len(under) > 0 {
						over++
					}
					bundles = append(bundles, slices.Concat(under, []string{path}, overlays))
					continue
				}
				checked++
				problems = append(problems, found...)
				if ch != nil {
					charms[ch.Meta().Name] = ch
				}
			}
			if len(overlays) > 0 && len(bundles) == 0 {
				return usagef("cannot check overlays: expected a bundle to lay them over")
			}
			for _, under := range bundles {
				for _, p := range files.Bundle(under[0], under[1:], charms) {
					if !seen[p] { // one bundle may lie under several overlays
						seen[p] = true
						problems = append(problems, p)
					}
				}
			}
			bad, width := 0, 0
			if terminal(os.Stderr) {
				width = lintWidth
			}
			for _, p := range problems {
				if !p.Note {
					bad++
				}
				if format == "text" {
					fmt.Fprintln(cmd.ErrOrStderr(), p.Text(width))
				}
			}
			if format == "json" {
				if problems == nil {
					problems = []lint.Problem{}
				}
				out := json.NewEncoder(cmd.OutOrStdout())
				out.SetIndent("", "  ")
				out.SetEscapeHTML(false)
				if err := out.Encode(problems); err != nil {
					return fmt.Errorf("cannot print: %w", err)
				}
			}
			what := fmt.Sprintf("%d charm(s), %d bundle(s), %d overlay(s)", checked, len(bundles)-over, over+len(overlays))
			if bad > 0 {
				return fmt.Errorf("cannot pass: %d problem(s) in %s", bad, what)
			}
			if format == "text" {
				fmt.Fprintf(cmd.OutOrStdout(), "checked %s: no problem\n", what)
			}
			return nil
		},
	}
	cmd.Flags().StringArrayVar(&overlays, "overlay", nil, "an overlay to lay over every bundle; may be repeated")
	cmd.Flags().StringVar(&format, "format", "text", "text or json")
	return cmd
}
