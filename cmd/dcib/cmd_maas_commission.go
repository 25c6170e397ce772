package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/dcib/dcib/internal/maas"
	"github.com/dcib/dcib/internal/maas/inventory"
)

// newMaasCommissionCmd is dcib maas commission: MAAS looks at machines.
func newMaasCommissionCmd(m *maasAccess) *cobra.Command {
	var o inventory.CommissionOptions
	act := maasAct{
		becomes: inventory.Ready, onTheWay: []string{inventory.Commissioning, inventory.Testing},
		decide: func(machines []inventory.Machine, _ string) []inventory.Decision {
			return inventory.Commissionable(machines, o)
		},
		do: func(ctx context.Context, c *maas.Client, id string) error { return c.Commission(ctx, id, o) },
	}
	cmd := &cobra.Command{
		Use:   "commission NAME…",
		Short: "Have MAAS look at machines, and make them Ready",
		Long: `Have MAAS commission machines. A NAME is a host name, a pattern like "node*", or a system id.
A machine that is Ready is skipped: MAAS would reset its network and storage. If one of them
cannot be commissioned in the state that it is in, none is.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, names []string) error { return act.run(cmd, m, names) },
	}
	cmd.Flags().BoolVar(&o.Force, "force", false, "also machines that are Ready, whose network and storage are reset")
	cmd.Flags().BoolVar(&o.SSH, "ssh", false, "leave them on afterwards, to log in")
	cmd.Flags().BoolVar(&act.dryRun, "dry-run", false, "show what would be done, and do nothing")
	cmd.Flags().DurationVar(&act.wait, "wait", 0, "wait until they are Ready, at most so long (like 30m)")
	return cmd
}
