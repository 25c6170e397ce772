package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/dcib/dcib/internal/maas"
	"github.com/dcib/dcib/internal/maas/inventory"
)

// newMaasDeployCmd is dcib maas deploy: an operating system on machines.
func newMaasDeployCmd(m *maasAccess) *cobra.Command {
	var (
		o        inventory.DeployOptions
		userData string
	)
	act := maasAct{
		becomes: inventory.Deployed, onTheWay: []string{inventory.Allocated, inventory.Deploying},
		decide: inventory.Deployable,
		do:     func(ctx context.Context, c *maas.Client, id string) error { return c.Deploy(ctx, id, o) },
	}
	cmd := &cobra.Command{
		Use:   "deploy NAME…",
		Short: "Have MAAS put an operating system on machines",
		Long: `Have MAAS deploy machines that are Ready, or Allocated to you. A NAME is a host name, a pattern like
"node*", or a system id. If one of them cannot be deployed in the state that it is in, none
is.

Machines for Juju are better left Ready: juju deploy and juju add-machine deploy them, by
tags (--constraints tags=compute).`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, names []string) error {
			if userData != "" {
				var err error
				if o.UserData, err = readFile(cmd.InOrStdin(), userData); err != nil {
					return usagef("cannot read the user data: %w", err)
				}
			}
			return act.run(cmd, m, names)
		},
	}
	cmd.Flags().StringVar(&o.Series, "series", "", "what to deploy, like noble (default MAAS's own)")
	cmd.Flags().StringVar(&o.Kernel, "kernel", "", "its kernel, like ga-24.04")
	cmd.Flags().StringVar(&o.Comment, "comment", "", "a comment for the machines' events")
	cmd.Flags().StringVar(&userData, "user-data", "", "a file for cloud-init")
	cmd.Flags().BoolVar(&act.dryRun, "dry-run", false, "show what would be done, and do nothing")
	cmd.Flags().DurationVar(&act.wait, "wait", 0, "wait until they are Deployed, at most so long (like 30m)")
	return cmd
}
