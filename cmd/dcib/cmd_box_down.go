package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/dcib/dcib/internal/box"
)

func newBoxDownCmd(where placer) *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "Take the box away, and check that nothing of it is left",
		Long: `Down removes exactly what up made, from whatever state it is in: instances, daemon,
mounts, loop devices, bridge, firewall rules, cgroups, kernel settings, folder.
What was built or downloaded stays in the cache, for the next up.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := where()
			if err != nil {
				return err
			}
			endByContext()
			return box.Down(cmd.Context(), box.Options{Place: p, Out: os.Stdout, Terminal: terminal(os.Stdout)})
		},
	}
}
