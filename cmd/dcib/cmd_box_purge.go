package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/dcib/dcib/internal/box"
)

func newBoxPurgeCmd(where placer) *cobra.Command {
	return &cobra.Command{
		Use:   "purge",
		Short: "Take the box away, and the cache of all boxes with it",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := where()
			if err != nil {
				return err
			}
			endByContext()
			return box.Purge(cmd.Context(), box.Options{Place: p, Out: os.Stdout, Terminal: terminal(os.Stdout)})
		},
	}
}
