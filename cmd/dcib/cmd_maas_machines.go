package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/dcib/dcib/internal/maas/inventory"
)

// newMaasMachinesCmd is dcib maas machines: what there is.
func newMaasMachinesCmd(m *maasAccess) *cobra.Command {
	return &cobra.Command{
		Use:   "machines [NAME…]",
		Short: "List machines, with their storage layouts, bridges and tags",
		Long:  `List machines. A NAME is a host name, a pattern like "node*", or a system id.`,
		RunE: func(cmd *cobra.Command, names []string) error {
			c, err := m.open(cmd)
			if err != nil {
				return err
			}
			machines, err := c.Machines(cmd.Context())
			if err != nil {
				return err
			}
			if len(names) > 0 {
				if machines, err = inventory.Select(machines, names); err != nil {
					return err
				}
			}
			if m.format == "text" {
				fmt.Fprint(cmd.OutOrStdout(), inventory.Table(machines))
			}
			return m.print(cmd, inventory.Show(machines))
		},
	}
}
