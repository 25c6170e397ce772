package main

import (
	"encoding/json"
	"os"

	"github.com/spf13/cobra"

	"github.com/dcib/dcib/internal/box"
)

func newBoxStatusCmd(where placer) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what there is of the box, as LXD and Juju say",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := where()
			if err != nil {
				return err
			}
			endByContext()
			if err := oneOf("format", format, "text", "json"); err != nil {
				return err
			}
			s := box.ReadStatus(cmd.Context(), p)
			if format == "text" {
				return s.Print(os.Stdout)
			}
			out := json.NewEncoder(os.Stdout)
			out.SetIndent("", "  ")
			return out.Encode(s)
		},
	}
	cmd.Flags().StringVar(&format, "format", "text", "text or json")
	return cmd
}
