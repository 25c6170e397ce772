package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/dcib/dcib/internal/charmpack"
)

// newPackCmd is dcib pack: charm folders to archives.
func newPackCmd() *cobra.Command {
	var (
		out  string
		opts charmpack.Options
	)
	cmd := &cobra.Command{
		Use:   "pack CHARM_DIR…",
		Short: "Build charm archives from charm folders",
		Long: `Build a charm archive, <name>.charm, from each charm folder.

charmcraft.yaml is split into the files that Juju reads, and the Go program beside it
becomes the dispatch. An archive whose contents did not change is left as it is.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, dirs []string) error {
			for _, dir := range dirs {
				p, err := charmpack.Pack(cmd.Context(), dir, out, opts)
				if err != nil {
					return err
				}
				state := "unchanged"
				if p.Changed {
					state = "written"
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%-9s %s  %.1f MiB  sha256:%.12s\n", state, p.Path, float64(p.Bytes)/(1<<20), p.SHA256)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&out, "out", "dist", "the folder for the archives")
	cmd.Flags().StringVar(&opts.Arch, "arch", "", "the architecture to build for, as Go spells it (default this machine's)")
	cmd.Flags().StringVar(&opts.Version, "version", "", "what Juju shows as the charm's version (default none)")
	return cmd
}
