package main

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dcib/dcib/internal/box"
	"github.com/dcib/dcib/internal/box/subnet"
)

func newBoxUpCmd(where placer) *cobra.Command {
	var source, wanted, until, lxd string
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Build what is missing of the box, and wait until it works",
		Long: `Up walks the steps below, and does what the env does not yet have of each.
It can be stopped at any moment and run again: it carries on.

Steps: ` + strings.Join(box.StepNames(), ", "),
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if until != "" && !slices.Contains(box.StepNames(), until) {
				return usagef("cannot stop after step %q: expected one of %s", until, strings.Join(box.StepNames(), ", "))
			}
			if lxd != "" && !slices.Contains(box.LXDVersions, lxd) {
				return usagef("cannot use LXD %q for the box's machines: expected one of %s", lxd, strings.Join(box.LXDVersions, ", "))
			}
			p, err := where()
			if err != nil {
				return err
			}
			endByContext()
			o := box.Options{Place: p, Until: until, LXD: lxd, Out: os.Stdout, Terminal: terminal(os.Stdout)}
			if o.Source, err = sourceFolder(source); err != nil {
				return usageError{err}
			}
			if wanted != "" {
				var prefix netip.Prefix
				if prefix, err = subnet.Parse(wanted); err != nil {
					return usageError{err}
				}
				o.Subnet = prefix
			}
			if err := box.Up(cmd.Context(), o); err != nil {
				fmt.Fprintln(os.Stdout)
				return err
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&source, "source", "", "the project's folder (default: found from here)")
	cmd.Flags().StringVar(&wanted, "subnet", "", "private IPv4 subnet of the box (default: a free one)")
	cmd.Flags().StringVar(&lxd, "lxd", "", "LXD of the box's machines: "+strings.Join(box.LXDVersions, " or ")+" (default: what the box has, "+box.DefaultLXD+" for a new one)")
	cmd.Flags().StringVar(&until, "until", "", "stop after this step")
	return cmd
}
